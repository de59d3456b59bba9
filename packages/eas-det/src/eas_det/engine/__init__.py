"""Training and evaluation."""

from .evaluate import Found, detect, evaluate
from .train import History, TrainConfig, Trainer

__all__ = ["Found", "History", "TrainConfig", "Trainer", "detect", "evaluate"]
