"""From numbers to spike trains, [T, ...]."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from spk_neurons._checks import check_input

__all__ = ["constant", "delta", "latency", "poisson"]


def _steps(T: int) -> int:
    if isinstance(T, bool) or not isinstance(T, int) or T < 1:
        raise ValueError(f"T={T!r} given; expected a whole number of steps >= 1")
    return T


def constant(x: Tensor, T: int) -> Tensor:
    """The same input at every step (direct coding), without copying.

    Args: x [...], float; T steps. Returns: a read-only view [T, ...] (``expand``); clone before writing.
    """
    check_input(x, least_dim=0)
    return x.unsqueeze(0).expand(_steps(T), *x.shape)


def _probability(x: Tensor, clip: bool) -> Tensor:
    if clip:
        return x.clamp(0, 1)
    if x.numel():
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"x has values in [{low:g}, {high:g}]; rates are probabilities in [0, 1]: scale x, or pass clip=True"
            )
    return x


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, u: Tensor) -> Tensor:
        return (u < p).to(p.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def poisson(
    x: Tensor, T: int, *, generator: torch.Generator | None = None, straight_through: bool = False, clip: bool = False
) -> Tensor:
    """Independent Bernoulli spikes with probability x per step (rate coding).

    Args:
        x: [...], values in [0, 1]. T: steps. generator: source of the draws (None: torch's global one).
        straight_through: pass gradients through as identity (ds/dx = 1 per step); otherwise spikes have no gradient.
        clip: clamp x to [0, 1] instead of refusing values outside.
    Returns:
        spikes [T, ...] in {0, 1}.
    Raises:
        ValueError: x outside [0, 1] (or nan) without clip.
    """
    check_input(x, least_dim=0)
    p = _probability(x, clip).unsqueeze(0).expand(_steps(T), *x.shape)
    u = torch.rand(p.shape, generator=generator, dtype=x.dtype, device=x.device)
    if straight_through:
        return _StraightThrough.apply(p, u)  # type: ignore[no-any-return,no-untyped-call]
    return (u < p.detach()).to(x.dtype)


def latency(
    x: Tensor, T: int, *, law: Literal["linear", "log"] = "linear", silent_zero: bool = False, clip: bool = False
) -> Tensor:
    """One spike per neuron, earlier for larger x (time to first spike).

    Args:
        x: [...], values in [0, 1]. T: steps.
        law: "linear": t = round((T-1)(1-x)); "log": t = round(T-1 - ln(alpha x + 1)) with alpha = e^(T-1) - 1,
            computed in a form that does not overflow; t(1) = 0 and t(0) = T-1 in both.
        silent_zero: no spike at all where x = 0. clip: clamp x to [0, 1].
    Returns:
        spikes [T, ...] in {0, 1}.
    """
    check_input(x, least_dim=0)
    x = _probability(x, clip).detach()
    last = _steps(T) - 1
    if law == "linear":
        when = last * (1 - x)
    elif law == "log":
        # T-1 - ln(e^(T-1) x + 1 - x) = -ln(x + (1 - x) e^-(T-1))
        when = (
            -torch.log(x + (1 - x) * math.exp(-last)) if last < 700 else torch.where(x > 0, -torch.log(x), float(last))
        )
        when = when.clamp(0, last)
    else:
        raise ValueError(f"law={law!r} is not known; choose 'linear' or 'log'")
    at = when.round().long()
    spikes = torch.zeros((T, *x.shape), dtype=x.dtype, device=x.device)
    spikes.scatter_(0, at.unsqueeze(0), 1.0)
    return spikes * (x > 0) if silent_zero else spikes


def delta(x: Tensor, threshold: float, *, off_spikes: bool = False) -> Tensor:
    """A spike where a signal rises by ``threshold`` since the last step.

    Args:
        x: signal [T, ...]. threshold: > 0. off_spikes: also -1 where it falls by as much. The first step is compared
            with zero.
    Returns:
        [T, ...] in {0, 1} or {-1, 0, 1}.
    """
    check_input(x)
    if not threshold > 0:
        raise ValueError(f"threshold={threshold} given; a change is counted from a threshold > 0")
    change = torch.diff(x.detach(), dim=0, prepend=torch.zeros_like(x[:1]))
    up = (change >= threshold).to(x.dtype)
    return up - (change <= -threshold).to(x.dtype) if off_spikes else up
