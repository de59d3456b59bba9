"""Which events count, and in which bin: shared by every representation, fast or slow."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eas_det.events import Events, check_size

Edges = Literal["window", "data"]


def size_of(events: Events, size: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) of the grid: what is asked for, else the sensor's."""
    found = check_size(size) or events.sensor_size
    if found is None:
        raise ValueError("nobody knows the sensor's size; pass size=(width, height)")
    if 2 * found[0] * found[1] >= 1 << 32:
        raise ValueError(
            f"a grid of {found[0]}x{found[1]} given; expected fewer than 2^31 pixels: crop the events first"
        )
    return found


def span_of(events: Events, t0: int | None, t1: int | None) -> tuple[int, int]:
    """[t0, t1) with the events' own span where it is not given; an end after the last event."""
    start = (int(events.t[0]) if len(events) else 0) if t0 is None else int(t0)
    end = (int(events.t[-1]) + 1 if len(events) else start + 1) if t1 is None else int(t1)
    if end < start and (t0 is None) == (t1 is None):
        raise ValueError(f"t0={start}, t1={end} given; a window ends after it begins")
    return start, max(end, start)


def bin_edges(events: Events, n_bins: int, t0: int | None, t1: int | None, edges: Edges) -> NDArray[np.int64]:
    """[n_bins + 1] microseconds: bin m holds edges[m] <= t < edges[m + 1].

    "window": equal parts of [t0, t1), each event in bin floor((t - t0) n / (t1 - t0)), none lost. "data": as in the
    published code, equal whole parts of the span between the first and the last event of the window; what is left over
    at the end, the last event always among it, is lost.
    """
    if not isinstance(n_bins, (int, np.integer)) or isinstance(n_bins, bool) or n_bins < 1:
        raise ValueError(f"n_bins={n_bins!r} given; expected a whole number >= 1")
    n_bins = int(n_bins)
    if edges == "window":
        start, end = span_of(events, t0, t1)
        # the first whole t with (t - start) n / (end - start) >= m
        return np.array([start - (-m * (end - start) // n_bins) for m in range(n_bins + 1)], np.int64)
    if edges == "data":
        inside = events if t0 is None and t1 is None else events.window(*span_of(events, t0, t1))
        if not len(inside):
            return np.zeros(n_bins + 1, np.int64)
        width = inside.duration // n_bins
        return int(inside.t[0]) + width * np.arange(n_bins + 1, dtype=np.int64)
    raise ValueError(f"edges={edges!r} given; expected 'window' or 'data'")


def places(events: Events, limits: NDArray[np.int64]) -> NDArray[Any]:
    """Index of the first event of each bin, by binary search: no division per event."""
    return np.searchsorted(events.t, limits)


def outside(events: Events, index: int, size: tuple[int, int]) -> ValueError:
    """The error for an event off the grid."""
    return ValueError(
        f"event {index} is at x={events.x[index]}, y={events.y[index]}, outside the grid {size[0]}x{size[1]}; "
        "pass the sensor's size, or crop the events"
    )
