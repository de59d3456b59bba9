"""Event generation: a pixel fires each time its log intensity has moved by its threshold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

RECTANGLE, ELLIPSE, DIAMOND = 0, 1, 2


@njit(inline="always")
def _emit(
    j: int, l0: float, t0: float, l1: float, t1: float, ref: Any, fired: Any, on: Any, off: Any, rest: float,
    n: int, room: int, t: Any, pixel: Any, p: Any,
) -> Any:  # fmt: skip
    """Crossings of pixel j between (t0, l0) and (t1, l1), seconds; counts on where there is no room. -> n"""
    if l1 > l0:
        c = on[j]
        while ref[j] + c <= l1:
            ref[j] += c
            when = t0 + min(max((ref[j] - l0) / (l1 - l0), 0.0), 1.0) * (t1 - t0)
            if when - fired[j] >= rest:
                if n < room:
                    t[n] = when
                    pixel[n] = j
                    p[n] = 1
                n += 1
                fired[j] = when
    elif l1 < l0:
        c = off[j]
        while ref[j] - c >= l1:
            ref[j] -= c
            when = t0 + min(max((l0 - ref[j]) / (l0 - l1), 0.0), 1.0) * (t1 - t0)
            if when - fired[j] >= rest:
                if n < room:
                    t[n] = when
                    pixel[n] = j
                    p[n] = 0
                n += 1
                fired[j] = when
    return n


@njit(cache=True, nogil=True)
def video(frames: Any, times: Any, on: Any, off: Any, rest: float, t: Any, pixel: Any, p: Any) -> Any:
    """frames [K, H * W] of log intensity at times [K] seconds, linear in between. -> number of events"""
    room = t.size
    n = 0
    size = frames.shape[1]
    ref = frames[0].copy()
    fired = np.full(size, -np.inf)
    for k in range(1, frames.shape[0]):
        for j in range(size):
            n = _emit(
                j, frames[k - 1, j], times[k - 1], frames[k, j], times[k], ref, fired, on, off, rest,
                n, room, t, pixel, p,
            )  # fmt: skip
    return n


@njit(inline="always")
def _wave(z: float) -> float:
    """Parabolas in place of a sine, within 0.06 of it: a texture needs no more, and a sine is ten times as dear."""
    r = z * (0.5 / math.pi)
    r -= math.floor(r + 0.5)
    return 16.0 * r * (0.5 - abs(r))


@njit(inline="always")
def _place(o: Any, t: float) -> Any:
    """Centre and angle of an object at t seconds."""
    x = o[3] + o[5] * t + 0.5 * o[7] * t * t
    y = o[4] + o[6] * t + 0.5 * o[8] * t * t
    return x, y, o[9] + o[10] * t


@njit(inline="always")
def _cover(kind: float, a: float, b: float, u: float, v: float) -> Any:
    """Share of a pixel that the shape covers: its distance to the edge, cut to one pixel."""
    if kind == RECTANGLE:
        d = max(abs(u) - a, abs(v) - b)
    elif kind == ELLIPSE:
        k = math.sqrt((u / a) ** 2 + (v / b) ** 2)
        slope = math.sqrt((u / (a * a)) ** 2 + (v / (b * b)) ** 2)
        d = k * (k - 1.0) / slope if slope > 1e-12 else -min(a, b)
    else:
        d = (abs(u) / a + abs(v) / b - 1.0) * a * b / math.sqrt(a * a + b * b)
    return min(max(0.5 - d, 0.0), 1.0)


@njit(cache=True, nogil=True)
def _bounds(objects: Any) -> Any:
    """[n, 4]: 1 / half width, 1 / half height, and bounds between which only the exact distance tells the cover.

    For an ellipse of k^2 = (u / a)^2 + (v / b)^2 the distance to the edge is at least |k - 1| min(a, b); for a diamond
    of k = |u| / a + |v| / b it is |k - 1| a b / sqrt(a^2 + b^2). Beyond half a pixel, and a little for rounding, a
    pixel is covered wholly or not at all. A rectangle's distance costs nothing: it has no bounds.
    """
    out = np.empty((objects.shape[0], 4))
    for i in range(objects.shape[0]):
        kind, a, b = objects[i, 0], objects[i, 1], objects[i, 2]
        out[i, 0], out[i, 1] = 1.0 / a, 1.0 / b
        out[i, 2], out[i, 3] = -1.0, np.inf
        near = 0.5001 / (min(a, b) if kind == ELLIPSE else a * b / math.sqrt(a * a + b * b))
        if kind != RECTANGLE:
            power = 2 if kind == ELLIPSE else 1
            out[i, 3] = (1.0 + near) ** power
            if near < 1.0:
                out[i, 2] = (1.0 - near) ** power
    return out


@njit(inline="always")
def _look(x: float, y: float, t: float, objects: Any, bounds: Any, poses: Any, ground: Any) -> Any:
    """Log intensity at a point: background, then the objects from back to front.

    objects: [n, 14]: kind, half width, half height, x, y, vx, vy, ax, ay, angle, spin, level, texture, frequency.
    bounds: of the objects. poses: [n, 4]: x, y, cos, sin at t. ground: level, texture, frequency x and y, vx, vy.
    Numbers are taken one by one: a row of an array as an array of its own is counted in and out at every pixel.
    """
    gx, gy = x - ground[4] * t, y - ground[5] * t
    value = ground[0]
    if ground[1] != 0.0:
        value += ground[1] * _wave(ground[2] * gx) * _wave(ground[3] * gy)
    for i in range(objects.shape[0]):
        dx, dy = x - poses[i, 0], y - poses[i, 1]
        reach = objects[i, 1] + objects[i, 2] + 1.0
        if abs(dx) > reach or abs(dy) > reach:
            continue
        u = dx * poses[i, 2] + dy * poses[i, 3]
        v = dy * poses[i, 2] - dx * poses[i, 3]
        kind = objects[i, 0]
        p, q = abs(u) * bounds[i, 0], abs(v) * bounds[i, 1]
        k = p * p + q * q if kind == ELLIPSE else p + q
        if k >= bounds[i, 3]:
            continue
        c = 1.0 if k <= bounds[i, 2] else _cover(kind, objects[i, 1], objects[i, 2], u, v)
        if c > 0.0:
            level = objects[i, 11]
            if objects[i, 12] != 0.0:
                level += objects[i, 12] * _wave(objects[i, 13] * u) * _wave(objects[i, 13] * v)
            value += c * (level - value)
    return value


@njit(inline="always")
def _pose(objects: Any, t: float, poses: Any) -> None:
    for i in range(objects.shape[0]):
        x, y, angle = _place(objects[i], t)
        poses[i, 0], poses[i, 1] = x, y
        poses[i, 2], poses[i, 3] = math.cos(angle), math.sin(angle)


@njit(cache=True, nogil=True)
def image(objects: Any, ground: Any, t: float, width: int, height: int) -> Any:
    """Log intensity [H, W] at t seconds."""
    out = np.empty((height, width))
    bounds, poses = _bounds(objects), np.empty((objects.shape[0], 4))
    _pose(objects, t, poses)
    for row in range(height):
        for column in range(width):
            out[row, column] = _look(column + 0.5, row + 0.5, t, objects, bounds, poses, ground)
    return out


@njit(cache=True, nogil=True)
def coverage(objects: Any, t: float, width: int, height: int) -> Any:
    """[n, 2]: pixels of each object inside the frame, and those of them that no object in front covers."""
    n = objects.shape[0]
    poses = np.empty((n, 4))
    _pose(objects, t, poses)
    out = np.zeros((n, 2))
    for row in range(height):
        for column in range(width):
            hidden = 1.0
            for back in range(n):
                i = n - 1 - back
                o = objects[i]
                dx, dy = column + 0.5 - poses[i, 0], row + 0.5 - poses[i, 1]
                u = dx * poses[i, 2] + dy * poses[i, 3]
                v = dy * poses[i, 2] - dx * poses[i, 3]
                c = _cover(o[0], o[1], o[2], u, v)
                out[i, 0] += c
                out[i, 1] += c * hidden
                hidden *= 1.0 - c
    return out


@njit(cache=True, nogil=True)
def scene(
    objects: Any, ground: Any, every: Any, ground_every: int, dt: float, steps: int, width: int, height: int,
    on: Any, off: Any, rest: float, lowpass: float, t: Any, pixel: Any, p: Any,
) -> Any:  # fmt: skip
    """Events of a scene; each object is drawn anew every ``every[i]`` steps, and only where it was and is.

    ground_every: steps between drawings of the whole frame, 0: never. lowpass: rate of the photoreceptor's first-order
    filter, 1/s, 0: none (needs ground_every = 1). -> number of events; those beyond the room are counted, not written.
    """
    n_objects = objects.shape[0]
    room = t.size
    n = 0
    bounds, now_poses = _bounds(objects), np.empty((n_objects, 4))
    drawn = np.zeros(n_objects)
    ground_drawn = 0.0
    last = image(objects, ground, 0.0, width, height).reshape(-1)
    ref = last.copy()
    seen = np.zeros(last.size)
    fired = np.full(last.size, -np.inf)
    for k in range(1, steps + 1):
        now = k * dt
        whole = ground_every > 0 and (k % ground_every == 0 or k == steps)
        posed = False
        for i in range(-1, n_objects):
            if i < 0:
                if not whole:
                    continue
                x0, y0, x1, y1 = 0, 0, width, height
                since = ground_drawn
                ground_drawn = now
            else:
                if k % every[i] != 0 and k != steps:
                    continue
                since = drawn[i]
                drawn[i] = now
                if whole:
                    continue
                o = objects[i]
                ax, ay, before = _place(o, since)
                bx, by, after = _place(o, now)
                # half sides of the box around the turned shape; a bound that holds for all three kinds
                c = max(abs(math.cos(before)), abs(math.cos(after)))
                s = max(abs(math.sin(before)), abs(math.sin(after)))
                rx = min(o[1] * c + o[2] * s, math.hypot(o[1], o[2])) + 1.5
                ry = min(o[1] * s + o[2] * c, math.hypot(o[1], o[2])) + 1.5
                if o[10] != 0.0:  # between two drawings it may turn past either
                    rx = ry = math.hypot(o[1], o[2]) + 1.5
                x0, x1 = int(max(math.floor(min(ax, bx) - rx), 0)), int(min(math.ceil(max(ax, bx) + rx), width))
                y0, y1 = int(max(math.floor(min(ay, by) - ry), 0)), int(min(math.ceil(max(ay, by) + ry), height))
            if x0 >= x1 or y0 >= y1:
                continue
            if not posed:
                _pose(objects, now, now_poses)
                posed = True
            for row in range(y0, y1):
                for column in range(x0, x1):
                    j = row * width + column
                    value = _look(column + 0.5, row + 0.5, now, objects, bounds, now_poses, ground)
                    if lowpass > 0.0:
                        value = last[j] + (value - last[j]) * (1.0 - math.exp(-lowpass * (now - seen[j])))
                    if value != last[j]:
                        begun = max(seen[j], since)
                        n = _emit(
                            j, last[j], begun, value, now, ref, fired, on, off, rest, n, room, t, pixel, p,
                        )  # fmt: skip
                        last[j] = value
                    seen[j] = now
    return n
