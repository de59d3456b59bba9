"""What the package claims, measured: ``python packages/slr-cma/benchmarks/reproduce.py --part NAME``.

Parts: ``signs`` (probes on real signs), ``ceilings`` (PairedSign keeps its guarantees), ``chains`` (order-chains of
real recordings), ``fusion`` (attention against concatenation under faults; a queue of cells that is resumed, in a
file of its own: ``results/reproduce-fusion.json``). Without ``--part`` all of them, the quick ones first.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
import fusion_study as study

from results import Results

PARTS = ("signs", "ceilings", "chains", "fusion")


def fusion(minutes: float) -> None:
    """Part 3: the core table first, seed by seed, then the other variants."""
    out = Results("slr-cma", "reproduce", threads=1, resume=True, variant="fusion")
    began = time.perf_counter()
    queue = [(v, seed) for seed in range(5) for v in study.CORE]
    queue += [(v, seed) for seed in range(5) for v in study.VARIANTS if v not in study.CORE]
    for variant, seed in queue:
        cell = f"{study.VERSION}, {study.EPOCHS} epochs, {variant}"
        if out.has_cell(cell, seed):
            continue
        if time.perf_counter() - began > 60 * minutes:
            break
        start = time.perf_counter()
        values = study.run(variant, seed)
        out.add_cell(cell, seed, values, seconds=time.perf_counter() - start)
        told = ", ".join(f"{name} {values[name]:.3f}" for name in study.SETS)
        print(f"{cell}, seed {seed}: {told}", flush=True)
        fusion_rows(out)
        out.write()
    fusion_rows(out)
    out.write()


def fusion_rows(out: Results) -> None:
    """A row per variant and test set; the peer is concat on the same seeds, the ratio is left out."""
    rights = {
        v: {s: [study.right(x) for x in out.values(_cell(v), f"{s}, right")] for s in study.SETS}
        for v in study.VARIANTS
    }
    for variant, sets in rights.items():
        for name in study.SETS:
            values = out.values(_cell(variant), name)
            if not values:
                continue
            notes = []
            for other in ("concat", "self"):
                n = min(len(values), len(rights[other][name]))
                if other == variant or n == 0:
                    continue
                gap, low, high, each = study.margin(sets[name][:n], rights[other][name][:n])
                per_seed = " ".join(f"{g:+.1f}" for g in each)
                notes.append(f"against {other} {gap:+.1f} [{low:+.1f}, {high:+.1f}] points (seeds: {per_seed})")
            out.add(
                name=f"{variant}, {name}",
                metric="test accuracy, %",
                ours=100 * statistics.mean(values),
                n=len(values),
                spread=100 * statistics.stdev(values) if len(values) > 1 else None,
                note="; ".join(notes),
                table="fusion",
            )


def _cell(variant: str) -> str:
    return f"{study.VERSION}, {study.EPOCHS} epochs, {variant}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="one part; by default all")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no cell later than this")
    options = parser.parse_args()
    parts = [options.part] if options.part else list(PARTS)
    if "fusion" in parts:
        fusion(options.minutes)


if __name__ == "__main__":
    main()
