"""Recordings in: every format behind :func:`open_events`; .dat and npz out."""

from ._sniff import FORMATS
from .decoders import (
    decode_aedat4,
    decode_bin,
    decode_csv,
    decode_dat,
    decode_es,
    decode_evt2,
    decode_evt3,
    decode_hdf5,
    decode_npy,
    decode_npz,
)
from .reader import EventReader, open_events
from .writers import write_dat, write_npz

__all__ = [
    "FORMATS",
    "EventReader",
    "decode_aedat4",
    "decode_bin",
    "decode_csv",
    "decode_dat",
    "decode_es",
    "decode_evt2",
    "decode_evt3",
    "decode_hdf5",
    "decode_npy",
    "decode_npz",
    "open_events",
    "write_dat",
    "write_npz",
]
