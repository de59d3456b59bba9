"""Against the paper's claim on continuous control and on cooperation (its tables are not at hand).

    python packages/grsn-rl/benchmarks/further.py [--minutes N] [--only TEXT] [--more] [--list]

Soft actor-critic on Pendulum-V, 50,000 steps; QMIX on a skirmish, 50,000 steps; greedy return over 100 episodes at the
end. A memory's settings are chosen from its list by the training return of short runs of seed 100; then seeds 0, 1, 2
run with them. The second table takes the settings that the first chose for the same algorithm and memory. Cells run one
after another on one thread and are written to results/reproduce-further.json as they end; a stopped queue goes on where
it was. ``--out FOLDER`` writes to another folder, ``--merge FOLDER`` takes its cells in.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
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
    """What is learned, how long the reported runs and those of the search are, and what holds for the reported ones."""

    env: str
    algo: str
    steps: int
    search: int
    reported: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.env}, {self.algo}"


TUNING_SEED, SEEDS = 100, (0, 1, 2)
SMALL = {"lr": 1e-3, "batch": 16, "length": 32, "updates_per_step": 0.25, "gamma": 0.9}
SCALED = {"lr": 3e-3, "batch": 32, "length": 24, "updates_per_step": 0.25, "gamma": 0.9, "reward_scale": 0.1}
TEAM = {"lr": 1e-3, "epsilon_steps": 15_000, "sync_every": 100}
TRACED = TEAM | {"trace": 0.6}
TWICE = TRACED | {"updates_per_episode": 2.0}
#: what is tried for each memory of an algorithm; a single entry is taken as it is. Names of the memory's own start with
#: a dot
TRIES: dict[str, dict[str, tuple[dict[str, Any], ...]]] = {
    "sac": {
        "gru": (SMALL, SCALED),
        "grsn": (
            SMALL,
            SMALL | {".gain": 4},
            SCALED | {".gain": 4},
            SCALED | {".gain": 8},
            SCALED,
            SCALED | {".gate": "input+spike"},
        ),
        "none": (SCALED,),
    },
    "td3": dict.fromkeys(("gru", "none"), (SCALED,)) | {"grsn": (SCALED | {".gain": 4},)},
    "qmix": dict.fromkeys(("gru", "lif", "none"), (TEAM, TRACED, TWICE))
    | {"grsn": (TEAM | {".gain": 4}, TRACED | {".gain": 4}, TWICE | {".gain": 4}, TWICE)},
}
PENDULUM = {"updates_per_step": 0.08}
CORE = (
    (Task("Pendulum-V", "sac", 50_000, 12_000, PENDULUM), ("gru", "grsn", "none")),
    (Task("skirmish:3m", "qmix", 50_000, 30_000, {}), ("gru", "grsn", "lif")),
)
MORE = (
    (Task("Pendulum-V", "td3", 50_000, 12_000, PENDULUM), ("gru", "grsn", "none")),
    (Task("Pendulum-P", "sac", 50_000, 12_000, PENDULUM), ("gru", "grsn", "none")),
    (Task("skirmish:3m", "qmix", 50_000, 30_000, {}), ("none",)),
    (Task("skirmish:8m", "qmix", 50_000, 30_000, {}), ("gru", "grsn", "lif")),
    (Task("foraging:8x8-2p-3f-v3", "qmix", 50_000, 30_000, {}), ("gru", "grsn", "lif")),
    (Task("mpe:simple_speaker_listener_v4", "qmix", 50_000, 30_000, {}), ("gru", "grsn", "lif")),
)


def searched(task: Task) -> Task:
    """The task whose search chooses an algorithm's settings: the core table's."""
    return next((each for each, _ in CORE if each.algo == task.algo), task)


def core(task: Task) -> bool:
    """Whether the task is in the first table."""
    return any(task == each for each, _ in CORE)


def told(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.lstrip('.')} {value}" for key, value in settings.items())


class Cell(NamedTuple):
    """One run: ``attempt`` is a place in the memory's list, None stands for the best one on the tuning seed."""

    task: Task
    memory: str
    attempt: int | None
    seed: int

    @property
    def tries(self) -> tuple[dict[str, Any], ...]:
        return TRIES[self.task.algo][self.memory]

    @property
    def label(self) -> str:
        name = f"{self.task.name}, {self.memory}"
        return name if self.attempt is None else f"{name}, try {told(self.tries[self.attempt])}"


