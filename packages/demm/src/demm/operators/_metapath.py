"""Relations given by what nodes share, such as papers by their authors; the product is never formed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

from demm.operators._relations import NO_VALUES, inverse, inverse_root
from demm.operators._threads import RowPool, row_blocks


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
    norm, n_entries = _metapath_norm(b, delta, inverse(degree), diagonal)
    corrected = delta.astype(dtype) if np.any(delta) else np.zeros(0, dtype=dtype)
    return MetapathOperator(
        CSRArrays.of(b, dtype),
        CSRArrays.of(b.T, dtype),
        corrected,
        inverse_root(degree, dtype),
        norm,
        n_entries,
    )


def _metapath_norm(
    b: sp.csr_array, delta: np.ndarray, reciprocal: np.ndarray, diagonal: np.ndarray
) -> tuple[float, int]:
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
        total += float(reciprocal[lo:hi] @ (squared @ reciprocal))
        lo = hi
    # the diagonal changes from b to b + delta
    total += float(np.sum(((diagonal + delta) ** 2 - diagonal**2) * reciprocal**2))
    return total, n_entries
