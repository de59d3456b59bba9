"""The camera: thresholds, noise, and the making of events from a scene or a video."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eas_det.events import Events

from .scene import Scene

__all__ = ["Sensor", "simulate", "simulate_video"]

_LOWEST = 0.01
_GUESS = 1 << 16


@dataclass(frozen=True)
class Sensor:
    """What is not ideal about a pixel; the defaults are.

    threshold: change of log intensity for an event. sigma: its spread from pixel to pixel (normal, cut at 0.01), for on
    and off independently. refractory_us: a pixel is blind after an event. noise_hz: background activity, Poisson events
    per pixel and second, either polarity. leak_hz: on-events of a leaking pixel, regular with a random phase.
    hot_fraction, hot_hz: share of pixels that fire by themselves, and how often. cutoff_hz: photoreceptor's first-order
    low-pass, None: none; with it the whole frame is drawn at every step.
    """

    threshold: float = 0.2
    sigma: float = 0.0
    refractory_us: float = 0.0
    noise_hz: float = 0.0
    leak_hz: float = 0.0
    hot_fraction: float = 0.0
    hot_hz: float = 100.0
    cutoff_hz: float | None = None

    def __post_init__(self) -> None:
        rates = (self.sigma, self.refractory_us, self.noise_hz, self.leak_hz, self.hot_fraction, self.hot_hz)
        if not self.threshold >= _LOWEST or not all(0 <= each < math.inf for each in rates) or self.hot_fraction > 1:
            raise ValueError(f"{self} given; expected threshold >= {_LOWEST}, rates >= 0, hot_fraction <= 1")
        if self.cutoff_hz is not None and not 0 < self.cutoff_hz < math.inf:
            raise ValueError(f"cutoff_hz={self.cutoff_hz} given; expected > 0 or None")

    def thresholds(self, pixels: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
        """On and off threshold of each pixel."""
        on, off = self.threshold + self.sigma * rng.standard_normal((2, pixels))
        return on.clip(_LOWEST), off.clip(_LOWEST)

    def noise(
        self, pixels: int, duration: float, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Times (seconds), pixels and polarities of events that no light made; not sorted."""
        n = int(rng.poisson(self.noise_hz * pixels * duration))
        parts = [(rng.random(n) * duration, rng.integers(0, pixels, n), rng.integers(0, 2, n))]
        if self.hot_fraction and self.hot_hz:
            hot = np.flatnonzero(rng.random(pixels) < self.hot_fraction)
            n = int(rng.poisson(self.hot_hz * hot.size * duration))
            if hot.size:
                parts.append((rng.random(n) * duration, rng.choice(hot, n), rng.integers(0, 2, n)))
        if self.leak_hz:
            phase = rng.random(pixels)
            number = np.floor(duration * self.leak_hz - phase).astype(np.int64) + 1
            who = np.repeat(np.arange(pixels), number.clip(0))
            begins = np.cumsum(number.clip(0)) - number.clip(0)
            turn = np.arange(who.size) - np.repeat(begins, number.clip(0))
            parts.append(((turn + phase[who]) / self.leak_hz, who, np.ones(who.size, np.int64)))
        t, pixel, p = (np.concatenate(each) for each in zip(*parts, strict=True))
        inside = t < duration
        return t[inside], pixel[inside], p[inside]


def simulate(
    scene: Scene,
    sensor: Sensor | None = None,
    seed: int | np.random.Generator = 0,
    *,
    max_step: float = 0.5,
    progress: Callable[[int], None] | None = None,
) -> Events:
    """Film a scene: events from the exact crossings of each pixel's threshold, microseconds from 0.

    Frames are drawn so that nothing moves more than ``max_step`` pixels between two of them; each object has its own
    rate and is drawn only where it was and where it is. Log intensity is linear in time between two drawings.

    Args:
        scene: what is filmed.
        sensor: by default an ideal one.
        seed: of thresholds and noise; the same seed gives the same events.
        max_step: pixels.
        progress: called with the number of light's events when done.
    Returns:
        Events, sorted by time (stable), on a sensor of the scene's size.
    Raises:
        ValueError: max_step is not positive.
    Source: the model of ESIM and v2e, our own drawing.
    """
    signal, noise = light_and_noise(scene, sensor or Sensor(), seed, max_step)
    if progress is not None:
        progress(signal[0].size)
    return _assemble([signal, noise], scene.size)


