"""Writers: .dat, which everybody reads, and npz, which loses nothing. A file appears whole or not at all."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from eas_det._files import atomic_write
from eas_det.events import Events

from ._files import _NPZ_VERSION

__all__ = ["write_dat", "write_npz"]

_BLOCK = 1 << 20


def write_dat(path: str | PathLike[str], events: Events) -> None:
    """Write events to ``path`` as a Prophesee .dat (version 2, change detection) with the sensor's size in its header.

    The clock of the format has 32 bits: times are written modulo 2^32 us and unwrapped by the readers here.

    Raises:
        ValueError: a negative time, a gap of more than 35 minutes (the wrap would be lost), a first time of 2^32 us or
            more, or a coordinate beyond 14 bits.
    """
    if len(events):
        if events.t[0] < 0:
            raise ValueError(f"the first event is at {events.t[0]} us; .dat cannot hold negative times: shift them")
        if events.t[0] >= 1 << 32:
            raise ValueError(f"the first event is at {events.t[0]} us; .dat begins below 2^32 us: shift the times")
        gap = int(np.diff(events.t).max()) if len(events) > 1 else 0
        if gap >= 1 << 31:
            raise ValueError(f"a gap of {gap} us between two events; .dat loses gaps of more than 35 minutes: use npz")
        extent = events.extent()
        if max(extent) > 1 << 14:
            raise ValueError(f"events reach {extent[0]}x{extent[1]}; .dat holds coordinates below 16384")
    lines = ["% Data file containing CD events.", "% Version 2"]
    if events.sensor_size is not None:
        lines += [f"% Height {events.sensor_size[1]}", f"% Width {events.sensor_size[0]}"]
    with atomic_write(Path(path), "wb") as file:
        file.write(("\n".join(lines) + "\n").encode("ascii") + bytes([0x0C, 8]))
        for first in range(0, len(events), _BLOCK):
            part = events[first : first + _BLOCK]
            words = np.empty((len(part), 2), "<u4")
            words[:, 0] = part.t & 0xFFFFFFFF
            words[:, 1] = part.x | part.y.astype(np.uint32) << np.uint32(14) | part.p.astype(np.uint32) << np.uint32(28)
            file.write(words.tobytes())


def write_npz(path: str | PathLike[str], events: Events, *, compress: bool = False) -> None:
    """Write events to ``path`` as npz: t, x, y, p, the sensor's size and a version. Nothing is lost.

    compress: smaller and slower.
    """
    size = np.array(events.sensor_size or (0, 0), np.int64)
    save: Any = np.savez_compressed if compress else np.savez
    with atomic_write(Path(path), "wb") as file:
        version = np.int64(_NPZ_VERSION)
        save(file, t=events.t, x=events.x, y=events.y, p=events.p, sensor_size=size, eas_det_version=version)
