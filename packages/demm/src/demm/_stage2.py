"""Stage 2: from unit-row features to clusters (the paper's SSKC).

The Gaussian affinity ``S_ij = exp(-||h_i - h_j||^2 / sigma)`` is never formed: orthogonal random features
give ``S ~ Z0 Z0^T``, Sinkhorn scaling makes it doubly stochastic, and K-means on the scaled rows ``Z`` then
minimises the same objective as the ratio cut of S (Theorem 4.6).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

SMALL = 20_000_000  # elements x clusters up to which K-means runs on one thread: OpenMP would only wait
LARGE = 100_000  # nodes from which K-means chooses its start on a sample
SAMPLE = 25_000
SAMPLE_ROUNDS = 30  # of a start on the sample: enough to rank the starts; the best is refined on all nodes
BLOCK_ROWS = 1 << 13  # their float64 copies stay in the cache, and small beside one panel


def centre_rows(H: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Subtract each row's mean over its coordinates and scale it to unit length (Eq. 13).

    With one or two columns this would leave nothing or a sign, so such rows are only scaled.
    """
    if out is None:
        out = np.empty_like(H)
    for lo in range(0, H.shape[0], BLOCK_ROWS):
        rows = H[lo : lo + BLOCK_ROWS]
        if H.shape[1] > 2:
            rows = rows - rows.mean(axis=1, keepdims=True, dtype=np.float64).astype(H.dtype)
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        # a constant row has no direction left: rounding must not give it one
        flat = norms <= 1e-6 if H.dtype == np.float32 else norms <= 1e-12
        scale = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, norms))
        out[lo : lo + BLOCK_ROWS] = rows * scale[:, None].astype(H.dtype)
    return out


def haar_orthogonal(d: int, rng: np.random.RandomState) -> np.ndarray:
    """A uniformly distributed orthogonal [d, d] matrix: QR of a Gaussian one, signs fixed by R's diagonal."""
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return np.asarray(Q * np.where(np.diag(R) < 0, -1.0, 1.0))


def orthogonal_random_features(
    H: np.ndarray,
    *,
    sigma: float = 2.0,
    n_blocks: int = 1,
    unbiased: bool = False,
    centre: bool = False,
    rng: np.random.RandomState,
) -> np.ndarray:
    """``Z0`` with ``E[Z0 Z0^T] ~ exp(-||h_i - h_j||^2 / sigma)`` and a diagonal of exactly 1.

    Args:
        H: [nodes, d].
        n_blocks: independent orthogonal blocks; the output has ``2 d n_blocks`` columns.
        unbiased: give the projection's rows chi-distributed lengths, whose expectation is the Gaussian
            itself; otherwise all have length sqrt(d) as in the paper's Algorithm 6, which errs by O(1/d) and
            can make affinities negative when d is small.
        centre: apply ``centre_rows`` first, a block of rows at a time.
    Source: Yu et al., "Orthogonal Random Features" (2016).
    """
    n, d = H.shape
    Z = np.empty((n, 2 * d * n_blocks), dtype=H.dtype)
    scale = 1.0 / np.sqrt(d * n_blocks)
    for block in range(n_blocks):
        lengths = np.sqrt(rng.chisquare(d, d)) if unbiased else np.full(d, np.sqrt(d))
        projection = (np.sqrt(2.0 / sigma) * haar_orthogonal(d, rng).T * lengths).astype(H.dtype)
        sines = slice(2 * d * block, 2 * d * block + d)
        cosines = slice(2 * d * block + d, 2 * d * (block + 1))
        for lo in range(0, n, BLOCK_ROWS):
            rows = H[lo : lo + BLOCK_ROWS]
            phases = (centre_rows(rows) if centre else rows) @ projection
            Z[lo : lo + BLOCK_ROWS, sines] = np.sin(phases) * H.dtype.type(scale)
            Z[lo : lo + BLOCK_ROWS, cosines] = np.cos(phases) * H.dtype.type(scale)
    return Z


