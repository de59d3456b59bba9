"""One recording: events and frames on one clock, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Events", "Recording"]

NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


@dataclass(frozen=True)
class Events:
    """Events sorted by time: t [N] int64 nanoseconds, x, y [N] uint16 pixels, p [N] uint8, 0 OFF, 1 ON."""

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]
    size: tuple[int, int]

    @classmethod
    def from_arrays(
        cls,
        t: NDArray[Any],
        x: NDArray[Any],
        y: NDArray[Any],
        p: NDArray[Any],
        *,
        size: tuple[int, int],
        unit: Literal["s", "ms", "us", "ns"] = "ns",
        sort: bool = False,
        where: str = "events",
    ) -> Events:
        """Check and convert.

        Args:
            size: (H, W) of the sensor. unit: of t. sort: sort by time (stable) instead of refusing unsorted events.
            where: named in errors.
        Raises:
            ValueError: lengths that differ, unsorted t, coordinates outside the sensor, p not in {0, 1, -1}.
        """
        arrays = [np.asarray(a) for a in (t, x, y, p)]
        if any(a.ndim != 1 for a in arrays) or len({len(a) for a in arrays}) > 1:
            raise ValueError(f"{where}: t, x, y, p have shapes {[a.shape for a in arrays]}; expected four equal [N]")
        if unit not in NANOSECONDS:
            raise ValueError(f"unit={unit!r} given; expected one of {', '.join(NANOSECONDS)}")
        t, x, y, p = arrays
        if not np.issubdtype(t.dtype, np.number) or (np.issubdtype(t.dtype, np.floating) and not np.isfinite(t).all()):
            raise ValueError(f"{where}: t holds {t.dtype} values that are not finite numbers")
        if np.issubdtype(t.dtype, np.floating):
            # relative to the first event before scaling: an absolute epoch in ns has more digits than a float
            first = np.floor(t[0]) if len(t) else 0.0
            t = np.rint((t - first) * NANOSECONDS[unit]).astype(np.int64) + int(first) * NANOSECONDS[unit]
        else:
            t = t.astype(np.int64) * NANOSECONDS[unit]
        if len(t) and (t[1:] < t[:-1]).any():
            if not sort:
                at = int(np.flatnonzero(t[1:] < t[:-1])[0]) + 1
                raise ValueError(
                    f"{where}: event {at} is earlier than the one before; pass sort=True, or mend the file"
                )
            order = np.argsort(t, kind="stable")
            t, x, y, p = t[order], x[order], y[order], p[order]
        for name, a, limit in (("x", x, size[1]), ("y", y, size[0])):
            if len(a) and (a.min() < 0 or a.max() >= limit):
                bad = a.min() if a.min() < 0 else a.max()
                raise ValueError(
                    f"{where}: {name} = {bad} lies outside the sensor of {size[1]} x {size[0]} (W x H); "
                    "give the size of the camera that recorded it"
                )
        if len(p):
            values = set(np.unique(p).tolist())
            if not (values <= {0, 1} or values <= {-1, 1}):
                raise ValueError(f"{where}: polarities {sorted(values)[:5]}; expected 0 and 1, or -1 and 1")
        return cls(t, x.astype(np.uint16), y.astype(np.uint16), (np.asarray(p) > 0).astype(np.uint8), size)

    @classmethod
    def from_structured(cls, events: NDArray[Any], *, size: tuple[int, int], **options: Any) -> Events:
        """A structured array with fields t, x, y and p (tonic) or on (aedat); ``options`` as for :meth:`from_arrays`.

        Raises:
            ValueError: a field that is missing, and what :meth:`from_arrays` refuses.
        """
        names = events.dtype.names or ()
        polarity = "on" if "p" not in names and "on" in names else "p"
        missing = [name for name in ("t", "x", "y", polarity) if name not in names]
        if missing:
            raise ValueError(f"events have fields {', '.join(names) or 'none'}; expected t, x, y and p (or on)")
        t, x, y, p = (events[name] for name in ("t", "x", "y", polarity))
        return cls.from_arrays(t, x, y, p.astype(np.int8), size=size, **options)

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class Recording:
    """Events and the frames taken meanwhile: times [N] int64 ns, images [N, H, W] or [N, H, W, 3] uint8."""

    events: Events
    times: NDArray[np.int64]
    images: NDArray[np.uint8]

    def overlap(self, where: str = "recording") -> tuple[int, int]:
        """First and last nanosecond that both clocks cover.

        Raises:
            ValueError: no events, no frames, or clocks that do not overlap (another unit, another epoch).
        """
        if not len(self.events):
            raise ValueError(f"{where}: the event stream is empty")
        if not len(self.times):
            raise ValueError(f"{where}: there is no frame")
        e, f = (int(self.events.t[0]), int(self.events.t[-1])), (int(self.times.min()), int(self.times.max()))
        start, stop = max(e[0], f[0]), min(e[1], f[1])
        if stop < start:
            raise ValueError(
                f"{where}: events last from {e[0]} to {e[1]} ns and frames from {f[0]} to {f[1]} ns: the clocks do not "
                "overlap; check the units and that both files belong to one recording"
            )
        return start, stop
