"""Prophesee .dat: records of 8 bytes, 32 bits of time and 32 of pixel and polarity.

A block without defects and without a wrap of the clock, so nearly all, is decoded by loops that vectorise; the others
by ``_walk``, one record after the other, which knows where a defect is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .decode import OK, PIXEL, TIME
from .tally import BLOCK, settle, tally

_HALF = 1 << 31
_WRAP = 1 << 32
_CLOCK = np.uint64(0xFFFFFFFF)
_COORDINATE = np.uint64(0x3FFF)
_TO_X, _TO_Y, _TO_P = np.uint64(32), np.uint64(46), np.uint64(60)


@njit(cache=True, nogil=True)
def _backwards(words: Any, epoch: int, last: int) -> Any:
    """Negative if time decreases anywhere, a wrap of the clock included: the union keeps the sign bits."""
    union = np.int64(words[0] & _CLOCK) + epoch - last
    for i in range(words.size - 1):
        union |= np.int64(words[i + 1] & _CLOCK) - np.int64(words[i] & _CLOCK)
    return union


@njit(cache=True, nogil=True)
def _walk(
    words: Any, width: int, height: int, epoch: Any, last: Any, keep: bool, t: Any, x: Any, y: Any, p: Any
) -> Any:
    """Any records, one by one. -> (status, index of the first bad record or the number of records, epoch, last time)"""
    for i in range(words.size):
        word = np.int64(words[i] >> _TO_X)
        now = epoch + np.int64(words[i] & _CLOCK)
        if now < last:
            if now < last - _HALF:
                epoch += _WRAP
                now += _WRAP
            elif not keep:
                return TIME, i, epoch, last
        column = word & 0x3FFF
        row = (word >> 14) & 0x3FFF
        if column >= width or row >= height:
            return PIXEL, i, epoch, last
        t[i] = now
        x[i] = column
        y[i] = row
        p[i] = (word >> 28) & 1
        last = now
    return OK, words.size, epoch, last


@njit(cache=True, nogil=True)
def decode(b: Any, n: int, width: int, height: int, previous: int, keep: bool, t: Any, x: Any, y: Any, p: Any) -> Any:
    """``n`` records of 8 bytes. ``previous``: time of the event before, -1 at the start; carries the wraps.

    ``keep``: take decreasing times as they are (somebody repairs them after).
    Returns (status, index of the first bad record or n, time of the last event).
    """
    n = min(n, b.size // 8, t.size)
    words = b[: 8 * n].view(np.uint64)
    epoch = previous // _WRAP * _WRAP if previous >= 0 else 0
    last: Any = previous
    for first in range(0, n, BLOCK):
        until = min(first + BLOCK, n)
        block, ts, xs, ys, ps = words[first:until], t[first:until], x[first:until], y[first:until], p[first:until]
        wrong = _backwards(block, epoch, last)
        for i in range(block.size):
            word = block[i]
            column, row = (word >> _TO_X) & _COORDINATE, (word >> _TO_Y) & _COORDINATE
            wrong |= (width - 1 - np.int64(column)) | (height - 1 - np.int64(row))
            ts[i] = np.int64(word & _CLOCK) + epoch
            xs[i] = column
            ys[i] = row
            ps[i] = (word >> _TO_P) & np.uint64(1)
        if wrong >= 0:
            last = ts[block.size - 1]
        else:
            status, done, epoch, last = _walk(block, width, height, epoch, last, keep, ts, xs, ys, ps)
            if status:
                return status, first + done, last
    return OK, n, last


@njit(cache=True, nogil=True)
def counts(b: Any, n: int, width: int, height: int, previous: int, edges: Any, bytes_: Any, out: Any) -> Any:
    """Records straight to counts: out [bins, 2, height, width] += 1; edges: [bins + 1] microseconds.

    The events themselves never leave the cache. bytes_: [2 * height * width] uint8 zeros. Returns as ``decode``.
    """
    n = min(n, b.size // 8)
    words = b[: 8 * n].view(np.uint64)
    epoch = previous // _WRAP * _WRAP if previous >= 0 else 0
    last: Any = previous
    bins = out.shape[0]
    plane, line, right, bottom = np.int32(width * height), np.int32(width), np.int32(width - 1), np.int32(height - 1)
    ts, xs, ys = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.uint16), np.empty(BLOCK, np.uint16)
    ps, places = np.empty(BLOCK, np.uint8), np.empty(BLOCK, np.uint32)
    m = 0
    flat = out[0].reshape(-1)
    for first in range(0, n, BLOCK):
        block = words[first : min(first + BLOCK, n)]
        size = block.size
        status = OK
        done = size
        wrong = _backwards(block, epoch, last)
        for i in range(size):
            word = np.int32(block[i] >> _TO_X)
            column, row, polarity = word & 0x3FFF, (word >> 14) & 0x3FFF, (word >> 28) & 1
            wrong |= (right - column) | (bottom - row)
            places[i] = np.uint32(polarity * plane + row * line + column)
        if wrong >= 0:
            begun, last = np.int64(block[0] & _CLOCK) + epoch, np.int64(block[size - 1] & _CLOCK) + epoch
            inside = begun >= edges[m] and last < edges[m + 1]
            if not inside:
                for i in range(size):
                    ts[i] = np.int64(block[i] & _CLOCK) + epoch
        else:
            status, done, epoch, last = _walk(block, width, height, epoch, last, False, ts, xs, ys, ps)
            for i in range(done):
                places[i] = np.uint32(ps[i] * plane + ys[i] * line + xs[i])
            inside = False
        if inside:
            tally(places, 0, done, bytes_, flat)
        else:
            at = np.searchsorted(ts[:done], edges[m])
            while at < done:
                end = np.searchsorted(ts[:done], edges[m + 1])
                tally(places, at, end, bytes_, flat)
                at = end
                if at < done:
                    settle(bytes_, flat)
                    m += 1
                    if m == bins:
                        return OK, n, last  # what is wrong behind the window does not matter
                    flat = out[m].reshape(-1)
        if status:
            return status, first + done, last
    settle(bytes_, flat)
    return OK, n, last
