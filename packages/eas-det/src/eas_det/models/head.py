"""The decoupled head of YOLOX, and what its numbers mean in pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ._blocks import ConvBlock

__all__ = ["Predictions", "YOLOXHead"]

STRIDES = (8, 16, 32)


class Predictions(NamedTuple):
    """Raw output of the head for A = all places of all levels.

    boxes: [B, A, 4] (x1, y1, x2, y2) in pixels of the input. objectness: [B, A] logits. classes: [B, A, K] logits.
    centres: [A, 2] (x, y) of the places' cells, pixels. strides: [A] side of the cells, pixels.
    """

    boxes: Tensor
    objectness: Tensor
    classes: Tensor
    centres: Tensor
    strides: Tensor

    @property
    def scores(self) -> Tensor:
        """[B, A, K] sigmoid(objectness) sigmoid(class)."""
        return self.objectness.sigmoid()[..., None] * self.classes.sigmoid()


class YOLOXHead(nn.Module):
    """A 1x1 convolution a level, then two 3x3 convolutions for the class and two for box and objectness.

    Args:
        num_classes: K.
        width: multiplier of 256 channels.
        spiking: PLIF neurons in place of SiLU; the last convolutions' currents are averaged over time.
        alpha: of their surrogate.
    Raises:
        ValueError: num_classes < 1.
    """

    def __init__(self, num_classes: int, width: float = 0.5, *, spiking: bool = False, alpha: float = 2.0) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes} given; expected >= 1")
        a = alpha if spiking else None
        hidden = int(256 * width)
        self.num_classes, self.spiking = num_classes, spiking
        self.stems = nn.ModuleList([ConvBlock(int(each * width), hidden, 1, alpha=a) for each in (256, 512, 1024)])

        def tower() -> nn.Module:
            return nn.Sequential(ConvBlock(hidden, hidden, 3, alpha=a), ConvBlock(hidden, hidden, 3, alpha=a))

        self.cls_convs = nn.ModuleList([tower() for _ in STRIDES])
        self.reg_convs = nn.ModuleList([tower() for _ in STRIDES])
        self.cls_preds = nn.ModuleList([nn.Conv2d(hidden, num_classes, 1) for _ in STRIDES])
        self.reg_preds = nn.ModuleList([nn.Conv2d(hidden, 4, 1) for _ in STRIDES])
        self.obj_preds = nn.ModuleList([nn.Conv2d(hidden, 1, 1) for _ in STRIDES])
        for convs in (self.cls_preds, self.obj_preds):
            for conv in convs:
                assert isinstance(conv, nn.Conv2d)
                assert conv.bias is not None
                nn.init.constant_(conv.bias, -math.log((1 - 0.01) / 0.01))

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> Predictions:
        """Three levels [T, B, C, H, W] with strides 8, 16, 32 to Predictions."""
        parts = []
        for level, stride in enumerate(STRIDES):
            x = self.stems[level](features[level])
            # the mean of the convolutions' currents is the convolution of the means: one pass instead of T
            classes = self.cls_preds[level](self.cls_convs[level](x).mean(0))
            both = self.reg_convs[level](x).mean(0)
            boxes, objectness = self.reg_preds[level](both), self.obj_preds[level](both)
            parts.append(_decode(boxes.float(), objectness.float(), classes.float(), stride))
        joined = [torch.cat(each, 1) for each in list(zip(*parts, strict=True))[:3]]
        centres, strides = (torch.cat(each) for each in list(zip(*parts, strict=True))[3:])
        return Predictions(joined[0], joined[1], joined[2], centres, strides)


def _decode(boxes: Tensor, objectness: Tensor, classes: Tensor, stride: int) -> Predictions:
    height, width = boxes.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=boxes.device, dtype=boxes.dtype),
        torch.arange(width, device=boxes.device, dtype=boxes.dtype),
        indexing="ij",
    )
    corners = torch.stack([x, y], -1).flatten(0, 1)  # [A, 2]
    flat = boxes.flatten(2).transpose(1, 2)  # [B, A, 4]
    middle = (flat[..., :2] + corners) * stride
    # no finite box is that large; without it one wild number makes the whole gradient nan
    half = flat[..., 2:].clamp_max(12).exp() * (stride / 2)
    return Predictions(
        torch.cat([middle - half, middle + half], -1),
        objectness.flatten(1),
        classes.flatten(2).transpose(1, 2),
        (corners + 0.5) * stride,
        torch.full((len(corners),), float(stride), device=boxes.device, dtype=boxes.dtype),
    )
