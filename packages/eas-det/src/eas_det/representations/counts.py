"""Counts: micro-bins, the sum over them, stacked histograms, voxel cubes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eas_det.events import Events, check_size
from eas_det.io.reader import EventReader

from ._windows import Edges, bin_edges, outside, places, size_of

__all__ = ["event_count", "micro_counts", "stacked_histogram", "voxel_cube"]


def micro_counts(
    events: Events | EventReader,
    n_bins: int,
    t0: int | None = None,
    t1: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    edges: Edges = "window",
    official: bool = False,
    dtype: Any = np.float32,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Number of events per time bin, polarity and pixel: what the samplers read.

    Args:
        events: events, or an open recording; one in .dat is counted as it is decoded, no event is stored.
        n_bins: time bins T.
        t0, t1: the window [t0, t1), microseconds; by default from the first event to the last, both counted.
        size: (width, height) of the grid; by default the sensor's.
        edges: "window" cuts [t0, t1) into equal parts, no event is lost. "data" cuts the span between the first and the
            last event, as the published code does, and loses the last event.
        official: True is edges="data".
        dtype: of the result.
        out: [T, 2, H, W] to write into instead of a new array; what it holds after an error is undefined.
    Returns:
        [T, 2, H, W]; channel 0 darker, 1 brighter; rows from the top. Oldest bin first.
    Raises:
        ValueError: no size is known, an event lies outside the grid, or t1 < t0.
    Source: EAS-SNN (ECCV 2024), early aggregation.
    """
    if official:
        edges = "data"
    if isinstance(events, EventReader):
        wanted = check_size(size) or events.sensor_size
        if wanted is not None and edges == "window" and t0 is not None and t1 is not None:
            limits = bin_edges(Events.empty(wanted), n_bins, t0, t1, edges)
            counted = _results(n_bins, wanted, dtype, out)
            if events.add_counts(limits, wanted, counted):
                return _delivered(counted, out, dtype)
        if t0 is None and t1 is None:
            events = events.read()
        else:
            low, high = -(2**62), 2**62
            events = events.slice(low if t0 is None else t0, high if t1 is None else t1)
    width, height = size_of(events, size)
    limits = bin_edges(events, n_bins, t0, t1, edges)
    from eas_det._kernels import bins

    counted = _results(n_bins, (width, height), dtype, out)
    held = np.zeros(2 * height * width, np.uint8)
    wrong = bins.counts(events.x, events.y, events.p, places(events, limits), held, counted)
    if wrong >= 0:
        raise outside(events, wrong, (width, height))
    return _delivered(counted, out, dtype)


def _results(n_bins: int, size: tuple[int, int], dtype: Any, out: NDArray[Any] | None) -> NDArray[Any]:
    """Zeros to count into: float32 where that is asked for, ``out`` itself if it fits; else int32, converted after."""
    shape = (n_bins, 2, size[1], size[0])
    if out is not None and out.shape != shape:
        raise ValueError(f"out has shape {out.shape}; expected {shape}")
    if (dtype if out is None else out.dtype) != np.float32:
        return np.zeros(shape, np.int32)
    if out is None or not out.flags.c_contiguous:
        return np.zeros(shape, np.float32)
    out[...] = 0
    return out


def _delivered(counted: NDArray[Any], out: NDArray[Any] | None, dtype: Any) -> NDArray[Any]:
    if out is None:
        converted: NDArray[Any] = counted.astype(dtype, copy=False)
        return converted
    if counted is not out:
        out[...] = counted
    return out


def event_count(
    events: Events | EventReader,
    t0: int | None = None,
    t1: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    dtype: Any = np.float32,
) -> NDArray[Any]:
    """Number of events per polarity and pixel, [2, H, W]: micro_counts with one bin.

    events, t0, t1, size, dtype: as in :func:`micro_counts`.
    """
    counts: NDArray[Any] = micro_counts(events, 1, t0, t1, size, dtype=dtype)[0]
    return counts


def stacked_histogram(
    events: Events,
    n_bins: int = 10,
    t0: int | None = None,
    t1: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    count_cutoff: int = 255,
) -> NDArray[np.uint8]:
    """Counts as bytes, polarity and bin in one axis: the representation that RVT stores.

    Args:
        n_bins: bins of the window (RVT: 10 of 5 ms).
        count_cutoff: counts stop there, 1 to 255.
    Returns:
        [2 * n_bins, H, W] uint8, channel p * n_bins + bin.
    Raises:
        ValueError: as micro_counts, or count_cutoff outside 1 to 255.
    """
    if not 1 <= count_cutoff <= 255:
        raise ValueError(f"count_cutoff={count_cutoff} given; a byte holds 1 to 255")
    width, height = size_of(events, size)
    limits = bin_edges(events, n_bins, t0, t1, "window")
    from eas_det._kernels import bins

    out = np.zeros((2, n_bins, height, width), np.uint8)
    wrong = bins.stacked(events.x, events.y, events.p, places(events, limits), count_cutoff, out)
    if wrong >= 0:
        raise outside(events, wrong, (width, height))
    return out.reshape(2 * n_bins, height, width)


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
    """Slices in time, each with its own micro-bins as channels.

    Args:
        events, t0, t1, size, dtype: as in :func:`micro_counts`. n_slices: slices T.
        micro_bins: bins within a slice.
        binary: 1 where there is any event, instead of counts.
        official: number the channels (p + 1)(bin + 1) - 1 as the published loaders do: with two micro-bins two of the
            four fall on channel 1 and channel 2 stays empty. For parity with results made that way.
    Returns:
        [T, 2 * micro_bins, H, W], channel p * micro_bins + bin.
    Source: Cordone, Miramond and Thierion 2022.
    """
    if micro_bins < 1:
        raise ValueError(f"micro_bins={micro_bins} given; expected >= 1")
    fine = micro_counts(events, n_slices * micro_bins, t0, t1, size, dtype=np.float32)
    height, width = fine.shape[2:]
    cube = fine.reshape(n_slices, micro_bins, 2, height, width).transpose(0, 2, 1, 3, 4)
    if official:
        out = np.zeros((n_slices, 2 * micro_bins, height, width), np.float32)
        for p in range(2):
            for each in range(micro_bins):
                out[:, (p + 1) * (each + 1) - 1] += cube[:, p, each]
    else:
        out = np.ascontiguousarray(cube).reshape(n_slices, 2 * micro_bins, height, width)
    return (out > 0).astype(dtype) if binary else out.astype(dtype, copy=False)
