"""The samplers' convolutions. They have two to four channels, which no library is fast at, so 2 x 2 pixels are folded
into channels: the same sums, in an order of their own, in half the time on CPU and GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Stack", "fold", "stack", "unfold"]


def stack(channels: int, out: int, kernel_size: int, depth: int) -> nn.Sequential:
    """Conv(channels -> out), then (ReLU, Conv(out -> out)) depth - 1 times; "same" padding, with biases."""
    layers: list[nn.Module] = [nn.Conv2d(channels, out, kernel_size, padding=kernel_size // 2)]
    for _ in range(depth - 1):
        layers += [nn.ReLU(), nn.Conv2d(out, out, kernel_size, padding=kernel_size // 2)]
    return nn.Sequential(*layers)


def fold(x: Tensor) -> tuple[Tensor, bool]:
    """[..., C, H, W] -> [..., 4 C, H / 2, W / 2] where both sides are even, and whether that was done.

    A row added to an odd side would have potentials of its own, and its pixels would answer.
    """
    if x.shape[-1] % 2 or x.shape[-2] % 2 or not x.numel():
        return x, False
    return F.pixel_unshuffle(x, 2), True


def unfold(x: Tensor, folded: bool) -> Tensor:
    """The way back."""
    return F.pixel_shuffle(x, 2) if folded else x


def _fold_weight(weight: Tensor) -> Tensor:
    """[O, I, k, k] -> [4 O, 4 I, K, K] of the folded convolution.

    Output pixel a of a block of two reads pixel c of the block i - R further with weight 2 (i - R) + c - a + k // 2, or
    0 outside of 0 .. k - 1. For either a these are 2 K weights in a row, two windows one apart.
    """
    o, i, k, _ = weight.shape
    reach = (k // 2 + 1) // 2
    side = 2 * reach + 1
    windows = F.pad(weight, [2 * reach + 1 - k // 2] * 4).unfold(2, 2 * side, 1).unfold(3, 2 * side, 1).flip((2, 3))
    split = windows.reshape(o, i, 2, 2, side, 2, side, 2)
    return split.permute(0, 2, 3, 1, 5, 7, 4, 6).reshape(4 * o, 4 * i, side, side)


class Stack:
    """A stack for one call of its sampler: its weights are folded once, for all steps.

    Args:
        layers: from :func:`stack`.
        folded: whether maps are.
    """

    def __init__(self, layers: nn.Sequential, folded: bool) -> None:
        self.convolutions = []
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                weight, bias = layer.weight, layer.bias
                assert bias is not None
                if folded:
                    weight, bias = _fold_weight(weight), bias[:, None].expand(-1, 4).reshape(-1)
                self.convolutions.append((weight, bias))

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W], at least float32."""
        for place, (weight, bias) in enumerate(self.convolutions):
            x = F.conv2d(F.relu(x) if place else x, weight, bias, padding=weight.shape[-1] // 2)
        return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x

    def drives(self, x: Tensor) -> Sequence[Tensor]:
        """Of every step: [T, B, C, H, W] -> T of [B, C', H, W].

        An accelerator takes all steps at once. A CPU takes them one by one: what they need together does not fit its
        caches, and memory of that size comes anew from the system each time; it takes three times as long.
        """
        if x.device.type == "cpu":
            return [self(each) for each in x.unbind(0)]
        out = self(x.flatten(0, 1))
        return out.view(*x.shape[:2], *out.shape[1:]).unbind(0)

    def silent(self, like: Tensor) -> Tensor:
        """Of a map without spikes, the size of ``like``: [1, C', H, W]; of one layer its bias, [1, C', 1, 1]."""
        weight, bias = self.convolutions[0]
        if len(self.convolutions) == 1:
            return bias.view(1, -1, 1, 1)
        # only the border differs from pixel to pixel: a small map holds all there is
        height, width = like.shape[-2:]
        reach = sum(weight.shape[-1] // 2 for weight, _ in self.convolutions)
        side = 2 * reach + 1
        small = self(like.new_zeros(1, weight.shape[1], min(height, side), min(width, side)))
        return small[..., _stretched(height, reach, like), :][..., _stretched(width, reach, like)]


def _stretched(length: int, reach: int, like: Tensor) -> Tensor:
    """Index into a side of 2 reach + 1 for each of ``length``: the ends once, the middle as often as it takes."""
    place = torch.arange(length, device=like.device)
    if length <= 2 * reach + 1:
        return place
    return place.clamp(max=reach) + (place - (length - 1 - reach)).clamp(min=0)
