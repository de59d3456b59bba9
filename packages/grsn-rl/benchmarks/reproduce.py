"""Against the paper's claim: "similar performance to RNNs at about half the power" (its tables are not at hand).

    python packages/grsn-rl/benchmarks/reproduce.py [--workers N] [--minutes N] [--more] [--only TEXT] [--list]

Recurrent PPO, 64 NumPy environments, 200,000 steps, greedy return over 100 episodes at the end. Each memory's settings
are chosen on another seed (100) from the task's short list, the same for all, by the training return of the last
episodes; then seeds 0, 1, 2 run with them. Energy: whole agent, equal widths, at the measured firing rate. A queue of
cells on one thread each, written as soon as they are done; a stopped queue goes on where it was. ``--more`` adds the
second table: five seeds, further tasks and memories.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

import numpy as np
import torch

from grsn_rl import Agent, bootstrap, evaluate
from results import Results

STEPS, TUNING_SEED = 200_000, 100
CORE = (("CartPole-P", "Pendulum-V"), ("none", "lif", "grsn", "gru"), (0, 1, 2))
MORE = (
    ("CartPole-P", "Pendulum-V", "CartPole-V", "Pendulum-P", "RepeatPreviousEasy"),
    ("none", "lif", "grsn", "gru", "grsn-notap", "lstm"),
    (0, 1, 2, 3, 4),
)
RETURN, ENERGY = "median greedy return", "energy per step, whole agent"
# what is tried for every memory of a task on the tuning seed; the rest are PPO's defaults
USUAL: tuple[dict[str, float], ...] = ({"lr": 1e-3}, {"lr": 2e-3}, {"lr": 4e-3})
PENDULUM: tuple[dict[str, float], ...] = (
    {"lr": 1e-3, "gamma": 0.9, "epochs": 8}, {"lr": 3e-3, "gamma": 0.9, "epochs": 8},
    {"lr": 1e-3, "gamma": 0.95, "epochs": 8},
)  # fmt: skip


def tries(task: str) -> tuple[dict[str, float], ...]:
    return PENDULUM if task.startswith("Pendulum") else USUAL


def told(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in settings.items())


class Cell(NamedTuple):
    """One run: ``attempt`` is a place in the task's list, None stands for the best one on the tuning seed."""

    task: str
    memory: str
    attempt: int | None
    seed: int

    @property
    def label(self) -> str:
        name = f"{self.task}, {self.memory}"
        return name if self.attempt is None else f"{name}, try {told(tries(self.task)[self.attempt])}"


def train(task: str, memory: str, settings: dict[str, float], seed: int) -> tuple[dict[str, float], float]:
    """One run: what it was worth in the end, and its seconds of CPU."""
    torch.set_num_threads(1)
    begin = time.process_time()
    agent = Agent.create(task, "ppo", memory, seed, anneal_steps=STEPS, **settings)
    agent.learn(STEPS, progress=False)
    result = evaluate(agent, episodes=100)
    values = {
        "train_return": float(np.mean(agent.algorithm.returns)),
        "return": result.mean,
        "length": result.lengths,
        "nJ": result.energy_nJ,
    }
    if result.firing_rate == result.firing_rate:
        values |= {"rate": result.firing_rate, "dead": result.dead, "saturated": result.saturated}
    return values, time.process_time() - begin


def queue(more: bool) -> list[Cell]:
    """The core table's cells first; in each table the search before what needs it."""
    cells: list[Cell] = []
    for tasks, memories, seeds in (CORE, MORE)[: 1 + more]:
        cells += [Cell(t, m, k, TUNING_SEED) for t in tasks for m in memories for k in range(len(tries(t)))]
        cells += [Cell(t, m, None, seed) for seed in seeds for t in tasks for m in memories]
    return list(dict.fromkeys(cells))


def chosen(out: Results, task: str, memory: str) -> dict[str, float] | None:
    """The settings of the best training return on the tuning seed; None while some are missing."""
    found = tries(task)
    scores = [out.values(Cell(task, memory, k, TUNING_SEED).label, "train_return") for k in range(len(found))]
    return found[scores.index(max(scores))] if all(scores) else None


