"""Ranges of nodes with about equal numbers of edges, and threads to run them on.

The ranges depend on the graph alone, never on the number of threads: sums over ranges come out the same on any
machine. Plain threads serve because the kernels release the GIL, and unlike numba's own pools they may be used
from several threads of the caller at once.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from baco._mapped import drop_pages
from baco.graph import BipartiteGraph

Result = TypeVar("Result")

#: Edges per range: enough work to hide the cost of handing it to a thread, small enough to balance cores.
EDGES_PER_BLOCK = 1 << 17
MOST_BLOCKS = 1024


def edge_blocks(indptr: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """Split rows into consecutive ranges of about `EDGES_PER_BLOCK` edges."""
    n_rows, n_edges = indptr.size - 1, int(indptr[-1])
    count = min(max(n_edges // EDGES_PER_BLOCK, 1), MOST_BLOCKS, max(n_rows, 1))
    targets = np.linspace(0, n_edges, count + 1)[1:-1]
    cuts = np.unique(np.concatenate([[0], np.searchsorted(indptr, targets), [n_rows]]))
    return [(int(a), int(b)) for a, b in itertools.pairwise(cuts)]


def resolve_jobs(n_jobs: int | None) -> int:
    """Number of threads: ``None`` and ``-1`` mean every core this process may use."""
    if n_jobs is None or n_jobs == -1:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or n_jobs < 1:
        raise ValueError(f"n_jobs must be a positive integer, -1 or None (every core), got {n_jobs!r}")
    return int(n_jobs)


def run_blocks(work: Callable[[int, int], Result], blocks: Sequence[tuple[int, int]], n_jobs: int) -> list[Result]:
    """Results of ``work(start, stop)`` for every block, in the order of the blocks."""
    if n_jobs == 1 or len(blocks) <= 1:
        return [work(start, stop) for start, stop in blocks]
    with ThreadPoolExecutor(min(n_jobs, len(blocks))) as pool:
        return list(pool.map(lambda block: work(*block), blocks))


def inside_weight(graph: BipartiteGraph, users: np.ndarray[Any, Any], items: np.ndarray[Any, Any]) -> float:
    """Edge weight inside clusters; of a mapped graph no more than a block stays in memory."""
    from . import _kernels

    total = 0.0
    for start, stop in edge_blocks(graph.user_ptr):
        part = (graph.user_ptr, graph.user_items, graph.user_weights)
        total += float(_kernels.inside_weight(*part, users, items, start, stop))
        for array in part[1:]:
            if array.size:
                drop_pages(array, int(graph.user_ptr[start]), int(graph.user_ptr[stop]))
    return total
