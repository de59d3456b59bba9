"""Against the paper's claim: "similar performance to RNNs at about half the power" (its tables are not at hand).

    python packages/grsn-rl/benchmarks/reproduce.py [--only TEXT] [--minutes N] [--more] [--list]

Recurrent PPO, 64 environments, 200,000 steps, greedy return over 100 episodes at the end. Each memory's learning rate
is chosen on another seed (100) from the same short list, by the training return of its last episodes; then seeds 0,
1, 2 run with it. Energy: whole agent, equal widths, at the measured firing rate. A queue of cells, each written as
soon as it is done; a stopped queue goes on where it was. ``--more`` adds the second table: five seeds, further tasks
and memories.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

import torch

from grsn_rl import Agent, bootstrap, evaluate
from results import Results

STEPS, TUNING_SEED = 200_000, 100
RATES = (1e-3, 3e-3)
CORE = (("CartPole-P", "Pendulum-V"), ("none", "lif", "grsn", "gru"), (0, 1, 2))
MORE = (
    ("CartPole-P", "Pendulum-V", "CartPole-V", "Pendulum-P", "popgym:RepeatPreviousEasy"),
    ("none", "lif", "grsn", "gru", "grsn-notap", "lstm"),
    (0, 1, 2, 3, 4),
)
RETURN, ENERGY = "median greedy return", "energy per step, whole agent"
# the same for every memory of a task
SETTINGS: dict[str, dict[str, Any]] = {"Pendulum": {"gamma": 0.95, "epochs": 8}}


def train(env: str, memory: str, rate: float, seed: int) -> dict[str, float]:
    """One run; what it was worth in the end."""
    settings = SETTINGS.get(env.partition("-")[0], {})
    agent = Agent.create(env, "ppo", memory, seed, lr=rate, anneal_steps=STEPS, **settings)
    agent.learn(STEPS, progress=False)
    result = evaluate(agent, episodes=100)
    told = {
        "lr": rate,
        "train_return": float(sum(agent.algorithm.returns) / max(1, len(agent.algorithm.returns))),
        "return": result.mean,
        "length": result.lengths,
        "nJ": result.energy_nJ,
    }
    if result.firing_rate == result.firing_rate:
        told |= {"rate": result.firing_rate, "dead": result.dead, "saturated": result.saturated}
    return told


def queue(
    tasks: tuple[str, ...], memories: tuple[str, ...], seeds: tuple[int, ...]
) -> list[tuple[str, str, float | None, int]]:
    """(task, memory, rate to try or None for the chosen one, seed), the first task's first."""
    cells: list[tuple[str, str, float | None, int]] = []
    for task in tasks:
        cells += [(task, memory, rate, TUNING_SEED) for rate in RATES for memory in memories]
        cells += [(task, memory, None, seed) for seed in seeds for memory in memories]
    return cells


def label(task: str, memory: str, rate: float | None) -> str:
    return f"{task}, {memory}" + ("" if rate is None else f", try lr {rate:g}")


def chosen(out: Results, task: str, memory: str) -> float | None:
    """The rate of the best training return on the tuning seed; None while some are missing."""
    scores = [out.values(label(task, memory, rate), "train_return") for rate in RATES]
    if not all(scores):
        return None
    return max(zip(scores, RATES, strict=True))[1]


def rows(out: Results, tasks: tuple[str, ...], memories: tuple[str, ...]) -> None:
    """Summaries of all cells that are done."""
    for task in tasks:
        energy = {m: out.values(label(task, m, None), "nJ") for m in memories}
        for memory in memories:
            values = out.values(label(task, memory, None), "return")
            for rate in RATES:
                tried = out.values(label(task, memory, rate), "train_return")
                if tried:
                    worth = out.values(label(task, memory, rate), "return")[0]
                    out.add(
                        name=f"{task}, {memory}, lr {rate:g}", metric="training return of the last 50 episodes",
                        ours=tried[0], n=1, table="tuning",
                        note=f"seed {TUNING_SEED}; greedy return afterwards {worth:.0f}",
                    )  # fmt: skip
            if not values:
                waits = "waits in the queue of benchmarks/reproduce.py"
                out.add(name=f"{task}, {memory}", metric=RETURN, ours=None, n=0, note=waits, table="return")
                if memory != "gru":
                    peer = ("gru", None)
                    out.add(
                        name=f"{task}, {memory}", metric=ENERGY, unit="nJ", ours=None, peer=peer, n=0, note=waits,
                        table="energy",
                    )  # fmt: skip
                continue
            low, high = bootstrap(values, lambda x, axis: [median(x.tolist())])
            spikes = out.values(label(task, memory, None), "rate")
            target, met = None, None
            if task == "CartPole-P" and memory == "grsn":
                target, met = ">= 190", median(values) >= 190
            if task == "CartPole-P" and memory == "none":
                target, met = "<= 150", median(values) <= 150
            note = f"seeds: {', '.join(f'{v:.0f}' for v in values)}; median in [{low[0]:.0f}, {high[0]:.0f}]"
            note += f"; lr {chosen(out, task, memory):g}"
            if spikes:
                note += f"; rate {median(spikes):.2f}"
            out.add(
                name=f"{task}, {memory}", metric=RETURN, ours=median(values), target=target, met=met,
                n=len(values), note=note, table="return",
            )  # fmt: skip
            if memory != "gru" and energy[memory] and energy["gru"]:
                ratio = median(energy[memory]) / median(energy["gru"])
                spiking = memory == "grsn"
                out.add(
                    name=f"{task}, {memory}", metric=ENERGY, unit="nJ",
                    ours=median(energy[memory]),
                    peer=("gru", median(energy["gru"])), ratio=ratio, target="<= 0.5" if spiking else None,
                    met=ratio <= 0.5 if spiking else None, n=len(energy[memory]), table="energy",
                    note="4.6 pJ per MAC, 0.9 pJ per AC at the measured rate",
                )  # fmt: skip
    out.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cells whose label holds this text")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no cell after so long")
    parser.add_argument("--more", action="store_true", help="the second table too")
    parser.add_argument("--list", action="store_true", help="print the queue and stop")
    parser.add_argument("--rows", action="store_true", help="only write the tables' rows anew")
    args = parser.parse_args()
    torch.set_num_threads(1)
    plan = MORE if args.more else CORE
    out = Results(
        "grsn-rl", "reproduce", threads=1, resume=True, command="python packages/grsn-rl/benchmarks/reproduce.py"
    )
    begun = time.monotonic()
    for task, memory, rate, seed in queue(*plan):
        name = label(task, memory, rate)
        if args.list:
            print(("done " if out.has_cell(name, seed) else "     ") + f"{name}, seed {seed}")
            continue
        if (
            args.rows
            or args.only not in name
            or out.has_cell(name, seed)
            or time.monotonic() - begun > 60 * args.minutes
        ):
            continue
        use = rate if rate is not None else chosen(out, task, memory)
        if use is None:
            continue
        start = time.process_time()
        values = train(task, memory, use, seed)
        out.add_cell(name, seed, values, seconds=time.process_time() - start)
        rows(out, *plan[:2])
        print(f"{name}, seed {seed}: {values}", flush=True)
    if not args.list:
        rows(out, *plan[:2])


if __name__ == "__main__":
    main()
