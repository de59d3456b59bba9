"""A graph with several kinds of edges: its types, and the operators that multiply with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from demm.operators import CSROperator, RelationOperator, RowPool, build_metapath, compress_twins

SelfLoops = Literal["keep", "add", "remove"]


@dataclass(frozen=True)
class Metapath:
    """Relation "two nodes share an object", given by who has which object.

    Args:
        incidence: scipy sparse or dense, shape [nodes, objects], non-negative: papers x subjects, say.
        weighted: count shared objects (``B B^T``, never formed: a product costs two passes over ``B``), or,
            by default, link whoever shares at least one (``B B^T`` binarised; formed once, unless every node
            has at most one object, when the two agree).
    """

    incidence: Any
    weighted: bool = False


@dataclass(frozen=True)
class Relation:
    """One kind of edges in canonical form: symmetric compressed rows, columns sorted, no zeros.

    Attributes:
        name: how messages and results call it.
        indptr, indices: int64 [nodes + 1] and int32 [entries]; may be memory-mapped.
        values: weights, or None when all are equal (only ratios matter).
        incidence: instead of the three, the [nodes, objects] matrix of a weighted meta-path.
        self_loops: what was asked for: "keep", "add" or "remove".
    """

    name: str
    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray | None = None
    incidence: Any = None
    self_loops: SelfLoops = "keep"

    @property
    def n_entries(self) -> int:
        """Stored entries: each edge twice, a self-loop once."""
        return int(self.incidence.nnz if self.incidence is not None else self.indices.shape[0])

    def tocsr(self, dtype: Any = np.float32) -> sp.csr_array:
        """The adjacency as a scipy matrix; a meta-path is multiplied out."""
        if self.incidence is not None:
            b = sp.csr_array(self.incidence).astype(dtype)
            return with_self_loops(sp.csr_array(b @ b.T), self.self_loops)
        n = self.indptr.shape[0] - 1
        values = np.ones(self.indices.shape[0], dtype=dtype) if self.values is None else self.values
        return sp.csr_array((values.astype(dtype), self.indices, self.indptr), shape=(n, n))


@dataclass(frozen=True)
class MultiRelationalGraph:
    """Relations over the same nodes, checked and canonical; what every input form becomes.

    Attributes:
        relations: at least one ``Relation``.
        n_nodes: number of nodes.
        X: attributes that came with the graph (a store, ``HeteroData``), shape [nodes, features], or None;
            ``fit(graph)`` uses them when no ``X`` is given.
    """

    relations: tuple[Relation, ...]
    n_nodes: int
    X: Any = field(default=None, repr=False)

    @property
    def names(self) -> list[str]:
        return [relation.name for relation in self.relations]

    @property
    def n_entries(self) -> int:
        return sum(relation.n_entries for relation in self.relations)

    def __len__(self) -> int:
        return len(self.relations)

    def __iter__(self) -> Iterator[Relation]:
        return iter(self.relations)

    def __getitem__(self, key: int | str) -> Relation:
        if isinstance(key, str):
            for relation in self.relations:
                if relation.name == key:
                    return relation
            raise KeyError(f"got relation {key!r}, expected one of {', '.join(self.names)}")
        return self.relations[key]


def build_operators(
    graph: MultiRelationalGraph, *, dtype: Any, compress: bool | Literal["auto"], pool: RowPool
) -> list[RelationOperator]:
    """Each relation in its smallest exact form (``compress=False``: rows as they are)."""
    operators: list[RelationOperator] = []
    for relation in graph:
        if relation.incidence is not None:
            operators.append(build_metapath(relation.incidence, relation.self_loops, dtype))
            continue
        plain = CSROperator.build(relation.indptr, relation.indices, relation.values, dtype, pool)
        twin = compress_twins(plain, pool, 1.5 if compress == "auto" else 0.0) if compress else None
        operators.append(plain if twin is None else twin)
    return operators


def normalised_adjacency(relation: Relation, dtype: Any = np.float64) -> sp.csr_array:
    """``D^-1/2 A D^-1/2`` written out: the reference that the operators are tested against."""
    a = relation.tocsr(np.float64)
    degree = np.asarray(a.sum(axis=1)).ravel()
    root = np.zeros_like(degree)
    np.divide(1.0, np.sqrt(degree), out=root, where=degree > 0)
    scaled = sp.csr_array(sp.diags_array(root) @ a @ sp.diags_array(root))
    return scaled.astype(dtype)


def with_self_loops(matrix: sp.csr_array, self_loops: SelfLoops) -> sp.csr_array:
    if self_loops == "keep":
        return matrix
    diagonal = matrix.diagonal()
    if self_loops == "add":
        missing = (diagonal == 0).astype(matrix.dtype)
        result = sp.csr_array(matrix + sp.diags_array(missing)) if missing.any() else matrix
    else:
        if not diagonal.any():
            return matrix
        entries = matrix.tocoo()
        off = entries.row != entries.col
        result = sp.csr_array((entries.data[off], (entries.row[off], entries.col[off])), shape=matrix.shape)
    result.eliminate_zeros()
    result.sort_indices()
    return result
