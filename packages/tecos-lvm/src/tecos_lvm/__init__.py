"""Spike trains of a population from the stimulus, in real time, and the statistics to judge them by."""

from tecos_lvm import baselines, datasets, metrics, plot
from tecos_lvm.config import TeCoSConfig
from tecos_lvm.estimator import TeCoSRegressor
from tecos_lvm.evaluate import Evaluation, evaluate, examine, length_curve, time_code
from tecos_lvm.html import write_report
from tecos_lvm.losses import TeCoSLoss
from tecos_lvm.model import TeCoSLVM, TeCoSOutput, TeCoSState
from tecos_lvm.recording import Recording, SpikeDataset, from_arrays
from tecos_lvm.train import FitResult, TrainConfig, fit

__version__ = "0.1.0"

__all__ = [
    "Evaluation",
    "FitResult",
    "Recording",
    "SpikeDataset",
    "TeCoSConfig",
    "TeCoSLVM",
    "TeCoSLoss",
    "TeCoSOutput",
    "TeCoSRegressor",
    "TeCoSState",
    "TrainConfig",
    "__version__",
    "baselines",
    "datasets",
    "evaluate",
    "examine",
    "fit",
    "from_arrays",
    "length_curve",
    "metrics",
    "plot",
    "time_code",
    "write_report",
]
