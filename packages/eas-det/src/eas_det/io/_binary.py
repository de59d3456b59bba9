"""Prophesee .dat, EVT2, EVT3 and Event Stream: mapped, decoded by compiled loops, cut by time."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eas_det.errors import DecodeError
from eas_det.events import Events

from ._sniff import read_header
from ._source import CHUNK, BytesSource, Defects, outputs

_WRAP = 1 << 32
_PROBES = 256


class DatSource(BytesSource):
    """Records of 8 bytes with a 32-bit clock, which wraps after 71.6 minutes and is unwrapped here."""

    format = "dat"
    limit = 1 << 14

    def __init__(self, path: Path, sensor_size: tuple[int, int] | None, defects: Defects, keep: bool) -> None:
        header = read_header(path)
        start = header.size
        if start:
            with path.open("rb") as file:
                file.seek(start)
                kind = file.read(2)
            if len(kind) == 2 and kind[1] != 8:
                raise DecodeError(path, start + 1, f"events of {kind[1]} bytes; expected 8")
            if len(kind) == 2 and kind[0] not in (0x00, 0x0C):
                raise DecodeError(path, start, f"event type 0x{kind[0]:02X}; expected 0x00 or 0x0C (change detection)")
            if len(kind) < 2:
                raise DecodeError(path, start, "the file ends before the two bytes that name the type of its events")
            start += 2
        super().__init__(path, start, 8, sensor_size or header.sensor_size, defects, keep)
        self._count = self._body.size // 8
        self._epochs: list[tuple[int, int]] | None = None

    def _clock(self, index: int) -> int:
        return int.from_bytes(self._body[8 * index : 8 * index + 4].tobytes(), "little")

    def _wraps(self) -> list[tuple[int, int]]:
        """(first record, epoch) of each stretch between two wraps: probes, then a search between two of them.

        A wrap is a fall by more than half the clock, so probes less than 35 minutes apart find every one.
        """
        if self._epochs is None:
            found, epoch = [(0, 0)], 0
            places = np.unique(np.linspace(0, max(self._count - 1, 0), _PROBES).astype(np.int64)).tolist()
            for low, high in itertools.pairwise(places):
                first = self._clock(low)
                if self._clock(high) < first - _WRAP // 2:
                    while high - low > 1:
                        middle = (low + high) // 2
                        low, high = (low, middle) if self._clock(middle) < first - _WRAP // 2 else (middle, high)
                    epoch += _WRAP
                    found.append((high, epoch))
            self._epochs = found
        return self._epochs

    def _epoch(self, index: int) -> int:
        wraps = self._wraps()
        return wraps[bisect_right(wraps, index, key=lambda each: each[0]) - 1][1]

    def time(self, index: int) -> int:
        """Unwrapped time of a record."""
        return self._epoch(index) + self._clock(index)

    def find(self, t: int) -> int:
        """First record with time >= t, by binary search."""
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.time(middle) < t else (low, middle)
        return low

    def _decode(self, first: int, last: int) -> tuple[Events, bool]:
        from eas_det._kernels import dat

        arrays = outputs(last - first)
        width, height = self._limits
        body = self._body[8 * first : 8 * last]
        before = self.time(first - 1) if first else -1
        status, n, _ = dat.decode(body, last - first, width, height, before, self._keep, *arrays)
        if status:
            self._explain(status, self._start + 8 * (first + n))
        t, x, y, p = (each[:n] for each in arrays)
        return Events.trusted(t, x, y, p, self.sensor_size), bool(status)

    def chunks(self, since: int | None = None) -> Iterator[Events]:
        start = 0 if since is None else self.find(since)
        for first in range(start, self._count, CHUNK):
            events, ended = self._decode(first, min(first + CHUNK, self._count))
            yield events
            if ended:
                return

    def read(self) -> Events:
        return self._decode(0, self._count)[0]

    def slice(self, t0: int, t1: int) -> Events:
        first = self.find(t0)
        return self._decode(first, max(first, self.find(t1)))[0].window(t0, t1)

    def span(self) -> tuple[int, int] | None:
        return (self.time(0), self.time(self._count - 1)) if self._count else None

    def counts(self, edges: Any, size: tuple[int, int], out: Any) -> None:
        """Add the events between edges [bins + 1] to out [bins, 2, H, W] without storing them."""
        from eas_det._kernels import dat

        first = self.find(int(edges[0]))
        last = max(first, self.find(int(edges[-1])))
        before = self.time(first - 1) if first else -1
        width, height = min(size[0], self._limits[0]), min(size[1], self._limits[1])
        if (width, height) != size:
            raise ValueError(f"size {size} given, the recording has {self.sensor_size}; they must agree")
        body, held = self._body[8 * first : 8 * last], np.zeros(2 * width * height, np.uint8)
        status, n, _ = dat.counts(body, last - first, *size, before, edges, held, out)
        if status:
            self._explain(status, self._start + 8 * (first + n))


class StreamSource(BytesSource):
    """Words that only mean something after those before them: states are kept along the way, to start from later."""

    def __init__(
        self, form: str, path: Path, sensor_size: tuple[int, int] | None, defects: Defects, keep: bool
    ) -> None:
        self.format = form
        if form == "es":
            start, size = _event_stream_header(path)
            sensor_size = sensor_size or size
        else:
            header = read_header(path)
            start, sensor_size = header.size, sensor_size or header.sensor_size
        self._word = {"evt2": 4, "evt3": 2, "es": 1}[form]
        self.limit = {"evt2": 1 << 11, "evt3": 1 << 11, "es": 1 << 16}[form]
        super().__init__(path, start, self._word, sensor_size, defects, keep)
        self._index: list[tuple[int, Any, int]] | None = None  # (word, state, time of the first event from there on)
        self._last = 0

    def _first_state(self) -> Any:
        return np.array({"evt2": [-1, -1], "evt3": [-1, 0, -1, -1, 0, -1], "es": [0]}[self.format], np.int64)

    def _run(self, word: int, state: Any, room: int) -> tuple[Events, int, int]:
        """Decode up to ``room`` events from ``word``; state moves on. (events, status, next word)"""
        from eas_det._kernels import decode

        arrays = outputs(room)
        width, height = self._limits
        kernel = {"evt2": decode.evt2, "evt3": decode.evt3, "es": decode.es}[self.format]
        status, n, word = kernel(self._body, word, width, height, state, self._keep, *arrays)
        t, x, y, p = (each[:n] for each in arrays)
        return Events.trusted(t, x, y, p, self.sensor_size), int(status), int(word)

    def _walk(self, word: int, state: Any, room: int) -> Iterator[tuple[Events, int, Any]]:
        """(events, word they began at, state there) up to the end or the first defect, which is reported."""
        from eas_det._kernels.decode import FULL

        state = state.copy()
        room = max(room, 16)  # a vector of 12 is written whole or not at all
        while True:
            begun, at = word, state.copy()
            events, status, word = self._run(word, state, room)
            yield events, begun, at
            if status == FULL:
                continue
            if status:
                self._explain(status, self._start + self._word * word)
            elif self.format == "es" and word < self._body.size:
                self._defects.report(self._start + word, "a record of 5 bytes is cut off by the end of the file")
            return

    def _indexed(self) -> list[tuple[int, Any, int]]:
        """One pass at first use; from then on any time is found by binary search."""
        if self._index is None:
            index = []
            for events, word, state in self._walk(0, self._first_state(), CHUNK // 4):
                if len(events):
                    index.append((word, state, int(events.t[0])))
                    self._last = int(events.t[-1])
            self._index = index
        return self._index

    def chunks(self, since: int | None = None, room: int | None = None) -> Iterator[Events]:
        word, state = 0, self._first_state()
        if since is not None:
            index = self._indexed()
            # events of one time may straddle two entries: begin one earlier
            place = max(0, _before(index, since))
            if index:
                word, state = index[place][0], index[place][1]
        for events, _, _ in self._walk(word, state, room or CHUNK):
            if len(events):
                yield events

    def read(self) -> Events:
        # as many events as words fits all but EVT3's vectors, which then take a second stretch
        room = max(16, self._body.size // {"evt2": 4, "evt3": 2, "es": 5}[self.format] + 1)
        return Events.concatenate(self.chunks(room=room), self.sensor_size)

    def slice(self, t0: int, t1: int) -> Events:
        parts = []
        for events in self.chunks(t0, CHUNK // 4):
            parts.append(events.window(t0, t1))
            if events.t[-1] >= t1:
                break
        return Events.concatenate(parts, self.sensor_size)

    def span(self) -> tuple[int, int] | None:
        index = self._indexed()
        return (index[0][2], self._last) if index else None


def _before(index: list[tuple[int, Any, int]], t: int) -> int:
    """Last entry whose first event lies strictly before t; -1 if none does."""
    low, high = 0, len(index)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if index[middle][2] < t else (low, middle)
    return low - 1


def _event_stream_header(path: Path) -> tuple[int, tuple[int, int]]:
    with path.open("rb") as file:
        start = file.read(20)
    if not start.startswith(b"Event Stream"):
        raise DecodeError(path, 0, f"begins with {start[:12]!r}; expected 'Event Stream'")
    if len(start) < 16:
        raise DecodeError(path, len(start), "the file ends inside its header")
    if start[12] != 2:
        raise DecodeError(path, 12, f"Event Stream version {start[12]}; expected 2")
    kinds = {0: "generic events", 2: "ATIS", 3: "asynchronous ATIS", 4: "colour events"}
    if start[15] != 1:
        raise DecodeError(path, 15, f"holds {kinds.get(start[15], f'type {start[15]}')}; expected DVS events (type 1)")
    if len(start) < 20:
        raise DecodeError(path, len(start), "the file ends inside its header")
    width, height = int.from_bytes(start[16:18], "little"), int.from_bytes(start[18:20], "little")
    if not width or not height:
        raise DecodeError(path, 16, f"the sensor is {width}x{height}")
    return 20, (width, height)
