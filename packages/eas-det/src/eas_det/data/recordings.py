"""Labelled recordings as a dataset: one item a label time, events cut out of mapped files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eas_det.boxes import clean_boxes
from eas_det.events import Events
from eas_det.io import EventReader, open_events

from .sample import Rendering, Sample, to_corners

__all__ = ["Augment", "Recordings"]

#: events and boxes through a random change that keeps boxes exact
Augment = Callable[[Events, NDArray[Any], np.random.Generator], tuple[Events, NDArray[Any]]]


class Recordings:
    """Items out of recordings and their labels; the datasets of this package are made of it.

    Args:
        events: what to cut: paths for open_events, or Events in memory, one a recording.
        boxes: records of BOX_DTYPE, one array a recording.
        names: of the recordings.
        classes: names by class_id; another class_id is an error.
        sensor_size: (width, height).
        rendering: by default 4 bins of 50 ms.
        augment: a change of events and boxes before they are rendered.
        clean: cut boxes to the frame and drop faulty ones, see clean_boxes; moments whose boxes are all dropped stay,
            without a box.
        ignore, speed: of each box, one array a recording; by default False and nan.
        seed: of augmentation. The change of an item depends on (seed, epoch, index) alone.
    Raises:
        ValueError: a class_id outside the classes, or lists of different lengths.

    A recording is opened at its first item and stays mapped; nothing is read but the window. A worker process opens
    its own.
    """

    def __init__(
        self,
        events: Sequence[str | Path | Events],
        boxes: Sequence[NDArray[Any]],
        names: Sequence[str],
        classes: Sequence[str],
        sensor_size: tuple[int, int],
        rendering: Rendering | None = None,
        *,
        augment: Augment | None = None,
        clean: bool = True,
        ignore: Sequence[NDArray[Any]] | None = None,
        speed: Sequence[NDArray[Any]] | None = None,
        seed: int = 0,
    ) -> None:
        if not len(events) == len(boxes) == len(names):
            raise ValueError(
                f"{len(events)} recordings, {len(boxes)} box arrays, {len(names)} names; expected one each"
            )
        self.classes, self.sensor_size = tuple(classes), sensor_size
        self.rendering = rendering or Rendering()
        self.augment, self.clean, self.seed, self.epoch = augment, clean, seed, 0
        self.names = list(names)
        self._events = list(events)
        self._readers: dict[int, EventReader | Events] = {}
        self._boxes: list[NDArray[Any]] = []
        self._ignore: list[NDArray[Any]] = []
        self._speed: list[NDArray[Any]] = []
        places: list[NDArray[Any]] = []
        for number, each in enumerate(boxes):
            unknown = each["class_id"] >= len(self.classes)
            if unknown.any():
                raise ValueError(
                    f"{self.names[number]} has class_id {int(each['class_id'][unknown][0])}; expected 0 to "
                    f"{len(self.classes) - 1} ({', '.join(self.classes)}): drop the other boxes, or name their class"
                )
            order = np.argsort(each["t"], kind="stable")
            self._boxes.append(each[order])
            flags = np.zeros(len(each), bool) if ignore is None else np.asarray(ignore[number], bool)
            rates = np.full(len(each), np.nan) if speed is None else np.asarray(speed[number], np.float64)
            self._ignore.append(flags[order])
            self._speed.append(rates[order])
            times, first = np.unique(each["t"][order], return_index=True)
            last = np.append(first[1:], len(each)).astype(np.int64)
            places.append(np.stack([np.full(len(times), number), times, first, last], -1).astype(np.int64))
        # [items, 4]: recording, time, first and last row of its boxes
        self._items = np.concatenate(places) if places else np.empty((0, 4), np.int64)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} labelled moments of {len(self.names):,} recordings)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}

    def set_epoch(self, epoch: int) -> None:
        """Draw other augmentations."""
        self.epoch = epoch

    def labels_of(self, number: int) -> NDArray[Any]:
        """All boxes of a recording, as the files have them."""
        return self._boxes[number]

    def reader(self, number: int) -> EventReader | Events:
        """The recording, opened once."""
        if number not in self._readers:
            source = self._events[number]
            self._readers[number] = (
                source if isinstance(source, Events) else open_events(source, sensor_size=self._file_size())
            )
        return self._readers[number]

    def _file_size(self) -> tuple[int, int]:
        """(width, height) of the files."""
        return self.sensor_size

    def _cut(self, number: int, t0: int, t1: int) -> Events:
        """The events of a recording with t0 <= t < t1."""
        source = self.reader(number)
        return source.window(t0, t1) if isinstance(source, Events) else source.slice(t0, t1)

    def _window(self, number: int, t: int) -> tuple[Events, int]:
        """The events before t, and the end of their window: stepped back where there is none."""
        length = self.rendering.window_us
        if not length:
            return self._cut(number, -(2**62), t), t
        for back in range(self.rendering.look_back + 1):
            end = t - back * length
            events = self._cut(number, end - length, end)
            if len(events):
                return events, end
        return Events.empty(self.sensor_size), t

    def __getitem__(self, index: int) -> Sample:
        """Item ``index``: see Sample."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        index %= len(self)
        number, t, first, last = (int(each) for each in self._items[index])
        events, end = self._window(number, t)
        boxes = self._boxes[number][first:last].copy()
        # the row number travels with the box through what moves, cuts and drops boxes
        boxes["track_id"] = np.arange(len(boxes))
        if self.clean:
            boxes = clean_boxes(boxes, self.sensor_size)
        if self.augment is not None:
            rng = np.random.default_rng([self.seed, self.epoch, index])
            events, boxes = self.augment(events, boxes, rng)
        rows = first + boxes["track_id"].astype(np.int64)
        return Sample(
            self.rendering(events, end),
            to_corners(boxes),
            torch.from_numpy(boxes["class_id"].astype(np.int64)),
            t,
            self.names[number],
            torch.from_numpy(self._ignore[number][rows]),
            torch.from_numpy(self._speed[number][rows].astype(np.float32)),
        )
