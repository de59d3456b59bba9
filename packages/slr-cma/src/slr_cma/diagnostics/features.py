"""Nested views of a recording: each may use more of time than the one before."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["VIEWS", "Views", "pool_maps"]

Array = NDArray[np.float64]

#: what each probe can use
VIEWS = {
    "rate": "the speed profile alone",
    "collapsed": "space alone: the mean over time",
    "bag": "which snapshots occurred, not when",
    "pyramid": "coarse order, tolerant of alignment",
    "ordered": "every bin in its place, brittle in alignment",
    "pyramid, shuffled": "control: time permuted in every sample, train and test",
    "ordered, shuffled": "control: time permuted in every sample, train and test",
}
#: segments of the pyramid's levels
LEVELS = (1, 2, 4)
#: fixed point of averages, so that they do not depend on the order of the terms even in the last bit
FIXED = 2.0**30


def pool_maps(data: NDArray[Any], grid: int) -> NDArray[np.float32]:
    """Sum maps [n, T, C, H, W] into at most grid x grid cells and take sign(x) log(1 + |x|): [n, T, C, g, g]."""
    n, t, c, height, width = data.shape
    rows = [int(x) for x in np.linspace(0, height, min(grid, height) + 1)]
    columns = [int(x) for x in np.linspace(0, width, min(grid, width) + 1)]
    out = np.empty((n, t, c, len(rows) - 1, len(columns) - 1), np.float32)
    for at in range(0, n, 64):  # in parts: a float copy of everything may not fit
        part = data[at : at + 64].astype(np.float32)
        part = np.add.reduceat(np.add.reduceat(part, rows[:-1], 3), columns[:-1], 4)
        out[at : at + 64] = np.sign(part) * np.log1p(np.abs(part))
    return out


class Views:
    """Features of all probes, from data [n, T, C, H, W].

    Args:
        grid: cells a side. rff: random Fourier features of one snapshot (the bag's kernel on snapshots is RBF with
            the median squared distance of training snapshots as its bandwidth). train: indices of training samples.
    """

    def __init__(
        self, data: NDArray[Any], train: NDArray[Any], *, grid: int = 8, rff: int = 256, seed: int = 0
    ) -> None:
        rng = np.random.default_rng([5, seed])
        n, t = data.shape[:2]
        self.maps = pool_maps(data, grid).reshape(n, t, -1)
        self.rate: Array = np.stack([data[:, i].reshape(n, -1).sum(1, dtype=np.float64) for i in range(t)], 1)
        snapshots = self.maps[train].reshape(-1, self.maps.shape[2])
        a, b = snapshots[rng.integers(0, len(snapshots), (2, 2000))]
        width = float(np.median(((a - b) ** 2).sum(1))) or 1.0
        # RBF exp(-d^2 / width): frequencies of variance 2 / width
        w = rng.normal(0, np.sqrt(2 / width), (self.maps.shape[2], rff)).astype(np.float32)
        phase = rng.uniform(0, 2 * np.pi, rff).astype(np.float32)
        z = np.cos(self.maps.reshape(n * t, -1) @ w + phase) * np.float32(np.sqrt(2 / rff))
        self.snapshots: NDArray[np.float32] = z.reshape(n, t, rff)
        self.shuffle = np.argsort(rng.random((n, t)), 1)

    def get(self, name: str) -> Array:
        """Features [n, D] of one view."""
        if name.endswith(", shuffled"):
            take = self.shuffle[:, :, None]
            moved = [np.take_along_axis(x, take, 1) for x in (self.maps, self.snapshots)]
            return self._build(name.removesuffix(", shuffled"), *moved)
        return self._build(name, self.maps, self.snapshots)

    def _build(self, name: str, maps: NDArray[np.float32], z: NDArray[np.float32]) -> Array:
        n, t = maps.shape[:2]
        if name == "rate":
            return np.log1p(np.abs(self.rate))
        if name == "collapsed":
            return fixed_mean(maps)
        if name == "bag":
            return fixed_mean(z)
        if name == "pyramid":
            parts = []
            for level in LEVELS:
                if level > t:
                    break
                edges = [round(t * k / level) for k in range(level + 1)]
                # a level is weighed by 1 / sqrt(number of segments), so that each level counts the same
                parts += [fixed_mean(z[:, a:b]) / np.sqrt(level) for a, b in itertools.pairwise(edges)]
            return np.concatenate(parts, 1)
        if name == "ordered":
            return maps.reshape(n, -1).astype(np.float64)
        raise ValueError(f"view {name!r} is not known; choose one of {', '.join(VIEWS)}")


def fixed_mean(x: NDArray[np.float32]) -> Array:
    """Mean over axis 1 in integers: exactly the same for every order of the terms."""
    out: Array = np.rint(x.astype(np.float64) * FIXED).astype(np.int64).sum(1) / (FIXED * x.shape[1])
    return out
