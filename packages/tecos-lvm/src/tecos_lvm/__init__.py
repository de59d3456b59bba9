"""Spike trains of a population from the stimulus, in real time, and the statistics to judge them by."""

from tecos_lvm import baselines, datasets, metrics
from tecos_lvm.config import TeCoSConfig
from tecos_lvm.evaluate import evaluate, time_code
from tecos_lvm.losses import TeCoSLoss
from tecos_lvm.model import TeCoSLVM, TeCoSOutput, TeCoSState
from tecos_lvm.recording import Recording, SpikeDataset, from_arrays
from tecos_lvm.train import FitResult, TrainConfig, fit

__version__ = "0.1.0"

__all__ = [
    "FitResult",
    "Recording",
    "SpikeDataset",
    "TeCoSConfig",
    "TeCoSLVM",
    "TeCoSLoss",
    "TeCoSOutput",
    "TeCoSState",
    "TrainConfig",
    "__version__",
    "baselines",
    "datasets",
    "evaluate",
    "fit",
    "from_arrays",
    "metrics",
    "time_code",
]
