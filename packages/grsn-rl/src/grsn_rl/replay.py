"""Whole episodes in one ring of fixed memory; windows of them as batches.

An episode lies in one piece (where it does not fit before the end of the ring, the rest stays empty), so a window is a
slice and never crosses an episode's end or the place of writing. Windows of ``length`` steps start anywhere inside an
episode with equal probability; an episode shorter than that is one window, filled up with masked steps.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grsn_rl._checks import whole

__all__ = ["SequenceReplay"]


class SequenceReplay:
    """The ring.

    Args:
        capacity: steps. fields: shape of one step of each array that is kept, such as ``{"obs": (4,), "reward": ()}``.
            Integer arrays are named in ``whole_numbers``.
    """

    def __init__(
        self, capacity: int, fields: dict[str, tuple[int, ...]], *, whole_numbers: tuple[str, ...] = ()
    ) -> None:
        self.capacity = whole("capacity", capacity)
        self.data: dict[str, NDArray[Any]] = {
            name: np.zeros((self.capacity, *shape), np.int64 if name in whole_numbers else np.float32)
            for name, shape in fields.items()
        }
        self._episodes: deque[tuple[int, int]] = deque()  # (first step, steps), oldest first
        self._head = 0
        self._length = 0
        self._ends: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Steps that can be sampled."""
        return sum(n for _, n in self._episodes)

    def add(self, episode: dict[str, NDArray[Any]]) -> None:
        """Store one whole episode, arrays [steps, ...]; the oldest ones make room.

        Raises:
            ValueError: an episode longer than the ring, or empty, or with other fields.
        """
        if set(episode) != set(self.data):
            raise ValueError(f"the episode has {sorted(episode)}, the replay keeps {sorted(self.data)}")
        steps = len(next(iter(episode.values())))
        if not 1 <= steps <= self.capacity:
            raise ValueError(
                f"the episode has {steps} steps, the replay takes 1 to {self.capacity}; raise its capacity"
            )
        if self._head + steps > self.capacity:
            self._clear(self._head, self.capacity)
            self._head = 0
        self._clear(self._head, self._head + steps)
        for name, rows in episode.items():
            self.data[name][self._head : self._head + steps] = rows
        self._episodes.append((self._head, steps))
        self._head += steps
        self._ends = None

    def _clear(self, low: int, high: int) -> None:
        # what lies ahead of the head is the oldest there is
        while self._episodes and low <= self._episodes[0][0] < high:
            self._episodes.popleft()

    def starts(self, length: int) -> int:
        """How many windows of ``length`` steps there are."""
        return sum(max(1, n - length + 1) for _, n in self._episodes)

    def sample(
        self, batch: int, length: int, rng: np.random.Generator
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
        """Windows, time-major.

        Args:
            batch, length: how many, and of how many steps. rng: draws the starts, each equally likely.
        Returns:
            arrays [length, batch, ...] and the mask [length, batch]: 1 where a step belongs to the episode.
        Raises:
            ValueError: the replay is empty.
        """
        if not self._episodes:
            raise ValueError(
                "the replay is empty: no episode has ended yet; act longer before learning (learning_starts)"
            )
        if self._ends is None or self._length != length:
            self._table = np.array(self._episodes, np.int64)
            self._ends = np.cumsum(np.maximum(1, self._table[:, 1] - length + 1))
            self._length = length
        drawn = rng.integers(0, self._ends[-1], batch)
        which = np.searchsorted(self._ends, drawn, side="right")
        offset = drawn - np.concatenate([[0], self._ends])[which]
        first, steps = self._table[which].T
        inside = offset + np.arange(length)[:, None]
        mask = (inside < steps).astype(np.float32)
        rows = first + np.minimum(inside, steps - 1)
        return {name: array[rows] for name, array in self.data.items()}, mask

    def get_state(self) -> dict[str, Any]:
        """Everything, as ``set_state`` takes it."""
        return {"data": dict(self.data), "episodes": [list(e) for e in self._episodes], "head": self._head}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""
        self.data = {name: array.copy() for name, array in state["data"].items()}
        self._episodes = deque((int(a), int(n)) for a, n in state["episodes"])
        self._head, self._ends = int(state["head"]), None
