"""EventShapes as a dataset: clips made when asked for, or once into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from eas_det.synth import EventShapes, Level
from eas_det.synth.scene import KINDS

from .recordings import Augment, Recordings
from .sample import Batch, Rendering, Sample

__all__ = ["Rendered", "SynthShapes"]


class SynthShapes(Recordings):
    """Labelled moments of EventShapes, with exact boxes, speeds, and flags of what cannot be seen.

    Args:
        level, n, seed, changes: see EventShapes; ``n`` counts clips, each has two labelled moments at the levels' own
            settings.
        rendering, augment, clean: see Recordings.
        fewest_visible: boxes of which less than this share is in sight are ignored.
        progress: a bar while the clips are made, where stderr is a terminal.

    All clips are made at the start and held in memory, 13 bytes an event.
    """

    def __init__(
        self,
        level: str | Level = "medium",
        n: int = 1000,
        seed: int = 0,
        rendering: Rendering | None = None,
        *,
        augment: Augment | None = None,
        clean: bool = True,
        fewest_visible: float = 0.25,
        progress: bool = False,
        **changes: Any,
    ) -> None:
        from tqdm import tqdm

        self.shapes = EventShapes(level, n, seed, **changes)
        clips = [self.shapes[place] for place in tqdm(range(n), desc="clips", disable=None if progress else True)]
        super().__init__(
            [clip.events for clip in clips],
            [clip.boxes for clip in clips],
            [f"clip_{place:05d}" for place in range(n)],
            KINDS,
            self.shapes.level.size,
            rendering,
            augment=augment,
            clean=clean,
            ignore=[clip.ignore | (clip.visible < fewest_visible) for clip in clips],
            speed=[clip.speed for clip in clips],
            seed=seed,
        )


class Rendered:
    """A dataset rendered once: counts of all items in one tensor, so that nothing is waited for.

    Args:
        data: what to render; its augmentation is drawn once.
        dtype: of the stored counts: float32, or uint8 for counts up to 255.
    Raises:
        ValueError: no item, or counts that uint8 cannot hold.
    """

    def __init__(self, data: Recordings, dtype: torch.dtype = torch.float32) -> None:
        if not len(data):
            raise ValueError("the dataset is empty: nothing to render")
        self.classes, self.sensor_size = data.classes, data.sensor_size
        self.rendering = data.rendering
        first = data[0].counts
        self.counts = torch.empty((len(data), *first.shape), dtype=dtype)
        self.rest: list[Sample] = []
        for place in range(len(data)):
            sample = data[place]
            if dtype == torch.uint8 and not bool(((sample.counts >= 0) & (sample.counts <= 255)).all()):
                raise ValueError(f"item {place} has counts outside 0 to 255; use dtype=torch.float32")
            self.counts[place] = sample.counts
            self.rest.append(sample._replace(counts=first[:0]))

    def __len__(self) -> int:
        return len(self.rest)

    def __getitem__(self, index: int) -> Sample:
        """Item ``index``."""
        return self.rest[index]._replace(counts=self.counts[index].float())

    def labels_at(self, index: int) -> Sample:
        """Item ``index`` with counts of no bins."""
        return self.rest[index]

    def batch(self, index: Tensor) -> Batch:
        """The items ``index`` [B] as one Batch."""
        targets = [self.rest[each].targets for each in index.tolist()]
        return Batch(self.counts[index.to(self.counts.device)].float(), targets)

    def to(self, device: torch.device | str) -> Rendered:
        """The same with the counts on another device."""
        moved = self.subset(np.arange(len(self)))
        moved.counts = moved.counts.to(device)
        return moved

    def subset(self, index: np.ndarray[Any, Any]) -> Rendered:
        """Some of the items."""
        part = Rendered.__new__(Rendered)
        part.__dict__ |= self.__dict__
        part.counts, part.rest = self.counts[torch.from_numpy(index)], [self.rest[int(each)] for each in index]
        return part
