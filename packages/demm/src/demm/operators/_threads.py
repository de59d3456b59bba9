"""Share rows out to threads, with boundaries that depend on the data alone.

Because the blocks are the same for any number of threads and partial sums are added in the order of the
blocks, everything computed here is bit-identical for any ``n_jobs``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np

SMALLEST_BLOCK = 1 << 16  # stored entries: below it a hand-over to a thread costs what the second thread gains
MOST_BLOCKS = 512
CACHE_LINE = 64  # bytes


def effective_n_jobs(n_jobs: int | None) -> int:
    """Threads to use: None means every core this process may run on, -1 too, -2 all but one."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    if n_jobs is None:
        return cores
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0:
        raise ValueError(f"n_jobs={n_jobs!r}: expected None, a positive number of threads, or -1 for all cores")
    return int(n_jobs) if n_jobs > 0 else max(1, cores + 1 + int(n_jobs))


def row_blocks(n_rows: int, cost: np.ndarray | None = None) -> np.ndarray:
    """Boundaries of blocks of rows of about equal cost.

    Args:
        n_rows: number of rows.
        cost: work of the rows before each row, shape [n_rows + 1], such as an ``indptr``;
            None means one each.
    """
    if n_rows == 0:
        return np.zeros(1, dtype=np.int64)
    total = n_rows if cost is None else int(cost[-1]) + n_rows
    n_blocks = int(np.clip(total // SMALLEST_BLOCK, 1, min(MOST_BLOCKS, n_rows)))
    if cost is None:
        return np.linspace(0, n_rows, n_blocks + 1).astype(np.int64)
    # a row costs its entries plus one for being visited
    marks = np.linspace(0, total, n_blocks + 1)[1:-1]
    load = np.asarray(cost, dtype=np.int64) + np.arange(n_rows + 1)
    inner = np.searchsorted(load, marks)
    return np.unique(np.concatenate([[0], inner, [n_rows]])).astype(np.int64)


def aligned_empty(shape: tuple[int, int], dtype: Any) -> np.ndarray:
    """``numpy.empty`` whose first element starts a cache line.

    numpy starts large arrays 16 bytes into one, so that every row of 128 bytes touches three lines, not two.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + CACHE_LINE, dtype=np.uint8)
    start = -room.ctypes.data % CACHE_LINE
    panel: np.ndarray = room[start : start + size].view(dtype).reshape(shape)
    return panel


class RowPool:
    """A handful of threads for functions of a range of rows; a context manager."""

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = effective_n_jobs(n_jobs)
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> RowPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the threads go; the pool may be used again."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None

    def __getstate__(self) -> dict[str, Any]:
        return {"n_jobs": self.n_jobs, "_threads": None}

    def run(self, work: Callable[[int, int], object], blocks: np.ndarray) -> list[object]:
        """``[work(lo, hi) for every block]`` in the order of the blocks."""
        pairs = [(int(lo), int(hi)) for lo, hi in pairwise(blocks)]
        if self.n_jobs == 1 or len(pairs) <= 1:
            return [work(lo, hi) for lo, hi in pairs]
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.n_jobs, thread_name_prefix="demm")
        return list(self._threads.map(lambda pair: work(*pair), pairs))

    def sum(self, work: Callable[[int, int], float], blocks: np.ndarray) -> float:
        """Sum of ``work`` over the blocks in float64, added in their order."""
        total = 0.0
        for part in self.run(work, blocks):
            total += float(part)  # type: ignore[arg-type]
        return total