def train(cell: Cell, settings: Mapping[str, Any]) -> tuple[dict[str, float], float]:
    """One run: what it was worth in the end, and its seconds of CPU."""
    torch.set_num_threads(1)
    begin = time.process_time()
    own = {key[1:]: value for key, value in settings.items() if key.startswith(".")}
    rest = {key: value for key, value in settings.items() if not key.startswith(".")}
    task, short = cell.task, cell.attempt is not None
    if not short:
        rest |= task.reported
    agent = Agent.create(task.env, task.algo, cell.memory, cell.seed, memory_options=own, **rest)
    agent.learn(task.search if short else task.steps, progress=False)
    result = evaluate(agent, episodes=50 if short else 100)
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
    """The core table's cells first: the searches, then one seed of everything before the next."""
    cells: list[Cell] = []
    for table in (CORE, MORE)[: 1 + more]:
        pairs = [(task, memory) for task, memories in table for memory in memories]
        for task, memory in pairs:
            count = len(TRIES[task.algo][memory])
            cells += [Cell(searched(task), memory, k, TUNING_SEED) for k in range(count if count > 1 else 0)]
        cells += [Cell(task, memory, None, seed) for seed in SEEDS for task, memory in pairs]
    return [cell for k, cell in enumerate(cells) if cell not in cells[:k]]


def chosen(out: Results, task: Task, memory: str) -> dict[str, Any] | None:
    """The settings of the best training return on the tuning seed; None while some are missing."""
    found = TRIES[task.algo][memory]
    if len(found) == 1:
        return found[0]
    scores = [out.values(Cell(searched(task), memory, k, TUNING_SEED).label, "train_return") for k in range(len(found))]
    return found[scores.index(max(scores))] if all(scores) else None


def seconds(out: Results, label: str) -> list[float]:
    """CPU seconds of a cell's runs."""
    return [done["seconds"] for done in json.loads(out.path.read_text())["cells"] if done["cell"] == label]


def search_rows(out: Results, task: Task, memory: str) -> None:
    """What was tried on the tuning seed."""
    for k, settings in enumerate(TRIES[task.algo][memory]):
        label = Cell(task, memory, k, TUNING_SEED).label
        for tried, worth in zip(out.values(label, "train_return"), out.values(label, "return"), strict=True):
            note = f"greedy return {worth:.4g}"
            if rates := out.values(label, "rate"):
                note += f"; rate {rates[0]:.2f}, dead {out.values(label, 'dead')[0]:.0%}"
            out.add(
                name=f"{task.name}, {memory}, {told(settings)}", metric="training return of the last 50 episodes",
                ours=tried, n=1, table="further-search", note=f"{task.search:,} steps, seed {TUNING_SEED}; {note}",
            )  # fmt: skip


