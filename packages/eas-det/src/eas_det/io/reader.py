"""``open_events``: one door for every format."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from eas_det.errors import DecodeError
from eas_det.events import Events, Repair, check_size

from ._aedat4 import read_aedat4
from ._binary import DatSource, StreamSource
from ._files import read_bin, read_csv, read_hdf5, read_npy, read_npz
from ._sniff import FORMATS, sniff
from ._source import ArraySource, Defects, Errors, Source

__all__ = ["EventReader", "open_events"]

Unit = Literal["auto", "s", "ms", "us", "ns"]


def open_events(
    path: str | PathLike[str],
    format: str = "auto",  # noqa: A002 - the field's word
    *,
    t_range: tuple[int, int] | None = None,
    chunk_us: int | None = None,
    errors: Errors = "raise",
    repair: Repair | None = None,
    sensor_size: tuple[int, int] | None = None,
    columns: str = "txyp",
    time_unit: Unit = "auto",
) -> EventReader:
    """Open a recording; nothing is decoded before it is asked for.

    Args:
        path: Prophesee .dat, EVT2 and EVT3 .raw, N-MNIST and N-Caltech101 .bin, Event Stream .es, AEDAT4 (extra
            ``aedat``), HDF5 (extra ``h5``), npy, npz, csv or text.
        format: one of dat, evt2, evt3, bin, es, aedat4, npy, npz, csv, hdf5; "auto" looks at the first bytes.
        t_range: only events with t_range[0] <= t < t_range[1], microseconds.
        chunk_us: iterate in windows of this length, counted from the first event; None: as it is fastest.
        errors: "raise", or "truncate": warn, and end the recording before the first defect.
        repair: None raises where time decreases; "sort" and "cummax" repair it, with the whole recording in memory.
        sensor_size: (width, height), where the file does not say or says it wrong.
        columns: order of the columns of a table without names.
        time_unit: of npy, npz, csv and HDF5; "auto": whole numbers are microseconds, fractions seconds.
    Raises:
        DecodeError: the file is damaged, foreign or empty.
        FileNotFoundError: it is not there.
        ValueError: an argument is none of the above.
        ImportError: the format's extra is not installed.
    """
    return EventReader(
        path,
        format,
        t_range=t_range,
        chunk_us=chunk_us,
        errors=errors,
        repair=repair,
        sensor_size=sensor_size,
        columns=columns,
        time_unit=time_unit,
    )


class EventReader:
    """An open recording: read it whole, iterate over it, or cut a stretch out. See :func:`open_events`.

    Attributes:
        path: the file.
        format: what it was found to be.
        sensor_size: (width, height), or None where neither the file nor the caller says.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        format: str = "auto",  # noqa: A002
        *,
        t_range: tuple[int, int] | None = None,
        chunk_us: int | None = None,
        errors: Errors = "raise",
        repair: Repair | None = None,
        sensor_size: tuple[int, int] | None = None,
        columns: str = "txyp",
        time_unit: Unit = "auto",
    ) -> None:
        if format != "auto" and format not in FORMATS:
            raise ValueError(f"format={format!r} given; expected auto or one of {', '.join(FORMATS)}")
        if errors not in ("raise", "truncate"):
            raise ValueError(f"errors={errors!r} given; expected 'raise' or 'truncate'")
        if repair not in (None, "sort", "cummax"):
            raise ValueError(f"repair={repair!r} given; expected None, 'sort' or 'cummax'")
        if sorted(columns) != ["p", "t", "x", "y"]:
            raise ValueError(f"columns={columns!r} given; expected an order of the letters t, x, y, p")
        if time_unit not in ("auto", "s", "ms", "us", "ns"):
            raise ValueError(f"time_unit={time_unit!r} given; expected auto, s, ms, us or ns")
        if chunk_us is not None and chunk_us < 1:
            raise ValueError(f"chunk_us={chunk_us} given; expected a length in microseconds, >= 1")
        if t_range is not None and t_range[1] < t_range[0]:
            raise ValueError(f"t_range={t_range} given; expected (t0, t1) with t0 <= t1")
        self._options: dict[str, Any] = {
            "t_range": t_range,
            "chunk_us": chunk_us,
            "errors": errors,
            "repair": repair,
            "sensor_size": check_size(sensor_size),
            "columns": columns,
            "time_unit": time_unit,
        }
        self.path = Path(path)
        if self.path.is_dir():
            raise IsADirectoryError(f"{self.path} is a folder; expected a recording")
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist")
        if self.path.stat().st_size == 0:
            raise DecodeError(self.path, 0, "the file is empty")
        self.format = sniff(self.path) if format == "auto" else format
        self.t_range = t_range
        self.chunk_us = chunk_us
        self._source = self._open()
        self.sensor_size = self._source.sensor_size

    def _open(self) -> Source:
        options, path, name = self._options, self.path, self.format
        size, repair = options["sensor_size"], options["repair"]
        defects = Defects(path, options["errors"])
        keep = repair is not None
        source: Source
        if name == "dat":
            source = DatSource(path, size, defects, keep)
        elif name in ("evt2", "evt3", "es"):
            source = StreamSource(name, path, size, defects, keep)
        elif name == "bin":
            source = read_bin(path, size, defects, keep)
        elif name == "aedat4":
            source = read_aedat4(path, size, defects)
        elif name == "hdf5":
            source = read_hdf5(path, size, defects, options["time_unit"])
        else:
            read = {"npy": read_npy, "npz": read_npz, "csv": read_csv}[name]
            source = read(path, size, defects, options["columns"], options["time_unit"])
        return self._repaired(source, defects) if keep else source

    def _repaired(self, source: Source, defects: Defects) -> Source:
        """The whole recording with its times put right; sorting cannot be done a stretch at a time."""
        repair = self._options["repair"]
        if isinstance(source, ArraySource):
            t, x, y, p = (source._arrays[place][:] for place in range(4))
            try:
                events = Events(t, x, y, p, source.sensor_size, repair=repair)
            except (ValueError, TypeError) as error:
                raise DecodeError(self.path, None, str(error)) from None
            offset = source._offset
        else:
            events, offset = source.read(), 0
            events = Events(events.t, events.x, events.y, events.p, source.sensor_size, repair=repair)
        fields = (events.t, events.x, events.y, events.p)
        return ArraySource(self.format, fields, source.sensor_size, defects, offset=offset)

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker process opens the file anew: maps and handles do not travel
        return _reopen, (self.path, self.format, self._options)

    def __repr__(self) -> str:
        size = "unknown sensor" if self.sensor_size is None else f"{self.sensor_size[0]}x{self.sensor_size[1]}"
        return f"EventReader({self.path.name}, {self.format}, {size})"

    def _bounds(self) -> tuple[int, int] | None:
        span = self._source.span()
        if span is None or self.t_range is None:
            return span
        inside = self.slice(*self.t_range)
        return (int(inside.t[0]), int(inside.t[-1])) if len(inside) else None

    @property
    def t_first(self) -> int | None:
        """Time of the first event, microseconds; None for an empty recording."""
        bounds = self._bounds()
        return None if bounds is None else bounds[0]

    @property
    def t_last(self) -> int | None:
        """Time of the last event, microseconds; None for an empty recording."""
        bounds = self._bounds()
        return None if bounds is None else bounds[1]

    @property
    def duration(self) -> int:
        """Microseconds from the first event to the last; 0 for none."""
        bounds = self._bounds()
        return 0 if bounds is None else bounds[1] - bounds[0]

    def read(self) -> Events:
        """Everything (within t_range). Where nobody knows the sensor's size, it is that of the events' extent."""
        events = self._source.read() if self.t_range is None else self.slice(*self.t_range)
        if events.sensor_size is None and len(events):
            return Events.trusted(events.t, events.x, events.y, events.p, events.extent())
        return events

    def slice(self, t0: int, t1: int) -> Events:
        """The events with t0 <= t < t1, microseconds, found by binary search. EVT2, EVT3 and .es are indexed in one
        pass at the first call."""
        if self.t_range is not None:
            t0, t1 = max(t0, self.t_range[0]), min(t1, self.t_range[1])
        if t1 <= t0:
            return Events.empty(self.sensor_size)
        return self._source.slice(int(t0), int(t1))

    def __iter__(self) -> Iterator[Events]:
        """Stretches in order, none empty: windows of chunk_us, or what is fastest to decode."""
        chunks = self._source.chunks(None if self.t_range is None else self.t_range[0])
        limited = _limited(chunks, self.t_range)
        return limited if self.chunk_us is None else _windows(limited, self.chunk_us)

    def add_counts(self, edges: Any, size: tuple[int, int], out: Any) -> bool:
        """Count the events between ``edges`` into ``out`` [bins, 2, H, W] without storing them, where the format can.

        Returns:
            False where it cannot: read the events then.
        """
        if not isinstance(self._source, DatSource) or self.t_range is not None:
            return False
        self._source.counts(edges, size, out)
        return True


def _reopen(path: Path, form: str, options: dict[str, Any]) -> EventReader:
    return EventReader(path, form, **options)


def _limited(chunks: Iterator[Events], t_range: tuple[int, int] | None) -> Iterator[Events]:
    for events in chunks:
        inside = events if t_range is None else events.window(*t_range)
        if len(inside):
            yield inside
        if t_range is not None and len(events) and events.t[-1] >= t_range[1]:
            return


def _windows(chunks: Iterator[Events], length: int) -> Iterator[Events]:
    origin: int | None = None
    held: list[Events] = []
    current = 0
    for events in chunks:
        if origin is None:
            origin = int(events.t[0])
        while len(events):
            number = (int(events.t[0]) - origin) // length
            if held and number != current:
                yield Events.concatenate(held)
                held = []
            current = number
            inside = events.window(int(events.t[0]), origin + (number + 1) * length)
            held.append(inside)
            events = events[len(inside) :]
    if held:
        yield Events.concatenate(held)
