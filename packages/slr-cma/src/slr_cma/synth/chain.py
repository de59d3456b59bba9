"""Order-chains: recordings strung together, so that only their order tells the classes apart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chain", "order_chain"]


@dataclass(frozen=True)
class Chain:
    """An order-dependent dataset.

    data: [n, k bins, C, H, W]; labels: [n], index into ``orders``; orders: the sequences of source classes;
    sources: [n, k], which recordings each sample is made of.
    """

    data: NDArray[Any]
    labels: NDArray[np.int64]
    orders: list[tuple[int, ...]]
    sources: NDArray[np.int64]


def order_chain(
    data: NDArray[Any],
    labels: NDArray[Any],
    *,
    classes: Sequence[int],
    k: int | None = None,
    n: int = 600,
    bins: int | None = None,
    sources: NDArray[Any] | None = None,
    seed: int = 0,
) -> Chain:
    """String k recordings of different classes together; the label is their order.

    Args:
        data: [m, T, C, H, W] counts, labels [m]. classes: source classes to use. k: recordings in a chain; None:
            all of ``classes``, so that every chain holds the same ones and order alone is left to know.
        n: chains, orders balanced. bins: bins each recording is summed into (a divisor of T; None: T).
        sources: indices of the recordings that may be used; give disjoint ones for train and test.
        seed: of the draw.
    Raises:
        ValueError: a class without recordings, k out of range, bins that do not divide T.
    Source: as DVS-Gesture-Chain does with gestures; sources kept apart is ours.
    """
    classes = list(dict.fromkeys(int(c) for c in classes))
    k = len(classes) if k is None else k
    t = data.shape[1]
    bins = t if bins is None else bins
    if not 2 <= k <= len(classes):
        raise ValueError(f"k={k} with {len(classes)} classes; expected between 2 and the number of classes")
    if bins < 1 or t % bins:
        raise ValueError(f"bins={bins} does not divide T={t}")
    allowed = np.arange(len(data)) if sources is None else np.asarray(sources)
    pools = {c: allowed[np.asarray(labels)[allowed] == c] for c in classes}
    empty = [c for c, pool in pools.items() if not len(pool)]
    if empty:
        raise ValueError(f"class {empty[0]} has no recording among the sources")
    orders = list(itertools.permutations(classes, k))
    rng = np.random.default_rng([9, seed])
    made = rng.permutation(np.arange(n) % len(orders))
    chosen = np.array([[rng.choice(pools[c]) for c in orders[o]] for o in made])  # [n, k]
    small = data.reshape(len(data), bins, t // bins, *data.shape[2:]).sum(2, dtype=np.float32)
    chained = small[chosen].reshape(n, k * bins, *data.shape[2:])
    return Chain(chained, made.astype(np.int64), orders, chosen)
