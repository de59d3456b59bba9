"""Datasets of labelled recordings, all behind one protocol."""

from .ncaltech import NCaltech101, load_annotation
from .prophesee import Gen1, Mpx1
from .recordings import Recordings
from .rendered import Rendered
from .rvt import RVTPreprocessed
from .sample import Batch, EventDetectionDataset, Rendering, Sample, collate, from_corners, to_corners
from .shapes import SynthShapes
from .transforms import RandomAugment

__all__ = [
    "Batch",
    "EventDetectionDataset",
    "Gen1",
    "Mpx1",
    "NCaltech101",
    "RVTPreprocessed",
    "RandomAugment",
    "Recordings",
    "Rendered",
    "Rendering",
    "Sample",
    "SynthShapes",
    "collate",
    "from_corners",
    "load_annotation",
    "to_corners",
]
