"""The window of a surrogate gradient: where, around the threshold, a gradient passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spk_neurons import Surrogate

__all__ = ["half_width", "measure_half_width"]

MASS = 0.8


def half_width(surrogate: Surrogate, mass: float | None = None) -> float:
    """Half width gamma of a surrogate of spk-neurons.

    Args:
        surrogate: any with a ``gradient_range``. mass: None takes the support of a compact surrogate, else the central
            80 % of the derivative's integral; a share in (0, 1) takes that share for every shape.
    Returns:
        gamma > 0. What the paper used for surrogates without a compact support is unknown: this rule is ours.
    Raises:
        ValueError: the surrogate states no range.
    Example:
        >>> from spk_neurons import Sigmoid, Triangle
        >>> half_width(Triangle(1.0)), round(half_width(Sigmoid(4.0)), 4)
        (1.0, 0.5493)
    """
    try:
        low, high = surrogate.gradient_range(mass=mass)
    except (NotImplementedError, AttributeError) as error:
        raise ValueError(
            f"{surrogate!r} states no gradient range ({error}), so its window is unknown; give gamma=... yourself"
        ) from None
    return max(abs(low), abs(high))


def measure_half_width(fire: Callable[[Tensor], Any], mass: float = MASS, *, fresh: Callable[[], Any] = tuple) -> float:
    """Half width of an unknown spike function, from its derivative on a grid.

    Args:
        fire: maps centred potentials to spikes, with a surrogate derivative. mass: as in :func:`half_width`, used where
            the derivative nowhere becomes exactly zero. fresh: called before and after, to undo what the call changed.
    Returns:
        gamma, about three digits exact.
    Raises:
        ValueError: the function has no derivative.
    """
    # dense where windows are, up to 1e4 for heavy tails
    half = torch.sinh(torch.linspace(0.0, 13.1, 20001, dtype=torch.float64)) * 0.01
    x = half.float().requires_grad_()
    fresh()
    with torch.enable_grad():
        spikes = fire(x)
        fresh()
        if not (isinstance(spikes, Tensor) and spikes.requires_grad):
            raise ValueError("the spike function passes no gradient, so it has no window; give gamma=... yourself")
        (phi,) = torch.autograd.grad(spikes.sum(), x)
    phi = phi.double().clamp_min(0)
    area = torch.cumulative_trapezoid(phi, half)
    if not (bool(torch.isfinite(area[-1])) and float(area[-1]) > 0):
        raise ValueError("the spike function's derivative is zero or not finite; give gamma=... yourself")
    edge = float(half[phi > 0][-1])
    # a support ends with a derivative that is still there just inside; a rounded-off tail has none worth the name
    if edge < 100 and float(phi[half <= 0.99 * edge][-1]) > 1e-3 * float(phi.max()):
        return edge
    return float(half[1:][area >= mass * area[-1]][0])
