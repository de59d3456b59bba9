"""Event cameras: recordings in, tensors out.

>>> import numpy as np
>>> from eas_det import Events, micro_counts
>>> events = Events(t=[10, 20, 30], x=[0, 1, 1], y=[0, 0, 1], p=[1, 0, 1], sensor_size=(2, 2))
>>> micro_counts(events, n_bins=2, t0=0, t1=40).shape  # [bins, polarity, height, width]
(2, 2, 2, 2)
"""

from .boxes import BOX_DTYPE, clean_boxes, filter_boxes, load_boxes, make_boxes, save_boxes
from .errors import DecodeError
from .events import EVENT_DTYPE, Events
from .io import EventReader, open_events, write_dat, write_npz

__version__ = "0.1.0"

__all__ = [
    "BOX_DTYPE",
    "EVENT_DTYPE",
    "DecodeError",
    "EventReader",
    "Events",
    "__version__",
    "clean_boxes",
    "filter_boxes",
    "load_boxes",
    "make_boxes",
    "open_events",
    "save_boxes",
    "write_dat",
    "write_npz",
]
