"""Images whose robust accuracy is known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spk_regularize.data.images import ImageSet

__all__ = ["Synthetic", "synthetic_margin"]

VERSION = 1


@dataclass(frozen=True)
class Synthetic:
    """Two classes on either side of a plane.

    data: the images, float in [0, 1]. margins: l_inf distance of each image to the plane, [N]: below it an attack on
    the ideal classifier is impossible, above it certain. w: the plane's normal with ||w||_1 = 1.
    """

    data: ImageSet
    margins: Tensor
    w: Tensor

    def robust_accuracy(self, eps: float) -> float:
        """Accuracy that the ideal linear classifier keeps at ``eps``: the share of margins above it."""
        return float((self.margins > eps).double().mean())

    def ideal(self) -> nn.Module:
        """The linear classifier along w, images to two logits."""
        linear = nn.Linear(self.w.numel(), 2)
        with torch.no_grad():
            linear.weight.copy_(torch.stack([-self.w, self.w]).float() * 10)
            # the plane goes through the middle of the box
            linear.bias.copy_(torch.tensor([0.5, -0.5]) * float(self.w.sum()) * 10)
        return nn.Sequential(nn.Flatten(), linear)


def synthetic_margin(
    n: int = 1000, size: int = 8, margin: float = 0.1, spread: float = 0.1, noise: float = 0.1, seed: int = 0
) -> Synthetic:
    """n images [1, size, size] of two classes, each at a known l_inf distance of a plane.

    Args:
        margin, spread: distances are uniform in [margin, margin + spread]. noise: deviation of the pixels within the
            plane. margin + spread + 2 noise must stay below 1/2, so that no pixel leaves [0, 1]. seed: of the draws.
    Returns:
        :class:`Synthetic`. Any eps below ``margin`` can be defended completely.
    Raises:
        ValueError: sizes that do not fit in the box.
    """
    if not (margin > 0 and spread >= 0 and noise >= 0 and margin + spread + 2 * noise < 0.5):
        raise ValueError(
            f"margin={margin}, spread={spread}, noise={noise} given; expected margin > 0 and margin + spread + 2 noise "
            "< 0.5, so that pixels stay in [0, 1]"
        )
    if n < 1 or size < 1:
        raise ValueError(f"n={n}, size={size} given; expected at least one image of one pixel")
    generator = torch.Generator().manual_seed(seed)
    d = size * size
    signs = torch.randint(0, 2, (d,), generator=generator).double() * 2 - 1
    w = signs / d
    labels = torch.randint(0, 2, (n,), generator=generator)
    distance = margin + spread * torch.rand(n, generator=generator, dtype=torch.float64)
    inside = noise * torch.randn(n, d, generator=generator, dtype=torch.float64).clamp(-2, 2)
    # remove the part along the plane's normal (signs / sqrt(d)), then clip what the removal pushed out
    inside = inside - (inside @ signs)[:, None] * signs / d
    inside = inside * (2 * noise / inside.abs().amax(1, keepdim=True).clamp_min(2 * noise)) if noise else inside
    side = (2 * labels - 1).double() * distance
    x = 0.5 + inside + side[:, None] * signs
    # the distance as float32 pixels have it
    images = x.float()
    margins = ((images.double() - 0.5) @ w).abs()
    return Synthetic(
        ImageSet(images.reshape(n, 1, size, size), labels, 2, scale=1.0, name=f"synthetic v{VERSION}"), margins, w
    )
