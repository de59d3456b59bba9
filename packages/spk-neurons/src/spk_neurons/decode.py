"""From spike trains [T, B, ...] to answers and losses."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as nnf

from spk_neurons._checks import check_input

__all__ = ["first_spike", "membrane", "rate", "rate_cross_entropy", "tet_loss"]


def _some(x: Tensor) -> None:
    check_input(x)
    if x.shape[0] == 0:
        raise ValueError("x has no time step; decoding needs at least one")


def rate(spikes: Tensor) -> Tensor:
    """Mean over time: firing rate per step, [B, ...]. spikes: [T, B, ...]."""
    _some(spikes)
    return spikes.mean(0)


def membrane(v: Tensor, how: Literal["last", "max", "mean"] = "last") -> Tensor:
    """Readout of an integrator's potentials v [T, B, ...]: the last, the largest or the mean over time."""
    _some(v)
    if how == "last":
        return v[-1]
    if how == "max":
        return v.amax(0)
    if how == "mean":
        return v.mean(0)
    raise ValueError(f"how={how!r} is not known; choose 'last', 'max' or 'mean'")


def first_spike(spikes: Tensor) -> Tensor:
    """Step of each neuron's first spike, int64 [B, ...]; T where it never fired. spikes: [T, B, ...]."""
    _some(spikes)
    fired = spikes > 0
    return torch.where(fired.any(0), fired.to(torch.uint8).argmax(0), spikes.shape[0])


def rate_cross_entropy(spikes: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the time-mean. spikes or potentials: [T, B, classes]; target: int64 [B]."""
    return nnf.cross_entropy(rate(spikes), target)


def tet_loss(logits: Tensor, target: Tensor, *, weight: float = 0.05, level: float = 1.0) -> Tensor:
    """Temporal efficient training (Deng et al. 2022): cross entropy at every step, plus a pull to ``level``.

    loss = (1 - weight) mean_t CE(logits[t], target) + weight mean (logits - level)^2

    Args: logits [T, B, classes]; target int64 [B]; weight in [0, 1]; level: usually the threshold.
    """
    _some(logits)
    if not 0 <= weight <= 1:
        raise ValueError(f"weight={weight} given; it lies in [0, 1]")
    steps, batch = logits.shape[:2]
    ce = nnf.cross_entropy(logits.flatten(0, 1), target.repeat(steps)) if batch else logits.sum() * 0
    return (1 - weight) * ce + weight * ((logits - level) ** 2).mean()
