"""Distances between spike trains given as event times in milliseconds, exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tecos_lvm._checks import Floats, positive, spike_times

__all__ = [
    "isi_distance",
    "spike_distance",
    "sttc",
    "van_rossum",
    "van_rossum_matrix",
    "victor_purpura",
    "victor_purpura_matrix",
]


def _packed(trains: Sequence[Any]) -> tuple[Floats, Any]:
    checked = [spike_times(train, f"train {i}") for i, train in enumerate(trains)]
    if not checked:
        raise ValueError("no spike train given; expected a list of vectors of times")
    return np.concatenate(checked), np.cumsum([len(train) for train in checked]).astype(np.int64)


def van_rossum_matrix(trains: Sequence[Any], tau_ms: float) -> Floats:
    """Van Rossum distances of all pairs, [n, n].

    Squared distance: sum over all pairs of events of w_i w_j exp(-|t_i - t_j| / tau), events of the first train
    weighing 1, of the second -1. One spike against none is at 1 (van Rossum 2001 has half the square).

    Args:
        trains: n vectors of sorted times in ms. tau_ms: time constant, > 0.
    Returns:
        Exact distances; 0 for identical trains.
    """
    from tecos_lvm._kernels.spikes import van_rossum as kernel

    times, ends = _packed(trains)
    return np.asarray(kernel(times, ends, positive("tau_ms", tau_ms)))


def van_rossum(a: Any, b: Any, tau_ms: float) -> float:
    """Van Rossum distance of two trains; see :func:`van_rossum_matrix`.

    >>> round(van_rossum([10.0], [20.0], 10.0), 6)  # sqrt(2 (1 - 1/e))
    1.124385
    """
    return float(van_rossum_matrix([a, b], tau_ms)[0, 1])


def victor_purpura_matrix(trains: Sequence[Any], q_per_ms: float) -> Floats:
    """Victor-Purpura distances of all pairs, [n, n]: 1 to add or remove a spike, ``q_per_ms`` to move it by 1 ms.

    Args:
        trains: n vectors of sorted times in ms. q_per_ms: >= 0; 0 counts spikes, infinity counts unmatched ones.
    """
    from tecos_lvm._kernels.spikes import victor_purpura as kernel

    q = float(q_per_ms)
    if not q >= 0:
        raise ValueError(f"q_per_ms={q_per_ms} given; the cost of moving a spike by 1 ms is >= 0")
    times, ends = _packed(trains)
    # beyond 2 per gap no move pays; a finite q keeps inf * 0 away
    return np.asarray(kernel(times, ends, min(q, 1e15)))


def victor_purpura(a: Any, b: Any, q_per_ms: float) -> float:
    """Victor-Purpura distance of two trains; see :func:`victor_purpura_matrix`."""
    return float(victor_purpura_matrix([a, b], q_per_ms)[0, 1])


def _pyspike() -> Any:
    try:
        import pyspike  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise ImportError("ISI and SPIKE distances need PySpike: pip install 'tecos-lvm[spike]'") from None
    return pyspike


def _window(window_ms: Any) -> tuple[float, float]:
    start, stop = (float(w) for w in window_ms)
    if not start < stop:
        raise ValueError(f"window_ms={window_ms} given; expected (start, stop) with start < stop")
    return start, stop


def isi_distance(a: Any, b: Any, window_ms: tuple[float, float]) -> float:
    """ISI distance (Kreuz et al. 2007) over a window, by PySpike."""
    lib, edges = _pyspike(), _window(window_ms)
    trains = [lib.SpikeTrain(spike_times(t, f"train {i}"), edges) for i, t in enumerate((a, b))]
    return float(lib.isi_distance(*trains))


def spike_distance(a: Any, b: Any, window_ms: tuple[float, float]) -> float:
    """SPIKE distance (Kreuz et al. 2013) over a window, by PySpike."""
    lib, edges = _pyspike(), _window(window_ms)
    trains = [lib.SpikeTrain(spike_times(t, f"train {i}"), edges) for i, t in enumerate((a, b))]
    return float(lib.spike_distance(*trains))


def sttc(a: Any, b: Any, dt_ms: float, window_ms: tuple[float, float]) -> float:
    """Spike time tiling coefficient (Cutts & Eglen 2014).

    Args:
        a, b: sorted times in ms. dt_ms: reach of a spike on either side. window_ms: (start, stop) of the recording.
    Returns:
        In [-1, 1]; nan where a train is empty.
    """
    dt = positive("dt_ms", dt_ms)
    start, stop = _window(window_ms)
    x, y = spike_times(a, "a"), spike_times(b, "b")
    if not (len(x) and len(y)):
        return float("nan")

    def tiled(t: Floats) -> float:
        low, high = np.maximum(t - dt, start), np.minimum(t + dt, stop)
        low[1:] = np.maximum(low[1:], high[:-1])
        return float(np.clip(high - low, 0, None).sum() / (stop - start))

    def near(t: Floats, other: Floats) -> float:
        right = np.searchsorted(other, t + dt, side="right")
        left = np.searchsorted(other, t - dt, side="left")
        return float((right > left).mean())

    ta, tb, pa, pb = tiled(x), tiled(y), near(x, y), near(y, x)
    return 0.5 * sum(1.0 if p * t == 1 else (p - t) / (1 - p * t) for p, t in ((pa, tb), (pb, ta)))
