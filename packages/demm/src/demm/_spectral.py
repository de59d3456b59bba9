"""Stage 1 without attributes: features are the top eigenvectors of the weighted sum of relations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from demm._base import Prepared
from demm._stage1 import Alternation, alternate


def spectral_alternation(
    prepared: Prepared,
    *,
    n_components: int,
    weights: np.ndarray,
    learn: bool,
    update: Callable[[np.ndarray], np.ndarray],
    max_iter: int,
    tol: float,
    rng: np.random.RandomState,
    progress: Any = None,
) -> tuple[Alternation, np.ndarray]:
    """Alternate between eigenvectors and weights (the paper's Appendix A).

    Returns:
        the rounds' result, and the eigenvalues of the last round, largest first, [n_components].
    """
    n = prepared.graph.n_nodes
    dtype = prepared.operators[0].inverse_root.dtype
    start = rng.standard_normal(n)
    last: list[np.ndarray] = [np.zeros(n_components)]

    def solve(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        last[0], vectors = top_eigenpairs(prepared, w, n_components, start)
        H = np.ascontiguousarray(vectors.astype(dtype))
        # an entry that only rounding keeps from 0 must not become a direction of its own
        H[np.einsum("ij,ij->i", H, H) < (1e-6 / np.sqrt(n)) ** 2] = 0
        return H, prepared.backend.normalise_rows(H)

    result = alternate(
        prepared.backend,
        solve,
        prepared.energies,
        weights=weights,
        learn=learn,
        update=update,
        max_iter=max_iter,
        tol=tol,
        progress=progress,
    )
    return result, last[0]


def top_eigenpairs(prepared: Prepared, weights: np.ndarray, k: int, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues of ``sum_r w_r Ahat_r`` and their vectors, signs fixed by the largest entry."""
    n = prepared.graph.n_nodes
    dtype = prepared.operators[0].inverse_root.dtype
    if n <= 200 or k >= n - 1:
        mixed = sum(float(w) * m for w, m in zip(weights, prepared.matrices(), strict=True))
        values, vectors = np.linalg.eigh(mixed.toarray())
        values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    else:
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        backend = prepared.backend

        def product(v: np.ndarray) -> np.ndarray:
            x = np.ascontiguousarray(v.reshape(n, -1), dtype=dtype)
            out = np.empty_like(x)
            backend.hop(weights, 1.0, x, out)
            return out.reshape(v.shape)

        operator = LinearOperator((n, n), matvec=product, dtype=dtype)
        try:
            values, vectors = eigsh(operator, k=k, which="LA", v0=start.astype(dtype), tol=1e-5)
        except ArpackNoConvergence as error:
            warnings.warn(
                f"only {len(error.eigenvalues)} of {k} eigenvectors converged; the rest are left out",
                UserWarning,
                stacklevel=3,
            )
            values, vectors = error.eigenvalues, error.eigenvectors
            if values.shape[0] == 0:
                raise ValueError(
                    f"no eigenvector of {k} converged; lower n_components or use dtype='float64'"
                ) from error
        order = np.argsort(values)[::-1]
        values, vectors = values[order], vectors[:, order]
    signs = np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])])
    return values, vectors * np.where(signs == 0, 1, signs)
