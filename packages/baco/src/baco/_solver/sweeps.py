"""Sweeps of balanced label propagation over all users and items.

Two engines share one interface: `Alternating` (all users at once, then all items; exact, parallel, no seed) and
`Sequential` (node after node in a given order, as the BACO authors' software does). Both start from singletons
and can stop within a sweep as soon as a number of codebook rows is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from baco._mapped import drop_pages

from . import _kernels
from .blocks import edge_blocks, run_blocks

if TYPE_CHECKING:
    from baco.graph import BipartiteGraph

Array = np.ndarray[Any, Any]
_NOBODY = np.empty(0, np.int64)
_NO_LIMIT = -1


@dataclass(frozen=True)
class Sweep:
    """What one sweep did: moves, rows held by connected ids a side, and how much of it was run.

    ``inside`` is the edge weight inside clusters, ``balance`` the sum of W_U(l) W_V(l): F = inside - gamma * balance.
    """

    moves: int
    user_rows: int
    item_rows: int
    inside: float
    balance: float
    fraction: float = 1.0

    @property
    def rows(self) -> int:
        return self.user_rows + self.item_rows

    def objective(self, gamma: float) -> float:
        return self.inside - gamma * self.balance


class _Side:
    """One side's half of the graph, its masses and labels, and room for proposals."""

    def __init__(self, pointer: Array, neighbours: Array, weights: Array, mass: Array, first_label: int) -> None:
        self.pointer, self.neighbours, self.weights, self.mass = pointer, neighbours, weights, mass
        self.first_label = first_label
        self.size = pointer.size - 1
        self.blocks = edge_blocks(pointer)
        isolated = np.diff(pointer) == 0
        self.isolated = np.flatnonzero(isolated)
        self.connected = np.flatnonzero(~isolated) if self.isolated.size else None
        self.labels = np.empty(0, np.int32)
        self.target = np.empty(self.size, np.int32)
        self.mapped = isinstance(neighbours, np.memmap)
        self.gain = np.empty(self.size, np.float64)

    def reset(self) -> None:
        self.labels = np.arange(self.first_label, self.first_label + self.size, dtype=np.int32)

    def done_with(self, start: int, stop: int) -> None:
        """Let the edges of some nodes go, where they are mapped from a file."""
        if self.mapped:
            for array in (self.neighbours, self.weights):
                drop_pages(array, int(self.pointer[start]), int(self.pointer[stop]))

    def counts(self, labels: Array, n_labels: int) -> Array:
        """Connected nodes per label."""
        return np.bincount(labels if self.connected is None else labels[self.connected], minlength=n_labels)


