"""Datasets of others as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slr_cma.data.binning import bin_events

__all__ = ["from_torch_dataset"]


def from_torch_dataset(
    dataset: Any,
    n: int | None = None,
    *,
    n_bins: int | None = None,
    size: tuple[int, int] | None = None,
    down: int = 1,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Data [n, T, C, H, W] and labels of a torch dataset.

    Args:
        dataset: anything with ``len`` (tonic, SpikingJelly, torch ...) that gives (frames [T, C, H, W], label), our
            samples, or (events, label) with events a structured array of t, x, y, p.
        n: take so many, evenly spaced; None: all.
        n_bins, size, down: for events: bins of equal time from the first to the last event, the sensor's (H, W),
            pixels that become one.
    Raises:
        ValueError: an item of another form, events without n_bins or size, T and sizes that differ.
    """
    index = np.arange(len(dataset)) if n is None else np.unique(np.linspace(0, len(dataset) - 1, n).astype(int))
    parts: list[Any] = []
    labels: list[Any] = []
    for i in index:
        item = dataset[int(i)]
        if hasattr(item, "label"):
            x = item.events if item.events is not None else item.frames
            label = item.label
        elif isinstance(item, (tuple, list)) and len(item) >= 2:
            x, label = item[0], item[1]
        else:
            raise ValueError(f"item {i} is a {type(item).__name__}; expected (frames [T, C, H, W], label) or a Sample")
        x = np.asarray(x)
        if x.dtype.names is not None:
            if n_bins is None or size is None:
                raise ValueError(f"item {i} holds raw events; give n_bins and the sensor's size=(H, W)")
            x = bin_events(x, n_bins=n_bins, size=size, down=down)
        if x.ndim != 4 or (parts and x.shape != parts[0].shape):
            wanted = "[T, C, H, W]" if not parts else str(parts[0].shape)
            raise ValueError(f"item {i} has shape {x.shape}, expected {wanted}; bin all to one T and size first")
        parts.append(x)
        labels.append(int(label))
    if not parts:
        raise ValueError("the dataset is empty")
    return np.stack(parts), np.asarray(labels, np.int64)
