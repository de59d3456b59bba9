"""Shrink a recommender's embedding tables by balanced co-clustering of users and items."""

from .codebook import Codebook
from .graph import BipartiteGraph

__all__ = ["BipartiteGraph", "Codebook"]
