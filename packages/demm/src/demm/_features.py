"""Attributes before they meet the graph: term weighting, scaling, and a centred PCA.

Centring decides the result. Without it the first direction is the mean, on which every node agrees: a dense
relation then looks perfectly smooth, takes all the weight, and the clusters are lost.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

CHOICES = ("auto", "tfidf", "l2", "standardize", "none", "precomputed")
BLOCK_ELEMENTS = 1 << 21  # of X read at a time: its float64 copies stay small beside one panel
WIDE = 4096  # features from which the covariance matrix costs more than an iterative PCA


@dataclass
class FeatureMap:
    """A fitted chain of weighting, scaling and PCA, applicable to new nodes.

    Attributes:
        kind: ``"tfidf"``, ``"l2"``, ``"standardize"``, ``"none"`` or ``"precomputed"``.
        idf: inverse document frequencies, shape [features], for ``"tfidf"``.
        offset, factor: ``(x - offset) * factor`` for ``"standardize"``.
        mean, components: of the PCA, shapes [features] and [d, features]; None for ``"precomputed"``.
    """

    kind: str
    n_features: int
    idf: np.ndarray | None = None
    offset: np.ndarray | None = None
    factor: np.ndarray | None = None
    mean: np.ndarray | None = None
    components: np.ndarray | None = None

    def transform(self, X: Any, dtype: Any = np.float32) -> np.ndarray:
        """Panel [nodes, d] of unseen rows; a block at a time, so ``X`` may be memory-mapped."""
        X = check_attributes(X, None)
        if X.shape[1] != self.n_features:
            raise ValueError(f"X has {X.shape[1]} features, expected {self.n_features} as in fit")
        return self._project(X, dtype)

    def _project(self, X: Any, dtype: Any) -> np.ndarray:
        if self.components is None:
            dense = X.toarray() if sp.issparse(X) else X
            return np.array(dense, dtype=dtype, order="C")
        out = np.empty((X.shape[0], self.components.shape[0]), dtype=dtype)
        shift = self.components @ (self.mean if self.mean is not None else np.zeros(self.n_features))
        for lo, hi in _row_ranges(X):
            rows = self.weigh(X[lo:hi])
            out[lo:hi] = rows @ self.components.T - shift
        return out

    def weigh(self, rows: Any) -> Any:
        """Weighting and scaling without the PCA; keeps sparse input sparse."""
        if self.kind in ("tfidf", "l2"):
            from sklearn.preprocessing import normalize

            rows = sp.csr_array(rows) if sp.issparse(rows) else np.asarray(rows)
            rows = rows.astype(np.float64)
            if self.idf is not None:
                rows = sp.csr_array(rows @ sp.diags_array(self.idf)) if sp.issparse(rows) else rows * self.idf
            return normalize(rows)
        if self.kind == "standardize":
            # sparse rows are scaled only: the PCA subtracts the mean without filling them in
            if sp.issparse(rows):
                return sp.csr_array(sp.csr_array(rows).astype(np.float64) @ sp.diags_array(self.factor))
            return np.asarray((np.asarray(rows, dtype=np.float64) - np.asarray(self.offset)) * self.factor)
        return sp.csr_array(rows).astype(np.float64) if sp.issparse(rows) else np.asarray(rows, np.float64)


def check_attributes(X: Any, n_nodes: int | None) -> Any:
    """``X`` as csr or ndarray (memory-mapped stays so), finite, two-dimensional, one row per node."""
    if hasattr(X, "detach") and hasattr(X, "cpu"):
        X = X.detach().cpu().numpy()
    if sp.issparse(X):
        X = sp.csr_array(X)
    elif not isinstance(X, np.memmap):
        X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}, expected [nodes, features]; a single feature is X[:, None]")
    if X.dtype.kind not in "biuf":
        raise TypeError(f"X has dtype {X.dtype}, expected numbers")
    if n_nodes is not None and X.shape[0] != n_nodes:
        raise ValueError(f"X has {X.shape[0]} rows but the graph has {n_nodes} nodes; expected one row per node")
    if X.shape[1] == 0:
        raise ValueError("X has no features; pass X=None to cluster by the graph alone")
    if X.dtype.kind == "f":
        for lo, hi in _row_ranges(X):
            rows = X[lo:hi].data if sp.issparse(X) else X[lo:hi]
            if not np.isfinite(rows).all():
                raise ValueError("X holds NaN or infinite values; impute or remove them first")
    return X


def fit_features(
    X: Any, *, kind: str = "auto", n_components: int = 128, dtype: Any = np.float32, random_state: int = 0
) -> tuple[np.ndarray, FeatureMap]:
    """Attributes ready for stage 1.

    Args:
        X: checked attributes, [nodes, features]; sparse, dense, or memory-mapped (read in blocks).
        kind: ``"tfidf"`` (smooth idf, unit rows) for counts; ``"l2"`` unit rows; ``"standardize"`` columns of
            mean 0 and variance 1; ``"none"`` PCA alone; ``"precomputed"`` as is, without PCA. ``"auto"``
            takes ``"tfidf"`` for non-negative whole numbers and non-negative sparse input, otherwise
            ``"standardize"``.
        n_components: d of the PCA, capped by the features and by nodes - 1.
        random_state: seed of the iterative PCA that more than 4,096 features take.
    Returns:
        panel [nodes, d] and the fitted map.
    """
    n, n_features = X.shape
    if kind == "auto":
        kind = "tfidf" if _looks_like_counts(X) else "standardize"
    fitted = FeatureMap(kind, n_features)
    if kind == "tfidf":
        if (X.data if sp.issparse(X) else X).min(initial=0) < 0:
            raise ValueError(
                "features='tfidf' needs non-negative counts, but X holds negative values; "
                "use features='standardize' or 'l2'"
            )
        document_frequency = np.zeros(n_features)
        for lo, hi in _row_ranges(X):
            document_frequency += np.asarray((X[lo:hi] != 0).sum(axis=0)).ravel()
        # scikit-learn's smooth idf; its transformer wants all of X in memory at once
        fitted.idf = np.log((1.0 + n) / (1.0 + document_frequency)) + 1.0
    elif kind == "standardize":
        mean, square = _moments(X)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        fitted.offset = np.zeros(n_features) if sp.issparse(X) else mean
        # a column that only rounding keeps from being constant is constant
        flat = deviation <= 1e-7 * np.maximum(np.abs(mean), np.finfo(float).tiny)
        fitted.factor = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, deviation))
    if kind != "precomputed":
        d = max(1, min(n_components, n_features, n - 1))
        fitted.mean, fitted.components = _principal_components(fitted, X, d, random_state)
    panel = fitted._project(X, dtype)
    _warn_about_zero_rows(panel)
    return panel, fitted


def _row_ranges(X: Any) -> list[tuple[int, int]]:
    step = max(1, BLOCK_ELEMENTS // max(1, X.shape[1]))
    return [(lo, min(lo + step, X.shape[0])) for lo in range(0, X.shape[0], step)]


def _looks_like_counts(X: Any) -> bool:
    if X.dtype.kind == "b":
        return True
    for lo, hi in _row_ranges(X):
        rows = X[lo:hi].data if sp.issparse(X) else np.asarray(X[lo:hi])
        if rows.size and rows.min() < 0:
            return False
        if not sp.issparse(X) and rows.dtype.kind == "f" and np.any(rows != np.round(rows)):
            return False
    return True


def _moments(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each column and of its square, float64."""
    total = np.zeros(X.shape[1])
    square = np.zeros(X.shape[1])
    for lo, hi in _row_ranges(X):
        rows = X[lo:hi].astype(np.float64)
        total += np.asarray(rows.sum(axis=0)).ravel()
        square += np.asarray((rows.multiply(rows) if sp.issparse(rows) else rows * rows).sum(axis=0)).ravel()
    return total / X.shape[0], square / X.shape[0]


