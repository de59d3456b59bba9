"""What time looks like without any label: rates, correlations, static energy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slr_cma.diagnostics.features import pool_maps

__all__ = ["describe_time"]


def describe_time(data: NDArray[Any], *, grid: int = 16, limit: int = 500, seed: int = 0) -> dict[str, Any]:
    """Describe data [n, T, C, H, W].

    Returns:
        ``rate`` [T]: mean total per bin; ``rate_cv``: its coefficient of variation; ``correlation``: Pearson
        correlation of maps k bins apart, k = 1..T/2, minus the same after shuffling time; ``correlation_length``:
        first lag whose excess is below 1/e of that of lag 1 (None: not within T/2); ``entropy``: of a pixel's
        activity over time, relative to log T; ``static_share``: energy of the time-mean map over all energy.
    """
    rng = np.random.default_rng([4, seed])
    if len(data) > limit:
        data = data[np.sort(rng.choice(len(data), limit, replace=False))]
    n, t = data.shape[:2]
    rate = np.array([float(data[:, i].astype(np.float64).sum()) / n for i in range(t)])
    maps = pool_maps(data, grid).reshape(n, t, -1).astype(np.float64)
    shuffled = np.take_along_axis(maps, np.argsort(rng.random((n, t)), 1)[:, :, None], 1)
    lags = range(1, t // 2 + 1)
    excess = [_correlation(maps, k) - _correlation(shuffled, k) for k in lags]
    length = None
    if excess and excess[0] > 0:
        length = next((k for k, value in zip(lags, excess, strict=True) if value < excess[0] / np.e), None)
    share = np.abs(maps) / np.maximum(np.abs(maps).sum(1, keepdims=True), 1e-12)
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(1)
    active = np.abs(maps).sum(1) > 0
    energy = float((maps**2).sum())
    return {
        "rate": [float(x) for x in rate],
        "rate_cv": float(rate.std() / max(abs(rate.mean()), 1e-12)),
        "correlation": [float(x) for x in excess],
        "correlation_length": length,
        "entropy": float(entropy[active].mean() / np.log(t)) if t > 1 and active.any() else 0.0,
        "static_share": float(t * (maps.mean(1) ** 2).sum() / energy) if energy else 0.0,
    }


def _correlation(maps: NDArray[np.float64], lag: int) -> float:
    a = maps[:, :-lag] - maps[:, :-lag].mean(2, keepdims=True)
    b = maps[:, lag:] - maps[:, lag:].mean(2, keepdims=True)
    norm = np.sqrt((a**2).sum(2) * (b**2).sum(2))
    ok = norm > 0
    return float(((a * b).sum(2)[ok] / norm[ok]).mean()) if ok.any() else 0.0
