"""A second synthetic retina, outside the LN class: fine rectifying subunits, ON-OFF cells, contrast adaptation."""

from __future__ import annotations

import numpy as np

from tecos_lvm._checks import Array, Floats, positive
from tecos_lvm.datasets.synthetic import (
    SyntheticRetina,
    Truth,
    biphasic,
    filtered,
    fingerprint,
    gaussian,
    lengths,
    spike_trials,
)
from tecos_lvm.recording import SpikeDataset

__all__ = ["make_nonlinear_retina"]

VERSION = 1


def flickering_texture(n_frames: int, size: int, dt_s: float, rng: np.random.Generator) -> Array:
    """A movie [T, size, size] of fine Gaussian texture, new every 30 ms, whose contrast steps between 0.35 and 1.

    Pixels are independent but for a slight blur (0.6 px), so that structure finer than a receptive field carries most
    of the power and cancels in a linear one; contrast changes every 1.5 s on average.
    """
    from scipy.ndimage import gaussian_filter

    hold = max(1, round(0.03 / dt_s))
    n_textures = -(-n_frames // hold)
    texture = rng.standard_normal((n_textures, size, size)).astype(np.float32)
    texture = gaussian_filter(texture, (0, 0.6, 0.6), mode="wrap")
    texture /= texture.std()
    switch = rng.random(n_frames) < dt_s / 1.5
    levels = np.array([0.35, 1.0])[rng.integers(0, 2, switch.sum() + 1)]
    contrast = levels[np.cumsum(switch)]
    return np.asarray(np.repeat(texture, hold, axis=0)[:n_frames] * contrast[:, None, None], dtype=np.float32)


def _responses(movie: Array, subunits: Floats, temporal: Floats, on_off: Array, dt_ms: float) -> Floats:
    """Adapted drive [T, N]: rectified subunits, pooled, divided by a gain that follows their own mean."""
    from scipy.signal import lfilter

    n, k = subunits.shape[:2]
    linear = movie.reshape(len(movie), -1) @ subunits.reshape(n * k, -1).T
    linear = filtered(linear, np.repeat(temporal, k, axis=0)).reshape(len(movie), n, k)
    rectified = np.where(on_off[None, :, None], np.abs(linear), np.maximum(linear, 0))
    pooled = rectified.mean(axis=2)
    keep = np.exp(-dt_ms / 800.0)
    recent = lfilter([0.0, 1 - keep], [1.0, -keep], pooled, axis=0)
    return np.asarray(pooled / (0.1 * pooled.std() + recent))


def make_nonlinear_retina(
    *,
    n_neurons: int = 12,
    size: int = 12,
    subunits: int = 4,
    dt_ms: float = 10.0,
    train_s: float = 1200.0,
    val_s: float = 30.0,
    test_s: float = 60.0,
    val_trials: int = 20,
    test_trials: int = 30,
    rate_hz: float = 8.0,
    seed: int = 0,
) -> SyntheticRetina:
    """Cells that no LN model can be: a third ON, a third OFF, a third ON-OFF, each of rectifying subunits. Version 1.

    A cell pools ``subunits`` difference-of-Gaussians units (centre 0.7 px, surround 1.6 times wider, weight 0.5, on a
    1.8 px square grid); each is filtered in time (biphasic, peak 30 to 50 ms) and rectified (ON-OFF: full-wave). The
    pool is divided by its own running mean (0.8 s), a divisive contrast adaptation, then passes
    softplus(2.5 (u - 1)) scaled to ``rate_hz``, cap 200 Hz. Spikes as in :func:`make_retina`. The movie is a fine
    flickering texture whose contrast steps. Arguments as there; ``truth.spatial`` holds the sum of the subunits.
    """
    settings = {
        "generator": "make_nonlinear_retina", "version": VERSION, "n_neurons": n_neurons, "size": size,
        "subunits": subunits, "dt_ms": dt_ms, "train_s": train_s, "val_s": val_s, "test_s": test_s,
        "val_trials": val_trials, "test_trials": test_trials, "rate_hz": rate_hz, "seed": seed,
    }  # fmt: skip
    positive("dt_ms", dt_ms)
    side = round(subunits**0.5)
    if n_neurons < 1 or size < 8 or side * side != subunits:
        raise ValueError(
            f"n_neurons={n_neurons}, size={size}, subunits={subunits} given; n_neurons >= 1, size >= 8 and a square "
            "number of subunits are needed"
        )
    rng = np.random.default_rng([1000 + VERSION, seed])
    bins = lengths(train_s, val_s, test_s, dt_ms)
    reach = 1.8 * (side - 1) / 2 + 1.0
    centre = reach + rng.random((n_neurons, 2)) * (size - 1 - 2 * reach)
    offset = 1.8 * (np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) - (side - 1) / 2)
    where = (centre[:, None] + offset[None]).reshape(-1, 2)
    sd = np.full(len(where), 0.7)
    units = gaussian(size, where, sd) - 0.5 * gaussian(size, where, 1.6 * sd)
    units = units.reshape(n_neurons, subunits, size, size)
    kind = np.arange(n_neurons) % 3  # ON, OFF, ON-OFF
    units[kind == 1] *= -1
    temporal = biphasic(30 + 20 * rng.random(n_neurons), dt_ms)
    movies, drives = {}, {}
    for name, n in bins.items():
        movies[name] = flickering_texture(n, size, dt_ms / 1000, rng)
        drives[name] = _responses(movies[name], units, temporal, kind == 2, dt_ms)
    mean, deviation = drives["train"].mean(axis=0), drives["train"].std(axis=0)
    raw = {name: np.logaddexp(0, 2.5 * ((u - mean) / deviation - 1)) for name, u in drives.items()}
    scale = rate_hz / raw["train"].mean(axis=0)
    rates = {name: np.minimum(r * scale, 200.0) for name, r in raw.items()}
    truth = Truth(rates, units.sum(axis=1), temporal)
    trials = {"train": 1, "val": val_trials, "test": test_trials}
    parts = {
        name: SpikeDataset(
            spike_trials(rates[name], trials[name], dt_ms, rng, truth), dt_ms, movies[name], meta=settings
        )
        for name in bins
    }
    return SyntheticRetina(
        parts["train"], parts["val"], parts["test"], truth, "make_nonlinear_retina", VERSION,
        fingerprint(settings, parts["test"].spikes[:2, :500]),
    )  # fmt: skip
