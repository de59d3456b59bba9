"""Augmentation of events and their boxes together: what a box held before it holds after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .boxes import clean_boxes
from .events import Events, check_size

__all__ = [
    "Compose",
    "crop",
    "drop_events",
    "flip_horizontal",
    "flip_polarity",
    "flip_vertical",
    "hot_pixels",
    "scale_space",
    "scale_time",
    "translate",
]

Pair = tuple[Events, NDArray[Any]]


def _size(events: Events) -> tuple[int, int]:
    if events.sensor_size is None:
        raise ValueError("nobody knows the sensor's size; use events.with_size((width, height)) first")
    return events.sensor_size


def flip_horizontal(events: Events, boxes: NDArray[Any]) -> Pair:
    """Mirror left and right: x becomes width - 1 - x, a box's left edge width - x - w. Twice is the identity."""
    width, _ = _size(events)
    out = boxes.copy()
    out["x"] = width - boxes["x"].astype(np.float64) - boxes["w"]
    x = (width - 1 - events.x.astype(np.int64)).astype(np.uint16)
    return Events.trusted(events.t, x, events.y, events.p, events.sensor_size), out


def flip_vertical(events: Events, boxes: NDArray[Any]) -> Pair:
    """Mirror top and bottom. Twice is the identity."""
    _, height = _size(events)
    out = boxes.copy()
    out["y"] = height - boxes["y"].astype(np.float64) - boxes["h"]
    y = (height - 1 - events.y.astype(np.int64)).astype(np.uint16)
    return Events.trusted(events.t, events.x, y, events.p, events.sensor_size), out


def flip_polarity(events: Events, boxes: NDArray[Any]) -> Pair:
    """Swap darker and brighter. Twice is the identity."""
    return Events.trusted(events.t, events.x, events.y, 1 - events.p, events.sensor_size), boxes.copy()


def scale_time(events: Events, boxes: NDArray[Any], factor: float, origin: int = 0) -> Pair:
    """Everything ``factor`` times as long (2: half the speed), boxes' times included; order is kept.

    Raises:
        ValueError: factor is not positive.
    """
    if not 0 < factor < np.inf:
        raise ValueError(f"factor={factor} given; expected > 0: time never runs backwards")
    out = boxes.copy()
    out["t"] = origin + np.rint((boxes["t"] - origin) * factor).astype(np.int64)
    t = origin + np.rint((events.t - origin) * factor).astype(np.int64)
    return Events.trusted(t, events.x, events.y, events.p, events.sensor_size), out


def scale_space(
    events: Events, boxes: NDArray[Any], factor: float, size: tuple[int, int] | None = None, min_side: float = 1.0
) -> Pair:
    """Resize by moving each event to the pixel that its centre falls into; what leaves the frame is dropped.

    Args:
        factor: of lengths; > 1 leaves gaps between events, < 1 puts several on one pixel.
        size: (width, height) of the new frame; by default the old one.
        min_side: boxes that are smaller after cutting to the frame are dropped.
    """
    if not 0 < factor < np.inf:
        raise ValueError(f"factor={factor} given; expected > 0")
    width, height = check_size(size) or _size(events)
    x, y = np.floor((events.x + 0.5) * factor), np.floor((events.y + 0.5) * factor)
    return _placed(events, x, y, _moved(boxes, factor, 0, 0), (width, height), min_side)


def translate(events: Events, boxes: NDArray[Any], dx: int, dy: int, min_side: float = 1.0) -> Pair:
    """Move by whole pixels; what leaves the frame is dropped, boxes are cut."""
    x, y = events.x.astype(np.int64) + dx, events.y.astype(np.int64) + dy
    return _placed(events, x, y, _moved(boxes, 1.0, dx, dy), _size(events), min_side)


def crop(events: Events, boxes: NDArray[Any], x0: int, y0: int, width: int, height: int, min_side: float = 1.0) -> Pair:
    """Cut a window out, its corner becomes the origin; boxes are cut, those left too small dropped."""
    moved = _moved(boxes, 1.0, -x0, -y0)
    cut = clean_boxes(moved, (width, height), min_side=min_side, max_width_fraction=None)
    return events.crop(x0, y0, width, height), cut


def drop_events(events: Events, boxes: NDArray[Any], fraction: float, rng: np.random.Generator) -> Pair:
    """Lose each event with this probability."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction={fraction} given; expected 0 to 1")
    return events[rng.random(len(events)) >= fraction], boxes.copy()


def hot_pixels(events: Events, boxes: NDArray[Any], count: int, rate_hz: float, rng: np.random.Generator) -> Pair:
    """Add ``count`` pixels that fire by themselves, Poisson with this rate, over the span of the events."""
    if count < 0 or not 0 <= rate_hz < np.inf:
        raise ValueError(f"count={count}, rate_hz={rate_hz} given; expected >= 0")
    width, height = _size(events)
    if not len(events):
        return events, boxes.copy()
    n = rng.poisson(rate_hz * events.duration * 1e-6, count)
    pixel = np.repeat(rng.integers(0, width * height, count), n)
    t = rng.integers(events.t[0], events.t[-1] + 1, pixel.size)
    merged = [
        np.concatenate(pair)
        for pair in (
            (events.t, t),
            (events.x, pixel % width),
            (events.y, pixel // width),
            (events.p, rng.integers(0, 2, pixel.size)),
        )
    ]
    when, column, row, polarity = merged
    return Events(when, column, row, polarity, events.sensor_size, repair="sort"), boxes.copy()


class Compose:
    """Several transforms, one after the other.

    >>> from eas_det.augment import Compose, flip_horizontal, flip_polarity
    >>> both = Compose([flip_horizontal, flip_polarity])
    """

    def __init__(self, transforms: Sequence[Callable[[Events, NDArray[Any]], Pair]]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, events: Events, boxes: NDArray[Any]) -> Pair:
        """Events and boxes through all of them."""
        for transform in self.transforms:
            events, boxes = transform(events, boxes)
        return events, boxes


def _moved(boxes: NDArray[Any], factor: float, dx: float, dy: float) -> NDArray[Any]:
    out = boxes.copy()
    for name, shift in (("x", dx), ("y", dy), ("w", 0), ("h", 0)):
        out[name] = boxes[name].astype(np.float64) * factor + shift
    return out


def _placed(events: Events, x: Any, y: Any, moved: NDArray[Any], size: tuple[int, int], min_side: float) -> Pair:
    inside = (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
    kept = events[inside]
    new = Events.trusted(kept.t, x[inside].astype(np.uint16), y[inside].astype(np.uint16), kept.p, size)
    return new, clean_boxes(moved, size, min_side=min_side, max_width_fraction=None)
