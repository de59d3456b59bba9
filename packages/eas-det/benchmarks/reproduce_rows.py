"""Rows out of the cells of reproduce.py: what each front reaches, what ARSNN gains, what its potentials look like."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

#: cell -> seed -> values
Table = dict[str, dict[int, dict[str, float]]]

BANDS = ("0-16", "16-63", "63-250", "250-")
#: (level, what spikes)
PARTS = (("hard", "none"), ("hard", "full"), ("easy", "none"))
#: what the method leaves open
TRIED = (
    "from counts", "near-miss", "samples=T", "oldest-first", "wide", "bins8", "threshold2", "no-sat no-rpd",
    "rsnn bins8", "snn", "from counts bins8", "from counts wide", "from counts no-rpd",
)  # fmt: skip


def rows(table: Table, windows: Sequence[int], seeds: int) -> Iterator[dict[str, Any]]:
    """Arguments of Results.add; windows in ms, seeds: how many make a verdict."""
    for level, spiking in PARTS:
        best = best_window(table, level, windows)
        for cell in table:
            words = cell.split()
            if words[0] == level and spiking in words[1:] and metric(table, cell, "test_AP"):
                yield accuracy(table, cell, best)
        yield from gains(table, level, spiking, best, seeds)
    for cell in table:
        if any("silent_share" in values for values in table[cell].values()):
            yield inside(table, cell, seeds)


def best_window(table: Table, level: str, windows: Sequence[int]) -> str | None:
    """By the non-spiking detector's validation with the first seed; None before all are measured. The only one where
    another budget has chosen."""
    found = {f"window{ms}": table.get(f"{level} window{ms} none", {}).get(0, {}) for ms in windows}
    measured = [name for name, values in found.items() if "validation_AP" in values]
    if len(measured) < len(found):
        return measured[0] if len(measured) == 1 else None
    return max(found, key=lambda name: found[name]["validation_AP"])


def metric(table: Table, cell: str, name: str) -> dict[int, float]:
    """By seed."""
    return {seed: values[name] for seed, values in table.get(cell, {}).items() if name in values}


def mean(found: dict[int, float]) -> float:
    return statistics.fmean(found.values()) if found else math.nan


def spread(found: Sequence[float]) -> float | None:
    return statistics.stdev(found) if len(found) > 1 else None


def accuracy(table: Table, cell: str, best: str | None) -> dict[str, Any]:
    level, *front, spiking = [word for word in cell.split() if not word.startswith("T=")]
    found = [100 * value for value in metric(table, cell, "test_AP").values()]
    bands = {band: mean(metric(table, cell, f"AP_speed_{band}")) for band in BANDS}
    told = ", ".join(f"{band} px/s {100 * value:.1f}" for band, value in bands.items() if math.isfinite(value))
    name, steps = " ".join(front), mean(metric(table, cell, "T"))
    return {
        "name": f"{level}, {spiking}: {name}{' (best window)' if name == best else ''}, T={steps:.0f}",
        "metric": "AP, test", "unit": "%", "ours": statistics.fmean(found), "n": len(found), "spread": spread(found),
        "table": "attempts" if name in TRIED else "core" if level == "hard" else level,
        "note": f"AP50 {100 * mean(metric(table, cell, 'test_AP50')):.1f}; {told}; "
        f"{mean(metric(table, cell, 'parameters')) / 1e6:.3f} M parameters, "
        f"{mean(metric(table, cell, 'parameters_front')):.0f} in front",
    }  # fmt: skip


def gains(table: Table, level: str, spiking: str, best: str | None, seeds: int) -> Iterator[dict[str, Any]]:
    """ARSNN's AP minus another's, seed by seed."""
    others = [(best, "the best fixed window", -1.0 if level == "easy" else 3.0)] if best else []
    others.append(("rsnn", "RSNN", 0.0))
    for other, name, target in others:
        for what, label in (
            ("test_AP", "AP points"),
            *((f"AP_speed_{band}", f"AP points, {band} px/s") for band in BANDS),
        ):
            ours, theirs = (metric(table, f"{level} {front} {spiking}", what) for front in ("arsnn", other))
            pairs = [100 * (ours[seed] - theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
            if not pairs:
                continue
            gain, all_there, overall = statistics.fmean(pairs), len(pairs) >= seeds, what == "test_AP"
            notes = [] if name == "RSNN" else [f"{other}, chosen on validation"]
            notes += [] if all_there else [f"{len(pairs)} of {seeds} seeds: no verdict"]
            yield {
                "name": f"{level}, {spiking}: ARSNN over {name}", "metric": label, "ours": gain, "n": len(pairs),
                "spread": spread(pairs), "table": "claims" if overall else "bands",
                "target": None if not overall else f">= {target:g}" if target else "> 0",
                "met": None if not (overall and all_there) else gain >= target if target else gain > 0,
                "note": "; ".join(notes),
            }  # fmt: skip


def inside(table: Table, cell: str, seeds: int) -> dict[str, Any]:
    """Correlation of interval with speed, silent pixels, and where the potentials lie."""
    rhos = list(metric(table, cell, "interval_speed_rho").values())
    words = cell.split()
    goal = words[0] == "hard" and words[1:] in (["arsnn", "none"], ["arsnn", "full"])
    bars = " ".join(f"{100 * mean(metric(table, cell, f'u_{low:g}')):.0f}" for low in np.linspace(-1.5, 3.0, 10))
    rho = statistics.fmean(rhos) if rhos else None
    return {
        "name": cell, "metric": "rank correlation of interval with speed", "ours": rho, "n": len(rhos),
        "spread": spread(rhos), "table": "inside", "target": "<= -0.5" if goal else None,
        "met": rho is not None and rho <= -0.5 if goal and len(rhos) >= seeds else None,
        "note": f"silent pixels {100 * mean(metric(table, cell, 'silent_share')):.1f} %, within 0.5 of the threshold "
        f"{100 * mean(metric(table, cell, 'near_threshold')):.0f} %; potentials from -1.5 in steps of 0.5, %: {bars}",
    }  # fmt: skip