def _row_sums(Z: np.ndarray, v: np.ndarray) -> np.ndarray:
    """``Z (Z^T v)`` in float64, without a float64 copy of Z."""
    total = np.zeros(Z.shape[1])
    for lo in range(0, Z.shape[0], BLOCK_ROWS):
        total += Z[lo : lo + BLOCK_ROWS].astype(np.float64).T @ v[lo : lo + BLOCK_ROWS]
    out = np.empty(Z.shape[0])
    for lo in range(0, Z.shape[0], BLOCK_ROWS):
        out[lo : lo + BLOCK_ROWS] = Z[lo : lo + BLOCK_ROWS].astype(np.float64) @ total
    return out


def _positive(sums: np.ndarray) -> np.ndarray:
    floor = 1e-8 * max(float(np.abs(sums).max(initial=0)), np.finfo(float).tiny)
    low = sums < floor
    if low.any():
        warnings.warn(
            f"{int(low.sum())} row sum(s) of the approximate affinity are not positive and were clipped; "
            "raise n_random_features (more random features) or set sinkhorn=None",
            UserWarning,
            stacklevel=5,
        )
        return np.where(low, floor, sums)
    return sums


def sinkhorn_symmetric(Z0: np.ndarray, *, max_iter: int = 100, tol: float = 1e-6) -> tuple[np.ndarray, int]:
    """Scale rows, ``Z = diag(v) Z0``, until every row of ``Z Z^T`` sums to 1.

    ``v <- sqrt(v / (Z0 (Z0^T v)))`` keeps the two sides of the paper's alternating form equal and has the
    same limit. Our derivation. Works in place on ``Z0``.

    Returns:
        Z and the number of iterations.
    """
    v = 1.0 / np.sqrt(_positive(_row_sums(Z0, np.ones(Z0.shape[0]))))
    n_iter = 0
    for n_iter in range(1, max_iter + 1):  # noqa: B007 - returned
        sums = _positive(_row_sums(Z0, v))
        if float(np.abs(v * sums - 1.0).max(initial=0)) < tol:
            break
        v = np.sqrt(v / sums)
    Z0 *= v[:, None].astype(Z0.dtype)
    return Z0, n_iter


def sinkhorn_paper(Z0: np.ndarray, *, max_iter: int = 2, tol: float = 0.0) -> tuple[np.ndarray, int]:
    """The paper's alternating form, ``max_iter`` (its tau) rounds; returns the right side ``Zr``."""
    del tol
    left = np.ones(Z0.shape[0])  # Zl = diag(left) Z0, Zr = diag(right) Z0
    right = np.ones(Z0.shape[0])
    for _ in range(max_iter):
        left = 1.0 / _positive(_row_sums(Z0, right))
        right = 1.0 / _positive(_row_sums(Z0, left))
    Z0 *= right[:, None].astype(Z0.dtype)
    return Z0, max_iter


