"""Relations out of a PyG ``HeteroData``, without importing PyG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp

from demm._canonical import canonical_graph
from demm._features import check_attributes
from demm._graph import Metapath, MultiRelationalGraph


def from_hetero(
    data: Any, node_type: str | None = None, metapaths: Sequence[Any] | None = None
) -> MultiRelationalGraph:
    """Relations among one node type of a PyG ``HeteroData``, with its ``x`` as attributes.

    Args:
        data: ``torch_geometric.data.HeteroData`` (extra ``demm[pyg]``).
        node_type: the nodes to cluster; may be left out when there is only one type.
        metapaths: each a list of edge types ``(source, relation, target)`` that starts at ``node_type`` and
            either ends there, or ends at another type, which then links nodes that share an object:
            ``[("paper", "about", "subject")]`` is paper-subject-paper. None takes every edge type among
            ``node_type`` itself, and one such shared-object relation per edge type that leaves it.
    Returns:
        graph for ``fit(graph)``; ``graph.X`` holds the attributes, or None.
    """
    types = list(data.node_types)
    if node_type is None:
        if len(types) != 1:
            raise ValueError(f"HeteroData has node types {types}; pass from_hetero(data, node_type=...)")
        node_type = types[0]
    if node_type not in types:
        raise ValueError(f"node_type={node_type!r}: expected one of {types}")
    edge_types = [tuple(edge) for edge in data.edge_types]
    if metapaths is None:
        metapaths = [[edge] for edge in edge_types if edge[0] == node_type]
    if not metapaths:
        raise ValueError(f"no edge type leaves {node_type!r}; it has {edge_types}")
    graph: dict[str, Any] = {}
    for path in metapaths:
        steps = [tuple(step) for step in path]
        _check_metapath(steps, edge_types, node_type)
        product = _incidence(data, steps[0])
        for step in steps[1:]:
            product = sp.csr_array(product @ _incidence(data, step))
        product.data[:] = 1
        name = "-".join([steps[0][0], *(step[2] for step in steps)])
        while name in graph:
            name += "'"
        if steps[-1][2] == node_type:
            matrix = sp.csr_array(product.maximum(product.T))
            matrix.sort_indices()
            graph[name] = matrix
        else:
            graph[name] = Metapath(product)
    attributes = getattr(data[node_type], "x", None)
    n = _count(data, node_type)
    read = canonical_graph(graph, n_nodes=n)
    X = None if attributes is None else check_attributes(attributes, n)
    return MultiRelationalGraph(read.relations, n, X)


def _check_metapath(steps: list[tuple[Any, ...]], edge_types: list[tuple[Any, ...]], node_type: str) -> None:
    unknown = [step for step in steps if step not in edge_types]
    if unknown or not steps:
        raise ValueError(f"meta-path {steps}: {unknown} not among the edge types {edge_types}")
    if steps[0][0] != node_type:
        raise ValueError(f"meta-path {steps} starts at {steps[0][0]!r}, expected {node_type!r}")
    for before, after in pairwise(steps):
        if before[2] != after[0]:
            raise ValueError(f"meta-path {steps}: {before} ends at {before[2]!r} but {after} starts at {after[0]!r}")


def _count(data: Any, node_type: str) -> int:
    n = data[node_type].num_nodes
    if n is None:
        raise ValueError(f"node type {node_type!r} has no number of nodes; set data[{node_type!r}].num_nodes")
    return int(n)


def _incidence(data: Any, step: tuple[Any, ...]) -> sp.csr_array:
    edges = data[step].edge_index.detach().cpu().numpy()
    shape = (_count(data, step[0]), _count(data, step[2]))
    matrix = sp.csr_array((np.ones(edges.shape[1], dtype=np.float32), (edges[0], edges[1])), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
