"""Gen1 and 1 Mpx as Prophesee publishes them: ``*_td.dat`` beside ``*_bbox.npy``."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eas_det.boxes import load_boxes
from eas_det.events import Events

from .recordings import Augment, Recordings
from .sample import Rendering

__all__ = ["Gen1", "Mpx1"]

#: recordings of Gen1 whose labels all vanish when they are filtered; the published code leaves them out
GEN1_EMPTY = (
    "17-04-06_09-57-37_6344500000_6404500000",
    "17-04-13_19-17-27_976500000_1036500000",
    "17-04-06_15-14-36_1159500000_1219500000",
    "17-04-11_15-13-23_122500000_182500000",
)


def _pairs(root: str | PathLike[str], split: str | None) -> list[tuple[str, Path, Path]]:
    """(name, recording, boxes) of a folder, sorted by name."""
    folder = Path(root) if split is None else Path(root) / split
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; expected one with *_td.dat and *_bbox.npy in it or below")
    found = []
    for boxes in sorted(folder.rglob("*_bbox.npy")):
        stem = boxes.name.removesuffix("_bbox.npy")
        recording = next(
            (
                each
                for ending in ("_td.dat", "_td.dat.h5", ".raw")
                if (each := boxes.with_name(stem + ending)).is_file()
            ),
            None,
        )
        if recording is None:
            raise FileNotFoundError(f"{boxes} has no {stem}_td.dat (or _td.dat.h5, .raw) beside it")
        found.append((stem, recording, boxes))
    if not found:
        raise FileNotFoundError(f"no *_bbox.npy in {folder} or below")
    return found


def _columns(pairs: list[tuple[str, Path, Path]]) -> tuple[list[str], list[Path], list[Path]]:
    return [each[0] for each in pairs], [each[1] for each in pairs], [each[2] for each in pairs]


class Gen1(Recordings):
    """Prophesee Gen1 Automotive Detection: 304 x 240 pixels, cars and pedestrians.

    Args:
        root: the folder that holds train, val and test. split: one of them; None: root itself.
        rendering, augment, clean, seed: see Recordings.
    Raises:
        FileNotFoundError: no such folder, or a label file without its recording.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: str | None = "train",
        rendering: Rendering | None = None,
        *,
        augment: Augment | None = None,
        clean: bool = True,
        seed: int = 0,
    ) -> None:
        pairs = [each for each in _pairs(root, split) if each[0] not in GEN1_EMPTY]
        names, recordings, files = _columns(pairs)
        super().__init__(
            recordings, [load_boxes(each) for each in files], names, ("car", "pedestrian"), (304, 240), rendering,
            augment=augment, clean=clean, seed=seed,
        )  # fmt: skip


class Mpx1(Recordings):
    """Prophesee 1 Megapixel Automotive Detection: 1280 x 720 pixels; pedestrians, two-wheelers, cars.

    Args:
        root, split, rendering, augment, clean, seed: see Gen1.
        half: at half resolution: a pixel takes the events of four, boxes are halved. As published.
    Raises:
        FileNotFoundError: as Gen1.

    The four other classes (truck, bus, signs, lights) are dropped, as the field does.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: str | None = "train",
        rendering: Rendering | None = None,
        *,
        half: bool = True,
        augment: Augment | None = None,
        clean: bool = True,
        seed: int = 0,
    ) -> None:
        pairs = _pairs(root, split)
        names, recordings, files = _columns(pairs)
        self.half = half
        boxes = [_three_classes(load_boxes(each), half) for each in files]
        size = (640, 360) if half else (1280, 720)
        super().__init__(
            recordings, boxes, names, ("pedestrian", "two-wheeler", "car"), size, rendering,
            augment=augment, clean=clean, seed=seed,
        )  # fmt: skip

    def _file_size(self) -> tuple[int, int]:
        return 1280, 720

    def _cut(self, number: int, t0: int, t1: int) -> Events:
        events = super()._cut(number, t0, t1)
        if not self.half:
            return events
        return Events.trusted(events.t, events.x >> 1, events.y >> 1, events.p, self.sensor_size)


def _three_classes(boxes: NDArray[Any], half: bool) -> NDArray[Any]:
    kept: NDArray[Any] = boxes[boxes["class_id"] <= 2].copy()
    if half:
        for name in ("x", "y", "w", "h"):
            kept[name] /= np.float32(2)
    return kept
