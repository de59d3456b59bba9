"""Intervals, tests and splits that the report rests on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["group_split", "holm", "tci", "tdi", "wilson"]


def wilson(hits: float, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson interval of a proportion, 95 % by default.

    >>> [round(x, 3) for x in wilson(30, 180)]
    [0.119, 0.228]
    """
    if n < 1:
        raise ValueError(f"n={n} given; an interval needs at least one sample")
    p = hits / n
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of several p-values, in the order given.

    >>> [round(x, 10) for x in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return [float(x) for x in adjusted]


def tci(pyramid: float, blind: float, chance: float) -> float:
    """Temporal Correlation Index: share of the accuracy above chance that only order explains, in [0, 1].

    blind: the best accuracy that needs no order, max(bag, shuffled pyramid, collapsed).
    """
    return min(1.0, max(0.0, (pyramid - blind) / max(pyramid - chance, 1e-9)))


def tdi(ordered: float, blind: float, chance: float) -> float:
    """Temporal Dependence Index of data given a model class: (A - max(shuffled, collapsed)) / (A - chance).

    >>> tdi(0.9, 0.9, 0.1), tdi(0.9, 0.1, 0.1)
    (0.0, 1.0)
    """
    if ordered <= chance:
        return float("nan")
    return (ordered - blind) / (ordered - chance)


def group_split(
    labels: NDArray[Any], groups: NDArray[Any] | None, *, test: float = 0.25, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Train and test indices: whole groups apart where there are groups, else stratified by class.

    Raises:
        ValueError: fewer than two groups.
    """
    rng = np.random.default_rng(seed)
    n = len(labels)
    if groups is not None:
        names = np.unique(groups)
        if len(names) < 2:
            raise ValueError(f"{len(names)} group; a split by group needs at least two")
        chosen = rng.permutation(names)[: max(1, min(len(names) - 1, round(test * len(names))))]
        held = np.isin(groups, chosen)
    else:
        warnings.warn(
            "no groups given: the split is random, and recordings of one person may stand on both sides, which "
            "inflates every accuracy; pass groups= (subjects, source files)",
            UserWarning,
            stacklevel=3,
        )
        held = np.zeros(n, bool)
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            held[members[: max(1, round(test * len(members)))]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
