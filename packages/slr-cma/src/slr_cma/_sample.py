"""One paired sample, a batch of them, and the collate function between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Batch", "Sample", "collate"]


@dataclass(frozen=True)
class Sample:
    """One recording, aligned.

    Args:
        events: counts [T, 2, H, W], channel 0 = OFF (p == 0), 1 = ON; or None.
        frames: images [T, C, H, W], float32 in [0, 1]; or None.
        mask: [T] bool, False where the recording has no data (padding).
        label: class index.
        meta: user, light, position and what else is known.
    """

    events: Tensor | None
    frames: Tensor | None
    mask: Tensor
    label: int
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Samples stacked time first: events [T, B, 2, H, W], frames [T, B, C, H, W], mask [T, B], labels [B].

    meta: a dict for each.
    """

    events: Tensor | None
    frames: Tensor | None
    mask: Tensor
    labels: Tensor
    meta: tuple[dict[str, Any], ...] = ()

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        move = [None if x is None else x.to(device) for x in (self.events, self.frames)]
        return Batch(move[0], move[1], self.mask.to(device), self.labels.to(device), self.meta)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples along a new batch axis 1.

    Raises:
        ValueError: no sample, different T or sizes, or a modality that only some samples have.
    """
    if not samples:
        raise ValueError("collate got no sample")

    def stack(name: str) -> Tensor | None:
        parts = [getattr(sample, name) for sample in samples]
        if all(part is None for part in parts):
            return None
        if any(part is None for part in parts):
            raise ValueError(f"{name}: some samples have them and some do not; load one modality for all")
        shapes = {tuple(part.shape) for part in parts}
        if len(shapes) > 1:
            raise ValueError(f"{name} of shapes {sorted(shapes)} do not stack; load all with the same bins and crop")
        return torch.stack([part.float() for part in parts], 1)

    return Batch(
        stack("events"),
        stack("frames"),
        torch.stack([sample.mask for sample in samples], 1),
        torch.tensor([sample.label for sample in samples]),
        tuple(sample.meta for sample in samples),
    )
