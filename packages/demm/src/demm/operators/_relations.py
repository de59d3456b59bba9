"""One relation as a linear map, stored in whichever form is smallest; every form is exact.

A relation with adjacency ``A`` and degrees ``d`` stands for ``Ahat = D^-1/2 A D^-1/2``. A product takes two
steps, because that is what all forms have in common and what threads can share:

1. ``gather(x)`` does what needs every row of ``x`` (sums over twin classes, over shared objects, or nothing);
2. ``add_rows(x, gathered, coef, out, fresh, lo, hi)`` adds ``coef * Ahat x`` to a range of rows of ``out``,
   or overwrites them when ``fresh``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from demm.operators._threads import RowPool, row_blocks

NO_VALUES = np.zeros(0, dtype=np.float32)
LARGE = 1 << 16  # nodes from which looking up the scale of every neighbour costs more than scaling x first
SEGMENT = 2048  # members of a class summed at a time: bounds the work of one thread, whatever the class sizes


class RelationOperator(Protocol):
    """What the backends ask of one relation."""

    kind: str
    inverse_root: np.ndarray  # d^-1/2, 0 where isolated
    frobenius: float  # ||Ahat||_F^2

    @property
    def n_nodes(self) -> int: ...

    @property
    def n_stored(self) -> int:
        """Numbers that one product reads."""
        ...

    @property
    def n_entries(self) -> int:
        """Non-zeros of the adjacency it stands for."""
        ...

    def gather(self, x: np.ndarray, pool: RowPool) -> np.ndarray | None: ...

    def add_rows(
        self,
        x: np.ndarray,
        gathered: np.ndarray | None,
        coef: float,
        out: np.ndarray,
        fresh: bool,
        lo: int,
        hi: int,
    ) -> None: ...

    def quadratic(self, x: np.ndarray, pool: RowPool) -> float: ...

    def cost(self) -> np.ndarray | None: ...

    def nbytes(self) -> int: ...


def inverse_root(degree: np.ndarray, dtype: Any) -> np.ndarray:
    """``d^-1/2`` in ``dtype``, 0 where the degree is 0."""
    result = np.zeros(degree.shape[0], dtype=np.float64)
    np.divide(1.0, np.sqrt(degree), out=result, where=degree > 0)
    return result.astype(dtype, copy=False)


def _inverse(degree: np.ndarray) -> np.ndarray:
    result = np.zeros(degree.shape[0], dtype=np.float64)
    np.divide(1.0, degree, out=result, where=degree > 0)
    return result


@dataclass
class CSROperator:
    """Compressed rows without values when all are one: 4 bytes an entry; memory-mapped arrays are fine."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    inverse_root: np.ndarray
    frobenius: float
    kind: str = "csr"

    @classmethod
    def build(
        cls, indptr: np.ndarray, indices: np.ndarray, values: np.ndarray | None, dtype: Any, pool: RowPool
    ) -> CSROperator:
        """Degrees and norm are computed in float64; ``indptr``, ``indices``, ``values`` are not copied."""
        from demm.operators import _kernels as kernels

        n = indptr.shape[0] - 1
        weights = NO_VALUES.astype(dtype) if values is None else values.astype(dtype, copy=False)
        blocks = row_blocks(n, indptr)
        degree = np.empty(n, dtype=np.float64)
        pool.run(lambda lo, hi: kernels.degree_rows(indptr, indices, weights, degree, lo, hi), blocks)
        inverse = _inverse(degree)
        norm = pool.sum(lambda lo, hi: kernels.frobenius_rows(indptr, indices, weights, inverse, lo, hi), blocks)
        return cls(indptr, indices, weights, inverse_root(degree, dtype), norm)

    @property
    def n_nodes(self) -> int:
        return int(self.indptr.shape[0] - 1)

    @property
    def n_entries(self) -> int:
        return int(self.indices.shape[0])

    n_stored = n_entries

    def cost(self) -> np.ndarray | None:
        return self.indptr

    def nbytes(self) -> int:
        return int(self.indptr.nbytes + self.indices.nbytes + self.values.nbytes + self.inverse_root.nbytes)

    def gather(self, x: np.ndarray, pool: RowPool) -> np.ndarray | None:
        """``D^-1/2 x`` in the spare panel for large binary relations; small ones scale as they go."""
        if self.values.shape[0] or self.n_nodes < LARGE or self.n_entries < 4 * self.n_nodes:
            return None
        from demm.operators import _kernels as kernels

        scaled = pool.spare(x)
        even = row_blocks(self.n_nodes, np.arange(self.n_nodes + 1) * 8)
        pool.run(lambda lo, hi: kernels.scale_rows(self.inverse_root, x, scaled, lo, hi), even)
        return scaled

    def add_rows(
        self,
        x: np.ndarray,
        gathered: np.ndarray | None,
        coef: float,
        out: np.ndarray,
        fresh: bool,
        lo: int,
        hi: int,
    ) -> None:
        from demm.operators import _kernels as kernels

        scale, c = self.inverse_root, x.dtype.type(coef)
        right, source = (scale, x) if gathered is None else (self.values, gathered)
        kernels.add_rows(self.indptr, self.indices, self.values, scale, right, source, c, out, fresh, lo, hi)

    def quadratic(self, x: np.ndarray, pool: RowPool) -> float:
        from demm.operators import _kernels as kernels

        gathered = self.gather(x, pool)
        scale, source = (self.inverse_root, x) if gathered is None else (self.values, gathered)
        return pool.sum(
            lambda lo, hi: kernels.inner_rows(self.indptr, self.indices, self.values, scale, source, lo, hi),
            row_blocks(self.n_nodes, self.indptr),
        )


