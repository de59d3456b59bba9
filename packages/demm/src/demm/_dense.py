"""The dense second stage of ``DEMM``: fine for thousands of nodes, hopeless for millions."""

from __future__ import annotations

import numpy as np


def dense_affinity(H: np.ndarray, sigma: float) -> np.ndarray:
    """``S_ij = exp(-||h_i - h_j||^2 / sigma)``, [nodes, nodes]."""
    squares = np.einsum("ij,ij->i", H, H)
    affinity = H @ H.T
    affinity *= -2.0
    affinity += squares[:, None]
    affinity += squares[None, :]
    np.maximum(affinity, 0, out=affinity)
    affinity /= -sigma
    return np.asarray(np.exp(affinity, out=affinity))


def top_eigenvectors(affinity: np.ndarray, k: int) -> np.ndarray:
    """Eigenvectors of the ``k`` largest eigenvalues, largest first, [nodes, k]."""
    n = affinity.shape[0]
    if k >= n - 1 or n < 200:
        _, vectors = np.linalg.eigh(affinity)
        return np.ascontiguousarray(vectors[:, ::-1][:, :k])
    from scipy.sparse.linalg import eigsh

    # a fixed start makes the result reproducible
    values, vectors = eigsh(affinity, k=k, which="LA", v0=np.full(n, 1.0 / np.sqrt(n)))
    return np.ascontiguousarray(vectors[:, np.argsort(values)[::-1]])
