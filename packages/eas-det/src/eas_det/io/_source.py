"""Where events come from: a source gives stretches of a recording, from any time on, in the file's order."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eas_det.errors import DecodeError
from eas_det.events import Events

Errors = Literal["raise", "truncate"]
CHUNK = 1 << 18  # events: what is decoded together stays in the last cache
UNBOUNDED = 65536

TIME, PIXEL, TYPE = 1, 2, 3  # as in _kernels.decode


class Defects:
    """What to do about a defect: raise, or warn and end the recording there."""

    def __init__(self, path: Path, errors: Errors) -> None:
        self.path = path
        self.errors = errors

    def report(self, offset: int | None, reason: str) -> None:
        error = DecodeError(self.path, offset, reason)
        if self.errors == "raise":
            raise error
        warnings.warn(f"{error}; the recording ends there", stacklevel=3)


class Source(ABC):
    """One open recording."""

    #: the field's name of the encoding
    format: str
    #: (width, height) if the file or the caller says so
    sensor_size: tuple[int, int] | None

    @abstractmethod
    def chunks(self, since: int | None = None) -> Iterator[Events]:
        """Stretches in order; the first holds or precedes the first event with t >= since."""

    @abstractmethod
    def span(self) -> tuple[int, int] | None:
        """Time of the first and of the last event; None for an empty recording."""

    def read(self) -> Events:
        """Everything."""
        return Events.concatenate(self.chunks(), self.sensor_size)

    def slice(self, t0: int, t1: int) -> Events:
        """The events with t0 <= t < t1."""
        parts = []
        for chunk in self.chunks(t0):
            parts.append(chunk.window(t0, t1))
            if len(chunk) and chunk.t[-1] >= t1:
                break
        return Events.concatenate(parts, self.sensor_size)


class ArraySource(Source):
    """Four arrays, in memory, mapped, or of an HDF5 file; they are converted and checked stretch by stretch.

    Args:
        arrays: t, x, y, p; t integer microseconds. Anything with a length and slices.
        record: bytes per record and where the first begins, for the offset of a defect; None where it has no meaning.
    """

    def __init__(
        self,
        form: str,
        arrays: tuple[Any, Any, Any, Any],
        sensor_size: tuple[int, int] | None,
        defects: Defects,
        record: tuple[int, int] | None = None,
        offset: int = 0,
    ) -> None:
        self.format = form
        self.sensor_size = sensor_size
        self._arrays = arrays
        self._defects = defects
        self._record = record
        self._offset = offset

    def _time(self, index: int) -> int:
        return int(self._arrays[0][index]) + self._offset

    def _find(self, t: int) -> int:
        times = self._arrays[0]
        if isinstance(times, np.ndarray) and times.flags.c_contiguous and times.dtype == np.int64:
            return int(np.searchsorted(times, t - self._offset))
        return bisect_left(range(len(times)), t, key=self._time)

    def _events(self, first: int, last: int) -> Events:
        t, x, y, p = (np.asarray(each[first:last]) for each in self._arrays)
        if self._offset:
            t = t.astype(np.int64) + self._offset
        return Events(t, x, y, p, self.sensor_size)

    def chunks(self, since: int | None = None) -> Iterator[Events]:
        start = 0 if since is None else self._find(since)
        last = None
        for first in range(start, len(self._arrays[0]), CHUNK):
            try:
                events = self._events(first, first + CHUNK)
                if last is not None and len(events) and events.t[0] < last:
                    raise ValueError(f"time decreases at record {first}: {last} us, then {events.t[0]} us")
            except (ValueError, TypeError, OverflowError) as error:
                offset = None if self._record is None else self._record[0] * first + self._record[1]
                beyond = f"records from {first} on: " if first else ""
                if isinstance(error, DecodeError):
                    raise
                return self._defects.report(offset, beyond + str(error))
            last = int(events.t[-1])
            yield events

    def span(self) -> tuple[int, int] | None:
        count = len(self._arrays[0])
        return (self._time(0), self._time(count - 1)) if count else None


class BytesSource(Source):
    """A mapped file; what the two kinds of binary decoders share."""

    #: largest coordinate that the format can hold, plus one
    limit: int

    def __init__(
        self,
        path: Path,
        start: int,
        word: int,
        sensor_size: tuple[int, int] | None,
        defects: Defects,
        keep: bool,
    ) -> None:
        self.sensor_size = sensor_size
        self._path = path
        self._start = start
        self._defects = defects
        self._keep = keep
        size = path.stat().st_size
        # mapped once; the pages come as they are read, and a forked worker shares them
        self._bytes = np.memmap(path, np.uint8, mode="r") if size else np.empty(0, np.uint8)
        self._body = np.asarray(self._bytes)[start:]
        odd = self._body.size % word
        if odd:
            what = f"{odd} bytes are left after the last whole record of {word}; the file was cut off"
            defects.report(size - odd, what)
            self._body = self._body[: self._body.size - odd]

    @property
    def _limits(self) -> tuple[int, int]:
        if self.sensor_size is None:
            return self.limit, self.limit
        return min(self.sensor_size[0], self.limit), min(self.sensor_size[1], self.limit)

    def _explain(self, status: int, offset: int) -> None:
        width, height = self._limits
        if status == TIME:
            reason = "time decreases; pass repair='sort' to sort, or repair='cummax' to hold the clock"
        elif status == PIXEL:
            reason = (
                f"a pixel lies outside {width}x{height}; pass the right sensor_size, or format= if it is another one"
            )
        else:
            reason = "an unknown type of word; the file is damaged or of another format"
        self._defects.report(offset, reason)


def outputs(size: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Arrays to decode ``size`` events into."""
    return np.empty(size, np.int64), np.empty(size, np.uint16), np.empty(size, np.uint16), np.empty(size, np.uint8)
