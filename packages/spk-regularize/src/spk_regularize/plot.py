"""Pictures (extra ``plot``): potentials with the window, overlap per layer and step, accuracy over eps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spk_regularize.attacks.base import prepared
from spk_regularize.monitor import MembraneMonitor
from spk_regularize.robustness.report import RobustnessReport
from spk_regularize.stats import deviation, empirical_overlap, overlap

__all__ = ["curves", "overlap_map", "potential_histograms"]


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'spk-regularize[plot]'") from None
    # a figure of its own, outside pyplot: nothing is left open, no display is needed
    return Figure(figsize=(width, height), layout="constrained")


def _traces(model: nn.Module, x: Tensor) -> list[Any]:
    with prepared(model, 0), torch.no_grad(), MembraneMonitor(model, ("potentials",)) as monitor:
        model(x)
    return monitor.layers


def potential_histograms(model: nn.Module, x: Tensor, *, bins: int = 80, figure: Any = None) -> Any:
    """Distribution of x = u - V_th in every layer, the surrogate's window shaded, both overlaps in the title.

    Args: model, x: the classifier and images (at most a few hundred). Returns: the Figure.
    """
    traces = _traces(model, x)
    figure = figure if figure is not None else _figure(3.2 * len(traces), 2.8)
    for trace, ax in zip(traces, _row(figure, len(traces)), strict=True):
        values = trace.potentials.float().flatten()
        low, high = (
            float(v) for v in torch.quantile(values[:: max(1, len(values) // 100_000)], torch.tensor([0.005, 0.995]))
        )
        ax.hist(values.numpy(), bins=bins, range=(low, max(high, low + 1e-3)), density=True, color="#3d7ea6")
        ax.axvline(0, color="black", ls="--", lw=1)
        title = trace.name
        if trace.gamma is not None:
            ax.axvspan(-trace.gamma, trace.gamma, color="tab:orange", alpha=0.2)
            omega = float(overlap(trace.mean, deviation(trace.var), trace.gamma).mean())
            counted = float(empirical_overlap(trace.potentials, trace.gamma).mean())
            title += f"\noverlap {omega:.2f}, counted {counted:.2f}"
        ax.set(title=title, xlabel="u - threshold", ylabel="density")
    return figure


def _row(figure: Any, n: int) -> list[Any]:
    axes = figure.subplots(1, n, squeeze=False)
    return list(axes[0])


def overlap_map(model: nn.Module, x: Tensor, *, ax: Any = None) -> Any:
    """Counted overlap per layer (rows) and time step (columns). Returns: the Axes.

    Raises: ValueError: a layer whose window is unknown, or layers of different numbers of steps.
    """
    traces = _traces(model, x)
    shares = [empirical_overlap(trace.potentials, trace.window).mean(1) for trace in traces]
    if len({len(s) for s in shares}) > 1:
        raise ValueError(f"layers have {[len(s) for s in shares]} time steps; a map needs as many in each")
    table = torch.stack(shares).numpy()
    ax = ax if ax is not None else _figure(1.2 + 0.7 * table.shape[1], 1.2 + 0.4 * table.shape[0]).add_subplot()
    image = ax.imshow(table, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (i, j), value in _cells(table):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.6 else "black", fontsize=8)
    ax.set(xlabel="time step", ylabel="layer", title="share of potentials inside the window")
    ax.set_xticks(range(table.shape[1]))
    ax.set_yticks(range(len(traces)), [trace.name for trace in traces])
    ax.figure.colorbar(image, ax=ax)
    return ax


def _cells(table: Any) -> list[tuple[tuple[int, int], float]]:
    return [((i, j), float(table[i, j])) for i in range(table.shape[0]) for j in range(table.shape[1])]


def curves(report: RobustnessReport, *, ax: Any = None) -> Any:
    """Accuracy over eps, one line an attack, the worst case thick with its interval. Returns: the Axes."""
    ax = ax if ax is not None else _figure(6, 4).add_subplot()
    sizes = [0.0, *report.eps]
    for name in report.names:
        ax.plot(sizes, [report.clean_accuracy, *(report.accuracy(name, e) for e in report.eps)], lw=1, marker=".",
                label=name)  # fmt: skip
    worst = [report.clean_accuracy, *report.worst_case.values()]
    bounds = [report.interval(report.clean), *(report.interval(report.worst(e)) for e in report.eps)]
    ax.plot(sizes, worst, lw=2.5, color="black", marker="o", label="worst case per sample")
    ax.fill_between(sizes, [b[0] for b in bounds], [b[1] for b in bounds], color="black", alpha=0.12)
    ax.set(xlabel="eps (l_inf)", ylabel="accuracy", ylim=(0, 1), title=f"{report.n} images")
    ax.legend(fontsize="x-small")
    return ax
