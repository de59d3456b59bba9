"""Means that one lucky seed does not decide: interquartile mean and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["bootstrap", "iqm"]


def iqm(values: ArrayLike, axis: int = 0) -> NDArray[np.float64]:
    """Mean of the middle half of ``values`` along an axis; the quarters' borders count in part (Agarwal 2021)."""
    x = np.sort(np.asarray(values, np.float64), axis)
    n = x.shape[axis]
    # how much of each order statistic lies in the middle half
    edges = np.arange(n + 1) / n
    weight = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None)
    result: NDArray[np.float64] = np.moveaxis(x, axis, -1) @ (weight / weight.sum())
    return result


def bootstrap(
    values: ArrayLike, statistic: Any = np.mean, *, level: float = 0.95, repeats: int = 2000, seed: int = 0
) -> tuple[Any, Any]:
    """Percentile interval of a statistic over the first axis (seeds or episodes).

    Args:
        values: [n, ...]. statistic: called as ``statistic(sample, axis=0)``. level: coverage. repeats, seed: of draws.
    Returns:
        (low, high), shaped like one value.
    """
    x = np.asarray(values, np.float64)
    if len(x) == 0:
        raise ValueError("no values given; a bootstrap interval needs at least one")
    rng = np.random.default_rng(seed)
    draws = np.stack([statistic(x[rng.integers(0, len(x), len(x))], axis=0) for _ in range(repeats)])
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def mean_of(values: Sequence[float]) -> float:
    """Mean, or nan of nothing, without a warning."""
    return float(np.mean(values)) if len(values) else float("nan")
