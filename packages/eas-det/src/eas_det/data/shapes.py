"""EventShapes as a dataset: clips made when asked for, or once into memory."""

from __future__ import annotations

from typing import Any

from eas_det.synth import EventShapes, Level
from eas_det.synth.scene import KINDS

from .recordings import Augment, Recordings
from .sample import Rendering

__all__ = ["SynthShapes"]


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
