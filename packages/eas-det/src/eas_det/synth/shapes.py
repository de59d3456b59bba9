"""EventShapes: a detection benchmark whose boxes are exact and whose speeds differ within one clip."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eas_det._files import atomic_write
from eas_det.boxes import make_boxes, save_boxes
from eas_det.events import Events
from eas_det.io.writers import write_dat

from .scene import KINDS, MovingObject, Scene
from .sensor import Sensor, _assemble, light_and_noise

__all__ = ["LEVELS", "VERSION", "Clip", "EventShapes", "Level", "make_dataset"]

#: rises when the same seed gives other events
VERSION = 1


@dataclass(frozen=True)
class Level:
    """What a level draws from; see :data:`LEVELS`. Speeds in pixels per second, log-uniform, each object its own."""

    speed: tuple[float, float]
    noise_hz: float
    sigma: float
    contrast: tuple[float, float] = (0.3, 0.9)
    objects: tuple[int, int] = (1, 5)
    side: tuple[float, float] = (10.0, 40.0)
    ego: float = 0.0
    turn: float = 0.0
    size: tuple[int, int] = (128, 128)
    duration: float = 0.5
    label_hz: float = 4.0
    fewest_events: int = 20


LEVELS = {
    "easy": Level(speed=(100.0, 100.0), noise_hz=0.0, sigma=0.0, objects=(1, 2), contrast=(0.5, 0.9)),
    "medium": Level(speed=(16.0, 250.0), noise_hz=1.0, sigma=0.02, turn=0.5),
    "hard": Level(speed=(4.0, 1000.0), noise_hz=10.0, sigma=0.03, ego=20.0, turn=1.0),
}


class Clip(NamedTuple):
    """One clip.

    events: on a sensor of the level's size. boxes: BOX_DTYPE, sorted by time, cut to the frame; the arrays beside them
    have one value a box. ignore: it made too few events to be found. visible: share of it, in the frame, that nothing
    in front covers. speed: pixels per second. scene: what was filmed.
    """

    events: Events
    boxes: NDArray[Any]
    ignore: NDArray[np.bool_]
    visible: NDArray[np.float64]
    speed: NDArray[np.float64]
    scene: Scene


class EventShapes:
    """Clips of moving rectangles, ellipses and diamonds, made when they are asked for.

    Args:
        level: "easy" (one speed, no noise), "medium" (16 to 250 px/s, 1 Hz of noise), "hard" (4 to 1000 px/s, 10 Hz,
            moving camera), or a Level.
        n: number of clips.
        seed: clip i of a seed is the same on every machine with the same numpy stream.
        changes: fields of the Level to replace, such as size=(64, 64).
    Raises:
        ValueError: an unknown level.
    Source: our own; the sensor follows ESIM and v2e. Boxes are those of the whole shape, cut to the frame: what an
        object in front covers is not cut away but told in ``visible``.
    """

    def __init__(self, level: str | Level = "medium", n: int = 1000, seed: int = 0, **changes: Any) -> None:
        if isinstance(level, str) and level not in LEVELS:
            raise ValueError(f"level={level!r} given; expected one of {', '.join(LEVELS)} or a Level")
        if n < 0:
            raise ValueError(f"n={n} given; expected >= 0 clips")
        self.level = replace(LEVELS[level] if isinstance(level, str) else level, **changes)
        self.n, self.seed = n, seed

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Clip]:
        return (self[place] for place in range(self.n))

    @property
    def digest(self) -> str:
        """Name of the generator's settings and version, for results made with it."""
        text = json.dumps({"version": VERSION, "seed": self.seed, **asdict(self.level)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def scene(self, index: int) -> Scene:
        """What clip ``index`` films."""
        return _draw(self.level, self._rng(index, 0))

    def _rng(self, index: int, part: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, index, part, VERSION])

    def __getitem__(self, index: int) -> Clip:
        if not -self.n <= index < self.n:
            raise IndexError(f"clip {index} of {self.n}")
        index %= self.n
        level, scene = self.level, self.scene(index)
        sensor = Sensor(sigma=level.sigma, noise_hz=level.noise_hz)
        signal, noise = light_and_noise(scene, sensor, self._rng(index, 1))
        events = _assemble([signal, noise], scene.size)
        return Clip(events, *_labels(scene, level, _assemble([signal], scene.size)), scene)


def _draw(level: Level, rng: np.random.Generator) -> Scene:
    width, height = level.size
    low, high = np.log(level.speed)
    labels = _label_times(level)
    objects = []
    for _ in range(int(rng.integers(level.objects[0], level.objects[1] + 1))):
        speed, heading = math.exp(rng.uniform(low, high)), rng.uniform(0, 2 * math.pi)
        velocity = speed * math.cos(heading), speed * math.sin(heading)
        # in the frame at one of the labels, so that fast ones are seen at all
        when = labels[int(rng.integers(len(labels)))]
        x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.85) * height
        longest = min(level.side[1], min(width, height) / 2)
        side = tuple(float(each) for each in rng.uniform(min(level.side[0], longest), longest, 2))
        contrast = rng.uniform(*level.contrast) * (1 if rng.random() < 0.5 else -1)
        spin = float(rng.normal(0, 1)) * level.turn
        objects.append(
            MovingObject(
                KINDS[int(rng.integers(len(KINDS)))],
                (side[0], side[1]),
                (x - velocity[0] * when, y - velocity[1] * when),
                velocity,
                angle=float(rng.uniform(0, 2 * math.pi)),
                spin=spin,
                level=float(contrast),
                texture=0.1,
            )
        )
    heading = rng.uniform(0, 2 * math.pi)
    ego = (level.ego * math.cos(heading), level.ego * math.sin(heading)) if level.ego else (0.0, 0.0)
    return Scene(level.size, level.duration, tuple(objects), texture=0.15 if level.ego else 0.0, ego=ego)


