"""What the samplers share: the spike with its surrogate gradient, the checks."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from spk_neurons import Rectangle, Surrogate
from spk_neurons import surrogate as shapes

Order = Literal["newest_first", "oldest_first"]


class OpenRectangle(Rectangle):
    """Rectangle that is zero at its two edges, as in the published code; the one of spk-neurons is 1 there.

    It matters where potentials are round numbers, as in hand-made examples.
    """

    def derivative(self, u: Tensor) -> Tensor:
        return (u.abs() < self.alpha / 2).to(u.dtype) / self.alpha


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: float, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(u)
        ctx.threshold, ctx.surrogate = threshold, surrogate
        return (u > threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.derivative(u - ctx.threshold), None, None


def fire(u: Tensor, threshold: float, surrogate: Surrogate) -> Tensor:
    """1 where u lies strictly above the threshold, with the surrogate's derivative at u - threshold backwards."""
    return _Fire.apply(u, threshold, surrogate)  # type: ignore[no-any-return, no-untyped-call]


def find_surrogate(surrogate: str | Surrogate) -> Surrogate:
    """A surrogate of spk-neurons by object or by name; "rect" is the rectangle of width 1 of the published code."""
    if isinstance(surrogate, Surrogate):
        return surrogate
    if surrogate in ("rect", "rectangle"):
        return OpenRectangle(1.0)
    named = {name.lower(): getattr(shapes, name) for name in shapes.__all__ if name != "Surrogate"}
    if surrogate.lower() not in named:
        raise ValueError(f"surrogate={surrogate!r} given; expected rect, {', '.join(sorted(named))}, or an object")
    return named[surrogate.lower()]()  # type: ignore[no-any-return]


def initialise(conv_in: nn.Module, conv_rec: nn.Module | None) -> None:
    """Input weights orthogonal with gain sqrt 2, recurrent ones Kaiming-uniform with gain 1; biases: PyTorch."""
    for layer in conv_in.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight, 2**0.5)
    for layer in conv_rec.modules() if conv_rec is not None else ():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="sigmoid")


def check_options(in_channels: int, kernel_size: int, depth: int, threshold: float, order: str) -> None:
    """ValueError for a shape of the network that makes no sense."""
    if in_channels < 1 or depth < 1:
        raise ValueError(f"in_channels={in_channels}, depth={depth} given; expected >= 1")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size={kernel_size} given; expected an odd number, so that maps keep their size")
    if not threshold > 0:
        raise ValueError(f"threshold={threshold} given; at rest the potential is 0, so it must be > 0")
    if order not in ("newest_first", "oldest_first"):
        raise ValueError(f"order={order!r} given; expected 'newest_first' or 'oldest_first'")


def time_first(counts: Tensor, channels: int, order: str) -> Tensor:
    """[B, T, C, H, W] checked, as [T, B, C, H, W] in the order in which the steps see the bins."""
    if counts.dim() != 5 or counts.shape[2] != channels or counts.shape[1] < 1:
        raise ValueError(f"counts have shape {tuple(counts.shape)}; expected [B, T >= 1, {channels}, H, W]")
    if not counts.is_floating_point():
        raise TypeError(f"counts have dtype {counts.dtype}; expected floating point: counts.float()")
    x = counts.transpose(0, 1)
    return x.flip(0) if order == "newest_first" else x
