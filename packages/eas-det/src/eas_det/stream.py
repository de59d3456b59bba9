"""Detection while events arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .boxes import make_boxes
from .data.sample import Rendering, from_corners
from .events import Events
from .models.detector import Detections, EventDetector

__all__ = ["StreamingDetector", "detect_recording", "to_boxes"]


class StreamingDetector:
    """Detect at regular times t0 + hop, t0 + 2 hop, ... in the window before each, in whatever pieces events arrive.

    Args:
        model: an EventDetector; put in eval mode.
        window_us: length of the window before each time.
        hop_us: time between detections; by default the window.
        sensor_size: (width, height); by default that of the first events.
        bins: time bins of the window. kind: see Rendering.
        t0: origin of the times; by default the first event's.
        conf, nms: see EventDetector.predict.
    Raises:
        ValueError: a length < 1.

    What is found does not depend on the pieces: it equals :func:`detect_recording` of the whole. Events are kept for
    one window.
    """

    def __init__(
        self,
        model: EventDetector,
        window_us: int = 200_000,
        hop_us: int | None = None,
        *,
        sensor_size: tuple[int, int] | None = None,
        bins: int = 4,
        kind: str = "counts",
        t0: int | None = None,
        conf: float = 0.3,
        nms: float = 0.65,
    ) -> None:
        hop_us = window_us if hop_us is None else hop_us
        if window_us < 1 or hop_us < 1:
            raise ValueError(f"window_us={window_us}, hop_us={hop_us} given; expected microseconds >= 1")
        self.model = model.eval()
        self.rendering = Rendering(kind, bins, window_us)  # type: ignore[arg-type]
        self.window_us, self.hop_us = window_us, hop_us
        self.sensor_size, self.conf, self.nms = sensor_size, conf, nms
        self._next = None if t0 is None else t0 + hop_us
        self._held: deque[Events] = deque()
        self._latest: int | None = None

    def push(self, events: Events) -> list[Detections]:
        """Take the next events; detections of every time that has now passed.

        Returns:
            Detections with their time t, in order; none, one or several.
        Raises:
            ValueError: the events begin before the last ones ended, or no sensor's size is known.
        """
        if not len(events):
            return []
        if self._latest is not None and int(events.t[0]) < self._latest:
            raise ValueError(
                f"events begin at {events.t[0]} us, before the last ones ended ({self._latest} us); push them in order"
            )
        if self.sensor_size is None:
            self.sensor_size = events.sensor_size
        if self.sensor_size is None:
            raise ValueError("nobody knows the sensor's size; pass sensor_size=(width, height)")
        if self._next is None:
            self._next = int(events.t[0]) + self.hop_us
        self._held.append(events)
        self._latest = int(events.t[-1])
        # an event at t belongs to the window that begins there, so the one that ends at t is complete
        return self.advance(self._latest)

    def advance(self, t: int) -> list[Detections]:
        """Say that no event before t is still to come: detections of every time up to t. Ends a recording, too."""
        if self._latest is not None:
            self._latest = max(self._latest, t)
        out = []
        while self._next is not None and self._next <= t:
            out.append(self._at(self._next))
            self._next += self.hop_us
        return out

    def _at(self, t: int) -> Detections:
        start = t - self.window_us
        while self._held and int(self._held[0].t[-1]) < start:
            self._held.popleft()
        parts = [each.window(start, t) for each in self._held]
        events = Events.concatenate([each for each in parts if len(each)], self.sensor_size)
        return _found(self.model, self.rendering, events, t, self.conf, self.nms)


def detect_recording(
    model: EventDetector,
    source: Any,
    window_us: int = 200_000,
    hop_us: int | None = None,
    *,
    bins: int = 4,
    kind: str = "counts",
    t0: int | None = None,
    conf: float = 0.3,
    nms: float = 0.65,
) -> Iterator[Detections]:
    """Detections at t0 + hop, t0 + 2 hop, ... of a whole recording.

    Args:
        source: an EventReader, read by the window, or Events. Others: see StreamingDetector.
    Yields:
        Detections with their time t, up to the last event.
    """
    first, last, size = _span(source)
    if first is None or last is None:
        return
    hop_us = window_us if hop_us is None else hop_us
    rendering = Rendering(kind, bins, window_us)  # type: ignore[arg-type]
    model.eval()
    t = (first if t0 is None else t0) + hop_us
    while t <= last:
        start = t - window_us
        events = source.window(start, t) if isinstance(source, Events) else source.slice(start, t)
        yield _found(model, rendering, Events.trusted(events.t, events.x, events.y, events.p, size), t, conf, nms)
        t += hop_us


def _span(source: Any) -> tuple[int | None, int | None, tuple[int, int]]:
    if isinstance(source, Events):
        ends = (int(source.t[0]), int(source.t[-1])) if len(source) else (None, None)
    else:
        ends = (source.t_first, source.t_last)
    if source.sensor_size is None:
        raise ValueError("nobody knows the sensor's size; open the recording with sensor_size=(width, height)")
    return ends[0], ends[1], source.sensor_size


def _found(model: EventDetector, rendering: Rendering, events: Events, t: int, conf: float, nms: float) -> Detections:
    x = rendering(events, t)[None].to(next(model.parameters()).device)
    return model.predict(x, conf, nms)[0]._replace(t=t)


def to_boxes(found: Iterable[Detections]) -> NDArray[Any]:
    """Records of BOX_DTYPE of all detections, as save_boxes writes them."""
    parts = [from_corners(each.boxes, each.scores, each.labels, each.t or 0) for each in found]
    return np.concatenate([make_boxes(0), *parts])