def light_and_noise(
    scene: Scene, sensor: Sensor, seed: int | np.random.Generator, max_step: float = 0.5
) -> tuple[Any, Any]:
    """Events that light made, and those that it did not: (seconds, pixel, polarity) each."""
    if not 0 < max_step < math.inf:
        raise ValueError(f"max_step={max_step} given; expected pixels > 0")
    from eas_det._kernels import simulate as kernels

    rng = np.random.default_rng(seed)
    width, height = scene.size
    on, off = sensor.thresholds(width * height, rng)
    noise = sensor.noise(width * height, scene.duration, rng)
    speeds = [each.fastest(scene.duration) for each in scene.objects]
    moves = scene.texture != 0 and scene.ego != (0.0, 0.0)
    ego = math.hypot(*scene.ego) if moves else 0.0
    steps = max(1, math.ceil(max([*speeds, ego, 0.0]) * scene.duration / max_step))
    dt = scene.duration / steps

    def every(speed: float) -> int:
        return steps if speed * scene.duration <= max_step else max(1, int(max_step / (speed * dt) + 1e-9))

    lowpass = 0.0 if sensor.cutoff_hz is None else 2 * math.pi * sensor.cutoff_hz
    ground_every = 1 if lowpass else (every(ego) if moves else 0)
    rows, ground = scene.rows(), scene.ground()
    rates = np.array([every(each) for each in speeds], np.int64)
    fixed = (rows, ground, rates, ground_every, dt, steps, width, height, on, off, 1e-6 * sensor.refractory_us, lowpass)
    return _grown(lambda *out: kernels.scene(*fixed, *out)), noise


def simulate_video(
    log_frames: ArrayLike,
    times_us: ArrayLike,
    sensor: Sensor | None = None,
    seed: int | np.random.Generator = 0,
) -> Events:
    """Events of a video, log intensity linear between frames.

    Args:
        log_frames: [K >= 2, H, W] log intensity.
        times_us: [K] microseconds, increasing.
        sensor: by default an ideal one; cutoff_hz is not applied to videos.
        seed: of thresholds and noise.
    Raises:
        ValueError: shapes do not fit, times do not increase, a value is not finite, or cutoff_hz is set.
    """
    from eas_det._kernels import simulate as kernels

    sensor = sensor or Sensor()
    frames, times = np.asarray(log_frames, np.float64), np.asarray(times_us, np.float64)
    if frames.ndim != 3 or len(frames) < 2 or times.shape != frames.shape[:1] or not frames[0].size:
        raise ValueError(f"frames {frames.shape}, times {times.shape}; expected [K >= 2, H, W] and [K]")
    if not (np.diff(times) > 0).all() or not np.isfinite(frames).all():
        raise ValueError("times must increase and log intensities be finite; mask black pixels before the logarithm")
    if sensor.cutoff_hz is not None:
        raise ValueError("cutoff_hz is set; a video is taken as it is: filter it before, or set cutoff_hz=None")
    rng = np.random.default_rng(seed)
    pixels = frames[0].size
    on, off = sensor.thresholds(pixels, rng)
    seconds = (times - times[0]) * 1e-6
    noise = sensor.noise(pixels, float(seconds[-1]), rng)
    fixed = (frames.reshape(len(frames), -1), seconds, on, off, 1e-6 * sensor.refractory_us)
    signal = _grown(lambda *out: kernels.video(*fixed, *out))
    return _assemble([signal, noise], (frames.shape[2], frames.shape[1]), int(times[0]))


def _grown(run: Callable[..., int]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Run a kernel; where it had no room, once more with as much as it then asked for."""
    room = _GUESS
    while True:
        out = np.empty(room), np.empty(room, np.int64), np.empty(room, np.uint8)
        n = int(run(*out))
        if n <= room:
            return out[0][:n], out[1][:n], out[2][:n]
        room = n


def _assemble(parts: list[Any], size: tuple[int, int], start: int = 0) -> Events:
    t, pixel, p = (np.concatenate(each) for each in zip(*parts, strict=True))
    # whole microseconds, as cameras have them
    when = np.rint(t * 1e6).astype(np.int64) + start
    order = np.argsort(when, kind="stable")
    when, pixel = when[order], pixel[order]
    x, y = (pixel % size[0]).astype(np.uint16), (pixel // size[0]).astype(np.uint16)
    return Events.trusted(when, x, y, p[order].astype(np.uint8), size)
