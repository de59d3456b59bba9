"""The same representations as plain loops, to read and to test against. Signatures as in the fast modules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eas_det.events import Events

from ._windows import Edges, bin_edges, size_of, span_of


def micro_counts(
    events: Events,
    n_bins: int,
    t0: int | None = None,
    t1: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    edges: Edges = "window",
    dtype: Any = np.float32,
) -> NDArray[Any]:
    width, height = size_of(events, size)
    limits = bin_edges(events, n_bins, t0, t1, edges)
    out = np.zeros((n_bins, 2, height, width), dtype)
    for t, x, y, p in zip(events.t, events.x, events.y, events.p, strict=True):
        for m in range(n_bins):
            if limits[m] <= t < limits[m + 1]:
                out[m, p, y, x] += 1
    return out


def voxel_grid(
    events: Events,
    n_bins: int,
    t0: int | None = None,
    t1: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    dtype: Any = np.float32,
) -> NDArray[Any]:
    width, height = size_of(events, size)
    out = np.zeros((n_bins, 1, height, width), np.float64)
    if len(events):
        start = int(events.t[0]) if t0 is None else t0
        end = int(events.t[-1]) if t1 is None else t1
        for t, x, y, p in zip(events.t.tolist(), events.x, events.y, events.p, strict=True):
            if (t0 is not None and t < t0) or (t1 is not None and t >= t1):
                continue
            place = n_bins * (t - start) / (end - start) if end > start else 0.0
            b, sign = math.floor(place), 1 if p else -1
            if b < n_bins:
                out[b, 0, y, x] += sign * (1 - (place - b))
            if b + 1 < n_bins:
                out[b + 1, 0, y, x] += sign * (place - b)
    return out.astype(dtype)


def time_surface(
    events: Events,
    n_slices: int,
    t0: int | None = None,
    t1: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    tau: float = 50_000.0,
    dtype: Any = np.float32,
) -> NDArray[Any]:
    width, height = size_of(events, size)
    start, end = span_of(events, t0, t1)
    limits = bin_edges(events, n_slices, t0, t1, "window")
    out = np.zeros((n_slices, 2, height, width), np.float64)
    for i in range(n_slices):
        until = start + (i + 1) * (end - start) / n_slices
        for t, x, y, p in zip(events.t.tolist(), events.x, events.y, events.p, strict=True):
            if start <= t < limits[i + 1]:
                out[i, p, y, x] = math.exp(-(until - t) / tau)
    return out.astype(dtype)


def voxel_cube(
    events: Events,
    n_slices: int,
    t0: int | None = None,
    t1: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    micro_bins: int = 2,
    binary: bool = False,
    official: bool = False,
    dtype: Any = np.float32,
) -> NDArray[Any]:
    fine = micro_counts(events, n_slices * micro_bins, t0, t1, size, dtype=np.float64)
    height, width = fine.shape[2:]
    out = np.zeros((n_slices, 2 * micro_bins, height, width), np.float64)
    for i in range(n_slices):
        for p in range(2):
            for tb in range(micro_bins):
                channel = (p + 1) * (tb + 1) - 1 if official else p * micro_bins + tb
                out[i, channel] += fine[i * micro_bins + tb, p]
    if binary:
        out = (out > 0).astype(np.float64)
    return out.astype(dtype)


def stacked_histogram(
    events: Events,
    n_bins: int = 10,
    t0: int | None = None,
    t1: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    count_cutoff: int = 255,
) -> NDArray[np.uint8]:
    fine = micro_counts(events, n_bins, t0, t1, size, dtype=np.int64)
    limited: NDArray[Any] = np.minimum(fine, count_cutoff)
    return limited.transpose(1, 0, 2, 3).reshape(2 * n_bins, *fine.shape[2:]).astype(np.uint8)