def embed(
    H: np.ndarray,
    *,
    sigma: float,
    n_blocks: int,
    sinkhorn: str | None,
    sinkhorn_iter: int,
    seed: int,
) -> tuple[np.ndarray, int, dict[str, Any]]:
    """Rows that K-means clusters: centred features, random features, Sinkhorn scaling.

    Where a row of the approximate affinity does not sum to a positive number (few dimensions), the random
    features are drawn again: unbiased, and at least 256 of them.

    Returns:
        Z, Sinkhorn iterations, and the arguments that drew the random features.
    """
    drawn: dict[str, Any] = {"sigma": sigma, "n_blocks": n_blocks, "unbiased": False}
    Z = orthogonal_random_features(H, centre=True, **drawn, rng=np.random.RandomState(seed))
    if sinkhorn is None:
        return Z, 0, drawn
    if (_row_sums(Z, np.ones(Z.shape[0])) <= 0).any():
        drawn = {"sigma": sigma, "n_blocks": max(n_blocks, -(-128 // H.shape[1])), "unbiased": True}
        Z = orthogonal_random_features(H, centre=True, **drawn, rng=np.random.RandomState(seed))
    scale = sinkhorn_paper if sinkhorn == "paper" else sinkhorn_symmetric
    Z, n_iter = scale(Z, max_iter=sinkhorn_iter)
    return Z, n_iter, drawn


@contextmanager
def kmeans_threads(Z: np.ndarray, n_clusters: int) -> Iterator[None]:
    """One thread for small problems (faster, and the same bits on every machine), all for large ones."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1 if Z.size * n_clusters <= SMALL else None):
        yield


def assign_clusters(
    Z: np.ndarray, n_clusters: int, *, n_init: int, rng: np.random.RandomState, method: str = "kmeans"
) -> tuple[np.ndarray, np.ndarray, float]:
    """K-means labels, centres and within-cluster sum of squares.

    Args:
        method: ``"kmeans"`` runs ``n_init`` starts to convergence; from 100,000 nodes the starts run on a
            sample of 25,000 rows and the best is refined on all. ``"minibatch"`` is scikit-learn's
            ``MiniBatchKMeans``.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    seed = int(rng.randint(np.iinfo(np.int32).max))
    with warnings.catch_warnings(), kmeans_threads(Z, n_clusters):
        # fewer distinct rows than clusters: said once, in our words, below
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        model: Any
        if method == "minibatch":
            model = MiniBatchKMeans(n_clusters, n_init=n_init, random_state=seed, batch_size=16_384)
        elif Z.shape[0] >= LARGE:
            chosen = np.sort(rng.choice(Z.shape[0], max(SAMPLE, 20 * n_clusters), replace=False))
            # tol=0: scikit-learn's rule would copy the rows to take their variance
            options = {"n_init": n_init, "max_iter": SAMPLE_ROUNDS, "tol": 0, "copy_x": False}
            start = KMeans(n_clusters, random_state=seed, **options).fit(Z[chosen])
            return _checked(*_refine(Z, start.cluster_centers_), n_clusters)
        else:
            model = KMeans(n_clusters, n_init=n_init, random_state=seed)
        model.fit(Z)
    return _checked(np.asarray(model.labels_, dtype=np.int32), model.cluster_centers_, model.inertia_, n_clusters)


def _refine(Z: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Lloyd's iterations on all rows from given centres, at most 100, without a copy of the rows.

    scikit-learn's own stopping rule takes the variance of all rows at once, a second array of their size:
    ten strict iterations at a time need none, and the rule is applied to what all ten moved.
    """
    from sklearn.cluster import KMeans

    n, total, square = Z.shape[0], np.zeros(Z.shape[1]), np.zeros(Z.shape[1])
    for lo in range(0, n, BLOCK_ROWS):
        rows = Z[lo : lo + BLOCK_ROWS].astype(np.float64)
        total += rows.sum(axis=0)
        square += np.einsum("ij,ij->j", rows, rows)
    tolerance = 1e-4 * float(np.mean(square / n - (total / n) ** 2))
    for _ in range(10):
        model = KMeans(centres.shape[0], init=centres, n_init=1, max_iter=10, tol=0, copy_x=False).fit(Z)
        moved = float(np.sum((model.cluster_centers_ - centres) ** 2))
        centres = model.cluster_centers_
        if model.n_iter_ < 10 or moved <= tolerance:
            break
    return np.asarray(model.labels_, dtype=np.int32), centres, float(model.inertia_)


def _checked(
    labels: np.ndarray, centres: np.ndarray, inertia: float, n_clusters: int
) -> tuple[np.ndarray, np.ndarray, float]:
    found = np.unique(labels).shape[0]
    if found < n_clusters:
        warnings.warn(
            f"only {found} of {n_clusters} clusters hold a node: fewer distinct nodes than clusters; lower n_clusters",
            UserWarning,
            stacklevel=5,
        )
    return labels, np.asarray(centres), float(inertia)
