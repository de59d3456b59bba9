"""Against the paper's claim on continuous control and on cooperation (its tables are not at hand).

    python packages/grsn-rl/benchmarks/further.py [--workers N | --shard I/N --merge] [--minutes N] [--more] [--list]

Soft actor-critic on Pendulum-V, 50,000 steps; QMIX on a skirmish, 100,000 steps; greedy return over 100 episodes at the
end. Every memory of a task has the same settings, set beforehand and not searched. Written to
results/reproduce-further.json as cells end; a stopped queue goes on where it was. ``--shard i/n`` runs every n-th cell
into a file of its own, ``--merge`` joins them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import traceback
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

import numpy as np
import torch

from grsn_rl import Agent, bootstrap, evaluate
from results import Results

RETURN, ENERGY, WON = "median greedy return", "energy per decision, one agent", "median share of episodes won"


class Task(NamedTuple):
    """What every memory is trained on alike."""

    env: str
    algo: str
    steps: int
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.env}, {self.algo}"


PENDULUM = {"lr": 1e-3, "gamma": 0.9, "batch": 16, "length": 32, "updates_per_step": 0.25}
TEAM = {"lr": 1e-3, "epsilon_steps": 20_000, "sync_every": 100}
CORE = (
    (Task("Pendulum-V", "sac", 50_000, PENDULUM), ("gru", "grsn", "none")),
    (Task("skirmish:3m", "qmix", 100_000, TEAM), ("gru", "grsn", "lif")),
)
MORE = (
    (Task("Pendulum-V", "td3", 50_000, PENDULUM), ("gru", "grsn", "none")),
    (Task("Pendulum-P", "sac", 50_000, PENDULUM), ("gru", "grsn", "none")),
    (Task("skirmish:3m", "qmix", 100_000, TEAM), ("gru", "grsn", "lif", "none")),
    (Task("skirmish:8m", "qmix", 100_000, TEAM), ("gru", "grsn", "lif")),
    (Task("foraging:8x8-2p-3f-v3", "qmix", 100_000, TEAM), ("gru", "grsn", "lif")),
    (Task("mpe:simple_speaker_listener_v4", "qmix", 100_000, TEAM), ("gru", "grsn", "lif")),
)
SEEDS = (0, 1, 2)


class Cell(NamedTuple):
    """One run."""

    task: Task
    memory: str
    seed: int

    @property
    def label(self) -> str:
        return f"{self.task.name}, {self.memory}"


def train(task: Task, memory: str, seed: int) -> tuple[dict[str, float], float]:
    """One run: what it was worth in the end, and its seconds of CPU."""
    torch.set_num_threads(1)
    begin = time.process_time()
    agent = Agent.create(task.env, task.algo, memory, seed, **task.settings)
    agent.learn(task.steps, progress=False)
    result = evaluate(agent, episodes=100)
    values: dict[str, float | None] = {
        "train_return": float(np.mean(agent.algorithm.returns)),
        "return": result.mean,
        "nJ": result.energy_nJ,
        "won": result.won,
        "rate": result.firing_rate,
        "dead": result.dead,
        "saturated": result.saturated,
    }
    return {k: v for k, v in values.items() if v is not None and v == v}, time.process_time() - begin


def queue(more: bool) -> list[Cell]:
    """The core table's cells first, one seed of everything before the next."""
    cells: dict[tuple[str, int], Cell] = {}
    for table in (CORE, MORE)[: 1 + more]:
        for cell in (Cell(task, memory, seed) for seed in SEEDS for task, memories in table for memory in memories):
            cells.setdefault((cell.label, cell.seed), cell)
    return list(cells.values())


def return_row(out: Results, task: Task, memory: str) -> None:
    name = f"{task.name}, {memory}"
    values, others = out.values(name, "return"), out.values(f"{task.name}, gru", "return")
    peer = None if memory == "gru" else ("gru", median(others) if others else None)
    if not values:
        note = "waits in the queue of benchmarks/further.py"
        out.add(name=name, metric=RETURN, ours=None, n=0, table="further", note=note, peer=peer)
        return
    middle, (low, high) = median(values), bootstrap(values, np.median)
    note = f"seeds: {', '.join(f'{v:.4g}' for v in values)}; median in [{low:.4g}, {high:.4g}]"
    if rates := out.values(name, "rate"):
        note += f"; rate {median(rates):.2f}, dead {median(out.values(name, 'dead')):.0%}"
    if won := out.values(name, "won"):
        note += f"; won {', '.join(f'{w:.0%}' for w in won)}"
    target: str | None = None
    met: bool | None = None
    if memory == "grsn" and others:
        share = 0.15 if task.algo in ("sac", "td3") else 0.10
        target, met = f"within {share:.0%} of gru", median(others) - middle <= share * abs(median(others))
    out.add(
        name=name, metric=RETURN, ours=middle, n=len(values), note=note, target=target, met=met, table="further",
        peer=peer,
    )  # fmt: skip


