"""Signs from paired events and frames, and a test of whether a dataset needs time."""

from slr_cma._arrays import ArrayDataset
from slr_cma._sample import Batch, Sample, collate
from slr_cma.engine.checkpoint import load_model, save_model
from slr_cma.engine.train import TrainConfig, predict, train
from slr_cma.models.cma import CrossModalityAttention
from slr_cma.models.net import CMANet, NetConfig
from slr_cma.synth.paired_sign import HARD, PairedSign, SignWorld

__version__ = "0.1.0"

__all__ = [
    "HARD",
    "ArrayDataset",
    "Batch",
    "CMANet",
    "CrossModalityAttention",
    "NetConfig",
    "PairedSign",
    "Sample",
    "SignWorld",
    "TrainConfig",
    "__version__",
    "collate",
    "load_model",
    "predict",
    "save_model",
    "train",
]
