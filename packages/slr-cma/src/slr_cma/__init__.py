"""Signs from paired events and frames, and a test of whether a dataset needs time."""

from slr_cma._arrays import ArrayDataset
from slr_cma._sample import Batch, Sample, collate
from slr_cma.data import DVSSLR, align_frames, bin_events, check_leakage, convert, subject_split
from slr_cma.diagnostics import TemporalReport, from_torch_dataset, temporal_report
from slr_cma.engine.checkpoint import load_model, save_model
from slr_cma.engine.evaluate import evaluate
from slr_cma.engine.robustness import robustness_suite
from slr_cma.engine.train import TrainConfig, predict, train
from slr_cma.models.cma import CrossModalityAttention
from slr_cma.models.net import CMANet, NetConfig
from slr_cma.synth.chain import order_chain
from slr_cma.synth.paired_sign import HARD, PairedSign, SignWorld

__version__ = "0.1.0"

__all__ = [
    "DVSSLR",
    "HARD",
    "ArrayDataset",
    "Batch",
    "CMANet",
    "CrossModalityAttention",
    "NetConfig",
    "PairedSign",
    "Sample",
    "SignWorld",
    "TemporalReport",
    "TrainConfig",
    "__version__",
    "align_frames",
    "bin_events",
    "check_leakage",
    "collate",
    "convert",
    "evaluate",
    "from_torch_dataset",
    "load_model",
    "order_chain",
    "predict",
    "robustness_suite",
    "save_model",
    "subject_split",
    "temporal_report",
    "train",
]