def energy_row(out: Results, task: Task, memory: str) -> None:
    name = f"{task.name}, {memory}"
    ours, theirs = out.values(name, "nJ"), out.values(f"{task.name}, gru", "nJ")
    if memory in ("gru", "none"):
        return
    if not (ours and theirs):
        note = "waits in the queue of benchmarks/further.py"
        out.add(
            name=name, metric=ENERGY, unit="nJ", ours=None, n=0, table="further-energy", note=note, peer=("gru", None)
        )  # fmt: skip
        return
    ratio, spiking = median(ours) / median(theirs), memory == "grsn"
    out.add(
        name=name, metric=ENERGY, unit="nJ", ours=median(ours), peer=("gru", median(theirs)), ratio=ratio,
        target="<= 0.5" if spiking else None, met=ratio <= 0.5 if spiking else None, n=len(ours),
        table="further-energy",
        note="4.6 pJ per MAC, 0.9 pJ per AC at the measured rate",
    )  # fmt: skip


def rows(out: Results, more: bool) -> None:
    """Summaries of all cells that are done, and what is still to do."""
    for task, memories in (*CORE, *(MORE if more else ())):
        for memory in memories:
            return_row(out, task, memory)
            energy_row(out, task, memory)
    out.write()


def work(out: Results, cells: list[Cell], workers: int, minutes: float, more: bool) -> None:
    """Run the cells; one that fails is told and left out."""
    begun = time.monotonic()
    waiting = [cell for cell in cells if not out.has_cell(cell.label, cell.seed)]
    running: dict[Future[Any], Cell] = {}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        while True:
            while waiting and len(running) < workers and time.monotonic() - begun < 60 * minutes:
                cell = waiting.pop(0)
                running[pool.submit(train, *cell)] = cell
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                try:
                    values, seconds = future.result()
                except Exception:
                    print(f"{cell.label}, seed {cell.seed} failed:\n{traceback.format_exc()}", flush=True)
                    continue
                out.add_cell(cell.label, cell.seed, values, seconds=seconds)
                rows(out, more)
                text = ", ".join(f"{k} {v:.4g}" for k, v in values.items())
                print(f"{cell.label}, seed {cell.seed}: {text} ({seconds:.0f} s)", flush=True)


def merge(out: Results, folder: Path, more: bool) -> None:
    """Take the shards' cells in."""
    for path in sorted(folder.glob("reproduce-further-shard-*.json")):
        for cell in json.loads(path.read_text()).get("cells", []):
            if not out.has_cell(cell["cell"], cell["seed"]):
                out.add_cell(cell["cell"], cell["seed"], cell["values"], seconds=cell["seconds"])
    rows(out, more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cells whose label holds this text")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no cell after so long")
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--shard", help="i/n: every n-th cell from the i-th, into a file of its own")
    parser.add_argument("--merge", action="store_true", help="join the shards' files of --out")
    parser.add_argument("--more", action="store_true", help="the second table too")
    parser.add_argument("--list", action="store_true", help="print the queue and stop")
    parser.add_argument("--rows", action="store_true", help="only write the tables' rows anew")
    parser.add_argument("--out", type=Path, help="folder of the results, instead of the package's")
    args = parser.parse_args()
    command = "python packages/grsn-rl/benchmarks/further.py" + (" --more" if args.more else "")
    variant = "further" + (f"-shard-{args.shard.replace('/', '-')}" if args.shard else "")
    out = Results(
        "grsn-rl", "reproduce", threads=1, resume=True, command=command, folder=args.out, variant=variant
    )  # fmt: skip
    cells = [cell for cell in queue(args.more) if args.only in cell.label]
    if args.shard:
        index, count = (int(part) for part in args.shard.split("/"))
        cells = cells[index::count]
    if args.list:
        for cell in cells:
            print(("done " if out.has_cell(cell.label, cell.seed) else "     ") + f"{cell.label}, seed {cell.seed}")
        return
    if args.merge:
        merge(out, out.path.parent, args.more)
    elif args.rows:
        rows(out, args.more)
    else:
        work(out, cells, args.workers, args.minutes, args.more)
        rows(out, args.more)


if __name__ == "__main__":
    main()
