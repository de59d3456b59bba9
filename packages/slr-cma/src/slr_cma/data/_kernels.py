"""Binning in one pass over the events: crop, downsample and count without a full-size frame in between."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def bin_fused(x: Any, y: Any, p: Any, bounds: Any, rows: Any, columns: Any, out: Any) -> None:
    """Count events into out [T, 2 h w] (uint16, stops at 65535).

    bounds [T + 1]: index of the first event of each bin. rows, columns: what a coordinate adds to the place of a cell,
    2 h w or more where it lies outside the crop: tables instead of divisions and branches.
    """
    cells = out.shape[1]
    count = np.zeros(cells + 1, np.uint32)  # the last one takes what lies outside
    half = cells // 2
    for k in range(len(bounds) - 1):
        count[:] = 0
        for i in range(bounds[k], bounds[k + 1]):
            place = rows[y[i]] + columns[x[i]] + p[i] * half
            count[min(place, cells)] += 1
        for j in range(cells):
            out[k, j] = min(count[j], np.uint32(65535))
