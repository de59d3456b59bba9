"""One labelled moment of a recording, and what every dataset of them has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eas_det.events import Events
from eas_det.models.detector import Targets
from eas_det.representations import micro_counts, stacked_histogram, time_surface, voxel_cube, voxel_grid

__all__ = ["Batch", "EventDetectionDataset", "Rendering", "Sample", "collate", "from_corners", "to_corners"]

Kind = Literal["counts", "voxel", "surface", "cube", "stacked"]
_MAKERS: dict[str, Any] = {
    "counts": micro_counts,
    "voxel": voxel_grid,
    "surface": time_surface,
    "cube": voxel_cube,
    "stacked": stacked_histogram,
}


class Sample(NamedTuple):
    """One labelled moment.

    counts: [bins, C, H, W] float32, of the window that ends at the label. boxes: [N, 4] float32 corners
    (x1, y1, x2, y2), pixels. labels: [N] int64. t_label: microseconds. recording_id: the recording's name.
    ignore: [N] bool, boxes that neither training nor evaluation counts. speed: [N] float32 pixels per second, nan where
    nobody knows it.
    """

    counts: Tensor
    boxes: Tensor
    labels: Tensor
    t_label: int
    recording_id: str
    ignore: Tensor
    speed: Tensor

    @property
    def targets(self) -> Targets:
        """What a network is to learn: boxes that are not to be ignored."""
        return Targets(self.boxes[~self.ignore], self.labels[~self.ignore])


class Batch(NamedTuple):
    """Several samples: counts [B, bins, C, H, W], and the samples' targets one by one."""

    counts: Tensor
    targets: list[Targets]


@runtime_checkable
class EventDetectionDataset(Protocol):
    """What training and evaluation ask of a dataset.

    classes: names by label. sensor_size: (width, height) of the samples. set_epoch: draws other augmentations.
    """

    classes: tuple[str, ...]
    sensor_size: tuple[int, int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass(frozen=True)
class Rendering:
    """How a window of events becomes a tensor.

    Args:
        kind: "counts" [bins, 2, H, W], "voxel" [bins, 1, H, W], "surface" [bins, 2, H, W], "cube" [bins, 4, H, W], or
            "stacked" [1, 2 bins, H, W].
        bins: time bins.
        window_us: length of the window before the label; 0: the recording from its beginning.
        look_back: where the window is empty, step back by whole windows, at most so many times.
    """

    kind: Kind = "counts"
    bins: int = 4
    window_us: int = 200_000
    look_back: int = 4

    def __post_init__(self) -> None:
        if self.kind not in _MAKERS:
            raise ValueError(f"kind={self.kind!r} given; expected one of {', '.join(_MAKERS)}")
        if self.bins < 1 or self.window_us < 0 or self.look_back < 0:
            raise ValueError(
                f"bins={self.bins}, window_us={self.window_us}, look_back={self.look_back} given; "
                "expected >= 1, >= 0 and >= 0"
            )

    @property
    def channels(self) -> int:
        """C of the tensors."""
        return {"counts": 2, "voxel": 1, "surface": 2, "cube": 4, "stacked": 2 * self.bins}[self.kind]

    def __call__(self, events: Events, t: int) -> Tensor:
        """[bins, C, H, W] float32 of the window [t - window_us, t)."""
        start = t - self.window_us if self.window_us else min(int(events.t[0]) if len(events) else 0, t)
        array = _MAKERS[self.kind](events.window(start, t), self.bins, start, t)
        if self.kind == "stacked":
            array = array[None]
        return torch.from_numpy(np.asarray(array, np.float32))


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of one shape to a Batch; ValueError where the shapes differ."""
    shapes = {tuple(each.counts.shape) for each in samples}
    if len(shapes) != 1:
        raise ValueError(f"the samples have shapes {sorted(shapes)}; expected one, at least one sample: see letterbox")
    return Batch(torch.stack([each.counts for each in samples]), [each.targets for each in samples])


def to_corners(boxes: NDArray[Any]) -> Tensor:
    """Records of BOX_DTYPE to corners [N, 4] float32."""
    x, y, w, h = (boxes[name].astype(np.float64) for name in ("x", "y", "w", "h"))
    return torch.from_numpy(np.stack([x, y, x + w, y + h], -1).astype(np.float32).reshape(-1, 4))


def from_corners(boxes: Tensor, scores: Tensor, labels: Tensor, t: int) -> NDArray[Any]:
    """Corners, scores and labels to records of BOX_DTYPE at time t."""
    from eas_det.boxes import make_boxes

    corners = boxes.detach().cpu().double().numpy()
    return make_boxes(
        len(corners),
        t=t,
        x=corners[:, 0],
        y=corners[:, 1],
        w=corners[:, 2] - corners[:, 0],
        h=corners[:, 3] - corners[:, 1],
        class_id=labels.detach().cpu().numpy(),
        class_confidence=scores.detach().cpu().numpy(),
    )
