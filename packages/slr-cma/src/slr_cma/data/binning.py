"""Events to counts, frames to small images, and the times that pair them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from slr_cma.data.events import Events, Recording

__all__ = ["Binning", "align_frames", "bin_events", "bin_events_reference", "shrink_frames", "unit"]

BinBy = Literal["frame_clock", "time", "count"]


@dataclass(frozen=True)
class Binning:
    """How a recording becomes a sample.

    Args:
        n_bins: T. bin_by: "frame_clock" (each bin lasts ``frames_per_bin`` frames, windows begin and end on frame
            times), "time" (equal bins over what both clocks cover), "count" (equal numbers of events).
        frames_per_bin: 5 at 20 frames a second are 250 ms.
        crop: (top, left, height, width) or None; down: pixels that become one, each way.
        luma: one grey channel (0.299 R + 0.587 G + 0.114 B) instead of three.
        pad: what fills bins after the end of a recording, mask False in any case: "zero" or "repeat" (the last frame;
            events stay zero, for a repeated count would be invented motion).
    """

    n_bins: int = 24
    bin_by: BinBy = "frame_clock"
    frames_per_bin: int = 5
    crop: tuple[int, int, int, int] | None = (2, 45, 256, 256)
    down: int = 4
    luma: bool = True
    pad: Literal["zero", "repeat"] = "zero"

    def __post_init__(self) -> None:
        if self.bin_by not in ("frame_clock", "time", "count"):
            raise ValueError(f"bin_by={self.bin_by!r} given; expected 'frame_clock', 'time' or 'count'")
        if self.n_bins < 1 or self.frames_per_bin < 1 or self.down < 1:
            raise ValueError(
                f"n_bins={self.n_bins}, frames_per_bin={self.frames_per_bin}, down={self.down}: expected >= 1"
            )
        if self.pad not in ("zero", "repeat"):
            raise ValueError(f"pad={self.pad!r} given; expected 'zero' or 'repeat'")
        if self.crop is not None and (self.crop[2] % self.down or self.crop[3] % self.down):
            raise ValueError(f"crop={self.crop} is not a multiple of down={self.down}")

    def area(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, height, width) on a sensor of ``size`` (H, W).

        Raises:
            ValueError: a crop that leaves the sensor, sizes that ``down`` does not divide.
        """
        top, left, h, w = self.crop or (0, 0, size[0] // self.down * self.down, size[1] // self.down * self.down)
        if top < 0 or left < 0 or top + h > size[0] or left + w > size[1] or h < self.down or w < self.down:
            raise ValueError(
                f"crop rows {top}:{top + h}, columns {left}:{left + w} leaves the sensor of {size[1]} x {size[0]} "
                "(W x H); choose a crop for this camera, or crop=None for all of it"
            )
        return top, left, h, w

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of the maps."""
        _, _, h, w = self.area(size)
        return h // self.down, w // self.down

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it is written beside caches and models."""
        data = asdict(self)
        data["crop"] = None if self.crop is None else list(self.crop)
        return data

    def edges(self, recording: Recording, where: str = "recording") -> tuple[NDArray[np.int64], int]:
        """Edges [n_bins + 1] in ns and how many bins hold data; later edges equal the last one."""
        start, stop = recording.overlap(where)
        if self.bin_by == "frame_clock":
            inside = recording.times[(recording.times >= start) & (recording.times <= stop)]
            marks = inside[:: self.frames_per_bin][: self.n_bins + 1]
            if len(marks) < 2:
                raise ValueError(
                    f"{where}: {len(inside)} frame(s) while events came, one bin needs {self.frames_per_bin + 1}; "
                    "lower frames_per_bin or bin by time"
                )
            valid = len(marks) - 1
            edges = np.full(self.n_bins + 1, marks[-1], np.int64)
            edges[: len(marks)] = marks
            return edges, valid
        if self.bin_by == "time":
            return _equal_times(start, stop, self.n_bins), self.n_bins
        return _equal_counts(recording.events.t, start, stop, self.n_bins), self.n_bins


def _equal_times(start: int, stop: int, n_bins: int) -> NDArray[np.int64]:
    # in integers: nanoseconds since an epoch have more digits than a float
    edges: NDArray[np.int64] = start + (stop + 1 - start) * np.arange(n_bins + 1, dtype=np.int64) // n_bins
    return edges


def _equal_counts(t: NDArray[np.int64], start: int, stop: int, n_bins: int) -> NDArray[np.int64]:
    low, high = np.searchsorted(t, [start, stop + 1])
    at = low + (high - low) * np.arange(n_bins + 1) // n_bins
    edges: NDArray[np.int64] = np.where(at < high, t[np.minimum(at, len(t) - 1)], stop + 1).astype(np.int64)
    return edges


def bin_events(
    events: Events | NDArray[Any],
    edges: NDArray[np.int64] | None = None,
    *,
    n_bins: int | None = None,
    by: Literal["time", "count"] = "time",
    size: tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    down: int = 1,
    dtype: DTypeLike = np.uint16,
) -> NDArray[Any]:
    """Count events per bin, polarity and (coarse) pixel, in one pass.

    Args:
        events: :class:`Events`, or a structured array with fields t, x, y, p and the sensor's ``size`` (H, W).
        edges: [T + 1], ascending, in the unit of t; bin k is [edges[k], edges[k + 1]).
        n_bins: instead of edges: so many bins from the first to the last event, ``by`` equal "time" or equal "count".
        crop: (top, left, height, width). down: pixels that become one, each way; must divide the crop.
        dtype: of the counts; an integer type stops at its largest number.
    Returns:
        [T, 2, height / down, width / down]; channel 0 counts OFF, 1 counts ON. Counts stop at 65535.
    Raises:
        ValueError: edges that fall, both or neither of edges and n_bins, a crop outside the sensor, no size, a dtype
            that is no number.
    Example:
        >>> ev = Events.from_arrays(np.arange(4), np.array([0, 1, 2, 3]), np.zeros(4), np.ones(4), size=(2, 4))
        >>> bin_events(ev, n_bins=2, down=2)[:, 1, 0].tolist()
        [[2, 0], [0, 2]]
    """
    from slr_cma.data._kernels import bin_fused

    if not isinstance(events, Events):
        if size is None:
            raise ValueError("a structured array does not know its sensor; give size=(H, W)")
        events = Events.from_structured(np.asarray(events), size=size)
    if (edges is None) == (n_bins is None):
        raise ValueError(f"edges and n_bins={n_bins}: give one of the two")
    if edges is None:
        assert n_bins is not None
        if n_bins < 1 or by not in ("time", "count"):
            raise ValueError(f"n_bins={n_bins}, by={by!r}: expected at least 1; 'time' or 'count'")
        if not len(events):
            raise ValueError("the event stream is empty, so it has no first and last time; give edges")
        span = int(events.t[0]), int(events.t[-1])
        edges = _equal_times(*span, n_bins) if by == "time" else _equal_counts(events.t, *span, n_bins)
    edges, (top, left, h, w) = _check(events, edges, crop, down)
    height, width = h // down, w // down
    outside = 2 * height * width
    rows = np.full(events.size[0], outside, np.uint32)
    rows[top : top + h] = np.arange(h) // down * width
    columns = np.full(events.size[1], outside, np.uint32)
    columns[left : left + w] = np.arange(w) // down
    out = np.zeros((len(edges) - 1, outside), np.uint16)
    bounds = np.searchsorted(events.t, edges)
    bin_fused(events.x, events.y, events.p, bounds, rows, columns, out)
    return _as(np.dtype(dtype), out.reshape(-1, 2, height, width))


def _as(dtype: np.dtype[Any], counts: NDArray[np.uint16]) -> NDArray[Any]:
    if dtype.kind not in "uif":
        raise ValueError(f"dtype={dtype} given; expected integers or floats")
    if dtype.kind != "f" and np.iinfo(dtype).max < 65535:
        counts = np.minimum(counts, np.uint16(np.iinfo(dtype).max))
    return counts.astype(dtype, copy=False)


def bin_events_reference(
    events: Events,
    edges: NDArray[np.int64],
    *,
    crop: tuple[int, int, int, int] | None = None,
    down: int = 1,
) -> NDArray[np.uint16]:
    """:func:`bin_events` in plain numpy: slow, readable, equal."""
    edges, (top, left, h, w) = _check(events, edges, crop, down)
    full = np.zeros((len(edges) - 1, 2, *events.size), np.int64)
    for k in range(len(edges) - 1):
        inside = (events.t >= edges[k]) & (events.t < edges[k + 1])
        index = (events.p[inside].astype(int), events.y[inside].astype(int), events.x[inside].astype(int))
        np.add.at(full[k], index, 1)
    cropped = full[:, :, top : top + h, left : left + w]
    pooled = cropped.reshape(len(full), 2, h // down, down, w // down, down).sum((3, 5))
    counts: NDArray[np.uint16] = np.minimum(pooled, 65535).astype(np.uint16)
    return counts


def _check(
    events: Events, edges: NDArray[np.int64], crop: tuple[int, int, int, int] | None, down: int
) -> tuple[NDArray[np.int64], tuple[int, int, int, int]]:
    edges = np.asarray(edges, np.int64)
    if edges.ndim != 1 or len(edges) < 2 or (edges[1:] < edges[:-1]).any():
        raise ValueError(f"edges of shape {edges.shape} must be ascending, [T + 1]")
    return edges, Binning(crop=crop, down=down).area(events.size)


def align_frames(
    t_frames: NDArray[np.int64], t_edges: NDArray[np.int64], policy: Literal["end", "nearest", "hold"] = "end"
) -> NDArray[np.int64]:
    """The frame that goes with each bin: index [T], -1 where there is none yet.

    Args:
        t_frames: [N], ascending. t_edges: [T + 1] of the bins, the same unit.
        policy: "end": the newest frame not after the bin's end (it has seen the bin's events happen); "hold": the
            newest not after its start (causal); "nearest": the nearest to its middle.
    Example:
        >>> align_frames(np.array([0, 10, 30]), np.array([5, 15, 25])).tolist()
        [1, 1]
    """
    if policy not in ("end", "nearest", "hold"):
        raise ValueError(f"policy={policy!r} given; expected 'end', 'nearest' or 'hold'")
    if policy != "nearest":
        at = t_edges[1:] if policy == "end" else t_edges[:-1]
        out: NDArray[np.int64] = np.searchsorted(t_frames, at, side="right") - 1
        return out
    if not len(t_frames):
        return np.full(len(t_edges) - 1, -1, np.int64)
    middle = t_edges[:-1] + (t_edges[1:] - t_edges[:-1]) // 2
    after = np.searchsorted(t_frames, middle)
    before = np.maximum(after - 1, 0)
    after = np.minimum(after, len(t_frames) - 1)
    nearest: NDArray[np.int64] = np.where(
        np.abs(t_frames[after] - middle) < np.abs(t_frames[before] - middle), after, before
    )
    return nearest


def shrink_frames(
    images: NDArray[np.uint8], *, crop: tuple[int, int, int, int], down: int = 1, luma: bool = True
) -> NDArray[np.uint8]:
    """Crop, average ``down`` x ``down`` pixels, and make grey: [N, H, W(, 3)] -> [N, C, h, w] uint8."""
    top, left, h, w = crop
    x = images[:, top : top + h, left : left + w]
    if x.ndim == 3:
        x = x[..., None]
    n, c = len(x), x.shape[-1]
    small = x.reshape(n, h // down, down, w // down, down, c).mean((2, 4), dtype=np.float32)
    if luma and c == 3:
        small = small @ np.array([[0.299], [0.587], [0.114]], np.float32)
    pixels: NDArray[np.uint8] = np.rint(small).astype(np.uint8).transpose(0, 3, 1, 2)
    return pixels


def unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """0..255 to [0, 1]. In numpy: threads that torch would wake for so little take longer to meet than to divide."""
    out: NDArray[np.float32] = np.divide(images, np.float32(255), dtype=np.float32)
    return out
