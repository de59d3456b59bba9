"""Where GRSN stays behind the GRU, Pendulum-V under PPO: which of its own settings bring it nearer.

    python packages/grsn-rl/benchmarks/gates.py [--minutes N] [--list]

The task, steps and PPO settings of reproduce.py. Each setting of the memory runs once on seed 100; the one with the
best training return then runs on seeds 0, 1, 2. Cells are written to results/reproduce-gates.json as they end; a
stopped queue goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

import numpy as np
from reproduce import RETURN, TUNING_SEED, told, train

from grsn_rl import bootstrap
from results import Results

TASK, SEEDS = "Pendulum-V", (0, 1, 2)
PPO = {"lr": 3e-3, "gamma": 0.9, "epochs": 8}
TRIES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "gain 4": {"gain": 4.0},
    "gain 8": {"gain": 8.0},
    "forget bias -1": {"forget_bias": -1.0},
    "gates see input and spikes": {"gate": "input+spike"},
    "membrane read out": {"readout": "membrane"},
    "gated current read out": {"readout": "trace"},
    "gates see input and spikes, gain 4": {"gate": "input+spike", "gain": 4.0},
}


def chosen(out: Results) -> str | None:
    """The try with the best training return on the tuning seed; None while some are missing."""
    scores = {name: out.values(f"{TASK}, grsn, {name}", "train_return") for name in TRIES}
    return max(scores, key=lambda name: scores[name][0]) if all(scores.values()) else None


def rows(out: Results) -> None:
    """The tries, and the best one on the reported seeds."""
    for name in TRIES:
        cell = f"{TASK}, grsn, {name}"
        for trained, worth, rate in zip(
            *(out.values(cell, k) for k in ("train_return", "return", "rate")), strict=True
        ):
            out.add(
                name=f"{TASK}, {name}", metric="training return of the last 50 episodes", ours=trained, n=1,
                table="tries", note=f"seed {TUNING_SEED}; greedy return afterwards {worth:.4g}; rate {rate:.2f}",
            )  # fmt: skip
    if best := chosen(out):
        values = out.values(f"{TASK}, grsn, best try", "return")
        note = "waits in the queue of benchmarks/gates.py"
        if values:
            low, high = bootstrap(values, np.median)
            note = f"seeds: {', '.join(f'{v:.4g}' for v in values)}; median in [{low:.4g}, {high:.4g}]; {told(PPO)}"
            note += f"; {median(out.values(f'{TASK}, grsn, best try', 'nJ')):.3g} nJ per step"
        out.add(
            name=f"{TASK}, grsn, {best}", metric=RETURN, ours=median(values) if values else None, n=len(values),
            table="best", note=note,
        )  # fmt: skip
    out.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no cell after so long")
    parser.add_argument("--list", action="store_true", help="print the queue and stop")
    parser.add_argument("--rows", action="store_true", help="only write the tables' rows anew")
    parser.add_argument("--out", type=Path, help="folder of the results, instead of the package's")
    args = parser.parse_args()
    command = "python packages/grsn-rl/benchmarks/gates.py"
    out = Results("grsn-rl", "reproduce", threads=1, resume=True, command=command, folder=args.out, variant="gates")
    cells = [(name, TUNING_SEED) for name in TRIES] + [("best try", seed) for seed in SEEDS]
    begun = time.monotonic()
    for name, seed in cells:
        label, done = f"{TASK}, grsn, {name}", out.has_cell(f"{TASK}, grsn, {name}", seed)
        if args.list:
            print(("done " if done else "     ") + f"{label}, seed {seed}")
        elif not (done or args.rows or time.monotonic() - begun > 60 * args.minutes):
            options = TRIES[chosen(out) or "" if name == "best try" else name]
            values, seconds = train(TASK, "grsn", {**PPO, "memory_options": options}, seed)
            out.add_cell(label, seed, values, seconds=seconds)
            rows(out)
            print(f"{label}, seed {seed}: {told(values)} ({seconds:.0f} s)", flush=True)
    if not args.list:
        rows(out)


if __name__ == "__main__":
    main()
