"""Intervals for shares."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor

__all__ = ["paired_lower", "wilson"]


def wilson(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of a share.

    Args: right: successes, 0..n. n: trials. confidence: in (0, 1).
    Returns: (low, high) in [0, 1]; (0, 1) for no trial.
    Example:
        >>> tuple(round(v, 4) for v in wilson(66, 200))
        (0.2686, 0.3978)
    """
    if not 0 <= right <= n:
        raise ValueError(f"right={right} of n={n} given; expected 0 <= right <= n")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} given; expected a share in (0, 1)")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = right / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # at the ends rounding would leave a trace
    return 0.0 if right == 0 else middle - half, 1.0 if right == n else middle + half


def paired_lower(first: Tensor, second: Tensor, confidence: float = 0.95) -> tuple[float, float]:
    """Mean of first - second, and the lower end of its normal interval, over the same samples.

    Args: first, second: right or wrong, bool [n].
    Returns: (difference, lower end): a difference counts where its lower end does.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError(f"paired answers of shape {tuple(first.shape)} and {tuple(second.shape)} given")
    d = first.double() - second.double()
    n = len(d)
    mean = float(d.mean())
    spread = float(d.std(correction=0)) / math.sqrt(n) if n > 1 else 1.0
    return mean, mean - NormalDist().inv_cdf(0.5 + confidence / 2) * spread


def share(right: Tensor) -> float:
    """Mean of booleans; 0 for none."""
    return float(right.double().mean()) if right.numel() else float(torch.zeros(()))
