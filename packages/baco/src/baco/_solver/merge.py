"""Merging whole clusters where moving single nodes no longer lowers the number of rows.

Merging a and b gains ``L_ab - scale (U_a V_b + U_b V_a)`` with L the edge weight between them and U, V their user
and item volumes: it pays up to the scale ``L_ab / (U_a V_b + U_b V_a)``. Pairs merge in order of that falling
critical scale. The ratio of sums lies between the ratios (mediants), so merging two clusters never raises the
level of a third above what it had: pairs that are each other's best may all merge in one round, and cutting the
tree at a level gives exactly what the one-pair-at-a-time greedy order gives (our derivation).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _kernels

Array = np.ndarray[Any, Any]
#: Row pointers, columns and weights.
Links = tuple[Array, Array, Array]

_EDGES_AT_ONCE = 1 << 24


class _Clusters:
    """Volumes and occupancy of clusters that grow by merging; `rows` is what they cost."""

    def __init__(self, user_volume: Array, item_volume: Array, has_users: Array, has_items: Array) -> None:
        self.user_volume, self.item_volume = user_volume, item_volume
        self.has_users, self.has_items = has_users, has_items

    def grouped(self, group: Array, n_groups: int) -> _Clusters:
        return _Clusters(
            np.bincount(group, self.user_volume, minlength=n_groups),
            np.bincount(group, self.item_volume, minlength=n_groups),
            np.bincount(group, self.has_users, minlength=n_groups) > 0,
            np.bincount(group, self.has_items, minlength=n_groups) > 0,
        )

    @property
    def rows(self) -> int:
        return int(self.has_users.sum() + self.has_items.sum())


def merge_clusters(
    pointer: Array,
    neighbours: Array,
    weights: Array,
    user_labels: Array,
    item_labels: Array,
    user_mass: Array,
    item_mass: Array,
    budget: int,
) -> tuple[Array, Array, float]:
    """New labels whose connected nodes hold exactly ``budget`` rows, or fewer if they did before.

    Linked clusters merge first; once every component is one cluster, the lightest clusters merge. The last merger
    joins one side only where joining both would save a row too many. Also returns the level of the last merger:
    infinity where there was none, 0 where it had no link.
    """
    n_labels = int(max(user_labels.max(), item_labels.max())) + 1
    connected_users = np.diff(pointer) > 0
    connected_items = np.zeros(item_labels.size, bool)
    connected_items[neighbours] = True
    held = np.zeros(n_labels, bool)
    held[user_labels[connected_users]] = True
    held[item_labels[connected_items]] = True
    names = np.flatnonzero(held)
    position = np.full(n_labels, -1, np.int64)
    position[names] = np.arange(names.size)
    users, items = position[user_labels], position[item_labels]
    of_users, of_items = users[connected_users], items[connected_items]
    start = _Clusters(
        np.bincount(of_users, user_mass[connected_users], minlength=names.size),
        np.bincount(of_items, item_mass[connected_items], minlength=names.size),
        np.bincount(of_users, minlength=names.size) > 0,
        np.bincount(of_items, minlength=names.size) > 0,
    )
    linked = _greedy_tree(_links(pointer, neighbours, weights, users, items, names.size), start, budget)
    merges = linked.followed_by(_lightest_first(start, linked, budget))
    user_root, item_root, level = _cut(start, merges, budget)
    # a cluster is known by the smallest label that went into it
    new_users, new_items = user_labels.copy(), item_labels.copy()
    new_users[connected_users] = names[user_root[of_users]]
    new_items[connected_items] = names[item_root[of_items]]
    return new_users, new_items, level


def _links(pointer: Array, neighbours: Array, weights: Array, users: Array, items: Array, n_clusters: int) -> Links:
    """Edge weight between different clusters, both ways; built in pieces so that memory follows clusters."""
    import scipy.sparse as sp

    total: Any = None
    n_users = pointer.size - 1
    start = 0
    while start < n_users:
        stop = int(np.searchsorted(pointer, pointer[start] + _EDGES_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), n_users)
        part = slice(int(pointer[start]), int(pointer[stop]))
        rows = np.repeat(users[start:stop], np.diff(pointer[start : stop + 1]))
        columns = items[neighbours[part]]
        values = weights[part] if weights.size else np.ones(rows.size)
        across = rows != columns
        part_links = sp.csr_matrix((values[across], (rows[across], columns[across])), shape=(n_clusters, n_clusters))
        total = part_links if total is None else total + part_links
        start = stop
    both = (total + total.T).tocsr()
    return both.indptr.astype(np.int64), both.indices.astype(np.int64), both.data


@dataclass(frozen=True)
class _Merges:
    """Mergers by falling level: the cluster that was kept, the one that it absorbed, and the level.

    A cluster is named by the smallest of its first clusters, and is absorbed once at most: which mergers there are
    says what becomes of each cluster, not their order.
    """

    kept: Array
    absorbed: Array
    level: Array

    def followed_by(self, other: _Merges) -> _Merges:
        return _Merges(
            np.concatenate([self.kept, other.kept]),
            np.concatenate([self.absorbed, other.absorbed]),
            np.concatenate([self.level, other.level]),
        )

    def those(self, some: Any) -> _Merges:
        return _Merges(self.kept[some], self.absorbed[some], self.level[some])

    def roots(self, n: int) -> Array:
        """Name of the cluster that each first cluster ends in."""
        root = np.arange(n)
        root[self.absorbed] = self.kept
        while True:  # follow the chains; each pass halves their length
            onward = root[root]
            if np.array_equal(onward, root):
                return root
            root = onward

    def rows_after(self, start: _Clusters) -> int:
        root = self.roots(start.has_users.size)
        sides = start.has_users, start.has_items
        return sum(int(np.count_nonzero(np.bincount(root[held], minlength=root.size))) for held in sides)


_NO_MERGES = _Merges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def _greedy_tree(links: Links, start: _Clusters, budget: int) -> _Merges:
    """Mergers of linked clusters, enough of them to meet the budget where links allow.

    What a merger of others does to a cluster's links only lowers their levels (mediants), so its best partner stays
    the best until one of the two merges: only then is it looked for again.
    """
    n = start.user_volume.size
    clusters, names = start, np.arange(n)
    partner, level, stale = np.full(n, -1, np.int64), np.zeros(n), np.ones(n, np.bool_)
    merges = _NO_MERGES
    while True:
        _kernels.best_partners(*links, clusters.user_volume, clusters.item_volume, partner, level, stale)
        best_left = float(level.max(initial=0.0))
        # mergers that later rounds may still find come after all those above the best level left
        if best_left == 0.0 or merges.those(merges.level >= best_left).rows_after(start) <= budget:
            break
        first = np.flatnonzero(partner >= 0)
        first = first[(partner[partner[first]] == first) & (first < partner[first])]
        if first.size == 0:  # real weights, summed in two orders, may differ in the last bit and go round in circles
            break
        second = partner[first]
        merges = merges.followed_by(_Merges(names[first], names[second], level[first]))
        group = np.arange(names.size)
        group[second] = first
        kept = np.ones(names.size, np.bool_)
        kept[second] = False
        merged = ~kept
        merged[first] = True
        stale = (merged | ((partner >= 0) & merged[partner]))[kept]
        names, level = names[kept], level[kept]
        group = (np.cumsum(kept) - 1)[group]
        partner = np.where(partner >= 0, group[partner], -1)[kept]
        clusters = clusters.grouped(group, names.size)
        starts = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=names.size))])
        links = _kernels.contract(*links, group, np.argsort(group, kind="stable"), starts)
    return merges.those(np.argsort(-merges.level, kind="stable"))


def _lightest_first(start: _Clusters, merges: _Merges, budget: int) -> _Merges:
    """Mergers of clusters without a link between them, the lightest two at a time."""
    n = start.user_volume.size
    root = merges.roots(n)
    clusters = start.grouped(root, n)
    rows = clusters.rows
    if rows <= budget:
        return _NO_MERGES
    alive = np.unique(root)
    share = clusters.user_volume / clusters.user_volume.sum() + clusters.item_volume / clusters.item_volume.sum()
    heap = [(float(share[one]), int(one)) for one in alive]
    heapq.heapify(heap)
    pairs = []
    while rows > budget and len(heap) > 1:
        a_share, a = heapq.heappop(heap)
        b_share, b = heapq.heappop(heap)
        kept, absorbed = min(a, b), max(a, b)
        rows -= int(clusters.has_users[a] and clusters.has_users[b])
        rows -= int(clusters.has_items[a] and clusters.has_items[b])
        clusters.has_users[kept] |= clusters.has_users[absorbed]
        clusters.has_items[kept] |= clusters.has_items[absorbed]
        pairs.append((kept, absorbed))
        heapq.heappush(heap, (a_share + b_share, kept))
    kept_ones, absorbed_ones = np.array(pairs, np.int64).reshape(-1, 2).T
    return _Merges(kept_ones, absorbed_ones, np.zeros(len(pairs)))


def _cut(start: _Clusters, merges: _Merges, budget: int) -> tuple[Array, Array, float]:
    """Roots of users and of items after just enough mergers, and the level of the last of them."""
    n = start.user_volume.size
    has_users, has_items = start.has_users.tolist(), start.has_items.tolist()
    rows = start.rows
    done = 0
    for kept, absorbed in zip(merges.kept.tolist(), merges.absorbed.tolist(), strict=True):
        if rows <= budget:
            break
        rows -= (has_users[kept] and has_users[absorbed]) + (has_items[kept] and has_items[absorbed])
        has_users[kept] |= has_users[absorbed]
        has_items[kept] |= has_items[absorbed]
        done += 1
    root = merges.those(slice(done)).roots(n)
    if done == 0:
        return root, root, float("inf")
    level = float(merges.level[done - 1])
    if rows == budget:
        return root, root, level
    # the last merger saved two rows where one was asked for: join the items, leave the users apart
    return merges.those(slice(done - 1)).roots(n), root, level
