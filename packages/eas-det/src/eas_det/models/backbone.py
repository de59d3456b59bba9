"""CSPDarknet and PAFPN: features at strides 8, 16 and 32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._blocks import SPP, ConvBlock, CSPLayer, Focus, unfold_time

__all__ = ["PAFPN", "SpikingCSPDarknet"]

Levels = tuple[Tensor, Tensor, Tensor]


class SpikingCSPDarknet(nn.Module):
    """YOLOX's backbone with a neuron behind every convolution.

    Args:
        depth, width: multipliers; S is (0.33, 0.50), M is (0.67, 0.75).
        in_channels: channels of the input.
        spiking: PLIF neurons; False: SiLU, the backbone as it was.
        alpha: of the arctangent surrogate (published: 2, and 1.5 for N-Caltech101).
    Source: EAS-SNN (ECCV 2024), read from its code; YOLOX.
    """

    def __init__(
        self, depth: float = 0.33, width: float = 0.5, in_channels: int = 2, *, spiking: bool = True, alpha: float = 2.0
    ) -> None:
        super().__init__()
        a = alpha if spiking else None
        base, n = int(64 * width), max(round(3 * depth), 1)
        self.spiking = spiking
        self.channels = (4 * base, 8 * base, 16 * base)
        self.stem = Focus(in_channels, base, 3, a)
        self.dark2 = nn.Sequential(
            ConvBlock(base, 2 * base, 3, 2, a), CSPLayer(2 * base, 2 * base, n, shortcut=True, alpha=a)
        )
        self.dark3 = nn.Sequential(
            ConvBlock(2 * base, 4 * base, 3, 2, a), CSPLayer(4 * base, 4 * base, 3 * n, shortcut=True, alpha=a)
        )
        self.dark4 = nn.Sequential(
            ConvBlock(4 * base, 8 * base, 3, 2, a), CSPLayer(8 * base, 8 * base, 3 * n, shortcut=True, alpha=a)
        )
        self.dark5 = nn.Sequential(
            ConvBlock(8 * base, 16 * base, 3, 2, a),
            SPP(16 * base, 16 * base, a),
            CSPLayer(16 * base, 16 * base, n, shortcut=False, alpha=a),
        )

    def forward(self, x: Tensor, steps: int = 1) -> Levels:
        """Features of a sequence.

        Args:
            x: [T, B, C, H, W], H and W multiples of 32; or [1, B, C, H, W], shown ``steps`` times: the first
                convolution is then done once, not T times.
            steps: T, where x has one step.
        Returns:
            [T, B, 4w, H/8, W/8], [T, B, 8w, H/16, W/16], [T, B, 16w, H/32, W/32] with w = 64 width.
        Raises:
            ValueError: another shape.
        """
        if x.dim() != 5 or x.shape[-1] % 32 or x.shape[-2] % 32 or not x.numel():
            raise ValueError(
                f"x has shape {tuple(x.shape)}; expected [T, B, C, H, W] with H and W multiples of 32: "
                "EventDetector pads, here torch.nn.functional.pad does"
            )
        two = self.dark2(self.stem(x, steps))
        three = self.dark3(two)
        four = self.dark4(three)
        return three, four, self.dark5(four)


class PAFPN(nn.Module):
    """Top-down, then bottom-up exchange between three levels.

    Args: depth, width: as of the backbone. spiking: PLIF neurons in place of SiLU. alpha: of their surrogate.
    """

    def __init__(self, depth: float = 0.33, width: float = 0.5, *, spiking: bool = True, alpha: float = 2.0) -> None:
        super().__init__()
        a = alpha if spiking else None
        n = round(3 * depth)
        c3, c4, c5 = (int(each * width) for each in (256, 512, 1024))
        self.spiking = spiking
        self.channels = (c3, c4, c5)
        self.lateral_conv0 = ConvBlock(c5, c4, 1, alpha=a)
        self.p4 = CSPLayer(2 * c4, c4, n, shortcut=False, alpha=a)
        self.reduce_conv1 = ConvBlock(c4, c3, 1, alpha=a)
        self.p3 = CSPLayer(2 * c3, c3, n, shortcut=False, alpha=a)
        self.bu_conv2 = ConvBlock(c3, c3, 3, 2, a)
        self.n3 = CSPLayer(2 * c3, c4, n, shortcut=False, alpha=a)
        self.bu_conv1 = ConvBlock(c4, c4, 3, 2, a)
        self.n4 = CSPLayer(2 * c4, c5, n, shortcut=False, alpha=a)

    def forward(self, features: Levels) -> Levels:
        """Three levels of [T, B, C, H, W] in, three of the same shapes out, finest first."""
        three, four, five = features
        top = self.lateral_conv0(five)
        middle = self.p4(torch.cat([_double(top), four], 2))
        reduced = self.reduce_conv1(middle)
        out3 = self.p3(torch.cat([_double(reduced), three], 2))
        out4 = self.n3(torch.cat([self.bu_conv2(out3), reduced], 2))
        out5 = self.n4(torch.cat([self.bu_conv1(out4), top], 2))
        return out3, out4, out5


def _double(x: Tensor) -> Tensor:
    """Nearest neighbours, twice the sides."""
    return unfold_time(nn.functional.interpolate(x.flatten(0, 1), scale_factor=2.0, mode="nearest"), x)
