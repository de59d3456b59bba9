"""Forward and backward, the acting step, and PPO's steps per second, against what one would use instead.

    python packages/grsn-rl/benchmarks/speed.py [--only cells|agents] [--rounds N]

One process, one thread, taking turns. Peers: nn.GRU, nn.LSTM; the cell as the published code computes it, two linear
layers and a dozen tensor operations a step, recorded by autograd; sb3-contrib's RecurrentPPO at equal settings and
sizes, on the same vectorised NumPy environment through an adapter, its LSTM shared by policy and value as ours is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

import numpy as np
import torch
from torch import Tensor, nn

from grsn_rl import GRSN, Agent
from grsn_rl._bench import compare_cells, interleaved
from grsn_rl.cells import _sequence, _steps
from grsn_rl.envs import make
from results import Results
from spk_neurons import ATan
from spk_neurons.scan import spike

warnings.simplefilter("ignore")
SIZES = ((64, 32, 48, 128), (64, 64, 48, 128), (64, 32, 64, 256))
SETTINGS = {"horizon": 32, "epochs": 4, "minibatches": 4, "lr": 1e-3, "hidden": 64}
ENVS = 64
LOOP = "published cell, a loop with autograd"


class Loop(nn.Module):
    """The cell as the published code computes it: two linear layers, gates, charge, fire, reset, a step at a time.

    Written anew from the method's equations; constant leak, as published. Autograd records every operation.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.forget, self.enter = nn.Linear(inputs, hidden), nn.Linear(inputs, hidden)
        self.law = ATan(2.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        v = c = x.new_zeros(x.shape[1], self.forget.out_features)
        rows = []
        for now in x:
            f, i = torch.sigmoid(self.forget(now)), torch.relu(self.enter(now))
            c = f * c + (1 - f) * i
            v = v + (c - v) / 2
            o = spike(v - 1.0, self.law)
            v = v - o
            rows.append(o)
        return torch.stack(rows), c


def same_cell() -> None:
    """The peer is the same cell: with equal weights it fires the same spikes."""
    torch.manual_seed(0)
    loop, ours, x = Loop(8, 32), GRSN(8, 32), torch.randn(20, 4, 8)
    with torch.no_grad():
        ours.weight_ih_l0.copy_(torch.cat([loop.forget.weight, 4 * loop.enter.weight]))
        loop.enter.weight.mul_(4)
        ours.bias_ih_l0.copy_(torch.cat([loop.forget.bias, loop.enter.bias]))
        spikes = ours(x)[0]
        if not (torch.equal(spikes, loop(x)[0]) and 0.05 < spikes.mean() < 0.95):
            raise RuntimeError("the published cell's loop does not compute what GRSN does")


def cells(out: Results, rounds: int) -> None:
    same_cell()
    for steps, batch, inputs, hidden in SIZES:
        loop = {LOOP: Loop(inputs, hidden)}
        rows = {row["name"]: row for row in compare_cells(steps, batch, inputs, hidden, rounds, loop)}
        size = f"T={steps}, B={batch}, I={inputs}, H={hidden}"
        ours = rows["GRSN"]
        for peer, target in (("nn.GRU", 3.0), ("nn.LSTM", 2.0), (LOOP, 5.0)):
            ratio = rows[peer]["sequence_ms"] / ours["sequence_ms"]
            main = peer == "nn.GRU" and (steps, batch, hidden) == (64, 32, 128)
            out.add(
                name=f"forward + backward, {size}", metric="wall time", unit="ms", ours=ours["sequence_ms"],
                peer=(peer, rows[peer]["sequence_ms"]), ratio=ratio, target=f">= {target:g}", met=ratio >= target,
                n=rounds, spread=ours["sequence_spread"], note="median, taking turns, one thread", table="cells",
                headline="{ratio:.1f}x faster than {peer}, forward and backward" if main else None,
            )  # fmt: skip
    for steps, batch, inputs, hidden in ((1, 16, 64, 64), (1, 64, 32, 64), (1, 16, 48, 128)):
        rows = {row["name"]: row for row in compare_cells(steps, batch, inputs, hidden, 3 * rounds)}
        ours = rows["GRSN"]
        for peer in ("nn.GRU", "nn.LSTM"):
            ratio = rows[peer]["step_us"] / ours["step_us"]
            out.add(
                name=f"one acting step, B={batch}, I={inputs}, H={hidden}", metric="wall time", unit="us",
                ours=ours["step_us"], peer=(peer, rows[peer]["step_us"]), ratio=ratio,
                target=">= 1" if peer == "nn.GRU" else None, met=ratio >= 1 if peer == "nn.GRU" else None,
                n=3 * rounds, spread=ours["step_spread"], note="no gradient, 50 calls each", table="cells",
            )  # fmt: skip
    out.write()


def bounds(out: Results, steps: int, batch: int, inputs: int, hidden: int, rounds: int) -> None:
    """What the matrix products alone would allow, and the parts' own times: where a target is missed, why."""
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    z = torch.randn(2, steps, batch, hidden, requires_grad=True)
    go = torch.randn(steps, batch, hidden)
    decay = torch.full((hidden,), 0.5, requires_grad=True)
    zero = torch.zeros(batch, hidden)
    ours, loop, linear = GRSN(inputs, hidden), Loop(inputs, hidden), nn.Linear(inputs, 2 * hidden)
    cell, weight, bias = _steps.gated(False, False, "atan"), ours.weight_ih_l0, ours.bias_ih_l0
    wide = z.detach().permute(1, 2, 0, 3).reshape(steps, batch, 2 * hidden)
    runs: dict[str, Callable[[], Any]] = {
        "whole cell": lambda: (ours(x)[0] * go).sum().backward(),
        LOOP: lambda: (loop(x)[0] * go).sum().backward(),
        "products as ours, a batch of two": lambda: ours._gates(x, weight, bias).backward(z.detach()),
        "products as one linear layer": lambda: linear(x).backward(wide),
        "recurrence alone": lambda: _sequence.run(cell, z, (zero, zero), decay, None, 1.0, 2.0)[0][0].backward(go),
    }
    found = interleaved(runs, rounds)
    peer = 1e3 * found.pop(LOOP)[0]
    for name, (seconds, spread) in found.items():
        out.add(
            name=f"{name}, T={steps}, B={batch}, I={inputs}, H={hidden}", metric="forward + backward", unit="ms",
            ours=1e3 * seconds, peer=(LOOP, peer), ratio=peer / (1e3 * seconds), n=rounds, spread=1e3 * spread,
            table="bounds", note="the ratio is what the whole would reach if the rest cost nothing",
        )  # fmt: skip
    out.write()


def adapter() -> Any:
    """Our vector environment as Stable-Baselines3 wants it."""
    import gymnasium as gym
    from stable_baselines3.common.vec_env import VecEnv

    class Adapter(VecEnv):  # type: ignore[misc]
        def __init__(self) -> None:
            self.inner = make("CartPole-P", ENVS)
            box = gym.spaces.Box(-np.inf, np.inf, (self.inner.obs_size,), np.float32)
            super().__init__(ENVS, box, gym.spaces.Discrete(2))

        def reset(self) -> Any:
            return self.inner.reset(0)

        def step_async(self, actions: Any) -> None:
            self.chosen = actions

        def step_wait(self) -> Any:
            step = self.inner.step(self.chosen)
            done = step.terminated | step.truncated
            infos: list[dict[str, Any]] = [{} for _ in range(ENVS)]
            for i in np.flatnonzero(done):
                infos[i] = {"terminal_observation": step.final_obs[i], "TimeLimit.truncated": bool(step.truncated[i])}
            return step.obs, step.reward, done, infos

        def close(self) -> None:
            self.inner.close()

        def get_attr(self, name: str, indices: Any = None) -> list[Any]:
            return [None] * ENVS

        def set_attr(self, name: str, value: Any, indices: Any = None) -> None: ...

        def env_method(self, name: str, *args: Any, indices: Any = None, **more: Any) -> list[Any]:
            return [None] * ENVS

        def env_is_wrapped(self, wrapper: Any, indices: Any = None) -> list[bool]:
            return [False] * ENVS

    return Adapter()


def agents(out: Results, rounds: int) -> None:
    from sb3_contrib import RecurrentPPO

    rollout = ENVS * SETTINGS["horizon"]
    policy = {
        "lstm_hidden_size": 64,
        "shared_lstm": True,
        "enable_critic_lstm": False,
        "net_arch": {"pi": [64], "vf": [64]},
    }
    peer = RecurrentPPO(
        "MlpLstmPolicy", adapter(), n_steps=32, n_epochs=4, batch_size=int(rollout // 4), learning_rate=1e-3, seed=0,
        device="cpu", policy_kwargs=policy,
    )  # fmt: skip
    memories = ("grsn", "gru", "lstm")
    ours = {memory: Agent.create("CartPole-P", "ppo", memory, num_envs=ENVS, **SETTINGS) for memory in memories}
    runs: dict[str, Any] = {m: (lambda a=a: a.learn(int(rollout), progress=False)) for m, a in ours.items()}
    runs["sb3"] = lambda: peer.learn(int(rollout), reset_num_timesteps=False)
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + 2):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if i >= 2:
                speeds[name].append(rollout / (time.perf_counter() - begin))
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    for memory in ours:
        ratio = middle[memory] / middle["sb3"]
        target = ">= 3" if memory == "grsn" else None
        out.add(
            name=f"recurrent PPO, CartPole-P, {memory}", metric="environment steps per second", unit="/s",
            ours=middle[memory], peer=("sb3-contrib RecurrentPPO, LSTM", middle["sb3"]), ratio=ratio, target=target,
            met=ratio >= 3 if target else None, n=rounds,
            spread=statistics.stdev(speeds[memory]) if rounds > 1 else None, table="agents",
            note="64 NumPy environments x 32 steps, 4 epochs, 4 minibatches, width 64; rollout and update",
            headline="PPO {ratio:.1f}x the steps per second of {peer}" if memory == "grsn" else None,
        )  # fmt: skip
    out.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("cells", "agents"))
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    command = "python packages/grsn-rl/benchmarks/speed.py"
    out = Results("grsn-rl", "speed", threads=1, resume=args.only is not None, command=command)
    if args.only != "agents":
        cells(out, args.rounds)
        for size in SIZES:
            bounds(out, *size, rounds=args.rounds)
    if args.only != "cells":
        agents(out, args.rounds)


if __name__ == "__main__":
    main()
