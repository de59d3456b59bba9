"""Faults that strike one modality of a sample for a time and in a place, with the mask of what they broke."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EVENT_FAULTS", "FRAME_FAULTS", "Faults", "draw_faults"]

EVENT_FAULTS = ("burst", "drop", "flicker")
FRAME_FAULTS = ("dim", "blur", "occlude")
_KINDS = ("none", *EVENT_FAULTS, *FRAME_FAULTS)


@dataclass(frozen=True)
class Faults:
    """Which fault strikes which sample, when and where.

    Args:
        kind: index into ("none", *EVENT_FAULTS, *FRAME_FAULTS) [n]. start, length: of the window in bins [n].
        top, left: corner of the struck box of ``box`` x ``box`` pixels [n].
        severity: 1 by default; scales noise. seed: of the noise that a fault brings.
    """

    kind: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    box: int
    severity: float
    seed: int

    @property
    def modality(self) -> NDArray[np.int64]:
        """-1 where nothing is struck, 0 for events, 1 for frames [n]."""
        out: NDArray[np.int64] = np.where(self.kind == 0, -1, (self.kind > len(EVENT_FAULTS)).astype(np.int64))
        return out

    def masks(self, bins: int, height: int, width: int) -> NDArray[np.bool_]:
        """True where a modality is broken: [n, 2 (events, frames), T, H, W]."""
        n = len(self.kind)
        out = np.zeros((n, 2, bins, height, width), bool)
        for i in np.flatnonzero(self.kind):
            name = _KINDS[self.kind[i]]
            time = slice(self.start[i], self.start[i] + self.length[i])
            if name in ("flicker", "occlude"):
                rows = slice(self.top[i], self.top[i] + self.box)
                columns = slice(self.left[i], self.left[i] + self.box)
                out[i, self.modality[i], :, rows, columns] = True
            else:
                out[i, self.modality[i], time] = True
        return out

    def apply(
        self, events: NDArray[np.float32], frames: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Struck copies of events [n, T, 2, H, W] (counts) and frames [n, T, 1, H, W]."""
        if len(events) != len(self.kind) or len(frames) != len(self.kind):
            raise ValueError(f"faults for {len(self.kind)} samples, got {len(events)} and {len(frames)}")
        rng = np.random.default_rng(self.seed)
        events, frames = events.astype(np.float32), frames.astype(np.float32)  # copies
        for i in np.flatnonzero(self.kind):
            name = _KINDS[self.kind[i]]
            time = slice(self.start[i], self.start[i] + self.length[i])
            rows, columns = slice(self.top[i], self.top[i] + self.box), slice(self.left[i], self.left[i] + self.box)
            if name == "burst":
                events[i, time] += rng.poisson(1.2 * self.severity, events[i, time].shape)
            elif name == "drop":
                events[i, time] = 0
            elif name == "flicker":
                struck = events[i, :, :, rows, columns]
                struck += rng.poisson(3.0 * self.severity, struck.shape)
            elif name == "dim":
                noise = rng.normal(0, 0.08 * self.severity, frames[i, time].shape)
                frames[i, time] = 0.3 * frames[i, time] + noise
            elif name == "blur":
                frames[i, time] = frames[i, time].mean((-2, -1), keepdims=True)
            else:
                frames[i, :, :, rows, columns] = 0.0
        return events, frames


def draw_faults(
    n: int,
    bins: int,
    size: int,
    *,
    shares: tuple[float, float, float] = (0.2, 0.4, 0.4),
    severity: float = 1.0,
    seed: int = 0,
) -> Faults:
    """Draw a fault for each of n samples.

    Args:
        bins, size: T and the side of the maps. shares: of samples with no fault, an event fault, a frame fault.
        severity: 1; 1.7 is the "heavy" test set: longer windows, more noise. seed: of all that is drawn.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares={shares} given; expected three non-negative shares that sum to 1")
    rng = np.random.default_rng([3, seed])
    group = rng.choice(3, n, p=shares)
    kind = np.where(group == 0, 0, 1 + (group - 1) * len(EVENT_FAULTS) + rng.integers(0, len(EVENT_FAULTS), n))
    longest = bins - 1
    length = np.clip(np.rint(rng.integers(bins // 3, 2 * bins // 3 + 1, n) * severity), 1, longest).astype(np.int64)
    start = (rng.random(n) * (bins - length + 1)).astype(np.int64)
    box = min(size, size // 2)
    top, left = rng.integers(0, size - box + 1, (2, n))
    return Faults(kind, start, length, top, left, box, severity, seed)
