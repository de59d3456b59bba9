"""Clips of a long recording that go on where they ended: training over states as old as those in use."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tecos_lvm.model import TeCoSLVM, TeCoSState

__all__ = ["Streams"]


class Streams:
    """``batch`` clips a step: where each lies, and the state with which it goes on.

    Args:
        bins, trials: of the data. clip: bins of a clip. carry_s: how long a stream of clips goes on, 0: one clip.
        seed: of the places. dt_ms: of a bin.
    """

    def __init__(self, bins: int, trials: int, clip: int, batch: int, carry_s: float, seed: int,
                 dt_ms: float) -> None:  # fmt: skip
        self.bins, self.trials, self.clip = bins, trials, clip
        self.rng = np.random.default_rng(seed)
        self.length = max(1, round(carry_s * 1000 / dt_ms / clip))
        self.starts = np.zeros(batch, dtype=np.int64)
        self.trial = np.zeros(batch, dtype=np.int64)
        self.left = np.zeros(batch, dtype=np.int64)  # clips until a stream ends
        #: of the forced and of the free run
        self.states: list[TeCoSState | None] = [None, None]

    def move(self, model: TeCoSLVM) -> None:
        """On to the next clip; streams that are over start anew, rested, or from zeros where the movie begins."""
        first = self.states == [None, None]
        self.starts += self.clip
        self.left -= 1
        fresh = (self.left <= 0) | (self.starts + self.clip > self.bins)
        if not fresh.any():
            return
        n = int(fresh.sum())
        self.starts[fresh] = self.rng.integers(0, self.bins - self.clip + 1, n)
        self.trial[fresh] = self.rng.integers(0, self.trials, n)
        # the first streams end at different times, so that later ones do
        self.left[fresh] = self.rng.integers(1, self.length + 1, n) if first and self.length > 1 else self.length
        if first:
            return  # there is no state to put anything into
        rested = model.rested_state(len(fresh)), torch.from_numpy(fresh & (self.starts > 0))
        blank = model.initial_state(len(fresh)), torch.from_numpy(fresh & (self.starts == 0))
        for other, rows in (rested, blank):
            self.states = [None if state is None else _mixed(state, other, rows) for state in self.states]

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": json.dumps(self.rng.bit_generator.state), "starts": torch.from_numpy(self.starts.copy()),
            "trial": torch.from_numpy(self.trial.copy()), "left": torch.from_numpy(self.left.copy()),
            "states": [None if state is None else state.parts() for state in self.states],
        }  # fmt: skip

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        self.rng.bit_generator.state = json.loads(kept["rng"])
        self.starts, self.trial, self.left = (kept[name].numpy().copy() for name in ("starts", "trial", "left"))
        self.states = [None if state is None else TeCoSState.of(state) for state in kept["states"]]


def _mixed(state: TeCoSState, other: TeCoSState, rows: Tensor) -> TeCoSState:
    """The state with these rows of another; ``rows`` and ``other``: [B], the state has [K B]."""

    def mixed(t: Tensor, new: Tensor) -> Tensor:
        samples = len(t) // len(rows)
        return torch.where(rows.to(t.device).repeat(samples)[:, None], new.repeat(samples, 1), t)

    return TeCoSState.of(map(mixed, state.parts(), other.parts()))
