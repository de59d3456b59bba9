"""The detector: backbone, feature pyramid, head, and all of them behind a sampler."""

from .backbone import PAFPN, SpikingCSPDarknet
from .checkpoint import load_detector, save_detector
from .detector import SPIKING, VARIANTS, Detections, EventDetector, StackEmbedding, StepEmbedding, Targets
from .head import Predictions, YOLOXHead

__all__ = [
    "PAFPN",
    "SPIKING",
    "VARIANTS",
    "Detections",
    "EventDetector",
    "Predictions",
    "SpikingCSPDarknet",
    "StackEmbedding",
    "StepEmbedding",
    "Targets",
    "YOLOXHead",
    "load_detector",
    "save_detector",
]
