"""Training, evaluation, robustness, and trained networks on disk."""

from slr_cma.engine.checkpoint import load_model, save_model
from slr_cma.engine.train import History, TrainConfig, predict, train

__all__ = ["History", "TrainConfig", "load_model", "predict", "save_model", "train"]