@dataclass
class TwinOperator:
    """Nodes with the same neighbourhood share one row: ``A = P Q P^T + diag(delta)``, exactly.

    ``P`` is the [nodes, classes] indicator of equal rows (rows of ``A``, or of ``A + I`` for closed
    neighbourhoods, in which case ``delta`` takes the added loops away again). A relation that is a union of
    cliques, such as "same venue", has as many classes as cliques.
    Source: our derivation; equal rows of a symmetric matrix are equal columns.
    """

    membership: np.ndarray  # [nodes], class of each node
    order: np.ndarray  # nodes sorted by class
    bounds: np.ndarray  # segments of `order`, none longer than SEGMENT, none across two classes
    segment_class: np.ndarray
    quotient: sp.csr_array  # [classes, classes], 0/1
    delta: np.ndarray  # [nodes], or empty
    inverse_root: np.ndarray
    frobenius: float
    n_entries: int
    kind: str = "twins"

    def __post_init__(self) -> None:
        n = self.membership.shape[0]
        self._one_each = np.arange(n + 1)
        self._ones = np.ones(max(n, self.bounds.shape[0]), dtype=self.inverse_root.dtype)
        self._none = np.zeros(0, dtype=self.inverse_root.dtype)
        self._segment_blocks = row_blocks(self.bounds.shape[0] - 1, self.bounds * 8)

    @property
    def n_nodes(self) -> int:
        return int(self.membership.shape[0])

    @property
    def n_classes(self) -> int:
        return int(self.quotient.shape[0])

    @property
    def n_stored(self) -> int:
        return int(self.quotient.nnz + 2 * self.n_nodes)

    def cost(self) -> np.ndarray | None:
        return None

    def nbytes(self) -> int:
        arrays = (self.membership, self.order, self.bounds, self.segment_class, self.delta, self.inverse_root)
        quotient = self.quotient.data.nbytes + self.quotient.indices.nbytes + self.quotient.indptr.nbytes
        return int(sum(array.nbytes for array in arrays) + quotient)

    def _class_sums(self, x: np.ndarray, pool: RowPool) -> np.ndarray:
        from demm.operators import _kernels as kernels

        n_segments = self.bounds.shape[0] - 1
        partial = np.empty((n_segments, x.shape[1]), dtype=x.dtype)
        one = x.dtype.type(1)
        pool.run(
            lambda lo, hi: kernels.add_rows(
                self.bounds,
                self.order,
                self._none,
                self._ones,
                self.inverse_root,
                x,
                one,
                partial,
                True,
                lo,
                hi,
            ),
            self._segment_blocks,
        )
        if n_segments == self.n_classes:
            return partial
        starts = np.flatnonzero(np.diff(self.segment_class, prepend=-1))
        sums: np.ndarray = np.add.reduceat(partial, starts, axis=0)
        return sums

    def gather(self, x: np.ndarray, pool: RowPool) -> np.ndarray | None:
        return np.ascontiguousarray(self.quotient @ self._class_sums(x, pool))

    def add_rows(
        self,
        x: np.ndarray,
        gathered: np.ndarray | None,
        coef: float,
        out: np.ndarray,
        fresh: bool,
        lo: int,
        hi: int,
    ) -> None:
        from demm.operators import _kernels as kernels

        scale, c = self.inverse_root, x.dtype.type(coef)
        # every row has one entry, its class
        kernels.add_rows(
            self._one_each, self.membership, self._none, scale, self._none, gathered, c, out, fresh, lo, hi
        )
        if self.delta.shape[0]:
            kernels.add_diagonal_rows(self.delta, scale, x, c, out, lo, hi)

    def quadratic(self, x: np.ndarray, pool: RowPool) -> float:
        sums = self._class_sums(x, pool)
        total = float(np.einsum("ij,ij->", sums, self.quotient @ sums, dtype=np.float64))
        if self.delta.shape[0]:
            weight = self.delta.astype(np.float64) * self.inverse_root.astype(np.float64) ** 2
            total += float(weight @ np.einsum("ij,ij->i", x, x, dtype=np.float64))
        return total