def return_row(out: Results, task: Task, memory: str) -> None:
    name = f"{task.name}, {memory}"
    values, others = out.values(name, "return"), out.values(f"{task.name}, gru", "return")
    peer = None if memory == "gru" else ("gru", median(others) if others else None)
    if not values and not core(task):
        return  # ``--list`` tells what waits
    if not values:
        note = "waits in the queue of benchmarks/further.py"
        out.add(name=name, metric=RETURN, ours=None, n=0, table="further", note=note, peer=peer)
        return
    middle, (low, high) = median(values), bootstrap(values, np.median)
    note = f"seeds: {', '.join(f'{v:.4g}' for v in values)}; median in [{low:.4g}, {high:.4g}]"
    note += f"; {told(chosen(out, task, memory) or {})}"
    if rates := out.values(name, "rate"):
        note += f"; rate {median(rates):.2f}, dead {median(out.values(name, 'dead')):.0%}"
    note += f"; {median(seconds(out, name)):.0f} s of CPU each"
    if won := out.values(name, "won"):
        note += f"; won {', '.join(f'{w:.0%}' for w in won)}"
    target: str | None = None
    met: bool | None = None
    if memory == "grsn" and others:
        share = 0.15 if task.algo in ("sac", "td3") else 0.10
        target = f"within {share:.0%} of gru"
        met = median(others) - middle <= share * abs(median(others))
        if task.algo in ("sac", "td3") and (blind := out.values(f"{task.name}, none", "return")):
            # far above: nearer to the GRU than to no memory
            target += ", nearer to it than to none"
            met = met and middle > (median(others) + median(blind)) / 2
    out.add(
        name=name, metric=RETURN, ours=middle, n=len(values), note=note, target=target, met=met, table="further",
        peer=peer,
    )  # fmt: skip


def energy_row(out: Results, task: Task, memory: str) -> None:
    name = f"{task.name}, {memory}"
    ours, theirs = out.values(name, "nJ"), out.values(f"{task.name}, gru", "nJ")
    if memory in ("gru", "none") or (not core(task) and not (ours and theirs)):
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
            search_rows(out, task, memory)
            return_row(out, task, memory)
            energy_row(out, task, memory)
    out.write()


def work(out: Results, cells: list[Cell], minutes: float, more: bool) -> None:
    """Run the cells whose settings are known, in their order."""
    begun = time.monotonic()
    for cell in cells:
        if time.monotonic() - begun > 60 * minutes:
            return
        settings = chosen(out, cell.task, cell.memory) if cell.attempt is None else cell.tries[cell.attempt]
        if settings is None or out.has_cell(cell.label, cell.seed):
            continue
        values, seconds = train(cell, settings)
        out.add_cell(cell.label, cell.seed, values, seconds=seconds)
        rows(out, more)
        text = ", ".join(f"{k} {v:.4g}" for k, v in values.items())
        print(f"{cell.label}, seed {cell.seed}: {text} ({seconds:.0f} s)", flush=True)


def merge(out: Results, folder: Path) -> None:
    """Take another folder's cells in."""
    for cell in json.loads((folder / out.path.name).read_text()).get("cells", []):
        if not out.has_cell(cell["cell"], cell["seed"]):
            out.add_cell(cell["cell"], cell["seed"], cell["values"], seconds=cell["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cells whose label and seed hold this text")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no cell after so long")
    parser.add_argument("--more", action="store_true", help="the second table too")
    parser.add_argument("--list", action="store_true", help="print the queue and stop")
    parser.add_argument("--rows", action="store_true", help="only write the tables' rows anew")
    parser.add_argument("--out", type=Path, help="folder of the results, instead of the package's")
    parser.add_argument("--merge", type=Path, help="folder whose cells are taken in; nothing is run")
    args = parser.parse_args()
    command = "python packages/grsn-rl/benchmarks/further.py" + (" --more" if args.more else "")
    out = Results("grsn-rl", "reproduce", threads=1, resume=True, command=command, folder=args.out, variant="further")
    cells = [cell for cell in queue(args.more) if args.only in f"{cell.label}, seed {cell.seed}"]
    if args.list:
        for cell in cells:
            print(("done " if out.has_cell(cell.label, cell.seed) else "     ") + f"{cell.label}, seed {cell.seed}")
        return
    if args.merge:
        merge(out, args.merge)
    elif not args.rows:
        work(out, cells, args.minutes, args.more)
    rows(out, args.more)


if __name__ == "__main__":
    main()
