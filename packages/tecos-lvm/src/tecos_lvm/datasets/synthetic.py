"""A synthetic retina with known ground truth: each cell is an LN model with refractoriness and a shared gain."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tecos_lvm._checks import Array, Floats, positive
from tecos_lvm.recording import SpikeDataset

__all__ = ["SyntheticRetina", "Truth", "make_retina"]

VERSION = 1


@dataclass(frozen=True)
class Truth:
    """What generated the spikes.

    rate_hz: [T, N] for each of train, val, test, before refractoriness and shared gain.
    spatial: [N, H, W]; temporal: [N, L], weight of the frame l bins ago; dead_ms, recovery_ms: refractoriness, the
    hazard after a spike is 0 for dead_ms, then 1 - exp(-(t - dead_ms)/recovery_ms) of the rate.
    """

    rate_hz: dict[str, Floats]
    spatial: Floats
    temporal: Floats
    dead_ms: float = 2.0
    recovery_ms: float = 5.0


@dataclass(frozen=True)
class SyntheticRetina:
    """Three datasets (one long training trial, repeats for validation and test), the truth, version and hash."""

    train: SpikeDataset
    val: SpikeDataset
    test: SpikeDataset
    truth: Truth
    name: str
    version: int
    hash: str


def drifting_images(n_frames: int, size: int, dt_s: float, rng: np.random.Generator) -> Array:
    """A movie [T, size, size]: crops of 1/f images under a drifting, jumping gaze; mean 0, deviation about 1."""
    side = 256
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = np.inf
    span = side - size - 1

    def image() -> Floats:
        phase = np.exp(2j * np.pi * rng.random((side, side)))
        picture = np.fft.ifft2(phase / frequency).real
        return np.asarray((picture - picture.mean()) / picture.std())

    keep = np.exp(-dt_s / 0.2)
    noise = rng.standard_normal((n_frames, 2)) * 20.0 * np.sqrt(1 - keep**2)
    saccade, fresh = rng.random(n_frames) < dt_s, rng.random(n_frames) < 0.3
    target = rng.random((n_frames, 2)) * span
    position, velocity, current = rng.random(2) * span, np.zeros(2), image()
    out = np.empty((n_frames, size, size), dtype=np.float32)
    for t in range(n_frames):
        velocity = keep * velocity + noise[t]
        position = position + velocity * dt_s
        if saccade[t]:
            position = target[t]
            if fresh[t]:
                current = image()
        # reflected at the border
        position = span - np.abs(span - np.abs(position) % (2 * span))
        row, column = int(position[0]), int(position[1])
        a, b = position[0] - row, position[1] - column
        cut = current[row : row + size + 1, column : column + size + 1]
        out[t] = (
            (1 - a) * (1 - b) * cut[:-1, :-1] + (1 - a) * b * cut[:-1, 1:] + a * (1 - b) * cut[1:, :-1]
            + a * b * cut[1:, 1:]
        )  # fmt: skip
    return out


def biphasic(peak_ms: Floats, dt_ms: float, length_ms: float = 300.0, order: int = 3) -> Floats:
    """Temporal kernels [N, L]: t^3 exp(-3 t/peak), minus 0.6 of the same 1.8 times slower; unit norm."""
    t = (np.arange(round(length_ms / dt_ms)) + 0.5) * dt_ms

    def lobe(peak: Floats) -> Floats:
        x = t[None] / peak[:, None]
        g = x**order * np.exp(order * (1 - x))
        return np.asarray(g / g.sum(axis=1, keepdims=True))

    kernel = lobe(peak_ms) - 0.6 * lobe(1.8 * peak_ms)
    return np.asarray(kernel / np.linalg.norm(kernel, axis=1, keepdims=True))


def gaussian(size: int, centre: Floats, sd: Floats) -> Floats:
    """Unit-sum Gaussians [N, size, size] at centre [N, 2]."""
    grid = np.arange(size)
    y = np.exp(-0.5 * ((grid[None] - centre[:, :1]) / sd[:, None]) ** 2)
    x = np.exp(-0.5 * ((grid[None] - centre[:, 1:]) / sd[:, None]) ** 2)
    g = y[:, :, None] * x[:, None, :]
    return np.asarray(g / g.sum(axis=(1, 2), keepdims=True))


def filtered(projection: Floats, temporal: Floats) -> Floats:
    """Causal convolution in time: [T, N] with kernels [N, L] (index 0 is the present bin)."""
    from scipy.signal import fftconvolve

    return np.asarray(fftconvolve(projection, temporal.T, axes=0)[: len(projection)])


def shared_gain(n_bins: int, dt_s: float, rng: np.random.Generator, *, sd: float = 0.3, tau_s: float = 0.5) -> Floats:
    """Log-normal gain [T] of mean 1 that all cells share."""
    from scipy.signal import lfilter

    keep = np.exp(-dt_s / tau_s)
    noise = rng.standard_normal(n_bins) * sd * np.sqrt(1 - keep**2)
    noise[0] = rng.standard_normal() * sd
    return np.asarray(np.exp(lfilter([1.0], [1.0, -keep], noise) - sd**2 / 2))


def spike_trials(rate: Floats, n_trials: int, dt_ms: float, rng: np.random.Generator, truth: Truth) -> Array:
    """Spikes [R, T, N] of refractory cells with a shared gain per trial."""
    from tecos_lvm._kernels.spikes import simulate

    trials = []
    for _ in range(n_trials):
        gain = shared_gain(len(rate), dt_ms / 1000, rng)
        seed = int(rng.integers(2**31 - 1))
        trials.append(simulate(rate, gain, seed, dt_ms / 1000, 10, truth.dead_ms / 1000, truth.recovery_ms / 1000))
    return np.stack(trials)


def fingerprint(settings: dict[str, Any], *arrays: Array) -> str:
    """Hash of the settings and of a coarse view of what was made: rounding in the last digits does not change it."""
    state = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in arrays:
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]


def lengths(train_s: float, val_s: float, test_s: float, dt_ms: float) -> dict[str, int]:
    """Bins of each part."""
    parts = {"train": train_s, "val": val_s, "test": test_s}
    return {name: max(1, round(positive(f"{name}_s", s) * 1000 / dt_ms)) for name, s in parts.items()}


def make_retina(
    *,
    n_neurons: int = 16,
    size: int = 16,
    dt_ms: float = 10.0,
    train_s: float = 1200.0,
    val_s: float = 30.0,
    test_s: float = 60.0,
    val_trials: int = 20,
    test_trials: int = 30,
    rate_hz: float = 6.0,
    seed: int = 0,
) -> SyntheticRetina:
    """Ganglion cells that are LN models by construction, under drifting 1/f images. Version 1.

    Difference-of-Gaussians fields (centre 1.2 to 2.2 px, surround 2.5 times wider, weight 0.7; half ON, half OFF),
    biphasic 300 ms kernels (peak 30 to 50 ms), rate = softplus(2.5 (u - 1)) scaled to ``rate_hz`` and capped at
    200 Hz, a gain shared by all cells (log-normal, 0.3, 0.5 s), spikes in tenths of a bin with 2 ms dead time and
    5 ms recovery. Movies of train, val and test differ. Results on it are not results on a retina.

    Args:
        n_neurons: cells. size: side of the movie in pixels. dt_ms: bin and frame.
        train_s, val_s, test_s: lengths; the training movie is shown once. val_trials, test_trials: repeats.
        rate_hz: mean rate on the training movie before the cap. seed: of everything.
    """
    settings = {
        "generator": "make_retina", "version": VERSION, "n_neurons": n_neurons, "size": size, "dt_ms": dt_ms,
        "train_s": train_s, "val_s": val_s, "test_s": test_s, "val_trials": val_trials, "test_trials": test_trials,
        "rate_hz": rate_hz, "seed": seed,
    }  # fmt: skip
    positive("dt_ms", dt_ms)
    if n_neurons < 1 or size < 4 or size > 200:
        raise ValueError(f"n_neurons={n_neurons}, size={size} given; n_neurons >= 1 and 4 <= size <= 200 are needed")
    rng = np.random.default_rng([VERSION, seed])
    bins = lengths(train_s, val_s, test_s, dt_ms)
    margin = min(3.0, (size - 1) / 4)
    centre = margin + rng.random((n_neurons, 2)) * (size - 1 - 2 * margin)
    sd = 1.2 + rng.random(n_neurons)
    sign = np.where(np.arange(n_neurons) % 2 == 0, 1.0, -1.0)
    spatial = sign[:, None, None] * (gaussian(size, centre, sd) - 0.7 * gaussian(size, centre, 2.5 * sd))
    temporal = biphasic(30 + 20 * rng.random(n_neurons), dt_ms)
    movies, drives = {}, {}
    for name, n in bins.items():
        movies[name] = drifting_images(n, size, dt_ms / 1000, rng)
        drives[name] = filtered(movies[name].reshape(n, -1) @ spatial.reshape(n_neurons, -1).T, temporal)
    mean, deviation = drives["train"].mean(axis=0), drives["train"].std(axis=0)
    raw = {name: np.logaddexp(0, 2.5 * ((u - mean) / deviation - 1)) for name, u in drives.items()}
    scale = rate_hz / raw["train"].mean(axis=0)
    rates = {name: np.minimum(r * scale, 200.0) for name, r in raw.items()}
    truth = Truth(rates, spatial, temporal)
    trials = {"train": 1, "val": val_trials, "test": test_trials}
    parts = {
        name: SpikeDataset(
            spike_trials(rates[name], trials[name], dt_ms, rng, truth), dt_ms, movies[name], meta=settings
        )
        for name in bins
    }
    return SyntheticRetina(
        parts["train"], parts["val"], parts["test"], truth, "make_retina", VERSION,
        fingerprint(settings, parts["test"].spikes[:2, :500]),
    )  # fmt: skip


def describe(retina: SyntheticRetina) -> dict[str, Any]:
    """Settings, version and hash, as they enter result files."""
    return {**retina.train.meta, "hash": retina.hash, "truth": sorted(asdict(retina.truth))}
