"""Events to tensors, one pass each; every pixel is checked against the grid before it is written.

Each returns the index of the first event outside the grid, or -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .tally import BLOCK, settle, tally


@njit(cache=True, nogil=True)
def _off_grid(x: Any, y: Any, width: int, height: int) -> Any:
    """Index of the first event outside; there is one."""
    for i in range(x.size):
        if x[i] >= width or y[i] >= height:
            return i
    return x.size


@njit(cache=True, nogil=True)
def counts(x: Any, y: Any, p: Any, places: Any, bytes_: Any, out: Any) -> Any:
    """out [bins, 2, H, W] += 1; bin m holds the events places[m] .. places[m + 1]. bytes_: [2 * H * W] uint8 zeros."""
    bins, _, height, width = out.shape
    columns, rows, plane = np.uint32(width), np.uint32(height), np.uint32(height * width)
    where = np.empty(BLOCK, np.uint32)
    for m in range(bins):
        flat = out[m].reshape(-1)
        for first in range(places[m], places[m + 1], BLOCK):
            until = min(first + BLOCK, places[m + 1])
            xs, ys, ps = x[first:until], y[first:until], p[first:until]
            wrong: Any = False
            for i in range(xs.size):
                column, row = np.uint32(xs[i]), np.uint32(ys[i])
                wrong |= (column >= columns) | (row >= rows)
                where[i] = np.uint32(ps[i] & 1) * plane + row * columns + column
            if wrong:
                return first + _off_grid(xs, ys, width, height)
            tally(where, 0, xs.size, bytes_, flat)
        if places[m + 1] > places[m]:
            settle(bytes_, flat)
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
def _share(moments: Any, low: int, n: int, offset: int, span: int, here: Any, after: Any) -> None:
    """Split the sums of ``voxels_exact`` between their bin and the next; they are zero after."""
    half = np.int64(1) << (low - 1)
    for j in range(moments.size):
        count = (moments[j] + half) >> low
        d = (n * (moments[j] - (count << low)) + count * offset) / span
        here[j] += count - d
        after[j] += d
        moments[j] = 0


@njit(cache=True, nogil=True)
def voxels_exact(t: Any, x: Any, y: Any, p: Any, places: Any, t0: int, span: int, out: Any) -> Any:
    """As ``voxels`` for whole t, t0 and span < 2^32, summed in integers; bin m holds the events places[m] ..

    In bin m, span d = n (t - t0) - m span is whole, and so is t - begins, begins the first whole time of the bin. Each
    pixel keeps the sum of the signs in the upper bits of one number and that of sign times (t - begins) in the ``low``
    lower ones: one addition an event instead of two to four, and no multiplication. They are shared out before either
    could run over: after 2^(61 - low) events, 2^(61 - low) span <= 2^(low - 1).
    """
    n, height, width = out.shape
    columns, rows = np.uint32(width), np.uint32(height)
    bits = 0
    while span >> bits:
        bits += 1
    low = (63 + bits) // 2
    most = np.int64(1) << (61 - low)
    moments = np.zeros(height * width, np.int64)
    behind = np.zeros(height * width)
    where, values = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.int64)
    for m in range(n):
        here = out[m].reshape(-1)
        after = out[m + 1].reshape(-1) if m + 1 < n else behind
        begins = t0 - (-m * span) // n
        base = (np.int64(1) << low) - begins
        offset = n * (begins - t0) - m * span
        for begun in range(places[m], places[m + 1], most):
            ended = min(begun + most, places[m + 1])
            for first in range(begun, ended, BLOCK):
                until = min(first + BLOCK, ended)
                ts, xs, ys, ps = t[first:until], x[first:until], y[first:until], p[first:until]
                wrong: Any = False
                for i in range(xs.size):
                    column, row = np.uint32(xs[i]), np.uint32(ys[i])
                    wrong |= (column >= columns) | (row >= rows)
                    where[i] = row * columns + column
                if wrong:
                    return first + _off_grid(xs, ys, width, height)
                for i in range(xs.size):
                    value = ts[i] + base
                    negative = np.int64(ps[i]) - 1  # -1: all bits
                    values[i] = (value ^ negative) - negative
                for i in range(xs.size):
                    moments[where[i]] += values[i]
            _share(moments, low, n, offset, span, here, after)
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
