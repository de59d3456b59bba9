"""Ways to make one feature of two: the baselines that attention is compared with, in one interface."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["FUSIONS", "Fusion", "GatedSum", "SpikingCrossAttention", "SumFusion", "make_fusion"]

Fusion = Literal["cma", "concat", "add", "gated", "xattn", "early", "late", "events", "frames"]
FUSIONS: tuple[str, ...] = ("cma", "concat", "add", "gated", "xattn", "early", "late", "events", "frames")


class Concat(nn.Module):
    """[T, B, C, h, w] twice -> [T, B, 2C, h, w]."""

    def forward(self, events: Tensor, frames: Tensor) -> Tensor:
        """The two along the channel axis."""
        return torch.cat([events, frames], 2)


class SumFusion(nn.Module):
    """events + frames."""

    def forward(self, events: Tensor, frames: Tensor) -> Tensor:
        """Their sum, [T, B, C, h, w]."""
        return events + frames


class GatedSum(nn.Module):
    """2 (a events + (1 - a) frames), a = sigmoid(1x1 convolution of both), one gate per channel and place.

    Starts at a = 1/2, where it is :class:`SumFusion`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * channels, channels, 1)
        nn.init.normal_(self.gate.weight, std=0.02)
        nn.init.zeros_(self.gate.bias)  # type: ignore[arg-type]

    def forward(self, events: Tensor, frames: Tensor) -> Tensor:
        """The gated sum, [T, B, C, h, w]."""
        a = torch.sigmoid(self.gate(torch.cat([events, frames], 2).flatten(0, 1))).view_as(events)
        out: Tensor = 2 * (a * events + (1 - a) * frames)
        return out


class SpikingCrossAttention(nn.Module):
    """Each modality asks the other: tokens are places, softmax-free attention on spikes, residual, then the sum.

    In the manner of the audio-visual spiking networks (S-CMRL): Q from one branch, K and V from the other,
    out = X + scale Q (K^T V), linear in the number of places.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in range(2))
        self.key = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in range(2))
        self.value = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, events: Tensor, frames: Tensor) -> Tensor:
        """Both after attending to the other, summed: [T, B, C, h, w]."""
        shape = events.shape
        pair = [x.flatten(0, 1) for x in (events, frames)]
        out = []
        for me in (0, 1):
            own, other = pair[me], pair[1 - me]
            q = self.query[me](own).flatten(2)  # [TB, C, hw]
            k = self.key[me](other).flatten(2)
            v = self.value[me](other).flatten(2)
            mixed = (v @ k.transpose(1, 2)) @ q / math.sqrt(q.shape[1] * q.shape[2])
            out.append(own + self.scale * mixed.view_as(own))
        both: Tensor = (out[0] + out[1]).view(shape)
        return both


def make_fusion(name: str, channels: int) -> tuple[nn.Module, int]:
    """The module that joins two branches of ``channels``, and how many channels come out."""
    if name in ("cma", "concat"):
        return Concat(), 2 * channels
    if name == "add":
        return SumFusion(), channels
    if name == "gated":
        return GatedSum(channels), channels
    if name == "xattn":
        return SpikingCrossAttention(channels), channels
    raise ValueError(f"fusion={name!r} given; expected one of {', '.join(FUSIONS)}")
