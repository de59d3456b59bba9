"""Building blocks of the detector. Every feature is [T, B, C, H, W]; parts without time have T = 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spk_neurons import PLIF, ATan


def spiking_neuron(alpha: float) -> PLIF:
    """v = v (1 - sigmoid(w)) + x with a learned w a layer, threshold 1, soft reset, arctangent surrogate."""
    return PLIF(tau=2.0, decay_input=False, reset="soft", surrogate=ATan(alpha))


def unfold_time(flat: Tensor, like: Tensor) -> Tensor:
    """[T B, C, H, W] -> [T, B, C, H, W] with the T and B of ``like``."""
    return flat.view(*like.shape[:2], *flat.shape[1:])


class ConvBlock(nn.Module):
    """Convolution, batch norm, and a neuron (``alpha`` of its surrogate) or SiLU (``alpha`` None)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, alpha: float | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act: nn.Module = nn.SiLU() if alpha is None else spiking_neuron(alpha)

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C', H', W']; one step is shown ``steps`` times to the neuron, convolved once."""
        y: Tensor = self.bn(self.conv(x.flatten(0, 1)))
        y = unfold_time(y, x)
        if steps > len(y):
            y = y.expand(steps, *y.shape[1:])
        out: Tensor = self.act(y)
        return out


class Focus(nn.Module):
    """Space to depth, 2 x 2 pixels to 4 channels, then a convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, alpha: float | None) -> None:
        super().__init__()
        self.conv = ConvBlock(4 * inputs, outputs, kernel, alpha=alpha)

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        """[T, B, C, H, W] with even H, W -> [steps, B, C', H/2, W/2]."""
        corners = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        out: Tensor = self.conv(torch.cat(corners, 2), steps)
        return out


class Bottleneck(nn.Module):
    """1x1, then 3x3; the shortcut adds spikes to spikes, so that values are whole numbers, not only 0 and 1."""

    def __init__(self, channels: int, shortcut: bool, alpha: float | None) -> None:
        super().__init__()
        self.conv1 = ConvBlock(channels, channels, 1, alpha=alpha)
        self.conv2 = ConvBlock(channels, channels, 3, alpha=alpha)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W], the same shape out."""
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CSPLayer(nn.Module):
    """Two 1x1 branches of half the channels, one through n bottlenecks; joined by a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, n: int, shortcut: bool, alpha: float | None) -> None:
        super().__init__()
        hidden = outputs // 2
        self.conv1 = ConvBlock(inputs, hidden, 1, alpha=alpha)
        self.conv2 = ConvBlock(inputs, hidden, 1, alpha=alpha)
        self.conv3 = ConvBlock(2 * hidden, outputs, 1, alpha=alpha)
        self.m = nn.Sequential(*[Bottleneck(hidden, shortcut, alpha) for _ in range(n)])

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C', H, W]."""
        out: Tensor = self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], 2))
        return out


class SPP(nn.Module):
    """Max pools of 5, 9 and 13 pixels beside the feature itself, between two 1x1 convolutions."""

    def __init__(self, inputs: int, outputs: int, alpha: float | None) -> None:
        super().__init__()
        hidden = inputs // 2
        self.conv1 = ConvBlock(inputs, hidden, 1, alpha=alpha)
        self.conv2 = ConvBlock(4 * hidden, outputs, 1, alpha=alpha)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C', H, W]."""
        y: Tensor = self.conv1(x)
        flat = y.flatten(0, 1)
        # a pool of 9 is two of 5 in a row, one of 13 three: the same maxima for less work
        pooled = [flat]
        for _ in range(3):
            pooled.append(self.pool(pooled[-1]))
        out: Tensor = self.conv2(unfold_time(torch.cat(pooled, 1), y))
        return out
