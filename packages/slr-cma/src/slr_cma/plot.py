"""Pictures: paired filmstrip, attention over time and space, probes, curves, confusion (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from slr_cma._sample import Sample
from slr_cma.diagnostics.report import TemporalReport
from slr_cma.models.cma import Scores

__all__ = ["attention", "confusion", "filmstrip", "prefix", "probes", "severity"]


def _figure(**options: Any) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'slr-cma[plot]'") from None
    return Figure(layout="constrained", **options)


def _event_image(counts: Any) -> Any:
    """OFF in blue, ON in orange over white: [2, H, W] -> [H, W, 3]."""
    x = np.asarray(counts, float)
    x = np.minimum(x / max(1.0, float(np.percentile(x, 99.5))), 1.0)[..., None]
    return np.clip(1 - x[0] * np.array([0.9, 0.6, 0.1]) - x[1] * np.array([0.1, 0.5, 0.9]), 0, 1)


def filmstrip(sample: Sample, *, steps: Sequence[int] | None = None, title: str = "") -> Any:
    """Events above frames, bin by bin; returns the Figure. steps: bins to show (8 spread evenly by default)."""
    t = len(sample.mask)
    shown = list(steps) if steps is not None else sorted({int(i) for i in np.linspace(0, t - 1, min(8, t))})
    rows = [("events", sample.events), ("frames", sample.frames)]
    rows = [(name, x) for name, x in rows if x is not None]
    figure = _figure(figsize=(1.3 * len(shown), 1.4 * len(rows) + 0.3))
    axes = figure.subplots(len(rows), len(shown), squeeze=False)
    for line, (name, x) in zip(axes, rows, strict=True):
        assert x is not None
        for ax, k in zip(line, shown, strict=True):
            if name == "events":
                ax.imshow(_event_image(x[k]), interpolation="nearest")
            else:
                picture = x[k].permute(1, 2, 0).numpy()
                ax.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture.clip(0, 1), cmap="gray")
            ax.set(xticks=[], yticks=[])
            if not bool(sample.mask[k]):
                ax.set_xlabel("no data", fontsize=7)
        line[0].set_ylabel(name)
    for ax, k in zip(axes[0], shown, strict=True):
        ax.set_title(f"t={k}", fontsize=8)
    figure.suptitle(title)
    return figure


def attention(sample: Sample, scores: Scores, *, index: int = 0, title: str = "") -> Any:
    """Each modality's scores: two curves over time, and the spatial scores over the events and frames.

    Args: scores: of :meth:`CMANet.attention_scores` (one stage). index: the sample's place in that batch.
    """
    t = len(sample.mask)
    shown = sorted({int(i) for i in np.linspace(0, t - 1, min(6, t))})
    figure = _figure(figsize=(9, 5.4))
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.7))
    ax = upper.subplots()
    for name, values, colour in (
        ("events", scores.P_e, "tab:orange"),
        ("frames", scores.P_f, "tab:blue"),
    ):
        if values is not None:
            ax.plot(values[:, index].float().numpy(), label=f"score of the {name}", color=colour, marker=".")
    ax.set(xlabel="time bin", ylabel="temporal score", title=title)
    if ax.lines:
        ax.legend(fontsize=8)
    axes = lower.subplots(2, len(shown), squeeze=False)
    pairs = (("events", sample.events, scores.Q_e), ("frames", sample.frames, scores.Q_f))
    for line, (name, x, space) in zip(axes, pairs, strict=True):
        for cell, k in zip(line, shown, strict=True):
            cell.set(xticks=[], yticks=[])
            if x is not None:
                image = _event_image(x[k]) if name == "events" else x[k].mean(0).numpy()
                extent = (0, x.shape[-1], x.shape[-2], 0)
                cell.imshow(image, cmap="gray", extent=extent, interpolation="nearest")
                if space is not None:
                    cell.imshow(space[k, index].float().numpy(), cmap="inferno", alpha=0.5, extent=extent)
        line[0].set_ylabel(name)
    for cell, k in zip(axes[0], shown, strict=True):
        cell.set_title(f"t={k}", fontsize=8)
    return figure


def probes(report: TemporalReport) -> Any:
    """Accuracy of each probe with its 95 % interval, and chance; returns the Figure.

    Raises:
        ValueError: a report without tier 1.
    """
    if not report.table:
        raise ValueError("this report has no probes; run temporal_report with tier 1")
    names = list(report.table)[::-1]
    rows = [report.table[name] for name in names]
    accuracy = np.array([row["accuracy"] for row in rows])
    errors = [accuracy - [row["low"] for row in rows], np.array([row["high"] for row in rows]) - accuracy]
    figure = _figure(figsize=(6, 0.4 * len(names) + 1.2))
    ax = figure.subplots()
    colours = ["0.75" if "shuffled" in name else "tab:blue" for name in names]
    ax.barh(names, accuracy, xerr=np.maximum(errors, 0), color=colours, capsize=3)
    ax.axvline(report.chance, color="tab:red", linestyle="--", label="chance")
    ax.set(xlim=(0, 1), xlabel="test accuracy")
    ax.legend(fontsize=8)
    return figure


def prefix(curve: dict[str, float], *, ax: Any = None) -> Any:
    """Accuracy after the first part of each recording (:func:`prefix_curve`); returns the Axes."""
    if ax is None:
        ax = _figure(figsize=(4, 3)).subplots()
    ax.plot([float(share.rstrip("%")) for share in curve], list(curve.values()), marker="o")
    ax.set(xlabel="share of the recording seen, %", ylabel="accuracy", ylim=(0, 1))
    return ax


def severity(rows: Sequence[dict[str, Any]], *, ax: Any = None) -> Any:
    """Accuracy over severity, a line per corruption (rows of :func:`robustness_suite`); returns the Axes."""
    if ax is None:
        ax = _figure(figsize=(7, 4)).subplots()
    clean = next(row["accuracy"] for row in rows if row["corruption"] == "none")
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["severity"] and not row["corruption"].startswith("worst"):
            lines.setdefault(row["corruption"], [(0, clean)]).append((row["severity"], row["accuracy"]))
    for name, points in lines.items():
        ax.plot(*zip(*points, strict=True), marker=".", label=name)
    ax.set(xlabel="severity", ylabel="accuracy", ylim=(0, 1))
    ax.legend(fontsize=7, ncols=2)
    return ax


def confusion(matrix: Any, classes: Sequence[str] | None = None, *, ax: Any = None) -> Any:
    """Confusion matrix [true][predicted], rows normalised; returns the Axes."""
    m = np.asarray(matrix, float)
    if m.ndim != 2 or m.shape[0] != m.shape[1]:
        raise ValueError(f"a confusion matrix is square, this one has shape {m.shape}")
    if ax is None:
        side = 2 + 0.25 * len(m)
        ax = _figure(figsize=(side, side)).subplots()
    ax.imshow(m / np.maximum(m.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    ax.set(xlabel="predicted", ylabel="true")
    if classes is not None:
        ax.set_xticks(range(len(m)), classes[: len(m)], rotation=90, fontsize=7)
        ax.set_yticks(range(len(m)), classes[: len(m)], fontsize=7)
    return ax
