"""One function per format: a file in, its events out. All are :func:`open_events` with the format named."""

from __future__ import annotations

from os import PathLike
from typing import Any

from eas_det.events import Events

from .reader import open_events

__all__ = [
    "decode_aedat4",
    "decode_csv",
    "decode_dat",
    "decode_evt2",
    "decode_evt3",
    "decode_ncaltech_bin",
    "decode_npy",
    "decode_npz",
    "read_es",
    "read_h5",
]

Path = str | PathLike[str]


def decode_dat(path: Path, **options: Any) -> Events:
    """Prophesee .dat, with a header or without. Options: those of :func:`open_events`."""
    return open_events(path, "dat", **options).read()


def decode_evt2(path: Path, **options: Any) -> Events:
    """Prophesee EVT 2.0 .raw. Events before the first time word are dropped: nobody knows when they were."""
    return open_events(path, "evt2", **options).read()


def decode_evt3(path: Path, **options: Any) -> Events:
    """Prophesee EVT 3.0 .raw; the 24-bit clock is unwrapped. Events before the first time and row are dropped."""
    return open_events(path, "evt3", **options).read()


def decode_ncaltech_bin(path: Path, **options: Any) -> Events:
    """N-MNIST and N-Caltech101 .bin; rows with y = 240 are overflow marks, not events."""
    return open_events(path, "bin", **options).read()


def read_es(path: Path, **options: Any) -> Events:
    """Event Stream 2, DVS events."""
    return open_events(path, "es", **options).read()


def decode_aedat4(path: Path, **options: Any) -> Events:
    """AEDAT4 (extra ``aedat``): the polarity events."""
    return open_events(path, "aedat4", **options).read()


def read_h5(path: Path, **options: Any) -> Events:
    """HDF5 (extra ``h5``): t, x, y, p in a group, as RVT, DSEC and others write them."""
    return open_events(path, "hdf5", **options).read()


def decode_npy(path: Path, **options: Any) -> Events:
    """npy: records by field name, or a table of four columns."""
    return open_events(path, "npy", **options).read()


def decode_npz(path: Path, **options: Any) -> Events:
    """npz: arrays t, x, y, p, as :func:`write_npz` writes them, or one table."""
    return open_events(path, "npz", **options).read()


def decode_csv(path: Path, **options: Any) -> Events:
    """Text: four columns, named or in the order t, x, y, p."""
    return open_events(path, "csv", **options).read()
