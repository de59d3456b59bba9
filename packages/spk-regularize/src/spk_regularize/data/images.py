"""Images with labels, and their split into training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["DataError", "ImageSet", "Split"]


class DataError(ValueError):
    """A file that is not what its format says; names the file, and the byte offset where there is one."""


@dataclass(frozen=True)
class ImageSet:
    """Images and labels.

    Args: images: [N, C, H, W], uint8 (or float in [0, 1] with scale 1). labels: [N], int64. classes: K. scale: the
    value that stands for 1. name: for reports.
    """

    images: Tensor
    labels: Tensor
    classes: int
    scale: float = 255.0
    name: str = "images"

    def __post_init__(self) -> None:
        if self.images.dim() != 4 or len(self.images) != len(self.labels):
            raise ValueError(
                f"images {tuple(self.images.shape)} and labels {tuple(self.labels.shape)} given; expected [N, C, H, W] "
                "and [N]"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """One image's [C, H, W]."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    def x(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Images as floats in [0, 1]."""
        return self.images[rows].float() / self.scale

    def take(self, rows: Tensor | slice) -> ImageSet:
        """Some of them."""
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def sample(self, n: int, seed: int = 0) -> ImageSet:
        """n of them, drawn without replacement; all of them, in order, where n is not smaller."""
        if n >= len(self):
            return self
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[:n].sort().values)

    def stratified(self, share: float, seed: int = 0) -> tuple[ImageSet, ImageSet]:
        """(the rest, a share of each class), seeded.

        Raises: ValueError: share outside (0, 1).
        """
        if not 0 < share < 1:
            raise ValueError(f"share={share} given; expected a share in (0, 1)")
        generator = torch.Generator().manual_seed(seed)
        held = torch.zeros(len(self), dtype=torch.bool)
        for c in range(self.classes):
            rows = (self.labels == c).nonzero()[:, 0]
            held[rows[torch.randperm(len(rows), generator=generator)[: round(share * len(rows))]]] = True
        return self.take((~held).nonzero()[:, 0]), self.take(held.nonzero()[:, 0])


@dataclass(frozen=True)
class Split:
    """train, validation (for every choice) and test (looked at once)."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
