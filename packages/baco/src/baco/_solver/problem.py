"""One graph with its balance weights, ready to be clustered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from baco.graph import BipartiteGraph

from . import _kernels
from .blocks import edge_blocks, inside_weight, run_blocks
from .search import Found, find_gamma
from .sweeps import Engine, Sweep
from .weights import balance_weights

Array = np.ndarray[Any, Any]
Show = Callable[[Sweep, float], None]


class Problem:
    """Interactions, masses and normalisation; knows about isolated ids, which take no part in the sweeps.

    Args:
        release: normalise the masses themselves, as the published software does, and give each isolated id a row.
    """

    def __init__(self, graph: BipartiteGraph, weights: Any, *, release: bool = False) -> None:
        self.graph, self.release = graph, release
        self.user_mass, self.item_mass, self.norm = balance_weights(graph, weights)
        self.isolated_users = np.flatnonzero(np.diff(graph.user_ptr) == 0)
        self.isolated_items = np.flatnonzero(np.diff(graph.item_ptr) == 0)
        if release:
            # the normalisation splits between the sides as in the formulas; only the phantom masses notice
            user_norm = np.sqrt(self.user_mass.sum())
            self.user_mass, self.item_mass = self.user_mass / user_norm, self.item_mass / (self.norm / user_norm)
            self.norm = 1.0

    def at_gamma(self, engine: Engine, gamma: float, max_sweeps: int, tol: float, show: Show) -> Found:
        """Sweeps at a fixed gamma until few nodes move."""
        engine.start()
        sweeps = []
        for _ in range(max_sweeps):
            sweeps.append((engine.sweep(gamma), gamma))
            show(*sweeps[-1])
            if sweeps[-1][0].moves <= tol * (self.graph.n_users + self.graph.n_items):
                break
        return Found(engine.labels(), gamma, sweeps, [])

    def within(self, engine: Engine, budget: int, max_sweeps: int, coarsen: bool, show: Show) -> Found:
        """Labels of at most ``budget`` rows, isolated ids included."""
        graph = self.graph
        connected = graph.n_users + graph.n_items - self.isolated_users.size - self.isolated_items.size
        if connected <= budget:
            engine.start()
            return Found(engine.labels(), float("inf"), [], [])
        reserved = (self.isolated_users.size > 0) + (self.isolated_items.size > 0)
        rows = max(budget - reserved, 2)
        # clusters wanted, over the product of total masses: the gamma at which volumes start to matter
        even = rows / 2 * graph.total_weight * self.norm / (float(self.user_mass.sum()) * float(self.item_mass.sum()))
        return find_gamma(engine, rows, even, max_sweeps, coarsen=coarsen, show=show)

    def share_isolated(self, users: Array, items: Array, budget: int | None) -> tuple[Array, Array]:
        """Labels with one further label for the isolated ids of each side.

        Where the budget has no room for such rows, they join the label of least volume on their side.
        """
        if self.release or not (self.isolated_users.size or self.isolated_items.size):
            return users, items
        n_labels = users.size + items.size
        sides = ((users, self.isolated_users, self.user_mass), (items, self.isolated_items, self.item_mass))
        connected = [np.setdiff1d(np.arange(labels.size), isolated) for labels, isolated, _ in sides]
        used = sum(np.unique(labels[some]).size for (labels, _, _), some in zip(sides, connected, strict=True))
        room = 2 if budget is None else budget - used
        shared = []
        for number, ((labels, isolated, mass), some) in enumerate(zip(sides, connected, strict=True)):
            labels = labels.astype(np.int64)
            if isolated.size and room > 0:
                labels[isolated] = n_labels + number
                room -= 1
            elif isolated.size:
                held = np.unique(labels[some])
                volume = np.bincount(labels[some], mass[some], minlength=n_labels)
                labels[isolated] = held[np.argmin(volume[held])]
            shared.append(labels)
        return shared[0], shared[1]

    def further(self, side: str, users: Array, items: Array, gamma: float, count: int, n_jobs: int) -> Array:
        """The ``count`` best further labels of each node of a side, int64 (n, count), -1 for none."""
        graph = self.graph
        if side == "user":
            parts = (graph.user_ptr, graph.user_items, graph.user_weights, self.user_mass)
            own, other, other_mass = users, items, self.item_mass
        else:
            parts = (graph.item_ptr, graph.item_users, graph.item_weights, self.item_mass)
            own, other, other_mass = items, users, self.user_mass
        chosen = np.full((own.size, count), -1, np.int64)
        if count == 0 or not np.isfinite(gamma):
            return chosen
        n_labels = int(max(users.max(), items.max())) + 1
        volume = np.bincount(other, other_mass, minlength=n_labels)
        held = np.zeros(n_labels, bool)
        held[own] = True
        pointer, neighbours, weights, mass = parts

        def work(start: int, stop: int) -> None:
            _kernels.further_labels(
                pointer, neighbours, weights, mass, gamma / self.norm, own, other, volume, held, chosen, start, stop
            )

        run_blocks(work, edge_blocks(pointer), n_jobs)
        return chosen

    def objective(self, users: Array, items: Array, gamma: float) -> float:
        """F of any labels."""
        if not np.isfinite(gamma):
            return 0.0  # only singletons are found at an infinite resolution, and none has both sides
        graph = self.graph
        n_labels = int(max(users.max(), items.max())) + 1
        inside = inside_weight(graph, users, items)
        user_volume = np.bincount(users, self.user_mass, minlength=n_labels)
        item_volume = np.bincount(items, self.item_mass, minlength=n_labels)
        return inside - gamma / self.norm * float(np.sum(user_volume * item_volume))

    def record(self, sweep: Sweep, number: int, gamma: float) -> dict[str, Any]:
        """A sweep as an entry of ``history_``."""
        return {
            "sweep": number,
            "moves": sweep.moves,
            "rows_u": sweep.user_rows + self.isolated_users.size,
            "rows_i": sweep.item_rows + self.isolated_items.size,
            "inside": sweep.inside,
            "F": sweep.objective(gamma),
            "gamma": gamma,
        }