class Alternating:
    """All users move at once, then all items: the graph has no edge within a side, so this is exact.

    A node's score depends only on the other side's labels and volumes. Updating a side in parallel therefore
    equals updating it one node after the other, and with ``stay`` no half-sweep lowers the objective.
    """

    def __init__(
        self, graph: BipartiteGraph, user_mass: Array, item_mass: Array, norm: float, *, stay: bool, n_jobs: int
    ) -> None:
        self.norm = norm
        self.n_labels = graph.n_users + graph.n_items
        self.stay, self.n_jobs = stay, n_jobs
        self.users = _Side(graph.user_ptr, graph.user_items, graph.user_weights, user_mass, 0)
        self.items = _Side(graph.item_ptr, graph.item_users, graph.item_weights, item_mass, graph.n_users)

    def start(self) -> None:
        """Back to singletons."""
        self.users.reset()
        self.items.reset()

    def labels(self) -> tuple[Array, Array]:
        return self.users.labels.copy(), self.items.labels.copy()

    def set_labels(self, users: Array, items: Array) -> None:
        self.users.labels, self.items.labels = users.copy(), items.copy()

    def sweep(self, gamma: float, budget: int = _NO_LIMIT, *, exact: bool = True) -> Sweep:
        """Users, then items; stops once at most ``budget`` rows are left.

        The half-sweep that would cross the budget makes only as many moves as it takes to meet it, the most
        profitable first (``exact=False``: it is made whole).
        """
        moves = 0
        rows = {
            side: int(np.count_nonzero(side.counts(side.labels, self.n_labels))) for side in (self.users, self.items)
        }
        inside = 0.0
        for part, (side, other) in enumerate(((self.users, self.items), (self.items, self.users))):
            proposed, inside = self._propose(side, other, gamma, _NOBODY)
            counts = side.counts(side.target, self.n_labels)
            after = int(np.count_nonzero(counts))
            if after + rows[other] > budget:
                side.labels[:] = side.target
                rows[side] = after
                moves += proposed
                continue
            fraction = 0.5 + 0.5 * part
            if exact:
                before = rows[side] + rows[other]
                made = self._apply_best(side, before, budget)
                fraction += 0.5 * (made / max(proposed, 1) - 1.0)
                moves += made
                rows[side] = budget - rows[other]
                inside = self.inside()
            else:
                side.labels[:] = side.target
                rows[side] = after
                moves += proposed
            return Sweep(moves, rows[self.users], rows[self.items], inside, self.balance(), fraction)
        return Sweep(moves, rows[self.users], rows[self.items], inside, self.balance())

    def polish(self, gamma: float) -> Sweep:
        """A sweep that raises the objective and leaves the number of rows as it is.

        The first holder of each label keeps it, and nobody opens a row.
        """
        moves = 0
        rows = []
        inside = 0.0
        for side, other in ((self.users, self.items), (self.items, self.users)):
            keepers = np.full(self.n_labels, -1, np.int64)
            nodes = np.arange(side.size) if side.connected is None else side.connected
            keepers[side.labels[nodes[::-1]]] = nodes[::-1]
            self._propose(side, other, gamma, keepers)
            allowed = (keepers[side.target] >= 0) & (side.target != side.labels)
            side.labels[allowed] = side.target[allowed]
            moves += int(np.count_nonzero(allowed))
            rows.append(int(np.count_nonzero(keepers >= 0)))
        inside = self.inside()
        return Sweep(moves, rows[0], rows[1], inside, self.balance())

    def balance(self) -> float:
        """Sum over labels of user volume times item volume."""
        user_volume = np.bincount(self.users.labels, self.users.mass, minlength=self.n_labels)
        item_volume = np.bincount(self.items.labels, self.items.mass, minlength=self.n_labels)
        return float(np.sum(user_volume * item_volume)) / self.norm

    def inside(self) -> float:
        """Edge weight inside clusters."""
        side, other = self.users, self.items

        def work(start: int, stop: int) -> float:
            total = float(
                _kernels.inside_weight(
                    side.pointer, side.neighbours, side.weights, side.labels, other.labels, start, stop
                )
            )
            side.done_with(start, stop)
            return total

        return float(sum(run_blocks(work, side.blocks, self.n_jobs)))

    def objective(self, gamma: float) -> float:
        """F of the labels."""
        return self.inside() - gamma * self.balance()

    def _propose(self, side: _Side, other: _Side, gamma: float, keepers: Array) -> tuple[int, float]:
        volume = np.bincount(other.labels, other.mass, minlength=self.n_labels)

        def work(start: int, stop: int) -> tuple[int, float]:
            result: tuple[int, float] = _kernels.propose(
                side.pointer,
                side.neighbours,
                side.weights,
                side.mass,
                gamma / self.norm,
                side.labels,
                other.labels,
                volume,
                keepers,
                self.stay,
                side.target,
                side.gain,
                start,
                stop,
            )
            side.done_with(start, stop)
            return result

        parts = run_blocks(work, side.blocks, self.n_jobs)
        return sum(moves for moves, _ in parts), float(sum(inside for _, inside in parts))

    def _apply_best(self, side: _Side, rows: int, budget: int) -> int:
        movers = np.flatnonzero(side.target != side.labels)
        order = movers[np.argsort(-side.gain[movers], kind="stable")]
        counts = side.counts(side.labels, self.n_labels)
        _, made = _kernels.apply_until(order, side.labels, side.target, counts, rows, budget)
        return int(made)


