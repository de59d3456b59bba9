"""One door for every form of a multi-relational graph."""

from __future__ import annotations

import os
from typing import Any, Literal

from demm._canonical import canonical_graph
from demm._graph import MultiRelationalGraph, SelfLoops
from demm._hetero import from_hetero
from demm._store import load_store


def as_graph(
    graph: Any,
    *,
    n_nodes: int | None = None,
    binarize: bool = True,
    self_loops: SelfLoops = "keep",
    directed: Literal["symmetrize", "error"] = "symmetrize",
    n_jobs: int | None = None,
) -> MultiRelationalGraph:
    """Check a multi-relational graph and bring it into canonical form.

    Args:
        graph: list, tuple or dict of relations; a single relation; a ``MultiRelationalGraph``; the path of a
            store (``demm.io.save_store``); a PyG ``HeteroData`` with one node type. A relation is a square
            scipy sparse or dense matrix, an integer ``edge_index`` of shape [2, edges], or a ``Metapath``.
        n_nodes: number of nodes; needed when every relation is an ``edge_index`` that may miss the last ones.
        binarize: drop weights; False keeps them (non-negative).
        self_loops: keep the diagonal as it is, add the missing entries (weight 1), or remove all.
        directed: what to do with a relation that is not symmetric: take ``max(A, A^T)`` and warn, or raise.
        n_jobs: threads of the symmetry check.

    Raises:
        ValueError, TypeError: with the relation's name, what came and what was expected.
    """
    if isinstance(graph, (str, os.PathLike)):
        graph = load_store(graph)
    if hasattr(graph, "edge_types") and hasattr(graph, "node_types"):
        graph = from_hetero(graph)
    return canonical_graph(
        graph, n_nodes=n_nodes, binarize=binarize, self_loops=self_loops, directed=directed, n_jobs=n_jobs
    )
