"""Merging whole clusters where moving single nodes no longer lowers the number of rows.

Merging a and b gains ``L_ab - scale (U_a V_b + U_b V_a)`` with L the edge weight between them and U, V their user
and item volumes: it pays up to the scale ``L_ab / (U_a V_b + U_b V_a)``. Pairs merge in order of that falling
critical scale. The ratio of sums lies between the ratios (mediants), so merging two clusters never raises the
level of a third above what it had: pairs that are each other's best may all merge in one round, and cutting the
tree at a level gives exactly what the one-pair-at-a-time greedy order gives (our derivation).
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _kernels

if TYPE_CHECKING:
    import scipy.sparse

Array = np.ndarray[Any, Any]

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
) -> tuple[Array, Array]:
    """New labels whose connected nodes hold exactly ``budget`` rows, or fewer if they did before.

    Linked clusters merge first; once every component is one cluster, the lightest clusters merge. The last merger
    joins one side only where joining both would save a row too many.
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
    merges = _greedy_tree(_links(pointer, neighbours, weights, users, items, names.size), start, budget)
    merges += _lightest_first(start, merges, budget)
    user_root, item_root = _cut(start, merges, budget)
    # a cluster is known by the smallest label that went into it
    new_users, new_items = user_labels.copy(), item_labels.copy()
    new_users[connected_users] = names[user_root[of_users]]
    new_items[connected_items] = names[item_root[of_items]]
    return new_users, new_items


def _links(
    pointer: Array, neighbours: Array, weights: Array, users: Array, items: Array, n_clusters: int
) -> scipy.sparse.csr_matrix:
    """Edge weight between different clusters, symmetric; built in pieces so that memory follows clusters."""
    import scipy.sparse as sp

    total = sp.csr_matrix((n_clusters, n_clusters))
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
        total = total + sp.csr_matrix((values[across], (rows[across], columns[across])), shape=(n_clusters, n_clusters))
        start = stop
    return (total + total.T).tocsr()


Merge = tuple[int, int, float]


def _greedy_tree(links: scipy.sparse.csr_matrix, start: _Clusters, budget: int) -> list[Merge]:
    """Mergers (kept, absorbed, level) by falling level, enough of them to meet the budget where links allow.

    A cluster is named by the smallest of its first clusters.
    """
    import scipy.sparse as sp

    clusters, names = start, np.arange(start.user_volume.size)
    merges: list[Merge] = []
    while True:
        partner, level = _kernels.best_partners(
            links.indptr, links.indices, links.data, clusters.user_volume, clusters.item_volume
        )
        best_left = float(level.max(initial=0.0))
        # mergers that later rounds may still find come after all those above the best level left
        if best_left == 0.0 or _rows_after([m for m in merges if m[2] >= best_left], start) <= budget:
            break
        first = np.flatnonzero(partner >= 0)
        first = first[(partner[partner[first]] == first) & (first < partner[first])]
        second = partner[first]
        merges += zip(names[first].tolist(), names[second].tolist(), level[first].tolist(), strict=True)
        group = np.arange(names.size)
        group[second] = first
        kept, group = np.unique(group, return_inverse=True)
        names = names[kept]
        clusters = clusters.grouped(group, kept.size)
        gather = sp.csr_matrix((np.ones(group.size), (np.arange(group.size), group)), shape=(group.size, kept.size))
        links = (gather.T @ links @ gather).tocsr()
        links.setdiag(0)
        links.eliminate_zeros()
    merges.sort(key=lambda merge: -merge[2])
    return merges


def _rows_after(merges: list[Merge], start: _Clusters) -> int:
    return start.grouped(_roots(merges, start.user_volume.size), start.user_volume.size).rows


def _roots(merges: list[Merge], n: int) -> Array:
    """Name of the cluster that each first cluster ends in."""
    root = np.arange(n)
    for kept, absorbed, _ in merges:
        root[absorbed] = kept
    while True:  # follow the chains; each pass halves their length
        onward = root[root]
        if np.array_equal(onward, root):
            return root
        root = onward


def _lightest_first(start: _Clusters, merges: list[Merge], budget: int) -> list[Merge]:
    """Mergers of clusters without a link between them, the lightest two at a time."""
    n = start.user_volume.size
    root = _roots(merges, n)
    clusters = start.grouped(root, n)
    rows = clusters.rows
    if rows <= budget:
        return []
    alive = np.unique(root)
    share = clusters.user_volume / clusters.user_volume.sum() + clusters.item_volume / clusters.item_volume.sum()
    heap = [(float(share[one]), int(one)) for one in alive]
    heapq.heapify(heap)
    more: list[Merge] = []
    while rows > budget and len(heap) > 1:
        a_share, a = heapq.heappop(heap)
        b_share, b = heapq.heappop(heap)
        kept, absorbed = min(a, b), max(a, b)
        rows -= int(clusters.has_users[a] and clusters.has_users[b])
        rows -= int(clusters.has_items[a] and clusters.has_items[b])
        clusters.has_users[kept] |= clusters.has_users[absorbed]
        clusters.has_items[kept] |= clusters.has_items[absorbed]
        more.append((kept, absorbed, 0.0))
        heapq.heappush(heap, (a_share + b_share, kept))
    return more


def _cut(start: _Clusters, merges: list[Merge], budget: int) -> tuple[Array, Array]:
    """Roots of users and of items after just enough mergers."""
    n = start.user_volume.size
    has_users, has_items = start.has_users.copy(), start.has_items.copy()
    rows = start.rows
    done = 0
    for kept, absorbed, _ in merges:
        if rows <= budget:
            break
        rows -= int(has_users[kept] and has_users[absorbed]) + int(has_items[kept] and has_items[absorbed])
        has_users[kept] |= has_users[absorbed]
        has_items[kept] |= has_items[absorbed]
        done += 1
    root = _roots(merges[:done], n)
    if rows == budget or done == 0:
        return root, root
    # the last merger saved two rows where one was asked for: join the items, leave the users apart
    return _roots(merges[: done - 1], n), root