def compress_twins(operator: CSROperator, pool: RowPool, minimum_ratio: float = 1.5) -> TwinOperator | None:
    """The same relation over classes of nodes with equal neighbourhoods, or None where it does not pay.

    Args:
        operator: an unweighted relation.
        minimum_ratio: entries over (quotient entries + 2 nodes) that a compression must reach.
    """
    from demm.operators import _kernels as kernels

    n = operator.n_nodes
    if operator.values.shape[0] or operator.n_entries < minimum_ratio * 2 * n:
        return None  # weights differ, or the ratio is out of reach even with one class
    indptr, indices = operator.indptr, operator.indices
    blocks = row_blocks(n, indptr)
    best: tuple[bool, np.ndarray, np.ndarray] | None = None
    for closed in (True, False):
        hashes = np.empty(n, dtype=np.uint64)

        def hash_block(lo: int, hi: int, closed: bool = closed, hashes: np.ndarray = hashes) -> None:
            kernels.hash_rows(indptr, indices, closed, hashes, lo, hi)

        pool.run(hash_block, blocks)
        _, first, membership = np.unique(hashes, return_index=True, return_inverse=True)
        if best is None or first.shape[0] < best[1].shape[0]:
            best = (closed, first, membership)
    assert best is not None
    closed, first, membership = best
    n_classes = first.shape[0]
    if n_classes > n // 2:
        return None
    representative = first[membership].astype(np.int64)
    wrong = pool.sum(lambda lo, hi: kernels.same_rows(indptr, indices, closed, representative, lo, hi), blocks)
    if wrong:
        return None  # two different rows with one hash: a chance of 2^-64 per pair
    quotient = _quotient(indptr, indices, closed, first, membership, operator.inverse_root.dtype)
    if operator.n_entries < minimum_ratio * (quotient.nnz + 2 * n):
        return None
    return _twin_operator(operator, closed, membership, n_classes, quotient)


