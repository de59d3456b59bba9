"""Scores of a predicted rate against repeated trials, and their ceilings. Undefined values are nan."""

from __future__ import annotations

from typing import Any

import numpy as np

from tecos_lvm._checks import Floats, positive

__all__ = ["bits_per_spike", "ceiling_sb", "fev", "pearson", "smooth", "split_half"]


def smooth(rate: Any, dt_ms: float, sd_ms: float = 20.0) -> Floats:
    """Gaussian smoothing along bins; rate [T, N] (or [T]). sd_ms = 0 leaves it."""
    from scipy.ndimage import gaussian_filter1d

    x = np.asarray(rate, dtype=np.float64)
    return x if sd_ms == 0 else np.asarray(gaussian_filter1d(x, sd_ms / positive("dt_ms", dt_ms), axis=0))


def pearson(a: Any, b: Any) -> Floats:
    """Correlation over the first axis, per column [N]; nan where one of the two is constant."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        raise ValueError(f"shapes {x.shape} and {y.shape} differ; correlation needs equal ones")
    constant = (np.ptp(x, axis=0) == 0) | (np.ptp(y, axis=0) == 0)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return np.where(constant, np.nan, r)


def _trials(spikes: Any) -> Floats:
    x = np.asarray(spikes, dtype=np.float64)
    if x.ndim != 3 or len(x) < 2:
        raise ValueError(f"spikes have shape {x.shape}; expected [trials, bins, neurons] with at least 2 trials")
    return x


def split_half(
    spikes: Any, dt_ms: float, *, sd_ms: float = 20.0, skip: int = 0, splits: int | None = None, seed: int = 0
) -> Floats:
    """Correlation between the mean responses of two halves of the trials, per neuron [N].

    Args:
        spikes: [R, T, N]. sd_ms: smoothing first (0: none). skip: bins dropped at the start.
        splits: None: trials 1, 3, ... against 2, 4, ...; a number: mean over so many random halves.
    """
    x = _trials(spikes)
    if splits is None:
        orders = [np.concatenate([np.arange(0, len(x), 2), np.arange(1, len(x), 2)])]
        half = (len(x) + 1) // 2
    else:
        rng, half = np.random.default_rng(seed), len(x) // 2
        orders = [rng.permutation(len(x)) for _ in range(splits)]
    rows = [
        pearson(*(smooth(x[part].mean(axis=0), dt_ms, sd_ms)[skip:] for part in (order[:half], order[half:])))
        for order in orders
    ]
    return np.asarray(np.mean(rows, axis=0))


def ceiling_sb(half: Any) -> Floats:
    """Highest correlation a perfect rate can reach with the mean of all trials: root of Spearman-Brown.

    Two halves correlate r, so the whole has reliability 2 r / (1 + r) (Spearman-Brown), and the noise-free rate
    correlates with the mean by its square root. nan for r <= 0.

    >>> round(float(ceiling_sb(0.9)), 4)
    0.9733
    """
    r = np.asarray(half, dtype=np.float64)
    return np.sqrt(np.where(r > 0, 2 * r / (1 + np.where(r > 0, r, 0)), np.nan))


def fev(prediction: Any, spikes: Any) -> Floats:
    """Fraction of explainable variance explained, per neuron [N]: 1 - (error - noise) / (variance - noise).

    Args:
        prediction: expected spikes per bin, [T, N]. spikes: [R, T, N], R >= 2.
    """
    x = _trials(spikes)
    p = np.asarray(prediction, dtype=np.float64)
    if p.shape != x.shape[1:]:
        raise ValueError(f"the prediction has shape {p.shape}, the spikes {x.shape}; expected {x.shape[1:]}")
    noise = x.var(axis=0, ddof=1).mean(axis=0)
    total = x.var(axis=(0, 1), ddof=1)
    error = ((x - p) ** 2).mean(axis=(0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > noise, 1 - (error - noise) / (total - noise), np.nan)


def bits_per_spike(log_likelihood: Any, spikes: Any, null_p: Any) -> Floats:
    """Information per spike over a constant rate, per neuron [N]; nan where there is no spike.

    Args:
        log_likelihood: natural log likelihood of the spikes under the model, summed over trials and bins, [N].
        spikes: the zeros and ones, [R, T, N].
        null_p: probability per bin of the null model, [N]: the mean of the *training* data.
    """
    x = np.asarray(spikes, dtype=np.float64)
    total = x.sum(axis=(0, 1))
    p = np.clip(np.asarray(null_p, dtype=np.float64), 1e-6, 1 - 1e-6)
    n = x.shape[0] * x.shape[1]
    null = total * np.log(p) + (n - total) * np.log1p(-p)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, (np.asarray(log_likelihood) - null) / (total * np.log(2)), np.nan)
