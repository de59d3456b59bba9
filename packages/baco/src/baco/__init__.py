"""Shrink a recommender's embedding tables by balanced co-clustering of users and items."""

from .cluster import BACO
from .codebook import Codebook
from .graph import BipartiteGraph

__all__ = ["BACO", "BipartiteGraph", "Codebook"]
