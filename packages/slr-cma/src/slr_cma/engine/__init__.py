"""Training, evaluation, robustness, and trained networks on disk."""

from slr_cma.engine.checkpoint import load_model, save_model
from slr_cma.engine.evaluate import Evaluation, energy, evaluate, prefix_curve
from slr_cma.engine.robustness import mean_corruption_error, robustness_suite
from slr_cma.engine.train import History, TrainConfig, predict, train

__all__ = [
    "Evaluation",
    "History",
    "TrainConfig",
    "energy",
    "evaluate",
    "load_model",
    "mean_corruption_error",
    "predict",
    "prefix_curve",
    "robustness_suite",
    "save_model",
    "train",
]
