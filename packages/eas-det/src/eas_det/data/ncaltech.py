"""N-Caltech101: one object a recording, its outline in a binary file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eas_det.boxes import make_boxes
from eas_det.errors import DecodeError

from .recordings import Augment, Recordings
from .sample import Rendering

__all__ = ["NCaltech101", "load_annotation"]

_LEFT_OUT = "BACKGROUND_Google"
_END = 2**40  # after the last event of any of these recordings: about 0.3 s each


def load_annotation(path: str | PathLike[str]) -> tuple[float, float, float, float]:
    """(x, y, width, height) of an annotation file: the smallest box around its corners.

    The file holds the box's corners, then the object's contour: each as int16 rows, int16 columns, then the values,
    column by column; row 0 is x, row 1 is y.

    Raises:
        DecodeError: the file is shorter than it says, or holds no points.
    """
    path = Path(path)
    data = path.read_bytes()
    if len(data) < 4:
        raise DecodeError(path, 0, f"{len(data)} bytes; expected int16 rows and columns")
    rows, columns = (int(each) for each in np.frombuffer(data, "<i2", 2))
    if rows != 2 or columns < 1:
        raise DecodeError(path, 0, f"{rows} rows and {columns} columns; expected 2 rows of corners")
    if len(data) < 4 + 2 * rows * columns:
        raise DecodeError(path, 4, f"{len(data) - 4} bytes of corners; expected {2 * rows * columns}")
    corners = np.frombuffer(data, "<i2", rows * columns, 4).reshape(columns, rows).astype(np.float64)
    low, high = corners.min(0), corners.max(0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


class NCaltech101(Recordings):
    """N-Caltech101 with boxes.

    Args:
        root: the folder with Caltech101 and Caltech101_annotations.
        split: "train" or "test": 80 and 20 % of each class, drawn by ``split_seed``; "all". The field has no standard
            split: pass ``names`` to use a published one.
        names: recordings to take, as "class/image_0001"; overrides split.
        rendering: by default 4 bins of the whole recording.
        augment, clean, seed: see Recordings. The background class is left out, as published.
    Raises:
        FileNotFoundError, ValueError, DecodeError: folders, split, annotations.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: Literal["train", "test", "all"] = "train",
        rendering: Rendering | None = None,
        *,
        names: list[str] | None = None,
        augment: Augment | None = None,
        clean: bool = True,
        split_seed: int = 0,
        seed: int = 0,
    ) -> None:
        if split not in ("train", "test", "all"):
            raise ValueError(f"split={split!r} given; expected 'train', 'test' or 'all'")
        folder, outlines = Path(root) / "Caltech101", Path(root) / "Caltech101_annotations"
        for each in (folder, outlines):
            if not each.is_dir():
                raise FileNotFoundError(f"{each} is no folder; expected Caltech101 and Caltech101_annotations in root")
        classes = sorted(each.name for each in folder.iterdir() if each.is_dir() and each.name != _LEFT_OUT)
        chosen: list[tuple[str, int]] = []
        for number, name in enumerate(classes):
            files = sorted(each.stem for each in (folder / name).glob("*.bin"))
            if names is None and split != "all":
                order = np.random.default_rng([split_seed, number]).permutation(len(files))
                cut = round(0.8 * len(files))
                files = [files[place] for place in sorted(order[:cut] if split == "train" else order[cut:])]
            chosen += [(f"{name}/{each}", number) for each in files]
        if names is not None:
            known = dict(chosen)
            missing = next((each for each in names if each not in known), None)
            if missing is not None:
                raise ValueError(
                    f"{missing} is not in {folder}; expected names like {next(iter(known), 'class/image_0001')}"
                )
            chosen = [(each, known[each]) for each in names]
        boxes = [_labelled(outlines / f"{name.replace('/image_', '/annotation_')}.bin", k) for name, k in chosen]
        super().__init__(
            [folder / f"{name}.bin" for name, _ in chosen], boxes, [name for name, _ in chosen], classes, (240, 180),
            rendering or Rendering(window_us=0), augment=augment, clean=clean, seed=seed,
        )  # fmt: skip

    def _window(self, number: int, t: int) -> tuple[Any, int]:
        events, _ = super()._window(number, t)
        return events, int(events.t[-1]) + 1 if len(events) else t


def _labelled(path: Path, label: int) -> NDArray[Any]:
    x, y, w, h = load_annotation(path)
    return make_boxes(1, t=_END, x=x, y=y, w=w, h=h, class_id=label)
