"""Events in memory: four arrays that were checked once, so that everything behind them can be fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EVENT_DTYPE", "Events", "Repair"]

#: one event as a record; the field names are those that every loader here reads and writes
EVENT_DTYPE = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])

Repair = Literal["sort", "cummax"]

_ALIASES = {
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "pol", "polarity", "polarities", "on"),
}


class Events:
    """A stretch of a recording: time in microseconds, pixel, polarity; sorted by time.

    Args:
        t: [N] integers, microseconds, never decreasing.
        x: [N] integers, columns, 0 <= x < width.
        y: [N] integers, rows, 0 <= y < height.
        p: [N] polarities: {0, 1}, {-1, 1} or bool. Kept as 0 (darker) and 1 (brighter).
        sensor_size: (width, height); None where nobody knows it.
        repair: what to do when time decreases: None raises, "sort" sorts (stable), "cummax" holds the clock at the
            largest time seen, as the loaders of the 1 Mpx data set do.
    Raises:
        ValueError: lengths differ, time decreases, a pixel lies outside the sensor, a polarity is none of those above;
            the message names the first event concerned.
        TypeError: an array is not numeric, or time is not integer.

    The arrays are int64, uint16, uint16 and uint8, and read-only: what was checked stays true. Arrays that already have
    these types are not copied.
    """

    __slots__ = ("p", "sensor_size", "t", "x", "y")

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]
    sensor_size: tuple[int, int] | None

    def __init__(
        self,
        t: ArrayLike,
        x: ArrayLike,
        y: ArrayLike,
        p: ArrayLike,
        sensor_size: tuple[int, int] | None = None,
        *,
        repair: Repair | None = None,
    ) -> None:
        if repair not in (None, "sort", "cummax"):
            raise ValueError(f"repair={repair!r} given; expected None, 'sort' or 'cummax'")
        size = check_size(sensor_size)
        arrays = [np.asarray(each) for each in (t, x, y, p)]
        if any(each.ndim != 1 for each in arrays) or len({each.size for each in arrays}) > 1:
            shapes = ", ".join(f"{name} {each.shape}" for name, each in zip("txyp", arrays, strict=True))
            raise ValueError(f"got {shapes}; expected four one-dimensional arrays of one length")
        when = _time(arrays[0])
        limit = size or (65536, 65536)
        column = _pixels("x", arrays[1], limit[0], size)
        row = _pixels("y", arrays[2], limit[1], size)
        polarity = _polarity(arrays[3])
        backwards = _first(when[1:] < when[:-1])
        if backwards is not None:
            if repair is None:
                raise ValueError(
                    f"time decreases at event {backwards + 1}: {when[backwards]} us, then {when[backwards + 1]} us; "
                    "pass repair='sort' to sort, or repair='cummax' to hold the clock"
                )
            if repair == "sort":
                order = np.argsort(when, kind="stable")
                when, column, row, polarity = when[order], column[order], row[order], polarity[order]
            else:
                when = np.maximum.accumulate(when)
        self._set(when, column, row, polarity, size)

    def _set(self, t: Any, x: Any, y: Any, p: Any, size: tuple[int, int] | None) -> None:
        self.sensor_size = size
        for name, array in zip("txyp", (t, x, y, p), strict=True):
            # a view of our own: the caller's array keeps the flag it had
            array = array.view()
            array.flags.writeable = False
            setattr(self, name, array)

    @classmethod
    def trusted(cls, t: Any, x: Any, y: Any, p: Any, sensor_size: tuple[int, int] | None = None) -> Events:
        """Events from arrays that a decoder has just checked, of the right types; nothing is looked at again."""
        made = cls.__new__(cls)
        made._set(t, x, y, p, sensor_size)
        return made

    @classmethod
    def from_structured(
        cls, array: NDArray[Any], sensor_size: tuple[int, int] | None = None, *, repair: Repair | None = None
    ) -> Events:
        """Events from records with named fields, whatever their order, width and extra fields.

        Args:
            array: [N] structured; fields t (ts, timestamp, time), x, y, p (pol, polarity, on).
        Raises:
            ValueError: a field is missing.
        """
        names = array.dtype.names
        if names is None or array.ndim != 1:
            raise ValueError(f"got shape {array.shape}, dtype {array.dtype}; expected one-dimensional records")
        found = {}
        for key, aliases in _ALIASES.items():
            name = next((each for each in aliases if each in names), None)
            if name is None:
                raise ValueError(f"no field {key!r} among {', '.join(names)}; expected one of {', '.join(aliases)}")
            found[key] = array[name]
        return cls(**found, sensor_size=sensor_size, repair=repair)

    @classmethod
    def empty(cls, sensor_size: tuple[int, int] | None = None) -> Events:
        """No event at all."""
        nothing = np.empty(0, np.int64)
        return cls(nothing, nothing, nothing, nothing, sensor_size)

    @classmethod
    def concatenate(cls, parts: Iterable[Events], sensor_size: tuple[int, int] | None = None) -> Events:
        """Stretches that follow one another; ValueError when one begins before the last one ended."""
        parts = list(parts)
        if sensor_size is None:
            sizes = {part.sensor_size for part in parts if part.sensor_size is not None}
            if len(sizes) > 1:
                raise ValueError(f"the parts have sensors {sorted(sizes)}; expected one")
            sensor_size = next(iter(sizes), None)
        filled = [part for part in parts if len(part)]
        if not filled:
            return cls.empty(sensor_size)
        if len(filled) == 1 and filled[0].sensor_size == sensor_size:
            return filled[0]
        t, x, y, p = (np.concatenate([getattr(part, name) for part in filled]) for name in "txyp")
        return cls(t, x, y, p, sensor_size)

    def __len__(self) -> int:
        return int(self.t.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Events):
            return NotImplemented
        same = all(np.array_equal(getattr(self, name), getattr(other, name)) for name in "txyp")
        return same and self.sensor_size == other.sensor_size

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        size = "unknown sensor" if self.sensor_size is None else f"{self.sensor_size[0]}x{self.sensor_size[1]}"
        span = f", {self.t[0]}..{self.t[-1]} us" if len(self) else ""
        return f"Events({len(self):,}, {size}{span})"

    def __getitem__(self, index: slice | NDArray[np.bool_]) -> Events:
        """A slice, or the events that a boolean mask keeps."""
        if isinstance(index, slice) and (index.step or 1) < 0:
            raise ValueError("a negative step would reverse time; events stay sorted")
        if not isinstance(index, slice) and np.asarray(index).dtype != bool:
            raise TypeError(f"got {type(index).__name__}; expected a slice or a boolean mask")
        return Events.trusted(self.t[index], self.x[index], self.y[index], self.p[index], self.sensor_size)

    @property
    def duration(self) -> int:
        """Microseconds from the first event to the last; 0 for none."""
        return int(self.t[-1] - self.t[0]) if len(self) else 0

    def window(self, t0: int, t1: int) -> Events:
        """The events with t0 <= t < t1, found by binary search; no copy."""
        first, last = np.searchsorted(self.t, [t0, t1])
        return self[int(first) : max(int(first), int(last))]

    def with_size(self, sensor_size: tuple[int, int]) -> Events:
        """The same events on a sensor of this (width, height); ValueError where one lies outside."""
        return Events(self.t, self.x, self.y, self.p, sensor_size)

    def extent(self) -> tuple[int, int]:
        """Smallest (width, height) that holds all events; (0, 0) for none."""
        return (int(self.x.max()) + 1, int(self.y.max()) + 1) if len(self) else (0, 0)

    def crop(self, x0: int, y0: int, width: int, height: int) -> Events:
        """The events inside a rectangle, with its corner as the new origin and its size as the sensor.

        Raises:
            ValueError: the rectangle is empty or begins outside the sensor.
        """
        if x0 < 0 or y0 < 0 or width < 1 or height < 1:
            raise ValueError(f"got crop x0={x0}, y0={y0}, {width}x{height}; expected x0, y0 >= 0 and sides >= 1")
        inside = (self.x >= x0) & (self.x < x0 + width) & (self.y >= y0) & (self.y < y0 + height)
        kept = self[inside]
        x, y = (kept.x - np.uint16(x0)).astype(np.uint16), (kept.y - np.uint16(y0)).astype(np.uint16)
        return Events.trusted(kept.t, x, y, kept.p, (width, height))

    def check(self) -> Events:
        """Look again at all that the constructor promises, for events from :meth:`trusted`; returns the events."""
        return Events(self.t, self.x, self.y, self.p, self.sensor_size)

    def sort(self) -> Events:
        """Sorted by time (stable); only events from :meth:`trusted` can be otherwise."""
        return Events(self.t, self.x, self.y, self.p, self.sensor_size, repair="sort")

    def dedup(self) -> Events:
        """Each (t, x, y, p) once: some recordings of Gen1 hold about 14 % of their events twice (x > 255)."""
        if not len(self):
            return self
        packed = np.empty(len(self), [("t", "<i8"), ("y", "<u2"), ("x", "<u2"), ("p", "u1")])
        for name in "txyp":
            packed[name] = getattr(self, name)
        order = np.lexsort((self.p, self.x, self.y, self.t))
        ordered = packed[order]
        fresh = np.ones(len(self), bool)
        fresh[1:] = ordered[1:] != ordered[:-1]
        # the first of equals in the file's order: lexsort is stable
        keep = np.zeros(len(self), bool)
        keep[order[fresh]] = True
        return self[keep]

    def to_structured(self, dtype: Any = EVENT_DTYPE) -> NDArray[Any]:
        """Records with the fields of ``dtype`` (of t, x, y, p)."""
        out = np.empty(len(self), np.dtype(dtype))
        for name in out.dtype.names or ():
            out[name] = getattr(self, name)
        return out


def check_size(size: Any) -> tuple[int, int] | None:
    """(width, height) as integers, or None; ValueError for anything else."""
    if size is None:
        return None
    try:
        width, height = (int(each) for each in size)
    except (TypeError, ValueError):
        raise ValueError(f"sensor_size={size!r} given; expected (width, height)") from None
    if not (0 < width <= 65536 and 0 < height <= 65536):
        raise ValueError(f"sensor_size={size!r} given; expected (width, height), each between 1 and 65536")
    return width, height


def _first(wrong: NDArray[np.bool_]) -> int | None:
    """Index of the first True."""
    return int(np.argmax(wrong)) if wrong.any() else None


def _time(t: NDArray[Any]) -> NDArray[np.int64]:
    if t.dtype.kind not in "iu":
        if t.size == 0:
            return np.empty(0, np.int64)
        raise TypeError(f"t has dtype {t.dtype}; expected integers (microseconds): multiply seconds by 1e6 and round")
    if t.dtype == np.uint64 and t.size and t.max() > np.iinfo(np.int64).max:
        raise ValueError(f"t reaches {t.max()} us, more than 63 bits hold")
    return np.ascontiguousarray(t, dtype=np.int64)


def _pixels(name: str, values: NDArray[Any], limit: int, size: tuple[int, int] | None) -> NDArray[np.uint16]:
    if values.dtype.kind not in "iu":
        if values.size == 0:
            return np.empty(0, np.uint16)
        raise TypeError(f"{name} has dtype {values.dtype}; expected integers")
    # what the type cannot hold anyway needs no look
    if values.size and not (np.iinfo(values.dtype).max < limit and values.dtype.kind == "u"):
        wrong = _first((values < 0) | (values >= limit))
        if wrong is not None:
            what = f"the sensor {size[0]}x{size[1]}" if size else "16 bits"
            raise ValueError(
                f"{name}={values[wrong]} at event {wrong} lies outside {what}; "
                "check the sensor's size, or crop the events first"
            )
    return np.ascontiguousarray(values, dtype=np.uint16)


def _polarity(p: NDArray[Any]) -> NDArray[np.uint8]:
    if p.dtype.kind not in "iub" and p.size:
        raise TypeError(f"p has dtype {p.dtype}; expected integers or bool")
    if p.dtype == bool:
        return np.ascontiguousarray(p.view(np.uint8) if p.flags.c_contiguous else p.astype(np.uint8))
    low, high = (int(p.min()), int(p.max())) if p.size else (0, 0)
    if low == -1 and high <= 1:
        between = _first(p == 0)
        if between is not None:
            raise ValueError(f"p holds -1 and, at event {between}, 0; expected one convention: {{0, 1}} or {{-1, 1}}")
        return np.ascontiguousarray(p > 0).view(np.uint8)
    if low < 0 or high > 1:
        wrong = _first((p < 0) | (p > 1)) or 0
        raise ValueError(f"p={p[wrong]} at event {wrong}; expected {{0, 1}}, {{-1, 1}} or bool")
    return np.ascontiguousarray(p, dtype=np.uint8)
