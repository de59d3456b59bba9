"""Everything that may be wrong with a given graph, and its canonical form."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from demm._graph import Metapath, MultiRelationalGraph, Relation, SelfLoops, with_self_loops
from demm.operators import RowPool, row_blocks

MOST_NODES = 2**31 - 1
FLOAT32_SAFE = (1e-36, 1e36)


def canonical_graph(
    graph: Any,
    *,
    n_nodes: int | None = None,
    binarize: bool = True,
    self_loops: SelfLoops = "keep",
    directed: Literal["symmetrize", "error"] = "symmetrize",
    n_jobs: int | None = None,
) -> MultiRelationalGraph:
    """``demm.as_graph`` for relations in memory: everything but a path or a ``HeteroData``."""
    _one_of("self_loops", self_loops, ("keep", "add", "remove"))
    _one_of("directed", directed, ("symmetrize", "error"))
    named = _named(graph)
    n = _count_nodes(named, n_nodes)
    with RowPool(n_jobs) as pool:
        relations = tuple(_canonical(name, given, n, binarize, self_loops, directed, pool) for name, given in named)
    if all(relation.n_entries == 0 for relation in relations):
        raise ValueError("no relation has an edge: there is nothing to cluster by; pass at least one edge")
    for relation in relations:
        _warn_if_empty(relation)
    return MultiRelationalGraph(relations, n, graph.X if isinstance(graph, MultiRelationalGraph) else None)


def _one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if not any(value is option or (isinstance(value, type(option)) and value == option) for option in allowed):
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}")


def _named(graph: Any) -> list[tuple[str, Any]]:
    if isinstance(graph, MultiRelationalGraph):
        return [(relation.name, relation) for relation in graph]
    if isinstance(graph, Mapping):
        named = [(str(name), given) for name, given in graph.items()]
    elif isinstance(graph, (list, tuple)) or (isinstance(graph, np.ndarray) and graph.ndim == 3):
        named = [(f"relation_{place}", given) for place, given in enumerate(graph)]
    elif sp.issparse(graph) or isinstance(graph, Metapath) or hasattr(graph, "__array__"):
        named = [("relation_0", graph)]
    else:
        raise TypeError(
            f"got a graph of type {type(graph).__name__}; expected a list, tuple or dict of relations "
            "(scipy sparse, dense, edge_index, Metapath), a MultiRelationalGraph, or the path of a store"
        )
    if not named:
        raise ValueError("got no relation; expected at least one")
    return named


def _is_edge_index(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.shape[0] == 2 and array.shape[1] != 2 and array.dtype.kind in "iu"


def _to_array(given: Any) -> Any:
    if sp.issparse(given) or isinstance(given, (Metapath, Relation)):
        return given
    if hasattr(given, "detach") and hasattr(given, "cpu"):  # a torch tensor, without importing torch
        given = given.detach().cpu()
    array = np.asarray(given)
    return array.astype(np.float32) if array.dtype == np.float16 else array  # scipy has no sparse float16


def _count_nodes(named: list[tuple[str, Any]], n_nodes: int | None) -> int:
    """Number of nodes on which all relations agree."""
    if n_nodes is not None:
        return int(n_nodes)
    highest = 0
    for _, given in named:
        if isinstance(given, Relation):
            return int(given.incidence.shape[0] if given.incidence is not None else given.indptr.shape[0] - 1)
        if isinstance(given, Metapath):
            return int(given.incidence.shape[0])
        array = _to_array(given)
        if sp.issparse(array) or not _is_edge_index(array):
            return int(array.shape[0]) if array.ndim else 0
        highest = max(highest, int(array.max(initial=-1)) + 1)
    return highest


def _canonical(
    name: str, given: Any, n: int, binarize: bool, self_loops: SelfLoops, directed: str, pool: RowPool
) -> Relation:
    if n > MOST_NODES:
        raise ValueError(f"got {n} nodes; at most {MOST_NODES} can be numbered with 4 bytes")
    if isinstance(given, Metapath):
        incidence = _check_incidence(name, given.incidence, n)
        single = bool(np.all(np.diff(incidence.indptr) <= 1)) and bool(np.all(incidence.data == 1))
        if (given.weighted and not binarize) or (given.weighted and single):
            return Relation(name, incidence.indptr[:1], incidence.indices[:0], None, incidence, self_loops)
        if given.weighted:
            # an explicit request for counts outranks the estimator's default of binary edges
            return Relation(name, incidence.indptr[:1], incidence.indices[:0], None, incidence, self_loops)
        if not single:
            incidence.data[:] = 1
        matrix = sp.csr_array(incidence @ incidence.T)
        matrix.data[:] = 1
        return _relation(name, with_self_loops(matrix, self_loops), True)
    if isinstance(given, Relation):
        size = given.incidence.shape[0] if given.incidence is not None else given.indptr.shape[0] - 1
        if size != n:
            raise ValueError(f"relation {name!r} has {size} nodes, expected {n} as in X or the other relations")
        if given.incidence is not None:
            return Relation(name, given.indptr, given.indices, None, given.incidence, self_loops)
        if self_loops == "keep":
            values = None if binarize else given.values
            return Relation(name, given.indptr, given.indices, values)
        return _relation(name, with_self_loops(given.tocsr(np.float64), self_loops), binarize)
    matrix = _check_matrix(name, _to_array(given), n)
    if not _is_symmetric(matrix, binarize, pool):
        if directed == "error":
            raise ValueError(f"relation {name!r} is not symmetric; pass max(A, A.T), or directed='symmetrize'")
        warnings.warn(
            f"relation {name!r} is directed (not symmetric); it is used as max(A, A.T)",
            UserWarning,
            stacklevel=5,
        )
        matrix = sp.csr_array(matrix.maximum(matrix.T))
        matrix.sort_indices()
    return _relation(name, with_self_loops(matrix, self_loops), binarize)


def _check_incidence(name: str, given: Any, n: int) -> sp.csr_array:
    incidence = sp.csr_array(given if sp.issparse(given) else np.asarray(given))
    if incidence.ndim != 2 or incidence.shape[0] != n:
        raise ValueError(
            f"relation {name!r}: Metapath incidence has shape {incidence.shape}, expected [{n} nodes, objects]"
        )
    check_values(name, incidence.data)
    incidence = incidence.astype(np.float64)  # a copy: the caller's matrix stays as it is
    incidence.sum_duplicates()
    incidence.eliminate_zeros()
    return incidence


def _check_matrix(name: str, given: Any, n: int) -> sp.csr_array:
    if not sp.issparse(given):
        if given.dtype.kind not in "biuf":
            raise TypeError(f"relation {name!r} has dtype {given.dtype}, expected bool, integer or float")
        if _is_edge_index(given):
            return _from_edge_index(name, given, n)
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise ValueError(
            f"relation {name!r} has shape {given.shape}; expected a square [nodes, nodes] matrix, an integer "
            "edge_index of shape [2, edges], or Metapath(B) for an incidence matrix B"
        )
    if given.shape[0] != n:
        raise ValueError(f"relation {name!r} has {given.shape[0]} nodes, expected {n} as in X or the other relations")
    if sp.issparse(given) and given.dtype.kind not in "biuf":
        raise TypeError(f"relation {name!r} has dtype {given.dtype}, expected bool, integer or float")
    matrix = sp.csr_array(given)
    check_values(name, matrix.data)
    if not matrix.has_canonical_format or not matrix.has_sorted_indices or np.any(matrix.data == 0):
        matrix = matrix.astype(np.float64) if matrix.dtype.kind in "biu" else matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    return matrix


def _from_edge_index(name: str, edges: np.ndarray, n: int) -> sp.csr_array:
    if edges.shape[1] and (edges.min() < 0 or edges.max() >= n):
        outside = int(edges.min() if edges.min() < 0 else edges.max())
        raise ValueError(
            f"relation {name!r}: edge_index holds node {outside}, "
            f"expected 0 to {n - 1}; pass X or n_nodes with the right number of nodes"
        )
    ones = np.ones(edges.shape[1], dtype=np.float32)
    matrix = sp.csr_array((ones, (edges[0].astype(np.int32), edges[1].astype(np.int32))), shape=(n, n))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def check_values(name: str, data: np.ndarray) -> None:
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise ValueError(f"relation {name!r} holds NaN or infinite weights; remove or replace them")
    if data.dtype.kind in "if" and data.size and data.min() < 0:
        raise ValueError(
            f"relation {name!r} holds negative weights (lowest {data.min():g}); expected weights >= 0, "
            "so split it into a positive relation and leave the rest out"
        )


def _is_symmetric(matrix: sp.csr_array, binarize: bool, pool: RowPool) -> bool:
    from demm.operators import _kernels as kernels

    indptr = matrix.indptr.astype(np.int64, copy=False)
    indices = matrix.indices
    values = np.zeros(0, dtype=np.float32) if binarize else matrix.data.astype(np.float64, copy=False)
    blocks = row_blocks(matrix.shape[0], indptr)
    return pool.sum(lambda lo, hi: kernels.asymmetric_rows(indptr, indices, values, lo, hi), blocks) == 0


def _relation(name: str, matrix: sp.csr_array, binarize: bool) -> Relation:
    values = None
    if not binarize and matrix.nnz:
        low, high = float(matrix.data.min()), float(matrix.data.max())
        if low != high:  # a common factor cancels in D^-1/2 A D^-1/2
            values = matrix.data
            if low < FLOAT32_SAFE[0] or high > FLOAT32_SAFE[1]:
                values = values.astype(np.float64) / np.sqrt(low) / np.sqrt(high)
    return Relation(
        name,
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        values,
    )


def _warn_if_empty(relation: Relation) -> None:
    if relation.incidence is not None:
        return
    if relation.n_entries == 0:
        warnings.warn(f"relation {relation.name!r} has no edges; its weight is 0", UserWarning, stacklevel=4)
        return
    lengths = np.diff(relation.indptr)
    if lengths.max() <= 1 and np.array_equal(relation.indices, np.flatnonzero(lengths)):
        warnings.warn(
            f"relation {relation.name!r} holds self-loops only: it links no two nodes and says nothing about clusters",
            UserWarning,
            stacklevel=4,
        )
