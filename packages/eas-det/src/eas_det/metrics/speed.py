"""Average precision by the speed of the objects: where one window for all fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .coco import evaluate

__all__ = ["SPEED_BANDS", "ap_by_speed"]

#: pixels per second, the lower end included: each a factor of four, over the speeds of EventShapes "hard"
SPEED_BANDS: tuple[tuple[float, float], ...] = ((0, 16), (16, 63), (63, 250), (250, 1e9))


def ap_by_speed(
    truth: Sequence[NDArray[Any]],
    found: Sequence[NDArray[Any]],
    speed: Sequence[NDArray[Any]],
    num_classes: int,
    *,
    bands: Sequence[tuple[float, float]] = SPEED_BANDS,
    ignore: Sequence[NDArray[Any]] | None = None,
    backend: str = "auto",
) -> dict[str, float]:
    """AP of the objects of each band of speed.

    Args:
        truth, found, num_classes, ignore, backend: as of coco_ap.
        speed: [frames] pixels per second of each true box.
        bands: (lowest, highest), the highest not included.
    Returns:
        {"0-16": AP, ...}; nan where a band has no object.

    True boxes of other bands are ignored: what finds them is no mistake. What finds nothing is one in every band, as
    nobody knows its speed, so that the bands' values are below the AP over all.
    """
    numbers = [np.repeat(np.arange(len(side)), [len(each) for each in side]) for side in (truth, found)]
    cut = {
        "truth": np.concatenate(list(truth)),
        "found": np.concatenate(list(found)),
        "truth_frame": numbers[0],
        "found_frame": numbers[1],
        "speed": np.concatenate(list(speed)),
        "ignore": np.zeros(len(numbers[0]), bool) if ignore is None else np.concatenate(list(ignore)),
        "frames": np.array(len(truth)),
    }
    return by_speed(cut, num_classes, bands, backend)


def by_speed(
    cut: Mapping[str, NDArray[Any]], num_classes: int, bands: Sequence[tuple[float, float]], backend: str
) -> dict[str, float]:
    """The same for frames that an evaluator has cut."""
    out = {}
    for low, high in bands:
        outside = ~((cut["speed"] >= low) & (cut["speed"] < high)) | cut["ignore"]
        name = f"{low:g}-{high:g}" if high < 1e6 else f"{low:g}-"
        out[name] = float(
            evaluate(
                cut["truth"], cut["truth_frame"], cut["found"], cut["found_frame"], int(cut["frames"]), num_classes,
                outside, backend,
            )["AP"]
        )  # fmt: skip
    return out
