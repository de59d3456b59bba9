"""Interactions with a known answer: planted co-clusters with the heavy-tailed degrees of real logs."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np

from .graph import BipartiteGraph

__all__ = ["GENERATOR_VERSION", "CoClusters", "make_coclusters"]

Array = np.ndarray[Any, Any]

# Raised whenever the same arguments give other interactions; belongs into the results next to the digest.
GENERATOR_VERSION = 1
_CHUNK = 1 << 21
# how often a repeated pair is drawn again before it is given up
_ROUNDS = 5


class CoClusters(NamedTuple):
    """A generated graph and the co-clusters it was drawn from.

    Attributes:
        graph: binary `BipartiteGraph`; ids are row numbers.
        user_labels, item_labels: planted co-cluster of each user and item, int64 in [0, n_clusters).
    """

    graph: BipartiteGraph
    user_labels: Array
    item_labels: Array

    @property
    def digest(self) -> str:
        """Hash of interactions, labels and generator version, 16 hex digits, to name the data in results."""
        digest = hashlib.sha256(f"make_coclusters {GENERATOR_VERSION} {self.graph.n_items}".encode())
        for array in (self.graph.user_ptr, self.graph.user_items, self.user_labels, self.item_labels):
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()[:16]


def make_coclusters(
    n_users: int,
    n_items: int,
    n_clusters: int,
    *,
    mean_degree: float = 20.0,
    mu: float = 0.8,
    exponent: float = 1.8,
    max_weight: int = 100,
    random_state: int | np.random.Generator | None = None,
) -> CoClusters:
    """Draw interactions from a degree-corrected bipartite planted partition.

    Users and items are dealt evenly to ``n_clusters`` blocks and get an activity from Zipf(``exponent``), clipped at
    ``max_weight``. A user takes part in interactions in proportion to its activity, once at least; each finds its
    item in the user's own block with probability ``mu``, else in the others, there in proportion to the items'
    activities. A pair drawn before is drawn again, a few times, then given up; an item left without an interaction
    gets one with a user of its block.

    Args:
        n_users, n_items: sizes, at least ``n_clusters`` each.
        n_clusters: number of blocks, >= 1.
        mean_degree: interactions per user on average, >= 1. Where blocks are too small for their heaviest users, less
            is met, and less of it within blocks.
        mu: share of interactions within blocks, in [0, 1]; without structure it would be ``1 / n_clusters``.
        exponent: of the Zipf law, > 1; smaller is heavier.
        max_weight: largest activity, >= 1; 1 makes all alike.
        random_state: seed or generator.
    Returns:
        `CoClusters` (graph, user_labels, item_labels).
    Raises:
        ValueError: a size or share outside its range.
    Source: the degree-corrected block model of Karrer & Newman (2011), here bipartite and in planted form.
    """
    for name, size in (
        ("n_users", n_users),
        ("n_items", n_items),
        ("n_clusters", n_clusters),
        ("max_weight", max_weight),
    ):
        if isinstance(size, bool) or int(size) != size or size < 1:
            raise ValueError(f"{name} must be an integer >= 1, got {size!r}")
    if n_clusters > min(n_users, n_items):
        raise ValueError(
            f"n_clusters={n_clusters} exceeds a side: {n_users} users, {n_items} items; give fewer clusters"
        )
    if not 1 <= mean_degree < np.inf:
        raise ValueError(f"mean_degree must be a finite number >= 1, got {mean_degree!r}")
    if not 0 <= mu <= 1:
        raise ValueError(f"mu must lie in [0, 1], a share of the interactions, got {mu!r}")
    if not 1 < exponent < np.inf:
        raise ValueError(f"exponent must be a finite number > 1, got {exponent!r}")
    rng = np.random.default_rng(random_state)
    user_labels = rng.permutation(n_users).astype(np.int64) % n_clusters
    item_labels = rng.permutation(n_items).astype(np.int64) % n_clusters
    user_weights = _zipf(rng, n_users, exponent, max_weight)
    wheel = _Wheel(item_labels, _zipf(rng, n_items, exponent, max_weight), n_clusters)

    # degrees rounded up or down at random, so that their mean is met
    wanted = user_weights * (mean_degree * n_users / user_weights.sum())
    degrees = np.maximum(np.floor(wanted + rng.random(n_users)).astype(np.int64), 1)
    users = np.repeat(np.arange(n_users), np.minimum(degrees, n_items))
    within = rng.random(users.size) < mu
    pairs = np.empty(0, np.int64)
    for _ in range(_ROUNDS):
        items = np.empty(users.size, np.int64)
        for start in range(0, users.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            items[part] = wheel.draw(rng, user_labels[users[part]], within[part])
        pairs, repeated = _accept(pairs, users * np.int64(n_items) + items)
        users, within = users[repeated], within[repeated]
        if users.size == 0:
            break

    left = np.flatnonzero(np.bincount(pairs % n_items, minlength=n_items) == 0)
    partners = _Wheel(user_labels, user_weights, n_clusters).draw(rng, item_labels[left], np.ones(left.size, bool))
    pairs, _ = _accept(pairs, partners * np.int64(n_items) + left)
    graph = BipartiteGraph.from_arrays(pairs // n_items, pairs % n_items, n_users=n_users, n_items=n_items)
    return CoClusters(graph, user_labels, item_labels)


class _Wheel:
    """Draws nodes of a given block, or of all others, in proportion to their weights."""

    def __init__(self, labels: Array, weights: Array, n_clusters: int) -> None:
        self.order = np.argsort(labels, kind="stable")
        self.edges = np.cumsum(weights[self.order])
        self.mass = np.bincount(labels, weights, minlength=n_clusters)
        self.start = np.cumsum(self.mass) - self.mass
        self.total = float(self.mass.sum())

    def draw(self, rng: np.random.Generator, blocks: Array, within: Array) -> Array:
        """One node per entry of ``blocks``: of that block where ``within``, else of another."""
        mass, start = self.mass[blocks], self.start[blocks]
        within = within | (mass == self.total)  # a single block has no others to go to
        # weights are whole numbers: the product rounds, the floor is a ticket of the wheel
        ticket = np.floor(rng.random(blocks.size) * np.where(within, mass, self.total - mass))
        ticket += np.where(within, start, np.where(ticket >= start, mass, 0.0))
        return self.order[np.searchsorted(self.edges, ticket, side="right")]


def _accept(pairs: Array, drawn: Array) -> tuple[Array, Array]:
    """Sorted ``pairs`` with the new ones among ``drawn``, and the positions of the draws that repeat a pair."""
    order = np.argsort(drawn, kind="stable")
    drawn = drawn[order]
    repeats = np.zeros(drawn.size, np.bool_)
    repeats[1:] = drawn[1:] == drawn[:-1]
    if pairs.size:
        place = np.minimum(np.searchsorted(pairs, drawn), pairs.size - 1)
        repeats |= pairs[place] == drawn
    # two sorted runs, which the stable sort merges in one pass
    return np.sort(np.concatenate([pairs, drawn[~repeats]]), kind="stable"), np.sort(order[repeats])


def _zipf(rng: np.random.Generator, size: int, exponent: float, largest: int) -> Array:
    """Whole numbers of P(k) ~ k^-exponent, clipped at ``largest``; float64, for sums beyond int64's products.

    Drawn by inversion: numpy leaves itself free to change the stream of its own sampler.
    """
    from scipy.special import zeta

    below = np.cumsum(np.arange(1, largest, dtype=np.float64) ** -exponent) / zeta(exponent)
    return np.searchsorted(below, rng.random(size), side="right") + 1.0
