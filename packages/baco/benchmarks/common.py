"""What the benchmarks share: interleaved timing, the logs, small statistics."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from baco.io import read_lightgcn

REPEATS = 7


def interleaved(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call, ``repeats`` times in turn after one warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            gc.collect()
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def middle(values: list[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> float:
    """Half the range between the quartiles."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low) / 2


def rows_of(*labels: np.ndarray) -> int:
    return sum(np.unique(side).size for side in labels)


def data_file(relative: str) -> Path | None:
    folder = os.environ.get("SPK_DATA")
    return Path(folder) / "interactions" / relative if folder else None


def gowalla() -> sp.csr_matrix | None:
    path = data_file("gowalla/train.txt")
    if path is None:
        return None
    parts = [read_lightgcn(path.with_name(name)).to_scipy().tocoo() for name in ("train.txt", "valid.txt")]
    users, items = (np.concatenate([getattr(part, side) for part in parts]) for side in ("row", "col"))
    return sp.csr_matrix((np.ones(users.size), (users, items)))
