"""Corruptions of binned samples at five severities: events, frames, both, and a missing modality."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CORRUPTIONS", "corrupt"]

Array = NDArray[np.float32]
Pair = tuple[Array | None, Array | None]
Rng = np.random.Generator
#: index 0 leaves a sample as it is
NOISE = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
SHARE = (0.0, 0.1, 0.25, 0.4, 0.6, 0.8)


def _noise(x: Array, s: int, rng: Rng) -> Array:
    return x + rng.poisson(NOISE[s], x.shape)


def _drop(x: Array, s: int, rng: Rng) -> Array:
    return rng.binomial(np.rint(x).astype(np.int64), 1 - SHARE[s]).astype(np.float32)


def _hot(x: Array, s: int, rng: Rng) -> Array:
    hot = rng.random((len(x), 1, 1, *x.shape[3:])) < 0.01 * s
    return x + hot * rng.poisson(4.0, x.shape)


def _flip(x: Array, s: int, rng: Rng) -> Array:
    wrong = rng.binomial(np.rint(x).astype(np.int64), SHARE[s] / 2).astype(np.float32)
    return x - wrong + wrong[:, :, ::-1]


def _jitter(x: Array, s: int, rng: Rng) -> Array:
    """A share of each bin's events lands in the bin before or after."""
    moved = rng.binomial(np.rint(x).astype(np.int64), SHARE[s]).astype(np.float32)
    back = rng.binomial(moved.astype(np.int64), 0.5).astype(np.float32)
    ahead = moved - back
    out = x - moved
    # at the two ends they stay where they are
    out[:, :-1] += back[:, 1:]
    out[:, :1] += back[:, :1]
    out[:, 1:] += ahead[:, :-1]
    out[:, -1:] += ahead[:, -1:]
    return out


def _burst(x: Array, s: int, rng: Rng) -> Array:
    out = x.copy()
    length = max(1, round(x.shape[1] * 0.1 * s))
    for sample in out:
        start = int(rng.integers(0, x.shape[1] - length + 1))
        sample[start : start + length] += rng.poisson(0.5 + 0.3 * s, sample[start : start + length].shape)
    return out


def _dim(x: Array, s: int, rng: Rng) -> Array:
    del rng
    return x * np.float32((1.0, 0.8, 0.6, 0.4, 0.25, 0.1)[s])


def _blur(x: Array, s: int, rng: Rng) -> Array:
    """Long exposure: a running mean over s + 1 bins."""
    del rng
    total = np.zeros_like(x)
    for k in range(s + 1):
        total += np.concatenate([np.repeat(x[:, :1], k, 1), x[:, : x.shape[1] - k]], 1) if k else x
    return total / np.float32(s + 1)


def _gaussian(x: Array, s: int, rng: Rng) -> Array:
    return x + rng.normal(0, 0.04 * s, x.shape).astype(np.float32)