def _label_times(level: Level) -> list[float]:
    count = max(1, int(level.duration * level.label_hz + 1e-9))
    return [(place + 1) / level.label_hz if place + 1 < count else level.duration for place in range(count)]


def _labels(scene: Scene, level: Level, light: Events) -> tuple[Any, Any, Any, Any]:
    """Boxes, ignore, visible, speed at the label times."""
    from eas_det._kernels import simulate as kernels

    rows = []
    for when in _label_times(level):
        t = round(1e6 * when)
        recent = light.window(t - 200_000, t)
        inside = scene.boxes(when)
        seen = kernels.coverage(scene.rows(), when, *scene.size)
        for track, (x, y, w, h) in enumerate(inside):
            if w < 1 or h < 1:
                continue
            hits = (recent.x + 0.5 >= x) & (recent.x + 0.5 < x + w) & (recent.y + 0.5 >= y) & (recent.y + 0.5 < y + h)
            made = int(hits.sum())
            visible = seen[track, 1] / seen[track, 0] if seen[track, 0] else 0.0
            each = scene.objects[track]
            box = (t, x, y, w, h, KINDS.index(each.kind), track)
            rows.append((box, made < level.fewest_events, visible, each.speed(when)))
    boxes = make_boxes(len(rows))
    for place, row in enumerate(rows):
        for name, value in zip(("t", "x", "y", "w", "h", "class_id", "track_id"), row[0], strict=True):
            boxes[place][name] = value
    ignore, visible, speed = (np.array([row[each] for row in rows]) for each in (1, 2, 3))
    return boxes, ignore.astype(bool), visible.astype(np.float64), speed.astype(np.float64)


def make_dataset(
    level: str | Level, n: int, out: str | PathLike[str], seed: int = 0, *, progress: bool = True, **changes: Any
) -> Path:
    """Write clips as ``clip_00000_td.dat`` with ``clip_00000_bbox.npy``, and ``dataset.json``; goes on where it ended.

    Returns:
        The folder.
    Raises:
        ValueError: the folder holds a data set of other settings.
    """
    from tqdm import tqdm

    shapes = EventShapes(level, n, seed, **changes)
    folder = Path(out)
    about = folder / "dataset.json"
    settings = {"generator": "EventShapes", "version": VERSION, "digest": shapes.digest, "seed": seed}
    settings |= {"level": json.loads(json.dumps(asdict(shapes.level))), "classes": list(KINDS)}
    if about.exists():
        there = json.loads(about.read_text(encoding="utf-8"))
        if there.get("digest") != shapes.digest:
            raise ValueError(f"{folder} holds a data set of other settings; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(about) as file:
        json.dump(settings, file, indent=2)
    for index in tqdm(range(n), disable=None if progress else True, unit="clip"):
        boxes_path = folder / f"clip_{index:05d}_bbox.npy"
        extra_path = folder / f"clip_{index:05d}_extra.npz"
        if boxes_path.exists() and extra_path.exists():
            continue
        clip = shapes[index]
        write_dat(folder / f"clip_{index:05d}_td.dat", clip.events)
        with atomic_write(extra_path, "wb") as file:
            np.savez(file, ignore=clip.ignore, visible=clip.visible, speed=clip.speed)
        save_boxes(boxes_path, clip.boxes)  # last: a clip with boxes is complete
    return folder
