"""Samples changed anew each epoch, both modalities alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from slr_cma._sample import Sample

__all__ = ["Augment", "Augmented"]


@dataclass(frozen=True)
class Augment:
    """How far a sample may be changed. Never mirrored (handedness carries meaning), never played backwards.

    Args:
        shift: of the place, share of the side, each way. scale: of the size, 0.1 is 0.9 to 1.1. time_shift: bins, each
            way; what comes in is empty and masked. These three strike events and frames alike.
        event_drop: up to this share of the events is lost. event_noise: up to so many background events per pixel
            and bin. light: of brightness and contrast of the frames, 0.2 is 0.8 to 1.2.
    """

    shift: float = 0.1
    scale: float = 0.1
    time_shift: int = 1
    event_drop: float = 0.2
    event_noise: float = 0.01
    light: float = 0.2

    def __post_init__(self) -> None:
        shares = (self.shift, self.scale, self.event_drop, self.light)
        if min(shares) < 0 or max(shares) >= 1 or self.time_shift < 0 or self.event_noise < 0:
            raise ValueError(f"{self}: expected shares in [0, 1), time_shift and event_noise >= 0")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """A changed copy; ``generator`` decides all of it."""

        def draw(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        zoom, dx, dy = draw(1 - self.scale, 1 + self.scale), *(draw(-self.shift, self.shift) for _ in range(2))
        late = int(torch.randint(-self.time_shift, self.time_shift + 1, (), generator=generator))
        keep, noise = 1 - draw(0, self.event_drop), draw(0, self.event_noise)
        contrast, brightness = draw(1 - self.light, 1 + self.light), draw(-self.light, self.light)
        # grid_sample asks where each place of the result comes from, in units of half a side
        move = torch.tensor([[1 / zoom, 0, -2 * dx / zoom], [0, 1 / zoom, -2 * dy / zoom]])
        events, frames = sample.events, sample.frames
        if events is not None:
            kept = torch.binomial(events.float(), torch.full_like(events, keep, dtype=torch.float32), generator)
            kept = kept + torch.poisson(torch.full_like(kept, noise), generator)
            # an enlarged map has as many events on more pixels
            events = _delayed(_moved(kept, move, "zeros") / zoom**2, late)
        if frames is not None:
            mean = frames.mean()
            lit = ((frames - mean) * contrast + mean + brightness * mean).clamp(0, 1)
            frames = _delayed(_moved(lit, move, "border"), late)
        mask = _delayed(sample.mask, late)
        if events is not None:
            events = events * mask[:, None, None, None]
        return Sample(events, frames, mask, sample.label, sample.meta)


def _moved(x: Tensor, move: Tensor, padding: str) -> Tensor:
    grid = F.affine_grid(move.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode=padding, align_corners=False)


def _delayed(x: Tensor, bins: int) -> Tensor:
    out = torch.zeros_like(x)
    t = len(x)
    if abs(bins) < t:
        out[max(0, bins) : t + min(0, bins)] = x[max(0, -bins) : t - max(0, bins)]
    return out


class Augmented(Dataset[Sample]):
    """A dataset whose samples are changed; what happens depends on (seed, epoch, index) alone.

    Args:
        data: of :class:`Sample`. how: the ranges. seed: of all that is drawn; training sets the epoch.
    """

    def __init__(self, data: Dataset[Sample], how: Augment | None = None, *, seed: int = 0) -> None:
        self.data, self.how, self.seed, self.epoch = data, how or Augment(), seed, 0

    @property
    def labels(self) -> Any:
        """Class of each sample."""
        return self.data.labels  # type: ignore[attr-defined]

    def set_epoch(self, epoch: int) -> None:
        """Draw other changes from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        mixed = np.random.SeedSequence([13, self.seed, self.epoch, index]).generate_state(1, np.uint64)[0]
        return self.how(self.data[index], torch.Generator().manual_seed(int(mixed >> np.uint64(1))))
