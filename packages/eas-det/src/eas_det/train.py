"""Training, under the name that one looks for; see :mod:`eas_det.engine`."""

from .engine import History, TrainConfig, Trainer, evaluate

__all__ = ["History", "TrainConfig", "Trainer", "evaluate"]
