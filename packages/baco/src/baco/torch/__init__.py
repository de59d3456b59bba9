"""Codebooks in PyTorch: shared embedding tables, recommenders on them, and their training (extra ``baco[torch]``)."""

from ._need import torch as _torch
from .embedding import CompressedEmbedding
from .evaluate import evaluate
from .recommenders import LightGCN, MatrixFactorization, Recommender, bpr_loss, compressed_tables, full_tables
from .trainer import TrainConfig, Trainer, TrainResult

# imported first, so that its absence is told in one line that says what to install
del _torch

__all__ = [
    "CompressedEmbedding",
    "LightGCN",
    "MatrixFactorization",
    "Recommender",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "bpr_loss",
    "compressed_tables",
    "evaluate",
    "full_tables",
]