def _quotient(
    indptr: np.ndarray,
    indices: np.ndarray,
    closed: bool,
    first: np.ndarray,
    membership: np.ndarray,
    dtype: Any,
) -> sp.csr_array:
    n_classes = first.shape[0]
    lengths = (indptr[first + 1] - indptr[first]).astype(np.int64)
    offsets = np.repeat(indptr[first] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    columns = membership[indices[offsets + np.arange(offsets.shape[0])]]
    rows = np.repeat(np.arange(n_classes), lengths)
    if closed:
        rows = np.concatenate([rows, np.arange(n_classes)])
        columns = np.concatenate([columns, membership[first]])
    quotient = sp.csr_array((np.ones(rows.shape[0], dtype=dtype), (rows, columns)), shape=(n_classes, n_classes))
    quotient.sum_duplicates()
    quotient.data[:] = 1
    return quotient


def _twin_operator(
    operator: CSROperator, closed: bool, membership: np.ndarray, n_classes: int, quotient: sp.csr_array
) -> TwinOperator:
    n = operator.n_nodes
    dtype = operator.inverse_root.dtype
    order = np.argsort(membership, kind="stable").astype(np.int32)
    sizes = np.bincount(membership, minlength=n_classes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    pieces = [np.arange(starts[c], starts[c + 1], SEGMENT) for c in range(n_classes)]
    segment_class = np.repeat(np.arange(n_classes), [piece.shape[0] for piece in pieces])
    bounds = np.append(np.concatenate(pieces), n).astype(np.int64)
    delta = np.zeros(0, dtype=dtype)
    if closed:
        loops = np.zeros(n, dtype=bool)
        row_of = np.repeat(np.arange(n), np.diff(operator.indptr))
        loops[row_of[operator.indices == row_of]] = True
        if not loops.all():
            delta = np.where(loops, 0, -1).astype(dtype)
    return TwinOperator(
        membership.astype(np.int32),
        order,
        bounds,
        segment_class,
        quotient,
        delta,
        operator.inverse_root,
        operator.frobenius,
        operator.n_entries,
    )


@dataclass
class MetapathOperator:
    """``A = B B^T + diag(delta)`` for an incidence ``B`` [nodes, objects], never formed.

    A product costs two passes over ``B`` instead of one over the (much denser) ``B B^T``. Entries count
    shared objects. ``delta`` carries what self-loop handling changes on the diagonal.
    """

    incidence: CSRArrays  # rows: nodes
    transposed: CSRArrays  # rows: objects
    delta: np.ndarray
    inverse_root: np.ndarray
    frobenius: float
    n_entries: int
    kind: str = "metapath"
    _ones: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n_objects = self.transposed.indptr.shape[0] - 1
        self._ones = np.ones(max(n_objects, self.n_nodes), dtype=self.inverse_root.dtype)

    @property
    def n_nodes(self) -> int:
        return int(self.incidence.indptr.shape[0] - 1)

    @property
    def n_stored(self) -> int:
        return int(2 * self.incidence.indices.shape[0])

    def cost(self) -> np.ndarray | None:
        return self.incidence.indptr

    def nbytes(self) -> int:
        parts = (self.incidence, self.transposed)
        arrays = [array for part in parts for array in (part.indptr, part.indices, part.values)]
        return int(sum(array.nbytes for array in arrays) + self.inverse_root.nbytes + self.delta.nbytes)

    def gather(self, x: np.ndarray, pool: RowPool) -> np.ndarray | None:
        from demm.operators import _kernels as kernels

        part = self.transposed
        table = np.empty((part.indptr.shape[0] - 1, x.shape[1]), dtype=x.dtype)
        one = x.dtype.type(1)
        pool.run(
            lambda lo, hi: kernels.add_rows(
                part.indptr, part.indices, part.values, self._ones, self.inverse_root, x, one, table, True, lo, hi
            ),
            row_blocks(table.shape[0], part.indptr),
        )
        return table

    def add_rows(
        self,
        x: np.ndarray,
        gathered: np.ndarray | None,
        coef: float,
        out: np.ndarray,
        fresh: bool,
        lo: int,
        hi: int,
    ) -> None:
        from demm.operators import _kernels as kernels

        part, scale, c = self.incidence, self.inverse_root, x.dtype.type(coef)
        kernels.add_rows(part.indptr, part.indices, part.values, scale, self._ones, gathered, c, out, fresh, lo, hi)
        if self.delta.shape[0]:
            kernels.add_diagonal_rows(self.delta, scale, x, c, out, lo, hi)

    def quadratic(self, x: np.ndarray, pool: RowPool) -> float:
        table = self.gather(x, pool)
        assert table is not None
        total = float(np.einsum("ij,ij->", table, table, dtype=np.float64))
        if self.delta.shape[0]:
            weight = self.delta.astype(np.float64) * self.inverse_root.astype(np.float64) ** 2
            total += float(weight @ np.einsum("ij,ij->i", x, x, dtype=np.float64))
        return total


@dataclass
class CSRArrays:
    """The three arrays of compressed rows; ``values`` is empty when all are one."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix: Any, dtype: Any) -> CSRArrays:
        matrix = sp.csr_array(matrix)
        matrix.sort_indices()
        plain = bool(matrix.nnz == 0 or np.all(matrix.data == 1))
        values = NO_VALUES.astype(dtype) if plain else matrix.data.astype(dtype)
        return cls(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), values)


def build_metapath(incidence: Any, self_loops: str, dtype: Any) -> MetapathOperator:
    """Operator of ``B B^T`` with its self-loops kept, removed, or added where missing.

    Args:
        incidence: scipy sparse, [nodes, objects], non-negative.
        self_loops: ``"keep"``, ``"remove"`` or ``"add"``.
    """
    b = sp.csr_array(incidence).astype(np.float64)
    n = b.shape[0]
    diagonal = np.asarray(b.multiply(b).sum(axis=1)).ravel()
    full = np.asarray(b @ (b.T @ np.ones(n))).ravel()  # row sums of B B^T
    delta = np.zeros(n)
    if self_loops == "remove":
        delta = -diagonal
    elif self_loops == "add":
        delta = np.where(diagonal == 0, 1.0, 0.0)
    degree = full + delta
    # what rounding leaves of an isolated node's degree must not become an edge
    degree[degree <= 1e-12 * np.maximum(full, 1)] = 0
    norm, n_entries = _metapath_norm(b, delta, _inverse(degree), diagonal)
    corrected = delta.astype(dtype) if np.any(delta) else np.zeros(0, dtype=dtype)
    return MetapathOperator(
        CSRArrays.of(b, dtype),
        CSRArrays.of(b.T, dtype),
        corrected,
        inverse_root(degree, dtype),
        norm,
        n_entries,
    )


def _metapath_norm(b: sp.csr_array, delta: np.ndarray, inverse: np.ndarray, diagonal: np.ndarray) -> tuple[float, int]:
    """||D^-1/2 (B B^T + diag(delta)) D^-1/2||_F^2 and the entries of B B^T, a block of rows at a time."""
    n = b.shape[0]
    transposed = b.T.tocsr()
    work = np.concatenate([[0], np.cumsum(b @ np.diff(transposed.indptr).astype(np.float64))])
    total, n_entries = 0.0, 0
    lo = 0
    while lo < n:
        hi = int(np.clip(np.searchsorted(work, work[lo] + 2e7), lo + 1, n))
        product = sp.csr_array(b[lo:hi] @ transposed)
        n_entries += int(product.nnz)
        squared = product.multiply(product)
        total += float(inverse[lo:hi] @ (squared @ inverse))
        lo = hi
    # the diagonal changes from b to b + delta
    total += float(np.sum(((diagonal + delta) ** 2 - diagonal**2) * inverse**2))
    return total, n_entries
