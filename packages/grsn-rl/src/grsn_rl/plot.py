"""Pictures of runs: learning curves with interquartile mean and bootstrap band. Needs matplotlib (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grsn_rl.runs import read_metrics
from grsn_rl.statistics import bootstrap, iqm

__all__ = ["curves"]


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib; install it with `pip install grsn-rl[plot]`") from None
    return Figure(figsize=(7, 4), layout="constrained").add_subplot()


def curves(
    runs: Mapping[str, Sequence[str | Path]], metric: str = "return", *, points: int = 100, ax: Any = None
) -> Any:
    """A curve per label over environment steps: interquartile mean over its runs, 95 % bootstrap band.

    Args:
        runs: label -> run folders (seeds). metric: a column of metrics.csv. points: where the curves are read off, by
            linear interpolation. ax: matplotlib Axes; by default those of a new figure (``axes.figure.savefig``).
    Returns:
        The Axes.
    Raises:
        ValueError: no run, a folder without rows, or an unknown column.
    """
    if not runs:
        raise ValueError("no runs given; pass {label: [run folders]}")
    ax = _axes(ax)
    for label, folders in runs.items():
        read = []
        for folder in folders:
            rows = read_metrics(folder)
            if not rows or metric not in rows[0]:
                known = ", ".join(rows[0]) if rows else "none"
                raise ValueError(f"{folder}: no column {metric!r} in metrics.csv; it has {known}")
            table = np.array([(row["steps"], row[metric]) for row in rows])
            read.append(table[np.isfinite(table[:, 1])])
        begin, end = max(t[0, 0] for t in read), min(t[-1, 0] for t in read)
        x = np.linspace(begin, end, points)
        y = np.stack([np.interp(x, t[:, 0], t[:, 1]) for t in read])
        line = ax.plot(x, iqm(y), label=f"{label} ({len(read)} run{'s' if len(read) > 1 else ''})")[0]
        if len(read) > 1:
            low, high = bootstrap(y, iqm, repeats=500)
            ax.fill_between(x, low, high, alpha=0.2, color=line.get_color(), lw=0)
    ax.set(xlabel="environment steps", ylabel=metric)
    ax.legend()
    return ax
