"""Attention between modalities, fusion baselines, and the spiking network around them."""

from slr_cma.models.cma import ALLOCATIONS, CrossModalityAttention, Scores
from slr_cma.models.fusion import FUSIONS
from slr_cma.models.net import CMANet, NetConfig, Streaming
from slr_cma.models.scorers import SpatialScorer, TemporalScorer

__all__ = [
    "ALLOCATIONS",
    "FUSIONS",
    "CMANet",
    "CrossModalityAttention",
    "NetConfig",
    "Scores",
    "SpatialScorer",
    "Streaming",
    "TemporalScorer",
]
