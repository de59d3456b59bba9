"""Pictures (extra ``plot``): raster, membrane trace with threshold and gradient window, potential histogram."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from spk_neurons.stats import Stats
from spk_neurons.surrogate import Surrogate

__all__ = ["membrane", "potential_histogram", "raster"]


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'spk-neurons[plot]'") from None
    # a figure of its own, outside pyplot: nothing is left open, no display is needed
    return Figure(figsize=(6, 3), layout="constrained").add_subplot()


def raster(spikes: Tensor, *, ax: Any = None, dt: float = 1.0) -> Any:
    """Dots where neurons fired.

    Args: spikes: [T, ...], other axes are flattened to neurons. ax: where to draw (None: a new figure). dt: time
        per step.
    Returns: the Axes.
    """
    ax = _axes(ax)
    flat = (spikes.detach().cpu() > 0).reshape(spikes.shape[0], -1).numpy()
    when, who = np.nonzero(flat)
    ax.scatter(when * dt, who, s=max(1.0, min(20.0, 2000 / max(1, flat.shape[1]))), marker="|", color="black")
    ax.set(xlabel="time step" if dt == 1 else "time", ylabel="neuron", xlim=(-0.5 * dt, (flat.shape[0] - 0.5) * dt))
    ax.set_ylim(-0.5, max(0.5, flat.shape[1] - 0.5))
    return ax


def membrane(
    h: Tensor,
    *,
    threshold: float = 1.0,
    surrogate: Surrogate | None = None,
    spikes: Tensor | None = None,
    neurons: int = 3,
    ax: Any = None,
) -> Any:
    """Traces of the potential with the threshold, and the surrogate's gradient range shaded around it.

    Args: h: [T, ...], potentials before the reset. neurons: how many traces. spikes: marks where each fired.
    Returns: the Axes.
    """
    ax = _axes(ax)
    flat = h.detach().cpu().float().reshape(h.shape[0], -1)[:, :neurons]
    for i in range(flat.shape[1]):
        (line,) = ax.plot(flat[:, i].numpy(), lw=1)
        if spikes is not None:
            at = np.nonzero((spikes.detach().cpu().reshape(h.shape[0], -1)[:, i] > 0).numpy())[0]
            ax.plot(at, flat[:, i].numpy()[at], "o", ms=4, color=line.get_color())
    ax.axhline(threshold, color="black", ls="--", lw=1, label="threshold")
    if surrogate is not None:
        lo, hi = surrogate.gradient_range()
        ax.axhspan(threshold + lo, threshold + hi, color="tab:orange", alpha=0.15, label="gradient range")
    ax.set(xlabel="time step", ylabel="membrane potential")
    ax.legend(loc="best", fontsize="small")
    return ax


def potential_histogram(
    data: Tensor | Stats, *, threshold: float = 1.0, surrogate: Surrogate | None = None, bins: int = 60, ax: Any = None
) -> Any:
    """Distribution of membrane potentials with the gradient range shaded.

    Args: data: potentials [T, ...], or :class:`Stats` taken with bins. Returns: the Axes.
    """
    ax = _axes(ax)
    if isinstance(data, Stats):
        if data.histogram is None or data.edges is None:
            raise ValueError("these statistics hold no histogram; ask for one with StatsRequest(bins=60)")
        counts, edges = data.histogram.cpu().numpy(), data.edges.numpy()
    else:
        counts, edges = np.histogram(data.detach().cpu().float().numpy(), bins=bins)
    ax.stairs(counts / max(1, counts.sum()), edges, fill=True, color="tab:blue", alpha=0.7)
    ax.axvline(threshold, color="black", ls="--", lw=1, label="threshold")
    if surrogate is not None:
        lo, hi = surrogate.gradient_range()
        ax.axvspan(threshold + lo, threshold + hi, color="tab:orange", alpha=0.15, label="gradient range")
    ax.set(xlabel="membrane potential before the reset", ylabel="share")
    ax.legend(loc="best", fontsize="small")
    return ax
