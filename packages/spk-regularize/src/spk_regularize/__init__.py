"""Regularise the membrane potentials of spiking networks, and measure their robustness without being fooled."""

from spk_regularize.adapters import HandWritten, find_layers
from spk_regularize.monitor import LayerTrace, MembraneMonitor
from spk_regularize.regularizers import MPDSGR, Compose, ExpectedSG, Regularizer, Schedule, robust_preset
from spk_regularize.stats import empirical_overlap, overlap

__version__ = "0.1.0"

__all__ = [
    "MPDSGR",
    "Compose",
    "ExpectedSG",
    "HandWritten",
    "LayerTrace",
    "MembraneMonitor",
    "Regularizer",
    "Schedule",
    "__version__",
    "empirical_overlap",
    "find_layers",
    "overlap",
    "robust_preset",
]