def _principal_components(fitted: FeatureMap, X: Any, d: int, random_state: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and the top ``d`` eigenvectors of the covariance of the weighted attributes."""
    n, n_features = X.shape
    if n_features > WIDE and not isinstance(X, np.memmap):
        from sklearn.decomposition import PCA

        weighted = fitted.weigh(X)
        solver = "arpack" if sp.issparse(weighted) and d < min(weighted.shape) else "randomized"
        if sp.issparse(weighted) and solver != "arpack":
            weighted = weighted.toarray()
        pca = PCA(d, svd_solver=solver, random_state=random_state).fit(
            sp.csr_matrix(weighted) if sp.issparse(weighted) else weighted
        )
        return np.asarray(pca.mean_, dtype=np.float64), np.asarray(pca.components_, dtype=np.float64)
    from scipy.linalg import eigh

    total = np.zeros(n_features)
    gram = np.zeros((n_features, n_features))
    for lo, hi in _row_ranges(X):
        rows = fitted.weigh(X[lo:hi])
        total += np.asarray(rows.sum(axis=0)).ravel()
        product = rows.T @ rows
        gram += product.toarray() if sp.issparse(product) else product
    mean = total / n
    covariance = gram / n - np.outer(mean, mean)
    _, vectors = eigh(covariance, subset_by_index=[n_features - d, n_features - 1])
    components = vectors.T[::-1]
    # the largest entry of each direction is positive: the sign of an eigenvector is arbitrary
    signs = np.sign(components[np.arange(d), np.argmax(np.abs(components), axis=1)])
    return mean, components * np.where(signs == 0, 1, signs)[:, None]


def _warn_about_zero_rows(panel: np.ndarray) -> None:
    scale = float(np.abs(panel).max(initial=0))
    if scale < 1e-10:
        warnings.warn(
            "all nodes have the same attributes: X is constant and tells no two nodes apart; "
            "pass X=None to cluster by the graph alone",
            UserWarning,
            stacklevel=4,
        )
        panel[:] = 0
