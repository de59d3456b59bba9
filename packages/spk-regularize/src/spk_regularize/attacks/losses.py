"""What an attack maximises, per sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["LOSSES", "cross_entropy", "dlr", "margin", "targeted_dlr"]


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """-log softmax(z)_y, [B]."""
    return nn.functional.cross_entropy(z, y, reduction="none")


def _others(z: Tensor, y: Tensor) -> Tensor:
    return z.scatter(1, y[:, None], -torch.inf)


def margin(z: Tensor, y: Tensor) -> Tensor:
    """Largest other logit minus the true one, [B]; positive where the answer is wrong."""
    return _others(z, y).amax(1) - z.gather(1, y[:, None])[:, 0]


def dlr(z: Tensor, y: Tensor) -> Tensor:
    """Difference of logits over their spread (Croce & Hein 2020); the plain margin with fewer than three classes."""
    if z.shape[1] < 3:
        return margin(z, y)
    ordered = z.sort(1, descending=True).values
    return margin(z, y) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


def targeted_dlr(z: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """(z_target - z_y) over the spread of the four largest; the plain difference with fewer than four classes."""
    difference = z.gather(1, target[:, None])[:, 0] - z.gather(1, y[:, None])[:, 0]
    if z.shape[1] < 4:
        return difference
    ordered = z.sort(1, descending=True).values
    return difference / (ordered[:, 0] - 0.5 * (ordered[:, 2] + ordered[:, 3]) + 1e-12)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
