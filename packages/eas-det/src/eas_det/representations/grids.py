"""Representations with time in the values: voxel grid and time surface."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eas_det.events import Events

from ._windows import bin_edges, outside, places, size_of, span_of

__all__ = ["time_surface", "voxel_grid"]


def voxel_grid(
    events: Events,
    n_bins: int,
    t0: int | None = None,
    t1: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    dtype: Any = np.float32,
) -> NDArray[Any]:
    """Signed events, each shared between two time bins by its distance to them.

    With t* = n (t - t0) / (t1 - t0), b = floor(t*), d = t* - b: +-(1 - d) goes to bin b, +-d to bin b + 1. What would
    fall behind the last bin is lost, as in the published form.

    Args:
        n_bins: time bins n. size: (width, height); None: of the events.
        t0, t1: microseconds; by default the first and the last event, as tonic and the published code have it. Given
            ones cut the events to [t0, t1).
        dtype: of the result; sums are held in float64.
    Returns:
        [n, 1, H, W]. The events' polarity is not touched (the published code writes into it).
    Source: Zhu et al. 2019.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins={n_bins} given; expected >= 1")
    width, height = size_of(events, size)
    out = np.zeros((n_bins, height, width), np.float64)
    if t0 is not None or t1 is not None:
        start, end = span_of(events, t0, t1)
        events = events.window(start, end)
        # an end of our own choice is the last event, whose weight then falls behind the last bin
        end = end if t1 is not None else (int(events.t[-1]) if len(events) else start)
    else:
        start, end = (int(events.t[0]), int(events.t[-1])) if len(events) else (0, 0)
    if len(events):
        from eas_det._kernels import bins

        fields = (events.t, events.x, events.y, events.p)
        span = max(end - start, 1)  # all events at one time: everything is in bin 0, nothing is divided by zero
        if span < 1 << 32:
            limits = bin_edges(events, n_bins, start, start + span, "window")
            wrong = bins.voxels_exact(*fields, places(events, limits), start, span, out)
        else:
            wrong = bins.voxels(*fields, start, float(span), out)
        if wrong >= 0:
            raise outside(events, wrong, (width, height))
    return out[:, None].astype(dtype, copy=False)


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
    """How long ago each pixel fired last, at the end of each of n slices: exp(-(end of slice - t_last) / tau).

    Args:
        n_slices: slices of [t0, t1); a pixel remembers its last event across them.
        tau: time constant, microseconds (50 ms for Gen1, 10 ms for N-Caltech101 in published work).
    Returns:
        [n, 2, H, W] in [0, 1]; 0 where a pixel has not fired since t0.
    Raises:
        ValueError: tau is not positive, or as micro_counts.
    Source: Lagorce et al. 2017; slices as in tonic.
    """
    if not tau > 0:
        raise ValueError(f"tau={tau} given; a time constant is > 0")
    width, height = size_of(events, size)
    start, end = span_of(events, t0, t1)
    limits = places(events, bin_edges(events, n_slices, t0, t1, "window"))
    from eas_det._kernels import bins

    memory = np.full((2, height, width), -np.inf)
    out = np.empty((n_slices, 2, height, width), dtype)
    for i in range(n_slices):
        wrong = bins.latest(events.t, events.x, events.y, events.p, int(limits[i]), int(limits[i + 1]), memory)
        if wrong >= 0:
            raise outside(events, wrong, (width, height))
        until = start + (i + 1) * (end - start) / n_slices
        out[i] = np.exp((memory - until) / tau)
    return out
