"""Binning in one pass over the events: crop, downsample and count without a full-size frame in between."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def bin_fused(x: Any, y: Any, p: Any, bounds: Any, rows: Any, columns: Any, out: Any) -> None:
    """Count events into out [T, 2 h w] (uint16, stops at 65535).

    bounds [T + 1]: index of the first event of each bin. rows, columns (uint32): what a coordinate adds to the place
    of a cell, 2 h w or more where it lies outside the crop: tables instead of divisions and branches. Indices are
    unsigned throughout: a signed one costs a test for negative values at every access, twice the time.
    """
    cells = out.shape[1]
    count = np.zeros(cells + 1, np.uint32)  # the last one takes what lies outside
    outside, half = np.uint32(cells), np.uint32(cells // 2)
    for k in range(len(bounds) - 1):
        count[:] = 0
        for i in range(bounds[k], bounds[k + 1]):
            j = np.uint64(i)
            place = np.uint32(rows[y[j]] + columns[x[j]] + np.uint32(p[j]) * half)
            count[np.uint64(min(place, outside))] += np.uint32(1)
        for cell in range(cells):
            out[k, cell] = min(count[cell], np.uint32(65535))
