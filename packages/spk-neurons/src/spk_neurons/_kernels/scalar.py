"""Elementwise vocabulary of a cell: one name that means torch on tensors and compiled code inside a kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spk_neurons.surrogate import from_kind


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    if isinstance(condition, Tensor):
        # two Python numbers would give torch's default dtype, not the cell's
        return torch.where(condition, a, b)
    return a if condition else b


def heaviside(condition: Any, like: Any) -> Any:
    """1 where the condition holds, else 0, in the dtype of ``like``."""
    return condition.to(like.dtype) if isinstance(condition, Tensor) else like * 0 + (1 if condition else 0)


def exp(x: Any) -> Any:
    """e to the x."""
    return torch.exp(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), safe at both ends."""
    return torch.sigmoid(x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return torch.tanh(x)


def derivative(kind: int, u: Any, p0: Any, p1: Any) -> Any:
    """phi(u) of the surrogate with this ``kind`` and ``params`` (see ``spk_neurons.surrogate``).

    In a kernel ``kind`` must be a constant of the cell (a closure variable), so that one shape is compiled in.
    """
    return from_kind(int(kind), float(p0), float(p1)).derivative(u)
