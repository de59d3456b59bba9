"""Running compiled kernels on several threads, without a threading layer that forks or nests badly.

The kernels release the GIL and work on disjoint ranges of neurons, so the result does not depend on the number
of threads. torch's own thread count decides how many are used.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

#: below this many elements a second thread costs more than it brings
MIN_WORK = 1 << 16

#: scratch memory larger than this is given back after the call
KEEP_BYTES = 8 << 20

_local = threading.local()
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_key = (0, 0)


def _executor(workers: int) -> ThreadPoolExecutor:
    """A pool of this process: threads do not survive a fork, so a child makes its own."""
    global _pool, _key
    with _lock:
        if _pool is None or _key[0] != os.getpid() or _key[1] < workers:
            _pool = ThreadPoolExecutor(workers, thread_name_prefix="spk_neurons")
            _key = (os.getpid(), workers)
        return _pool


def parts(n: int, align: int, work: int) -> list[tuple[int, int]]:
    """Ranges of [0, n), one per thread, aligned to blocks."""
    threads = max(1, min(torch.get_num_threads(), work // MIN_WORK))
    if n == 0:
        return []
    blocks = -(-n // align)
    threads = min(threads, blocks)
    edges = [align * (blocks * i // threads) for i in range(threads)] + [n]
    return [(edges[i], edges[i + 1]) for i in range(threads)]


def run(job: Callable[[int, int], None], ranges: list[tuple[int, int]]) -> None:
    """Call ``job(lo, hi)`` for every range; the calling thread takes the first."""
    if len(ranges) <= 1:
        for lo, hi in ranges:
            job(lo, hi)
        return
    pool = _executor(len(ranges) - 1)
    rest = [pool.submit(job, lo, hi) for lo, hi in ranges[1:]]
    job(*ranges[0])
    for future in rest:
        future.result()


def workspace(count: int, itemsize: int) -> np.ndarray[Any, Any]:
    """``count`` floats of scratch memory of this thread, kept between calls: fresh memory means page faults."""
    dtype = np.float32 if itemsize == 4 else np.float64
    kept = getattr(_local, "scratch", None)
    if kept is None or kept.nbytes < count * itemsize:
        kept = np.empty(count * itemsize, np.uint8)
        if kept.nbytes <= KEEP_BYTES:
            _local.scratch = kept
    array: np.ndarray[Any, Any] = kept[: count * itemsize].view(dtype)
    return array
