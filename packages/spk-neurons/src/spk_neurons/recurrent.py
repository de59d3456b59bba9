"""Recurrence through weights: the spikes of one step feed back into the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons.neurons import Neuron
from spk_neurons.state import RecurrentState, map_state

__all__ = ["Recurrent"]


class Recurrent(Neuron):
    """s[t] = neuron(x[t] + feedback(s[t-1])), any neuron, any feedback module that keeps the shape.

    Args:
        neuron: a :class:`Neuron`. feedback: e.g. ``nn.Linear(n, n)`` or ``nn.Conv2d(c, c, 3, padding=1)``.

    The state is (neuron's state, last spikes); one step after another, since the weights need the spikes.
    """

    carries_inner = True

    def __init__(self, neuron: Neuron, feedback: nn.Module) -> None:
        super().__init__()
        if not isinstance(neuron, Neuron):
            raise TypeError(f"neuron must be a spk_neurons neuron, got {type(neuron).__name__}")
        self.neuron, self.feedback = neuron, feedback

    def initial_state(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> RecurrentState:
        """The neuron's initial state, and no spikes."""
        silent = torch.zeros(tuple(shape), dtype=dtype, device=device)
        return RecurrentState(self.neuron.initial_state(shape, dtype, device), silent)

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, RecurrentState]:
        if state is None:
            state = self.initial_state(x.shape[1:], x.dtype, x.device)
        inner, s = state
        if s.shape != x.shape[1:]:
            raise ValueError(
                f"state 's' has shape {tuple(s.shape)} but x wants {tuple(x.shape[1:])}; pass state=None to start fresh"
            )
        spikes = []
        for t in range(x.shape[0]):
            back = self.feedback(s)
            if back.shape != x.shape[1:]:
                raise ValueError(
                    f"feedback turned spikes {tuple(s.shape)} into {tuple(back.shape)}, but x has "
                    f"{tuple(x.shape[1:])} per step; use a feedback that keeps the shape (padding)"
                )
            drive = x[t] + back
            s, inner = self.neuron.step(drive, inner)
            spikes.append(s)
        out = torch.stack(spikes) if spikes else x.clone()
        last = RecurrentState(inner, s)
        if not spikes:
            last = map_state(lambda t: t.clone(), last)
        return out, last