def _block(x: Array, s: int, rng: Rng) -> Array:
    """Coarse blocks, as strong compression leaves them."""
    del rng
    side = min((1, 2, 2, 4, 4, 8)[s], *x.shape[3:])
    h, w = x.shape[3] // side * side, x.shape[4] // side * side
    out = x.copy()
    small = x[..., :h, :w].reshape(*x.shape[:3], h // side, side, w // side, side).mean((4, 6))
    mix = np.float32(1.0 if s in (2, 4, 5) else 0.6)
    out[..., :h, :w] += mix * (np.repeat(np.repeat(small, side, 3), side, 4) - x[..., :h, :w])
    return out


def _frame_drop(x: Array, s: int, rng: Rng) -> Array:
    return x * (rng.random((*x.shape[:2], 1, 1, 1)) >= SHARE[s])


def _events_only(f: Callable[[Array, int, Rng], Array]) -> Callable[[Array | None, Array | None, int, Rng], Pair]:
    return lambda e, x, s, rng: (None if e is None else f(e, s, rng), x)


def _frames_only(f: Callable[[Array, int, Rng], Array]) -> Callable[[Array | None, Array | None, int, Rng], Pair]:
    return lambda e, x, s, rng: (e, None if x is None else f(x, s, rng))


def _occlude(e: Array | None, x: Array | None, s: int, rng: Rng) -> Pair:
    given = e if e is not None else x
    assert given is not None
    height, width = given.shape[3:]
    side = (max(1, round(height * 0.12 * s)), max(1, round(width * 0.12 * s)))
    out = [None if v is None else v.copy() for v in (e, x)]
    for i in range(len(given)):
        top, left = rng.integers(0, height - side[0] + 1), rng.integers(0, width - side[1] + 1)
        for v in out:
            if v is not None:
                v[i, :, :, top : top + side[0], left : left + side[1]] = 0
    return out[0], out[1]


def _missing(e: Array | None, x: Array | None, s: int, rng: Rng) -> Pair:
    """A share of the samples loses one modality, either as likely."""
    given = e if e is not None else x
    assert given is not None
    draw = rng.random(len(given))
    lost = SHARE[s]
    out = []
    for k, v in enumerate((e, x)):
        gone = (draw >= k * lost / 2) & (draw < (k + 1) * lost / 2)
        out.append(None if v is None else v * ~gone[:, None, None, None, None])
    return out[0], out[1]


def _skew(e: Array | None, x: Array | None, s: int, rng: Rng) -> Pair:
    """Frames come s/2 bins late (the first one stands until then)."""
    del rng
    return e, None if x is None else _delay(x, np.full(x.shape[1], 0.5 * s))


def _drift(e: Array | None, x: Array | None, s: int, rng: Rng) -> Pair:
    """The frames' clock runs slow: late by nothing at the start, by s bins at the end."""
    del rng
    return e, None if x is None else _delay(x, np.linspace(0, s, x.shape[1]))


def _delay(x: Array, bins: NDArray[np.float64]) -> Array:
    at = np.maximum(np.arange(x.shape[1]) - bins, 0)
    low = np.floor(at).astype(int)
    share = (at - low).astype(np.float32)[None, :, None, None, None]
    high = np.minimum(low + 1, x.shape[1] - 1)
    late: Array = (1 - share) * x[:, low] + share * x[:, high]
    return late


#: name -> (what it strikes, function of events, frames, severity, generator)
CORRUPTIONS: dict[str, tuple[str, Callable[[Array | None, Array | None, int, Rng], Pair]]] = {
    "event noise": ("events", _events_only(_noise)),
    "event drop": ("events", _events_only(_drop)),
    "hot pixels": ("events", _events_only(_hot)),
    "polarity flip": ("events", _events_only(_flip)),
    "time jitter": ("events", _events_only(_jitter)),
    "burst": ("events", _events_only(_burst)),
    "dim": ("frames", _frames_only(_dim)),
    "long exposure": ("frames", _frames_only(_blur)),
    "frame noise": ("frames", _frames_only(_gaussian)),
    "blocks": ("frames", _frames_only(_block)),
    "frame drop": ("frames", _frames_only(_frame_drop)),
    "occluder": ("both", _occlude),
    "missing modality": ("both", _missing),
    "clock skew": ("both", _skew),
    "clock drift": ("both", _drift),
}


def corrupt(
    name: str, events: NDArray[Any] | None, frames: NDArray[Any] | None, *, severity: int, seed: int = 0
) -> Pair:
    """Corrupted copies of events (counts) and frames ([0, 1]), [n, T, C, H, W]; either may be None.

    Args:
        name: of :data:`CORRUPTIONS`. severity: 0 (nothing happens) to 5. seed: same seed, same corruption.
    Raises:
        ValueError: unknown name or severity, both modalities missing.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"corruption {name!r} is not known; choose one of {', '.join(CORRUPTIONS)}")
    if severity not in range(6):
        raise ValueError(f"severity={severity} given; expected 0 to 5")
    if events is None and frames is None:
        raise ValueError("events and frames are both None: nothing to corrupt")
    pair = [None if v is None else np.array(v, np.float32) for v in (events, frames)]
    if severity == 0:
        return pair[0], pair[1]
    out = CORRUPTIONS[name][1](pair[0], pair[1], severity, np.random.default_rng([11, seed]))
    e, f = (None if v is None else v.astype(np.float32, copy=False) for v in out)
    return e, f
