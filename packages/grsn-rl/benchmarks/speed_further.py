"""Soft actor-critic's updates against the published layout unrolled step by step, and steps of a skirmish.

    python packages/grsn-rl/benchmarks/speed_further.py [--only sac|skirmish] [--rounds N]

One process, one thread, taking turns. The peer is written here after the released code's layout: each embedding of its
own, gates and neuron one step at a time with every operation recorded by autograd, five unrolls per update (the actor
twice, the critic twice, its target), gradients of the critic computed in the actor's step too. Batches, widths and
layers of the heads' critics are equal; the peer's actor has two hidden layers, ours one.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

import numpy as np
import torch
from torch import Tensor, nn

from grsn_rl import Agent
from grsn_rl._bench import interleaved
from grsn_rl.offpolicy import Batch, follow
from grsn_rl.teams import make
from results import Results


class Spike(torch.autograd.Function):
    """A step with the slope of an arctangent (alpha 2) in its place."""

    @staticmethod
    def forward(ctx: Any, above: Tensor) -> Tensor:
        ctx.save_for_backward(above)
        return (above >= 0).to(above)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (above,) = ctx.saved_tensors
        return grad / (1 + (math.pi * above) ** 2)


class Loop(nn.Module):
    """The published cell: both gates, the current and the neuron, one step at a time."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.forget, self.write, self.hidden = nn.Linear(inputs, hidden), nn.Linear(inputs, hidden), hidden

    def forward(self, x: Tensor) -> Tensor:
        current, membrane, out = x.new_zeros(x.shape[1], self.hidden), x.new_zeros(x.shape[1], self.hidden), []
        for now in x:
            keep = torch.sigmoid(self.forget(now))
            current = keep * current + (1 - keep) * torch.relu(self.write(now))
            membrane = membrane + (current - membrane) / 2
            spike = Spike.apply(membrane - 1.0)  # type: ignore[no-untyped-call]
            membrane = membrane - spike
            out.append(spike[None])
        return torch.cat(out)


def mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


class Body(nn.Module):
    """Embeddings of action, reward and observation, the cell, a shortcut, heads."""

    def __init__(self, obs: int, act: int, outputs: tuple[int, ...], judges: bool, embed: int, width: int) -> None:
        super().__init__()
        self.obs, self.act = nn.Linear(obs, embed - 16), nn.Linear(act, 8)
        self.reward = nn.Linear(1, 8)
        self.cell, self.shortcut = Loop(embed, width), nn.Linear(obs + (act if judges else 0), embed)
        self.heads = nn.ModuleList(mlp(width + embed, width, size) for size in outputs)

    def forward(self, batch: dict[str, Tensor], action: Tensor | None = None) -> list[Tensor]:
        parts = [self.act(batch["previous"]), self.reward(batch["reward"]), self.obs(batch["obs"])]
        out = self.cell(torch.cat([torch.relu(p) for p in parts], -1))
        now = batch["obs"]
        if action is not None:
            now, out = torch.cat([now[: len(action)], action], -1), out[: len(action)]
        z = torch.cat([out, torch.relu(self.shortcut(now))], -1)
        return [head(z) for head in self.heads]


class Published:
    """Soft actor-critic as the released code computes it."""

    def __init__(self, obs: int, act: int, embed: int, width: int) -> None:
        self.actor = Body(obs, act, (2 * act,), False, embed, width)
        self.critic = Body(obs, act, (1, 1), True, embed, width)
        self.target = copy.deepcopy(self.critic)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), 3e-4)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), 3e-4)

    def draw(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(batch)[0].chunk(2, -1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp())
        before = normal.rsample()
        action = before.tanh()
        return action, (normal.log_prob(before) - torch.log(1 - action**2 + 1e-6)).sum(-1, keepdim=True)

    def update(self, given: Batch) -> None:
        zero = torch.zeros_like(given.reward[:1])
        batch = {
            "obs": given.obs, "previous": given.previous, "reward": torch.cat([zero, given.reward])[..., None],
        }  # fmt: skip
        mask, count = given.mask[..., None], given.mask.sum()
        with torch.no_grad():
            action, density = self.draw(batch)
            q1, q2 = self.target(batch, action)
            follows = torch.min(q1, q2) - 0.1 * density
            wanted = given.reward[..., None] + 0.9 * (1 - given.terminated[..., None]) * follows[1:]
        q1, q2 = self.critic(batch, given.action)
        loss = ((q1 - wanted).square() * mask).sum() / count + ((q2 - wanted).square() * mask).sum() / count
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        action, density = self.draw(batch)
        q1, q2 = self.critic(batch, action)
        loss = ((0.1 * density - torch.min(q1, q2))[:-1] * mask).sum() / count
        self.actor_optimiser.zero_grad()
        loss.backward()
        self.actor_optimiser.step()
        follow(self.target, self.critic, 0.005)


def sac(out: Results, rounds: int) -> None:
    for preset, size in (("paper", "32 windows of 64 steps, width 128"), ("fast", "32 windows of 32 steps, width 64")):
        ours: dict[str, Any] = {}
        for memory in ("grsn", "gru"):
            ours[memory] = Agent.create("Pendulum-V", "sac", memory, 0, preset=preset).algorithm
            ours[memory].begin()
            while len(ours[memory].replay) < 2000:
                ours[memory].act()
        c = ours["grsn"].config
        peer = Published(1, 1, c.embed, c.hidden)
        runs = {memory: a.update for memory, a in ours.items()}
        runs["published"] = lambda ours=ours, peer=peer: peer.update(ours["grsn"].batch())
        told = interleaved(runs, rounds)
        for memory in ours:
            ratio = told["published"][0] / told[memory][0]
            target = ">= 3" if memory == "grsn" else None
            out.add(
                name=f"SAC update, {memory}, {size}", metric="updates per second", unit="/s",
                ours=1 / told[memory][0], peer=("published layout, step by step", 1 / told["published"][0]),
                ratio=ratio, target=target, met=ratio >= 3 if target else None, n=rounds,
                spread=told[memory][1] / told[memory][0] ** 2, table="further",
                note=f"Pendulum-V, the sizes of the preset {preset!r}; two hidden layers of that width in the critics",
            )  # fmt: skip
    out.write()


def skirmish(out: Results, rounds: int) -> None:
    rng = np.random.default_rng(0)
    for name in ("3m", "8m", "2s3z"):
        env = make(f"skirmish:{name}", 64)
        env.reset(0)
        speeds = []
        for i in range(rounds + 1):
            begin = time.perf_counter()
            for _ in range(100):
                env.step((rng.random(env.available.shape, np.float32) * env.available).argmax(-1))
            if i:
                speeds.append(100 * 64 * env.agents / (time.perf_counter() - begin))
        middle = statistics.median(speeds)
        out.add(
            name=f"skirmish:{name}, 64 at once", metric="agent steps per second", unit="/s", ours=middle,
            target=">= 100,000", met=middle >= 100_000, n=rounds, spread=statistics.stdev(speeds), table="further",
            note="drawing random available actions included; one thread",
        )  # fmt: skip
    out.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("sac", "skirmish"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder of the results, instead of the package's")
    args = parser.parse_args()
    torch.set_num_threads(1)
    command = "python packages/grsn-rl/benchmarks/speed_further.py"
    out = Results(
        "grsn-rl", "speed", threads=1, resume=True, command=command, variant="further", folder=args.out
    )  # fmt: skip
    if args.only != "skirmish":
        sac(out, args.rounds)
    if args.only != "sac":
        skirmish(out, args.rounds)


if __name__ == "__main__":
    main()
