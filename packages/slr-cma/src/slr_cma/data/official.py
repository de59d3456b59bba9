"""The integration of DVS-SLR's own loader, step by step, for results that must compare with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slr_cma.data.events import Recording

__all__ = ["official_pairs", "official_windows"]

FRAME_NS = 50_000_000
SECONDS = 6


def official_windows(t_events: NDArray[np.int64], t_frames: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Frame times within the events' span: their index of the first event each [M], and how many frames were dropped
    before.

    >>> official_windows(np.arange(0, 80, 10), np.array([-5, 15, 35, 55, 80]))
    (array([2, 4, 6]), 1)
    """
    keep = np.flatnonzero((t_frames >= t_events[0]) & (t_frames <= t_events[-1]))
    if not len(keep):
        return np.zeros(0, np.int64), 0
    first, last = int(keep[0]), int(keep[-1])
    return np.searchsorted(t_events, t_frames[first : last + 1], side="left"), first


def official_pairs(
    recording: Recording, *, dt: int = 50, where: str = "recording"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Events [T, 2, H, W] and images [T, 3, H, W] as DVS-SLR's loader makes them, T = int(6 / (dt / 1000)), float64.

    1. dt != 50 ms: times become a grid from the first to the last frame; each takes the earliest image not older than
       50 ms before it. 2. Frames before the first and after the last event go. 3. Window k counts the events from
       time k up to time k + 1. 4. It is paired with image k + 1. 5. Cut to T, or the last pair is repeated.

    Where the grid has more times than images remain, the original fails; so does this, with a reason.
    Source: github.com/JasonKitty/DVS-SLR, its loader's behaviour (our own code).
    """
    recording.overlap(where)
    events, times = recording.events, recording.times
    index = np.arange(len(times))
    if dt < 1:
        raise ValueError(f"dt={dt} given; expected milliseconds, at least 1")
    if dt != 50:
        grid = np.arange(times[0], times[-1], dt * 1_000_000)
        index = np.searchsorted(times, grid - FRAME_NS, side="left")
        times = grid
    starts, dropped = official_windows(events.t, times)
    index = index[dropped : dropped + len(starts)]
    if len(starts) < 2:
        raise ValueError(f"{where}: {len(starts)} frame(s) while events came; a window needs two")
    height, width = events.size
    length = int(SECONDS / (dt / 1000))
    pairs = min(length, len(starts) - 1)
    counts = np.zeros((length, 2, height, width))
    images = np.zeros((length, 3, height, width))
    colour = recording.images if recording.images.ndim == 4 else np.repeat(recording.images[..., None], 3, -1)
    for k in range(pairs):
        part = slice(starts[k], starts[k + 1])
        place = (events.p[part].astype(np.int64) * height + events.y[part]) * width + events.x[part]
        counts[k] = np.bincount(place, minlength=2 * height * width).reshape(2, height, width)
        images[k] = colour[index[k + 1]].transpose(2, 0, 1)
    counts[pairs:], images[pairs:] = counts[pairs - 1], images[pairs - 1]
    return counts, images
