"""The random changes of training: on events and boxes together, so that boxes stay exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eas_det import augment
from eas_det.events import Events

__all__ = ["RandomAugment"]


@dataclass(frozen=True)
class RandomAugment:
    """Flip, shrink and place, drop, change polarity; each with its own chance.

    Args:
        flip: chance of a mirror image, left and right. scale: (least, most) factor of lengths, placed at random; the
            published recipe draws from (0.4, 1). polarity: chance that brighter and darker change places.
        drop: share of events lost, drawn from 0 to this.
        min_side: boxes with a shorter side afterwards are dropped, pixels.
    Source: the published recipe (flip, scale, placement), on events instead of count maps; the rest is ours.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.4, 1.0)
    polarity: float = 0.0
    drop: float = 0.0
    min_side: float = 1.0

    def __call__(self, events: Events, boxes: NDArray[Any], rng: np.random.Generator) -> tuple[Events, NDArray[Any]]:
        """Changed events and boxes; the arguments stay as they are."""
        if rng.random() < self.flip:
            events, boxes = augment.flip_horizontal(events, boxes)
        if rng.random() < self.polarity:
            events, boxes = augment.flip_polarity(events, boxes)
        factor = rng.uniform(*self.scale)
        if self.scale != (1.0, 1.0) and events.sensor_size is not None:
            events, boxes = augment.scale_space(events, boxes, factor, min_side=self.min_side)
            width, height = events.sensor_size or (0, 0)
            room = [max(0, int(side * (1 - factor))) for side in (width, height)]
            dx, dy = (int(rng.integers(0, each + 1)) for each in room)
            events, boxes = augment.translate(events, boxes, dx, dy, min_side=self.min_side)
        if self.drop:
            events, boxes = augment.drop_events(events, boxes, rng.uniform(0, self.drop), rng)
        return events, boxes
