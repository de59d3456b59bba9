"""Relations in which many nodes have the same neighbours, stored once per class of such twins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from demm.operators._relations import CSROperator
from demm.operators._threads import RowPool, row_blocks

SEGMENT = 2048  # members of a class summed at a time: bounds the work of one thread, whatever the class sizes


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
