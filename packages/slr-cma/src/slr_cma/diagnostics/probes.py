"""Kernel ridge classifiers: no training loop, one factorisation for the labels and all their permutations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["KernelRidge", "Probe", "few_threads", "run_probe"]

Array = NDArray[np.float64]
LAMBDAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@contextmanager
def few_threads(n: int) -> Iterator[None]:
    """One linear-algebra thread for matrices of up to 2000 rows: a factorisation of this size gains little from more,
    and waits ten times its own length where another job holds a core."""
    import scipy.linalg  # noqa: F401  (its library must be there to be limited)
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1 if n <= 2000 else None, user_api="blas"):
        yield


def squared_distances(a: Array, b: Array) -> Array:
    """[n, m] of rows a [n, D] and b [m, D]."""
    out: Array = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * (a @ b.T)
    return np.maximum(out, 0, out=out)


class KernelRidge:
    """One-against-all ridge regression on an RBF kernel exp(-d^2 / width).

    Args:
        width: squared bandwidth; None: the median squared distance of the training samples.
        regularisation: added to the kernel's diagonal; None: the best of five by cross-validation in ``folds``.
    Attributes: width_, lambda_ after :meth:`fit`.
    """

    def __init__(self, width: float | None = None, regularisation: float | None = None) -> None:
        self.width, self.regularisation = width, regularisation

    def fit(self, x: Array, y: NDArray[np.int64], folds: NDArray[np.int64] | None = None) -> KernelRidge:
        """x: [n, D]; y: class indices [n]; folds: [n] fold of each sample, for choosing the regularisation."""
        from scipy.linalg import cho_factor

        d = squared_distances(x, x)
        upper = d[np.triu_indices(len(d), 1)]
        self.width_ = self.width or (float(np.median(upper)) if len(upper) else 1.0) or 1.0
        kernel = np.exp(-d / self.width_)
        self.classes_ = np.unique(y)
        target = self._target(y)
        self.lambda_ = self.regularisation or self._choose(kernel, target, y, folds)
        self._factor = cho_factor(kernel + self.lambda_ * np.eye(len(x)), lower=True)
        self._x, self._target_ = x, target
        return self

    def _target(self, y: NDArray[np.int64]) -> Array:
        return np.where(y[:, None] == self.classes_[None], 1.0, -1.0)

    def _choose(self, kernel: Array, target: Array, y: NDArray[np.int64], folds: NDArray[np.int64] | None) -> float:
        if folds is None:
            folds = np.arange(len(y)) % 3
        hits = np.zeros(len(LAMBDAS))
        for fold in np.unique(folds):
            inside, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            if not len(inside):
                return 1e-2
            values, vectors = np.linalg.eigh(kernel[np.ix_(inside, inside)])
            left, right = kernel[np.ix_(out, inside)] @ vectors, vectors.T @ target[inside]
            for i, each in enumerate(LAMBDAS):
                guess = (left / (np.maximum(values, 0) + each)) @ right
                hits[i] += (self.classes_[guess.argmax(1)] == y[out]).sum()
        return LAMBDAS[len(LAMBDAS) - 1 - int(hits[::-1].argmax())]  # of equals the smoothest

    def decision(self, x: Array) -> Array:
        """Scores [m, classes]."""
        from scipy.linalg import cho_solve

        out: Array = self._kernel(x) @ cho_solve(self._factor, self._target_)
        return out

    def _kernel(self, x: Array) -> Array:
        return np.exp(-squared_distances(x, self._x) / self.width_)

    def predict(self, x: Array) -> NDArray[np.int64]:
        """Class of each row."""
        classes: NDArray[np.int64] = self.classes_[self.decision(x).argmax(1)]
        return classes

    def score(self, x: Array, y: NDArray[np.int64]) -> float:
        """Accuracy."""
        return float((self.predict(x) == y).mean())

    def permuted(self, x: Array, y: NDArray[np.int64], n_perm: int, rng: np.random.Generator) -> Array:
        """Accuracies on (x, y) after training on permuted labels: more right-hand sides of the same system."""
        from scipy.linalg import cho_solve

        weights = cho_solve(self._factor, self._kernel(x).T).T  # [m, n]: a prediction is these weights times targets
        n, k = self._target_.shape
        out = np.empty(n_perm)
        for at in range(0, n_perm, 20):
            many = [self._target_[rng.permutation(n)] for _ in range(min(20, n_perm - at))]
            guess = (weights @ np.concatenate(many, 1)).reshape(len(x), len(many), k).argmax(2)
            out[at : at + len(many)] = (self.classes_[guess] == y[:, None]).mean(0)
        return out


@dataclass(frozen=True)
class Probe:
    """Outcome of one view: which test samples came out right [m], accuracies after permuting the labels."""

    right: NDArray[np.bool_]
    null: Array

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    @property
    def p(self) -> float:
        """Permutation p-value of an accuracy this high."""
        return float((1 + (self.null >= self.accuracy).sum()) / (1 + len(self.null)))


def run_probe(
    x: Array,
    y: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    n_perm: int = 200,
    seed: int = 0,
) -> Probe:
    """Fit on ``train``, answer ``test``. folds: inner folds of the training samples."""
    model = KernelRidge().fit(x[train], y[train], folds)
    right = model.predict(x[test]) == y[test]
    return Probe(right, model.permuted(x[test], y[test], n_perm, np.random.default_rng([6, seed])))
