"""One relation as a linear map, stored in whichever form is smallest; every form is exact.

A relation with adjacency ``A`` and degrees ``d`` stands for ``Ahat = D^-1/2 A D^-1/2``. A product takes two
steps, because that is what all forms have in common and what threads can share:

1. ``gather(x)`` does what needs every row of ``x`` (sums over twin classes, over shared objects, or nothing);
2. ``add_rows(x, gathered, coef, out, fresh, lo, hi)`` adds ``coef * Ahat x`` to a range of rows of ``out``,
   or overwrites them when ``fresh``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from demm.operators._threads import RowPool, row_blocks

NO_VALUES = np.zeros(0, dtype=np.float32)


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


def inverse(degree: np.ndarray) -> np.ndarray:
    """``1 / d`` in float64, 0 where the degree is 0."""
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
        reciprocal = inverse(degree)
        norm = pool.sum(lambda lo, hi: kernels.frobenius_rows(indptr, indices, weights, reciprocal, lo, hi), blocks)
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
        return None

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
        kernels.add_rows(self.indptr, self.indices, self.values, scale, scale, x, c, out, fresh, lo, hi)

    def quadratic(self, x: np.ndarray, pool: RowPool) -> float:
        from demm.operators import _kernels as kernels

        return pool.sum(
            lambda lo, hi: kernels.inner_rows(self.indptr, self.indices, self.values, self.inverse_root, x, lo, hi),
            row_blocks(self.n_nodes, self.indptr),
        )
