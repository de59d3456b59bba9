"""Recordings in: every format behind :func:`open_events`; .dat and npz out."""

from eas_det.boxes import BOX_DTYPE, load_boxes
from eas_det.events import EVENT_DTYPE

from ._sniff import FORMATS
from .decoders import (
    decode_aedat4,
    decode_csv,
    decode_dat,
    decode_evt2,
    decode_evt3,
    decode_ncaltech_bin,
    decode_npy,
    decode_npz,
    read_es,
    read_h5,
)
from .reader import EventReader, open_events
from .writers import write_dat, write_npz

__all__ = [
    "BOX_DTYPE",
    "EVENT_DTYPE",
    "FORMATS",
    "EventReader",
    "decode_aedat4",
    "decode_csv",
    "decode_dat",
    "decode_evt2",
    "decode_evt3",
    "decode_ncaltech_bin",
    "decode_npy",
    "decode_npz",
    "load_boxes",
    "open_events",
    "read_es",
    "read_h5",
    "write_dat",
    "write_npz",
]
