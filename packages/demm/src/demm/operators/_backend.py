"""What the solvers ask of an engine: a dozen operations on [nodes, columns] panels.

A backend owns the relations of one graph in its own form. Panels are its own array type; solvers treat them
as opaque. Anything that can do these operations on blocks of rows (a cluster of workers, say) can stand
behind the same solvers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from demm.operators._relations import RelationOperator
from demm.operators._threads import RowPool, aligned_empty, row_blocks

Panel = Any  # the backend's own two-dimensional array
Weights = Sequence[float] | np.ndarray  # one per relation


class Backend(Protocol):
    """Operations of stage 1 over ``Ahat = sum_r w_r Ahat_r``."""

    n_nodes: int
    n_relations: int

    def asarray(self, x: np.ndarray) -> Panel:
        """A panel with the values of ``x``; may share its memory."""
        ...

    def to_numpy(self, x: Panel) -> np.ndarray: ...

    def empty_like(self, x: Panel) -> Panel: ...

    def copy_to(self, x: Panel, out: Panel) -> None: ...

    def hop(
        self,
        weights: Weights,
        coef: float,
        x: Panel,
        out: Panel,
        *,
        keep: float = 0.0,
        plus: Panel | None = None,
        plus_coef: float = 0.0,
    ) -> None:
        """``out = keep * out + coef * Ahat x + plus_coef * plus``; ``out`` is neither ``x`` nor ``plus``."""
        ...

    def quadratic(self, relation: int, x: Panel) -> float:
        """``<x, Ahat_r x>``, accumulated in float64."""
        ...

    def scale(self, coef: float, x: Panel) -> None:
        """``x *= coef``."""
        ...

    def axpy(self, coef: Any, x: Panel, y: Panel) -> None:
        """``y += coef * x``; ``coef`` a number or one per column."""
        ...

    def column_dots(self, x: Panel, y: Panel) -> np.ndarray:
        """``sum_i x_ik y_ik`` per column, float64, shape [columns]."""
        ...

    def normalise_rows(self, x: Panel) -> np.ndarray:
        """Unit rows in place (zero rows stay); their former lengths, shape [nodes]."""
        ...


class NumbaBackend:
    """numpy panels, compiled kernels, threads over rows; bit-identical for any number of threads."""

    def __init__(self, relations: Sequence[RelationOperator], pool: RowPool) -> None:
        self.relations = list(relations)
        self.pool = pool
        self.n_nodes = self.relations[0].n_nodes
        self.n_relations = len(self.relations)
        load = np.zeros(self.n_nodes + 1, dtype=np.int64)
        for relation in self.relations:
            cost = relation.cost()
            load += np.arange(self.n_nodes + 1) if cost is None else np.asarray(cost)
        self.blocks = row_blocks(self.n_nodes, load)
        self._even = row_blocks(self.n_nodes, np.arange(self.n_nodes + 1) * 8)

    def asarray(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x)

    def to_numpy(self, x: np.ndarray) -> np.ndarray:
        return x

    def empty_like(self, x: np.ndarray) -> np.ndarray:
        return aligned_empty(x.shape, x.dtype)

    def copy_to(self, x: np.ndarray, out: np.ndarray) -> None:
        np.copyto(out, x)

    def hop(
        self,
        weights: Weights,
        coef: float,
        x: np.ndarray,
        out: np.ndarray,
        *,
        keep: float = 0.0,
        plus: np.ndarray | None = None,
        plus_coef: float = 0.0,
    ) -> None:
        kind = x.dtype.type
        used = [(r, coef * float(w)) for r, w in zip(self.relations, weights, strict=True) if w != 0]
        if not used:
            out *= kind(keep)
            if plus is not None:
                out += kind(plus_coef) * plus
        # one relation after the other: a fit needs no panel besides x and out, and what is gathered is let go
        for place, (relation, factor) in enumerate(used):
            gathered = relation.gather(x, self.pool)
            fresh, last = place == 0 and keep == 0, place == len(used) - 1

            def rows(
                lo: int,
                hi: int,
                relation: RelationOperator = relation,
                factor: float = factor,
                gathered: np.ndarray | None = gathered,
                first: bool = place == 0,
                fresh: bool = fresh,
                last: bool = last,
            ) -> None:
                if first and not fresh:
                    out[lo:hi] *= kind(keep)
                relation.add_rows(x, gathered, factor, out, fresh, lo, hi)
                if last and plus is not None:
                    out[lo:hi] += kind(plus_coef) * plus[lo:hi]  # while the rows are still in the cache

            self.pool.run(rows, self.blocks)

    def quadratic(self, relation: int, x: np.ndarray) -> float:
        return self.relations[relation].quadratic(x, self.pool)

    def scale(self, coef: float, x: np.ndarray) -> None:
        factor = x.dtype.type(coef)

        def rows(lo: int, hi: int) -> None:
            x[lo:hi] *= factor

        self.pool.run(rows, self._even)

    def axpy(self, coef: Any, x: np.ndarray, y: np.ndarray) -> None:
        factor = np.asarray(coef, dtype=x.dtype)

        def rows(lo: int, hi: int) -> None:
            y[lo:hi] += factor * x[lo:hi]

        self.pool.run(rows, self._even)

    def column_dots(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        parts = self.pool.run(lambda lo, hi: np.einsum("ij,ij->j", x[lo:hi], y[lo:hi], dtype=np.float64), self._even)
        total = np.zeros(x.shape[1])
        for part in parts:
            total += np.asarray(part)
        return total

    def normalise_rows(self, x: np.ndarray) -> np.ndarray:
        from demm.operators import _kernels as kernels

        norms = np.empty(x.shape[0], dtype=np.float64)
        self.pool.run(lambda lo, hi: kernels.normalise_rows(x, norms, lo, hi), self._even)
        return norms


class ScipyBackend:
    """The readable reference: explicit ``Ahat_r`` in scipy's CSR, one thread, plain numpy."""

    def __init__(self, matrices: Sequence[Any]) -> None:
        self.matrices = list(matrices)
        self.n_nodes = int(self.matrices[0].shape[0])
        self.n_relations = len(self.matrices)

    def asarray(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x)

    def to_numpy(self, x: np.ndarray) -> np.ndarray:
        return x

    def empty_like(self, x: np.ndarray) -> np.ndarray:
        return np.empty_like(x)

    def copy_to(self, x: np.ndarray, out: np.ndarray) -> None:
        out[:] = x

    def hop(
        self,
        weights: Weights,
        coef: float,
        x: np.ndarray,
        out: np.ndarray,
        *,
        keep: float = 0.0,
        plus: np.ndarray | None = None,
        plus_coef: float = 0.0,
    ) -> None:
        result = np.zeros_like(out) if keep == 0 else x.dtype.type(keep) * out
        for weight, matrix in zip(weights, self.matrices, strict=True):
            result += x.dtype.type(coef * float(weight)) * (matrix @ x)
        if plus is not None:
            result += x.dtype.type(plus_coef) * plus
        out[:] = result

    def quadratic(self, relation: int, x: np.ndarray) -> float:
        return float(np.einsum("ij,ij->", x, self.matrices[relation] @ x, dtype=np.float64))

    def scale(self, coef: float, x: np.ndarray) -> None:
        x *= x.dtype.type(coef)

    def axpy(self, coef: Any, x: np.ndarray, y: np.ndarray) -> None:
        y += np.asarray(coef, dtype=x.dtype) * x

    def column_dots(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(np.einsum("ij,ij->j", x, y, dtype=np.float64))

    def normalise_rows(self, x: np.ndarray) -> np.ndarray:
        norms = np.asarray(np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64)))
        x /= np.where(norms > 0, norms, 1)[:, None].astype(x.dtype)
        return norms
