"""Binning in one pass over the events: crop, downsample and count without a full-size frame in between."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def bin_fused(t: Any, x: Any, y: Any, p: Any, edges: Any, y0: int, x0: int, h: int, w: int, down: int, out: Any) -> int:
    """Add the events of a window to out [T, 2, h / down, w / down]; returns how many did not fit the counter.

    t must be sorted; edges [T + 1] ascending, bin k is [edges[k], edges[k + 1]).
    """
    top = np.iinfo(np.uint16).max
    saturated = 0
    bins = len(edges) - 1
    k = 0
    for i in range(len(t)):
        now = t[i]
        if now < edges[0]:
            continue
        while k < bins and now >= edges[k + 1]:
            k += 1
        if k == bins:
            break
        row, column = np.int64(y[i]) - y0, np.int64(x[i]) - x0
        if row < 0 or column < 0 or row >= h or column >= w:
            continue
        side = 1 if p[i] > 0 else 0
        row, column = row // down, column // down
        if out[k, side, row, column] == top:
            saturated += 1
        else:
            out[k, side, row, column] += 1
    return saturated
