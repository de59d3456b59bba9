"""Pictures: rasters, rates, intervals, autocorrelograms, trajectories, length. Needs the extra ``plot``; each returns
its Axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tecos_lvm.metrics.rates import smooth
from tecos_lvm.metrics.statistics import autocorrelogram as _autocorrelogram
from tecos_lvm.metrics.statistics import isi_hist as _isi_hist

__all__ = ["autocorrelogram", "intervals", "length", "psth", "raster", "trajectories"]


def figure(width: float = 8.0, height: float = 3.0) -> Any:
    """A matplotlib Figure that no window shows."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'tecos-lvm[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def _axes(ax: Any) -> Any:
    return figure().add_subplot() if ax is None else ax


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
    """Smoothed rate of one neuron: mean of the trials with two standard errors, and the model's (p per bin [T, N]).

    The band is the ceiling: a perfect model lies inside it nearly everywhere, and no recording of so many trials can
    tell more.
    """
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


def _three(real: Any, model: Any) -> list[tuple[Any, str, str]]:
    rate = (np.random.default_rng(0).random(np.shape(real)) < np.mean(real, axis=0)).astype(np.uint8)
    return [(real, "k-", "recorded"), (model, "r-", "model"), (rate, "k:", "best rate model")]


def autocorrelogram(real: Any, model: Any, dt_ms: float, *, max_lag: int = 20, ax: Any = None) -> Any:
    """Mean over neurons of P(spike at t + lag | spike at t), recorded, generated, and of independent spikes."""
    ax = _axes(ax)
    lags = np.arange(1, max_lag + 1) * dt_ms
    for trials, style, label in _three(real, model):
        ax.plot(lags, np.nanmean(_autocorrelogram(trials, max_lag), axis=0), style, label=label)
    ax.set(xlabel="lag (ms)", ylabel="P(spike | spike)")
    ax.legend(fontsize="small")
    return ax


def intervals(real: Any, model: Any, dt_ms: float, *, max_bins: int = 40, ax: Any = None) -> Any:
    """Mean over neurons of the share of each interval between spikes, recorded, generated, of independent spikes."""
    ax = _axes(ax)
    length = np.arange(1, max_bins + 1) * dt_ms
    for trials, style, label in _three(real, model):
        ax.step(length, np.nanmean(_isi_hist(trials, max_bins), axis=0), style, where="mid", label=label)
    ax.set(xlabel="interval (ms)", ylabel="share")
    ax.legend(fontsize="small")
    return ax


def trajectories(h: Any, z: Any, dt_ms: float, *, components: int = 3, ax: Any = None) -> Any:
    """Memory h [T, H] and latent z [T, Z] (``TeCoSLVM.trajectories``): their first principal components in time."""
    ax = _axes(ax)
    t = (np.arange(len(h)) + 0.5) * dt_ms / 1000
    offset = 0.0
    for name, values, color in (("h", h, "tab:blue"), ("z", z, "tab:orange")):
        centred = np.asarray(values, dtype=np.float64) - np.mean(values, axis=0)
        left, size, _ = np.linalg.svd(centred, full_matrices=False)
        for k in range(min(components, left.shape[1])):
            ax.plot(t, left[:, k] * size[k] / max(size[0], 1e-12) * len(t) ** 0.5 + offset, color=color, lw=0.8,
                    label=name if k == 0 else None)  # fmt: skip
            offset -= 4.0
    ax.set(xlabel="time (s)", yticks=[], ylabel="principal components")
    ax.legend(loc="upper right", fontsize="small")
    return ax


def length(rows: Sequence[Mapping[str, float]], *, ax: Any = None) -> Any:
    """Correlation and rate ratio against the length of the sequence (rows of :func:`~tecos_lvm.length_curve`)."""
    ax = _axes(ax)
    seconds = [row["length_s"] for row in rows]
    ax.plot(seconds, [row["cc"] for row in rows], "ko-", label="correlation of the rate")
    ax.plot(seconds, [row["rate_ratio"] for row in rows], "s--", color="tab:red", label="rate, model / recorded")
    ax.set(xscale="log", xlabel="state carried for (s)", ylim=(0, 1.2))
    ax.set_xticks(seconds, [f"{s:g}" for s in seconds])
    ax.minorticks_off()
    ax.legend(loc="lower right", fontsize="small")
    return ax
