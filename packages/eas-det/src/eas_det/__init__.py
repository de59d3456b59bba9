"""Event cameras: recordings in, tensors and boxes out.

>>> from eas_det import Events, micro_counts
>>> events = Events(t=[10, 20, 30], x=[0, 1, 1], y=[0, 0, 1], p=[1, 0, 1], sensor_size=(2, 2))
>>> micro_counts(events, n_bins=2, t0=0, t1=40).shape  # [bins, polarity, height, width]
(2, 2, 2, 2)
"""

from typing import TYPE_CHECKING, Any

from .boxes import BOX_DTYPE, clean_boxes, filter_boxes, load_boxes, make_boxes, save_boxes
from .errors import DecodeError
from .events import EVENT_DTYPE, Events
from .io import EventReader, open_events, write_dat, write_npz
from .representations import event_count, micro_counts, stacked_histogram, time_surface, voxel_cube, voxel_grid

if TYPE_CHECKING:
    from .metrics import PropheseeEvaluator
    from .models import Detections, EventDetector
    from .representations import LearnedKernelVoxel, PackedEvents, bin_batch, letterbox, pack
    from .sampler import (
        ARSNNSampler,
        CountEmbedding,
        RSNNEmbedding,
        SamplerOutput,
        SNNEmbedding,
        sampling_intervals,
        to_steps,
    )
    from .stream import StreamingDetector
    from .train import Trainer

__version__ = "0.1.0"

__all__ = [
    "BOX_DTYPE",
    "EVENT_DTYPE",
    "ARSNNSampler",
    "CountEmbedding",
    "DecodeError",
    "Detections",
    "EventDetector",
    "EventReader",
    "Events",
    "LearnedKernelVoxel",
    "PackedEvents",
    "PropheseeEvaluator",
    "RSNNEmbedding",
    "SNNEmbedding",
    "SamplerOutput",
    "StreamingDetector",
    "Trainer",
    "__version__",
    "bin_batch",
    "clean_boxes",
    "event_count",
    "filter_boxes",
    "letterbox",
    "load_boxes",
    "make_boxes",
    "micro_counts",
    "open_events",
    "pack",
    "sampling_intervals",
    "save_boxes",
    "stacked_histogram",
    "time_surface",
    "to_steps",
    "voxel_cube",
    "voxel_grid",
    "write_dat",
    "write_npz",
]

# torch takes a second to load, and reading recordings does not need it
_LATER = {
    "PropheseeEvaluator": "metrics",
    "Trainer": "train",
    "StreamingDetector": "stream",
    "Detections": "models",
    "EventDetector": "models",
    "ARSNNSampler": "sampler",
    "CountEmbedding": "sampler",
    "RSNNEmbedding": "sampler",
    "SNNEmbedding": "sampler",
    "SamplerOutput": "sampler",
    "sampling_intervals": "sampler",
    "to_steps": "sampler",
    "LearnedKernelVoxel": "representations",
    "PackedEvents": "representations",
    "bin_batch": "representations",
    "letterbox": "representations",
    "pack": "representations",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name!r}")
