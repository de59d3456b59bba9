"""Statistics of spike trains. What has no value (a silent neuron) is nan, never 0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tecos_lvm._checks import Array, Floats, binary, positive, spike_times

__all__ = ["autocorrelogram", "cv", "cv2", "fano", "isi", "isi_hist", "isi_ks", "lv", "noise_correlation"]


def _binned(spikes: Any) -> Array:
    found = binary(spikes)
    if found.ndim == 2:
        found = found[None]
    if found.ndim != 3:
        raise ValueError(f"spikes have shape {found.shape}; expected [trials, bins, neurons]")
    return found


def isi(trains: Iterable[Any]) -> Floats:
    """Inter-spike intervals of trains of event times, pooled."""
    gaps = [np.diff(spike_times(train, f"train {i}")) for i, train in enumerate(trains)]
    return np.concatenate(gaps) if gaps else np.zeros(0)


def binned_isi(spikes: Any) -> list[Floats]:
    """Intervals in bins of each neuron, pooled over trials, from spikes [R, T, N]."""
    found = _binned(spikes)
    out = []
    for n in range(found.shape[2]):
        trial, bin_ = np.nonzero(found[:, :, n])
        gaps = np.diff(bin_)
        out.append(gaps[np.diff(trial) == 0].astype(np.float64))
    return out


def isi_hist(spikes: Any, max_bins: int = 100) -> Floats:
    """Share of intervals of 1, 2, ... max_bins bins, [N, max_bins]; nan where a neuron has no interval."""
    rows = []
    for gaps in binned_isi(spikes):
        counts = np.bincount(gaps.astype(np.int64), minlength=max_bins + 1)[1 : max_bins + 1]
        rows.append(counts / len(gaps) if len(gaps) else np.full(max_bins, np.nan))
    return np.array(rows)


def isi_ks(a: Any, b: Any) -> Floats:
    """Kolmogorov-Smirnov distance between the interval laws of two binned sets, per neuron; nan without."""
    out = []
    for x, y in zip(binned_isi(a), binned_isi(b), strict=True):
        if not (len(x) and len(y)):
            out.append(np.nan)
            continue
        top = int(max(x.max(), y.max()))
        cx, cy = (np.bincount(g.astype(np.int64), minlength=top + 1).cumsum() / len(g) for g in (x, y))
        out.append(float(np.abs(cx - cy).max()))
    return np.array(out)


def cv(gaps: Any) -> float:
    """Coefficient of variation of intervals (population deviation over mean); nan below two intervals."""
    x = np.asarray(gaps, dtype=np.float64)
    return float(x.std() / x.mean()) if len(x) >= 2 else float("nan")


def cv2(gaps: Any) -> float:
    """Local variation of successive intervals (Holt et al. 1996): mean of 2 |a - b| / (a + b)."""
    x = np.asarray(gaps, dtype=np.float64)
    return float((2 * np.abs(np.diff(x)) / (x[1:] + x[:-1])).mean()) if len(x) >= 2 else float("nan")


def lv(gaps: Any) -> float:
    """Local variation (Shinomoto et al. 2003): mean of 3 (a - b)^2 / (a + b)^2."""
    x = np.asarray(gaps, dtype=np.float64)
    return float((3 * (np.diff(x) / (x[1:] + x[:-1])) ** 2).mean()) if len(x) >= 2 else float("nan")


def fano(counts: Any) -> float:
    """Population variance over mean of counts of repeats; nan where the mean is 0."""
    x = np.asarray(counts, dtype=np.float64)
    return float(x.var() / x.mean()) if x.size and x.mean() > 0 else float("nan")


def autocorrelogram(spikes: Any, max_lag: int = 20) -> Floats:
    """P(spike at t + k | spike at t) for k = 1 ... max_lag, [N, max_lag], from spikes [R, T, N].

    The bins t that have a bin t + k in their trial count. A silent neuron has nan.
    """
    found = _binned(spikes).astype(np.float32)
    out = np.full((found.shape[2], max_lag), np.nan)
    for k in range(1, min(max_lag, found.shape[1] - 1) + 1):
        base = found[:, :-k].sum(axis=(0, 1), dtype=np.float64)
        pairs = np.einsum("rtn,rtn->n", found[:, :-k], found[:, k:], dtype=np.float64)
        out[:, k - 1] = np.divide(pairs, base, out=np.full(len(base), np.nan), where=base > 0)
    return out


def correlogram_counts(train: Any, max_lag: int) -> Floats:
    """Raw coincidence counts of one binary train at lags 0 ... max_lag."""
    y = np.asarray(train, dtype=np.float64)
    return np.array([float(y[: len(y) - k] @ y[k:]) for k in range(max_lag + 1)])


def noise_correlation(spikes: Any, dt_ms: float, window_ms: float = 100.0) -> Floats:
    """Correlation of count fluctuations around the trial mean, all pairs of neurons, [N (N-1) / 2]; nan if silent.

    Args:
        spikes: [R, T, N], R >= 2. dt_ms: bin. window_ms: counts are taken in such windows.
    """
    found = _binned(spikes)
    if len(found) < 2:
        raise ValueError(f"{len(found)} trial(s) given; noise correlation compares repeats, so at least 2 are needed")
    width = max(1, round(positive("window_ms", window_ms) / positive("dt_ms", dt_ms)))
    n_windows = found.shape[1] // width
    if n_windows < 1:
        raise ValueError(f"a window of {window_ms:g} ms is longer than the trials")
    counts = found[:, : n_windows * width].reshape(len(found), n_windows, width, -1).sum(axis=2, dtype=np.float64)
    rest = (counts - counts.mean(axis=0)).reshape(-1, found.shape[2])
    norm = np.sqrt((rest**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = (rest.T @ rest) / np.outer(norm, norm)
    matrix[:, norm == 0] = np.nan
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)])
