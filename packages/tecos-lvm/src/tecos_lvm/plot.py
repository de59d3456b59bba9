"""Pictures: rasters, rates, autocorrelograms. Needs the extra ``plot``; each function returns its Axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tecos_lvm.metrics.rates import smooth
from tecos_lvm.metrics.statistics import autocorrelogram as _autocorrelogram

__all__ = ["autocorrelogram", "psth", "raster"]


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'tecos-lvm[plot]'") from None
    return Figure(layout="constrained").add_subplot()


def raster(real: Any, model: Any, dt_ms: float, *, neuron: int = 0, ax: Any = None) -> Any:
    """Trials of one neuron, recorded below, generated above; both [trials, bins, neurons]."""
    ax = _axes(ax)
    offset = 0
    for trials, color, label in ((np.asarray(real), "black", "recorded"), (np.asarray(model), "tab:red", "model")):
        trial, bin_ = np.nonzero(trials[:, :, neuron])
        ax.plot((bin_ + 0.5) * dt_ms / 1000, trial + offset, "|", color=color, ms=3, label=label)
        offset += len(trials) + 1
    ax.set(xlabel="time (s)", ylabel="trial", title=f"neuron {neuron}")
    ax.legend(loc="upper right", fontsize="small")
    return ax


def psth(real: Any, p: Any, dt_ms: float, *, neuron: int = 0, sd_ms: float = 20.0, ax: Any = None) -> Any:
    """Smoothed rate of one neuron: mean of the trials with two standard errors, and the model's (p per bin [T, N])."""
    ax = _axes(ax)
    trials = np.asarray(real, dtype=np.float64)[:, :, neuron]
    rows = np.stack([smooth(row, dt_ms, sd_ms) for row in trials]) * 1000 / dt_ms
    t = (np.arange(rows.shape[1]) + 0.5) * dt_ms / 1000
    error = 2 * rows.std(axis=0) / len(rows) ** 0.5
    ax.fill_between(t, rows.mean(axis=0) - error, rows.mean(axis=0) + error, color="0.8", label="recorded, 2 s.e.")
    ax.plot(t, smooth(np.asarray(p)[:, neuron], dt_ms, sd_ms) * 1000 / dt_ms, color="tab:red", label="model")
    ax.set(xlabel="time (s)", ylabel="spikes/s")
    ax.legend(loc="upper right", fontsize="small")
    return ax


def autocorrelogram(real: Any, model: Any, dt_ms: float, *, max_lag: int = 20, ax: Any = None) -> Any:
    """Mean over neurons of P(spike at t + lag | spike at t), recorded, generated, and of independent spikes."""
    ax = _axes(ax)
    lags = np.arange(1, max_lag + 1) * dt_ms
    rate = (np.random.default_rng(0).random(np.shape(real)) < np.mean(real, axis=0)).astype(np.uint8)
    for trials, style, label in ((real, "k-", "recorded"), (model, "r-", "model"), (rate, "k:", "best rate model")):
        ax.plot(lags, np.nanmean(_autocorrelogram(trials, max_lag), axis=0), style, label=label)
    ax.set(xlabel="lag (ms)", ylabel="P(spike | spike)")
    ax.legend(fontsize="small")
    return ax
