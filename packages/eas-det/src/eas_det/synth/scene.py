"""What is filmed: shapes that move over a background, and their exact boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "MovingObject", "Scene"]

#: classes of EventShapes, by class_id
KINDS = ("rectangle", "ellipse", "diamond")


@dataclass(frozen=True)
class MovingObject:
    """A shape on its way; lengths in pixels, times in seconds, angles in radians, clockwise on the screen.

    kind: one of KINDS. size: (width, height) before turning. position: centre at time 0, the corner of the frame is
    (0, 0). velocity, acceleration: per second. angle, spin: at time 0, and per second. level: log intensity.
    texture: amplitude of a wave on it (parabolas like a sine), in log intensity; frequency: radians per pixel.
    """

    kind: str
    size: tuple[float, float]
    position: tuple[float, float]
    velocity: tuple[float, float] = (0.0, 0.0)
    acceleration: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    spin: float = 0.0
    level: float = 0.6
    texture: float = 0.0
    frequency: float = 0.6

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} given; expected one of {', '.join(KINDS)}")
        numbers = [*self.size, *self.position, *self.velocity, *self.acceleration, self.angle, self.spin, self.level]
        if min(self.size) <= 0 or not all(math.isfinite(each) for each in [*numbers, self.texture, self.frequency]):
            raise ValueError(f"size={self.size} given; expected sides > 0, and finite numbers elsewhere")

    def centre(self, t: float) -> tuple[float, float]:
        """(x, y) at t seconds."""
        (x, y), (vx, vy), (ax, ay) = self.position, self.velocity, self.acceleration
        return x + vx * t + 0.5 * ax * t * t, y + vy * t + 0.5 * ay * t * t

    def speed(self, t: float) -> float:
        """Pixels per second at t seconds."""
        return math.hypot(self.velocity[0] + self.acceleration[0] * t, self.velocity[1] + self.acceleration[1] * t)

    def box(self, t: float) -> tuple[float, float, float, float]:
        """(x, y, width, height) of the smallest upright box around the shape, exact, not clipped."""
        a, b = self.size[0] / 2, self.size[1] / 2
        c, s = abs(math.cos(self.angle + self.spin * t)), abs(math.sin(self.angle + self.spin * t))
        if self.kind == "rectangle":
            rx, ry = a * c + b * s, a * s + b * c
        elif self.kind == "ellipse":
            rx, ry = math.hypot(a * c, b * s), math.hypot(a * s, b * c)
        else:
            rx, ry = max(a * c, b * s), max(a * s, b * c)
        x, y = self.centre(t)
        return x - rx, y - ry, 2 * rx, 2 * ry

    def fastest(self, duration: float) -> float:
        """Bound on the speed of any of its points over [0, duration]."""
        # |v + a t| is convex in t, so it is largest at an end
        return max(self.speed(0.0), self.speed(duration)) + abs(self.spin) * math.hypot(*self.size) / 2

    def row(self) -> list[float]:
        """The numbers that the compiled loops read."""
        half = [self.size[0] / 2, self.size[1] / 2]
        motion = [*self.position, *self.velocity, *self.acceleration, self.angle, self.spin]
        return [float(KINDS.index(self.kind)), *half, *motion, self.level, self.texture, self.frequency]


@dataclass(frozen=True)
class Scene:
    """Objects from back to front over a background.

    size: (width, height), pixels. duration: seconds. background: log intensity. texture, frequency: amplitude and
    (x, y) radians per pixel of a wave on the background. ego: (vx, vy) of the background, pixels per second, as
    seen when the camera moves.
    """

    size: tuple[int, int]
    duration: float
    objects: tuple[MovingObject, ...] = field(default=())
    background: float = 0.0
    texture: float = 0.0
    frequency: tuple[float, float] = (0.35, 0.45)
    ego: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if min(self.size) < 1 or not (0 < self.duration < math.inf):
            raise ValueError(f"size={self.size}, duration={self.duration} given; expected sides >= 1, seconds > 0")

    def rows(self) -> NDArray[Any]:
        """[n, 14] for the compiled loops."""
        return np.array([each.row() for each in self.objects], np.float64).reshape(len(self.objects), 14)

    def ground(self) -> NDArray[Any]:
        """[6] for the compiled loops."""
        return np.array([self.background, self.texture, *self.frequency, *self.ego], np.float64)

    def boxes(self, t: float) -> NDArray[Any]:
        """[n, 4] exact boxes (x, y, width, height), cut to the frame; zero sides outside."""
        out = np.zeros((len(self.objects), 4))
        for place, each in enumerate(self.objects):
            x, y, w, h = each.box(t)
            left, right = min(max(x, 0), self.size[0]), min(max(x + w, 0), self.size[0])
            top, bottom = min(max(y, 0), self.size[1]), min(max(y + h, 0), self.size[1])
            out[place] = left, top, right - left, bottom - top
        return out

    def image(self, t: float) -> NDArray[Any]:
        """[height, width] log intensity at t seconds."""
        from eas_det._kernels import simulate

        return np.asarray(simulate.image(self.rows(), self.ground(), t, *self.size))
