"""Pictures (extra ``plot``): event frames with boxes, maps of sampling intervals, animations."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .events import Events

__all__ = ["animate", "draw", "draw_boxes", "sampling_map"]


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'eas-det[plot]'") from None
    # a figure of its own, outside pyplot: nothing is left open, no display is needed
    return Figure(figsize=(6, 4.5), layout="constrained").add_subplot()


def _frame(events: Events, size: tuple[int, int]) -> NDArray[Any]:
    """[H, W, 3]: white, blue where pixels became darker, red where brighter."""
    width, height = size
    balance = np.zeros((height, width))
    np.add.at(balance, (events.y, events.x), 2.0 * events.p - 1.0)
    strength = np.clip(np.abs(balance) / 3, 0, 1)[..., None]
    strength[(balance != 0)[..., None] & (strength < 0.4)] = 0.4
    colour = np.where((balance > 0)[..., None], (0.84, 0.15, 0.16), (0.12, 0.35, 0.71))
    return np.asarray(1 - strength * (1 - colour))


def draw(
    events: Events,
    boxes: NDArray[Any] | None = None,
    *,
    truth: NDArray[Any] | None = None,
    classes: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    ax: Any = None,
) -> Any:
    """Events summed over time: red where brighter, blue where darker; boxes of BOX_DTYPE on top.

    Args: events. boxes: drawn if given. truth: drawn dashed, for comparison. classes: names, written with the score
        beside boxes. size: (width, height), by default the sensor's. ax: where (None: new figure).
    Returns: the Axes.
    """
    grid = size or events.sensor_size
    if grid is None:
        raise ValueError("nobody knows the sensor's size; pass size=(width, height)")
    ax = _axes(ax)
    ax.imshow(_frame(events, grid), interpolation="nearest", extent=(0, grid[0], grid[1], 0))
    if truth is not None:
        draw_boxes(ax, truth, style="--")
    if boxes is not None:
        draw_boxes(ax, boxes, classes=classes)
    ax.set(xticks=[], yticks=[], title=f"{len(events):,} events, {events.duration / 1000:.0f} ms")
    return ax


def draw_boxes(
    ax: Any,
    boxes: NDArray[Any],
    colours: tuple[str, ...] = ("tab:green", "tab:orange", "tab:purple"),
    *,
    classes: Sequence[str] | None = None,
    style: str = "-",
) -> Any:
    """Outlines of boxes of BOX_DTYPE, a colour per class; with ``classes``, name and score. Returns the Axes."""
    from matplotlib.patches import Rectangle

    for box in boxes:
        kind = int(box["class_id"])
        colour = colours[kind % len(colours)]
        side = (float(box["w"]), float(box["h"]))
        ax.add_patch(Rectangle((box["x"], box["y"]), *side, fill=False, ec=colour, lw=1.5, ls=style))
        if classes is not None:
            name = classes[kind] if kind < len(classes) else str(kind)
            text = f"{name} {float(box['class_confidence']):.2f}"
            ax.text(float(box["x"]), float(box["y"]), text, color=colour, size=7, va="bottom", clip_on=True)
    return ax


def sampling_map(intervals: Any, *, ax: Any = None) -> Any:
    """Where a sampler looks briefly: one map of intervals, as from sampling_intervals.

    Args: intervals: [H, W] microseconds (tensor or array), nan where nothing was sampled. ax: where to draw.
    Returns: the Axes.
    """
    values = np.asarray(intervals.detach().cpu() if hasattr(intervals, "detach") else intervals, np.float64) / 1000
    if values.ndim != 2:
        raise ValueError(
            f"intervals have shape {values.shape}; expected one map [H, W]: pick sample, item and polarity"
        )
    ax = _axes(ax)
    image = ax.imshow(values, interpolation="nearest", cmap="viridis_r")
    ax.figure.colorbar(image, ax=ax, label="sampling interval, ms", shrink=0.8)
    ax.set(xticks=[], yticks=[], facecolor="0.92")
    return ax


def _latest(boxes: NDArray[Any] | None, t: int) -> NDArray[Any] | None:
    """The boxes of the last time up to t."""
    past = None if boxes is None else boxes["t"][boxes["t"] <= t]
    return None if boxes is None or past is None or not past.size else boxes[boxes["t"] == past.max()]


def animate(
    path: str | PathLike[str],
    events: Events,
    boxes: NDArray[Any] | None = None,
    *,
    truth: NDArray[Any] | None = None,
    classes: Sequence[str] | None = None,
    window_us: int = 20_000,
    fps: int = 10,
    scale: int = 3,
) -> Path:
    """Write a recording as a .gif, a window a frame; boxes stay until the next ones. truth, classes: as of draw.

    Returns: the path.
    Raises: ValueError: no events, or no known size.
    """
    if not len(events) or events.sensor_size is None or window_us < 1:
        raise ValueError("expected events with a known sensor_size, and window_us >= 1")
    _axes(None)
    from matplotlib.animation import PillowWriter
    from matplotlib.figure import Figure

    width, height = events.sensor_size
    figure = Figure(figsize=(width * scale / 100, height * scale / 100), dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    writer = PillowWriter(fps=fps)
    with writer.saving(figure, str(path), dpi=100):
        for start in range(int(events.t[0]), int(events.t[-1]) + 1, window_us):
            ax.clear()
            end = start + window_us
            shown, known = _latest(boxes, end), _latest(truth, end)
            draw(events.window(start, end), shown, truth=known, classes=classes, size=(width, height), ax=ax)
            ax.set_title("")
            writer.grab_frame()
    return Path(path)
