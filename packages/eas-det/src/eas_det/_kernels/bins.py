"""Events to tensors, one pass each; every pixel is checked against the grid before it is written.

Each returns the index of the first event outside the grid, or -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def counts(x: Any, y: Any, p: Any, places: Any, out: Any) -> Any:
    """out [bins, 2, H, W] += 1; bin m holds the events places[m] .. places[m + 1].

    Unsigned places: a signed index is looked at for being negative, which takes longer than the sum.
    """
    bins, _, height, width = out.shape
    columns, rows, plane = np.uint32(width), np.uint32(height), np.uint32(height * width)
    for m in range(bins):
        flat = out[m].reshape(-1)
        first, last = places[m], places[m + 1]
        xs, ys, ps = x[first:last], y[first:last], p[first:last]
        for i in range(xs.size):
            column, row = np.uint32(xs[i]), np.uint32(ys[i])
            if column >= columns or row >= rows:
                return first + i
            flat[np.uint64(np.uint32(ps[i] & 1) * plane + row * columns + column)] += 1
    return -1


@njit(cache=True, nogil=True)
def voxels(t: Any, x: Any, y: Any, p: Any, t0: Any, span: Any, out: Any) -> Any:
    """out [n, H, W] += +-(1 - d) in the bin of the event and +-d in the next; n (t - t0) / span = bin + d."""
    n, height, width = out.shape
    plane = height * width
    flat = out.reshape(-1)
    for i in range(t.size):
        column, row = np.int64(x[i]), np.int64(y[i])
        if column >= width or row >= height:
            return i
        place = n * np.float64(t[i] - t0) / span
        if place < 0:
            continue
        b = np.int64(place)
        if b < n:
            d = place - b
            sign = 2.0 * p[i] - 1.0
            j = b * plane + row * width + column
            flat[j] += sign * (1.0 - d)
            if b + 1 < n:
                flat[j + plane] += sign * d
    return -1


@njit(cache=True, nogil=True)
def latest(t: Any, x: Any, y: Any, p: Any, first: int, last: int, memory: Any) -> Any:
    """memory [2, H, W] = time of the last event of each pixel and polarity."""
    _, height, width = memory.shape
    for i in range(first, last):
        column, row = np.int64(x[i]), np.int64(y[i])
        if column >= width or row >= height:
            return i
        memory[p[i] & 1, row, column] = t[i]
    return -1


@njit(cache=True, nogil=True)
def stacked(x: Any, y: Any, p: Any, places: Any, most: int, out: Any) -> Any:
    """out [2, bins, H, W] uint8 += 1, up to ``most``."""
    _, bins, height, width = out.shape
    plane = height * width
    flat = out.reshape(-1)
    for m in range(bins):
        for i in range(places[m], places[m + 1]):
            column, row = np.int64(x[i]), np.int64(y[i])
            if column >= width or row >= height:
                return i
            j = (np.int64(p[i] & 1) * bins + m) * plane + row * width + column
            if flat[j] < most:
                flat[j] += 1
    return -1
