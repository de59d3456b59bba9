"""Sweeps over what changed alone: nodes whose edges are new, then the neighbours of those that moved."""

from __future__ import annotations

from typing import Any

import numpy as np

from baco.graph import BipartiteGraph

from . import _kernels
from .blocks import inside_weight
from .sweeps import Sweep

Array = np.ndarray[Any, Any]


class _Half:
    """One side during the growth: its edges, masses, labels, and which of its nodes are due."""

    def __init__(self, pointer: Array, neighbours: Array, weights: Array, mass: Array, labels: Array) -> None:
        self.pointer, self.neighbours, self.weights, self.mass = pointer, neighbours, weights, mass
        self.labels = labels.astype(np.int64)
        self.due = np.zeros(labels.size, bool)
        self.touched = np.zeros(labels.size, bool)

    def rows_of(self, nodes: Array) -> tuple[Array, Array, Array]:
        """Compressed rows of some nodes: pointers, neighbours, weights."""
        counts = self.pointer[nodes + 1] - self.pointer[nodes]
        pointer = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.repeat(self.pointer[nodes] - pointer[:-1], counts) + np.arange(pointer[-1])
        weights = self.weights[places] if self.weights.size else self.weights
        return pointer, self.neighbours[places], weights


def sweep_dirty(
    graph: BipartiteGraph,
    masses: tuple[Array, Array],
    gamma: float,
    norm: float,
    labels: tuple[Array, Array],
    dirty: tuple[Array, Array],
    max_sweeps: int,
) -> tuple[tuple[Array, Array], tuple[Array, Array], list[Sweep]]:
    """Move due nodes, users then items, until nothing is due; rows are neither opened nor emptied.

    A node that moves makes its neighbours due. Each move raises the objective, so it never falls.

    Returns:
        labels of both sides, nodes that were ever due (boolean masks), and the sweeps.
    """
    n_labels = int(max(labels[0].max(), labels[1].max())) + 1
    users = _Half(graph.user_ptr, graph.user_items, graph.user_weights, masses[0], labels[0])
    items = _Half(graph.item_ptr, graph.item_users, graph.item_weights, masses[1], labels[1])
    users.due[dirty[0]] = items.due[dirty[1]] = True
    sweeps = []
    for _ in range(max_sweeps):
        moves = sum(_move_due(side, other, gamma / norm, n_labels) for side, other in ((users, items), (items, users)))
        inside = inside_weight(graph, users.labels, items.labels)
        volumes = [np.bincount(side.labels, side.mass, minlength=n_labels) for side in (users, items)]
        rows = [np.unique(side.labels).size for side in (users, items)]
        sweeps.append(Sweep(moves, rows[0], rows[1], inside, float(np.sum(volumes[0] * volumes[1])) / norm))
        if not (users.due.any() or items.due.any()):
            break
    return (users.labels, items.labels), (users.touched, items.touched), sweeps


def _move_due(side: _Half, other: _Half, scale: float, n_labels: int) -> int:
    nodes = np.flatnonzero(side.due)
    side.due[:] = False
    if nodes.size == 0:
        return 0
    side.touched[nodes] = True
    pointer, neighbours, weights = side.rows_of(nodes)
    own = side.labels[nodes]
    settled = np.bincount(side.labels, minlength=n_labels) > np.bincount(own, minlength=n_labels)
    # a label that only due nodes hold keeps the first of them
    keepers = np.full(n_labels, -1, np.int64)
    keepers[own[::-1]] = np.arange(nodes.size)[::-1]
    keepers[settled] = -2
    target, gain = own.copy(), np.zeros(nodes.size)
    volume = np.bincount(other.labels, other.mass, minlength=n_labels)
    _kernels.propose(
        pointer,
        neighbours,
        weights,
        side.mass[nodes],
        scale,
        own,
        other.labels,
        volume,
        keepers,
        True,
        target,
        gain,
        0,
        nodes.size,
    )
    moved = (target != own) & (keepers[target] != -1)
    side.labels[nodes[moved]] = target[moved]
    _, reached, _ = side.rows_of(nodes[moved])
    other.due[reached] = True
    return int(np.count_nonzero(moved))
