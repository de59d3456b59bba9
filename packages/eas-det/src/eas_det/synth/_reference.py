"""The simulator as one would first write it: the whole frame at every step, pixel by pixel. Tests compare with it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scene import MovingObject, Scene


def cover(each: MovingObject, x: float, y: float, t: float) -> tuple[float, float, float]:
    """(share covered, local u, local v) of the pixel with centre (x, y)."""
    cx, cy = each.centre(t)
    angle = each.angle + each.spin * t
    u = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
    v = (y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)
    a, b = each.size[0] / 2, each.size[1] / 2
    if each.kind == "rectangle":
        d = max(abs(u) - a, abs(v) - b)
    elif each.kind == "ellipse":
        k, slope = math.hypot(u / a, v / b), math.hypot(u / a**2, v / b**2)
        d = k * (k - 1) / slope if slope > 1e-12 else -min(a, b)
    else:
        d = (abs(u) / a + abs(v) / b - 1) * a * b / math.hypot(a, b)
    return min(max(0.5 - d, 0.0), 1.0), u, v


def wave(z: float) -> float:
    """Parabolas through the zeros and peaks of a sine."""
    r = z / (2 * math.pi)
    r -= math.floor(r + 0.5)
    return 16 * r * (0.5 - abs(r))


def image(scene: Scene, t: float) -> NDArray[Any]:
    """Log intensity [H, W]."""
    width, height = scene.size
    out = np.empty((height, width))
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            fx, fy = scene.frequency
            pattern = wave(fx * (x - scene.ego[0] * t)) * wave(fy * (y - scene.ego[1] * t))
            value = scene.background + scene.texture * pattern
            for each in scene.objects:
                c, u, v = cover(each, x, y, t)
                level = each.level + each.texture * wave(each.frequency * u) * wave(each.frequency * v)
                value += c * (level - value)
            out[row, column] = value
    return out


def events(scene: Scene, threshold: float, steps: int) -> list[tuple[float, int, int, int]]:
    """(seconds, x, y, polarity), sorted, of an ideal sensor."""
    times = [scene.duration * k / steps for k in range(steps + 1)]
    last = image(scene, 0.0)
    ref = last.copy()
    found = []
    for before, now in itertools.pairwise(times):
        new = image(scene, now)
        for (y, x), value in np.ndenumerate(new):
            old = last[y, x]
            while value > old and ref[y, x] + threshold <= value:
                ref[y, x] += threshold
                found.append((before + max((ref[y, x] - old) / (value - old), 0.0) * (now - before), x, y, 1))
            while value < old and ref[y, x] - threshold >= value:
                ref[y, x] -= threshold
                found.append((before + max((old - ref[y, x]) / (old - value), 0.0) * (now - before), x, y, 0))
        last = new
    return sorted(found)
