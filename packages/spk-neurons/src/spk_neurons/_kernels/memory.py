"""Memory for large outputs, kept for the next call: fresh pages can cost more than the computation that fills them.

A program that trains asks for the same few sizes again and again. The C library gives blocks of this size back to
the system when they are freed, and the system clears them page by page when they are asked for again. So the last few
large outputs are kept here and given out again once nothing else refers to them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: outputs smaller than this come from torch; from here on numpy advises the system to use huge pages
LEAST = 1 << 22
#: at most this many idle bytes are kept; larger outputs are not kept at all
MOST = int(os.environ.get("SPK_KEEP_MB") or 256) << 20

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_idle: list[Bytes] = []  # least recently used first
#: blocks whose tensor died while the lock was held, perhaps by the same thread: a finalizer may run at any moment
_returned: deque[Bytes] = deque()
_lock = threading.Lock()


def _block(need: int) -> Bytes:
    """At least ``need`` bytes that nobody else uses, not cleared."""
    with _lock:
        _tidy(MOST)
        for i, raw in enumerate(_idle):
            if need <= raw.nbytes <= need + need // 4:
                return _idle.pop(i)
    return np.empty(need, np.uint8)


def _tidy(most: int) -> None:
    """Take in what came back; forget the least recently used beyond ``most`` bytes."""
    while _returned:
        _idle.append(_returned.popleft())
    while sum(raw.nbytes for raw in _idle) > most:
        del _idle[0]


def _give_back(raw: Bytes) -> None:
    if not _lock.acquire(blocking=False):
        _returned.append(raw)
        return
    try:
        _idle.append(raw)
        _tidy(MOST)
    finally:
        _lock.release()


def kept_bytes() -> int:
    """How much is kept for later calls."""
    with _lock:
        _tidy(MOST)
        return sum(raw.nbytes for raw in _idle)


def release() -> None:
    """Give all kept memory that nobody uses back to the system."""
    with _lock:
        _tidy(0)


def empty_like(like: Tensor) -> Tensor:
    """An uninitialised contiguous tensor like ``like``."""
    need = like.numel() * like.element_size()
    if need < LEAST or like.dtype not in (torch.float32, torch.float64):
        return torch.empty_like(like, memory_format=torch.contiguous_format)
    raw = _block(need + 64)
    start = -raw.ctypes.data % 64  # aligned to a cache line
    block = raw[start : start + need].view(np.float32 if like.dtype == torch.float32 else np.float64)
    if raw.nbytes <= MOST:
        # torch holds this very array until the last tensor on its storage is gone
        weakref.finalize(block, _give_back, raw).atexit = False
    return torch.from_numpy(block).view(like.shape)