class Sequential:
    """Node after node in a given order, each move seen by the next node.

    Args:
        order: "permutation" (a new random one each sweep) or "degree" (heaviest nodes first).
        release: keep the published software's volumes: single precision, and every label starts with the mass of
            the node it was born on counted on *both* sides.
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        user_mass: Array,
        item_mass: Array,
        norm: float,
        *,
        stay: bool,
        order: str,
        rng: np.random.Generator,
        release: bool = False,
    ) -> None:
        self.graph, self.norm, self.stay = graph, norm, stay
        self.order, self.rng, self.release = order, rng, release
        kind = np.float32 if release else np.float64
        self.mass = np.concatenate([user_mass, item_mass]).astype(kind)
        self.n_labels = self.mass.size
        degrees = np.concatenate([np.diff(graph.user_ptr), np.diff(graph.item_ptr)])
        self.connected = degrees > 0
        self.by_degree = np.argsort(-degrees, kind="stable")

    def start(self) -> None:
        n_users = self.graph.n_users
        self._labels = np.arange(self.n_labels, dtype=np.int32)
        self.user_volume, self.item_volume = self.mass.copy(), self.mass.copy()
        if not self.release:
            self.user_volume[n_users:] = 0
            self.item_volume[:n_users] = 0
        self.counts = np.zeros((self.n_labels, 2), np.int64)
        self.counts[:n_users, 0] = self.connected[:n_users]
        self.counts[n_users:, 1] = self.connected[n_users:]

    def labels(self) -> tuple[Array, Array]:
        return self._labels[: self.graph.n_users].copy(), self._labels[self.graph.n_users :].copy()

    def set_labels(self, users: Array, items: Array) -> None:
        n_users = self.graph.n_users
        self._labels = np.concatenate([users, items]).astype(np.int32)
        self.user_volume = np.bincount(users, self.mass[:n_users], minlength=self.n_labels).astype(self.mass.dtype)
        self.item_volume = np.bincount(items, self.mass[n_users:], minlength=self.n_labels).astype(self.mass.dtype)
        for side, part in enumerate((slice(0, n_users), slice(n_users, None))):
            held = self._labels[part][self.connected[part]]
            self.counts[:, side] = np.bincount(held, minlength=self.n_labels)

    def sweep(self, gamma: float, budget: int = _NO_LIMIT, *, exact: bool = True) -> Sweep:
        """All nodes once, or until at most ``budget`` rows are left."""
        graph = self.graph
        order = self.by_degree if self.order == "degree" else self.rng.permutation(self.n_labels)
        rows = int(np.count_nonzero(self.counts))
        rows, moves = _kernels.sequential_sweep(
            order,
            graph.n_users,
            graph.user_ptr,
            graph.user_items,
            graph.user_weights,
            graph.item_ptr,
            graph.item_users,
            graph.item_weights,
            self.mass,
            gamma / self.norm,
            self._labels,
            self.user_volume,
            self.item_volume,
            self.counts,
            rows,
            budget,
            self.stay,
        )
        user_rows, item_rows = (int(one) for one in np.count_nonzero(self.counts, axis=0))
        return Sweep(int(moves), user_rows, item_rows, self.inside(), self.balance())

    def inside(self) -> float:
        """Edge weight inside clusters."""
        graph = self.graph
        users, items = self._labels[: graph.n_users], self._labels[graph.n_users :]
        return float(
            _kernels.inside_weight(graph.user_ptr, graph.user_items, graph.user_weights, users, items, 0, graph.n_users)
        )

    def balance(self) -> float:
        """Sum over labels of user volume times item volume."""
        mass = self.mass.astype(np.float64)
        volumes = [
            np.bincount(self._labels[part], mass[part], minlength=self.n_labels)
            for part in (slice(0, self.graph.n_users), slice(self.graph.n_users, None))
        ]
        return float(np.sum(volumes[0] * volumes[1])) / self.norm

    def objective(self, gamma: float) -> float:
        """F of the labels."""
        return self.inside() - gamma * self.balance()


Engine = Alternating | Sequential