def difference(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Difference of the medians over seeds, and its 95 % bootstrap interval, both sides drawn anew."""
    rng = np.random.default_rng(0)
    a, b = np.array(ours), np.array(theirs)
    draws = [
        np.median(a[rng.integers(0, len(a), len(a))]) - np.median(b[rng.integers(0, len(b), len(b))])
        for _ in range(2000)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.median(a) - np.median(b)), float(low), float(high)


def tuning_rows(out: Results, task: str, memory: str) -> None:
    for k, settings in enumerate(tries(task)):
        name = Cell(task, memory, k, TUNING_SEED).label
        for tried, worth in zip(out.values(name, "train_return"), out.values(name, "return"), strict=True):
            out.add(
                name=f"{task}, {memory}, {told(settings)}", metric="training return of the last 50 episodes",
                ours=tried, n=1, table="tuning", note=f"seed {TUNING_SEED}; greedy return afterwards {worth:.4g}",
            )  # fmt: skip


def return_row(out: Results, task: str, memory: str) -> None:
    name = f"{task}, {memory}"
    values, others = out.values(name, "return"), out.values(f"{task}, gru", "return")
    if not values and task not in CORE[0]:
        return  # ``--list`` tells what waits
    if not values:
        out.add(
            name=name, metric=RETURN, ours=None, n=0, table="return",
            note="waits in the queue of benchmarks/reproduce.py",
        )  # fmt: skip
        return
    middle = median(values)
    low, high = bootstrap(values, np.median)
    note = f"seeds: {', '.join(f'{v:.4g}' for v in values)}; median in [{low:.4g}, {high:.4g}]"
    note += f"; {told(chosen(out, task, memory) or {})}"
    target: str | None = None
    met: bool | None = None
    if (task, memory) == ("CartPole-P", "none"):
        target, met = "<= 150", middle <= 150
    if memory == "grsn":
        spikes = out.values(name, "rate")
        note += f"; rate {median(spikes):.2f}"
        if others:
            gap, least, most = difference(values, others)
            target, met = "within noise of GRU", most >= 0
            note += f"; {gap:+.3g} [{least:.3g}, {most:.3g}] to GRU"
        if task == "CartPole-P":
            target = f">= 190, {target}" if target else ">= 190"
            met = middle >= 190 and met is not False
    out.add(name=name, metric=RETURN, ours=middle, target=target, met=met, n=len(values), note=note, table="return")


def energy_row(out: Results, task: str, memory: str) -> None:
    name = f"{task}, {memory}"
    ours, theirs = out.values(name, "nJ"), out.values(f"{task}, gru", "nJ")
    if memory == "gru" or (task not in CORE[0] and not (ours and theirs)):
        return
    if not (ours and theirs):
        out.add(
            name=name, metric=ENERGY, unit="nJ", ours=None, peer=("gru", None), n=0, table="energy",
            note="waits in the queue of benchmarks/reproduce.py",
        )  # fmt: skip
        return
    ratio, spiking = median(ours) / median(theirs), memory == "grsn"
    note = "4.6 pJ per MAC, 0.9 pJ per AC"
    if rates := out.values(name, "rate"):
        dead, saturated = (median(out.values(name, key)) for key in ("dead", "saturated"))
        note += f" at the measured rate, {median(rates):.2f}; dead {dead:.0%}, saturated {saturated:.0%}"
    out.add(
        name=name, metric=ENERGY, unit="nJ", ours=median(ours), peer=("gru", median(theirs)), ratio=ratio,
        target="<= 0.5" if spiking else None, met=ratio <= 0.5 if spiking else None, n=len(ours), table="energy",
        note=note,
    )  # fmt: skip


def rows(out: Results, more: bool) -> None:
    """Summaries of all cells that are done, and what is still to do."""
    for tasks, memories, _ in (CORE, MORE)[: 1 + more]:
        for task in tasks:
            for memory in memories:
                tuning_rows(out, task, memory)
                return_row(out, task, memory)
                energy_row(out, task, memory)
    out.write()


def work(out: Results, cells: list[Cell], workers: int, minutes: float, more: bool) -> None:
    """Run the cells, each as soon as its settings are known; one that fails is told and left out."""
    begun = time.monotonic()
    waiting = [cell for cell in cells if not out.has_cell(cell.label, cell.seed)]
    running: dict[Future[Any], Cell] = {}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        while True:
            for cell in list(waiting):
                if len(running) >= workers or time.monotonic() - begun > 60 * minutes:
                    break
                best = chosen(out, cell.task, cell.memory)
                settings = best if cell.attempt is None else tries(cell.task)[cell.attempt]
                if settings is not None:
                    waiting.remove(cell)
                    running[pool.submit(train, cell.task, cell.memory, settings, cell.seed)] = cell
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                try:
                    values, seconds = future.result()
                    out.add_cell(cell.label, cell.seed, values, seconds=seconds)
                except Exception:
                    print(f"{cell.label}, seed {cell.seed} failed:\n{traceback.format_exc()}", flush=True)
                    continue
                rows(out, more)
                print(f"{cell.label}, seed {cell.seed}: {told(values)} ({seconds:.0f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cells whose label holds this text")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no cell after so long")
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--more", action="store_true", help="the second table too")
    parser.add_argument("--list", action="store_true", help="print the queue and stop")
    parser.add_argument("--rows", action="store_true", help="only write the tables' rows anew")
    parser.add_argument("--out", type=Path, help="folder of reproduce.json, instead of the package's results")
    args = parser.parse_args()
    command = "python packages/grsn-rl/benchmarks/reproduce.py" + (" --more" if args.more else "")
    out = Results("grsn-rl", "reproduce", threads=1, resume=True, command=command, folder=args.out)
    cells = [cell for cell in queue(args.more) if args.only in cell.label]
    if args.list:
        for cell in cells:
            print(("done " if out.has_cell(cell.label, cell.seed) else "     ") + f"{cell.label}, seed {cell.seed}")
        return
    if not args.rows:
        work(out, cells, args.workers, args.minutes, args.more)
    rows(out, args.more)


if __name__ == "__main__":
    main()
