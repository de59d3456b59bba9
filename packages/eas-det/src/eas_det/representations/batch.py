"""Batches on the device where the network is: events packed once, binned by one scatter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eas_det.events import Events, check_size

__all__ = ["PackedEvents", "bin_batch", "pack"]


class PackedEvents(NamedTuple):
    """Events of several windows in flat tensors.

    t: [N] int32, microseconds after the beginning of its window (int64 where windows are longer than 35 minutes).
    pixel: [N] int32, (p H + y) W + x. item: [N] int32, the window's number. window: int64 scalar tensor, the length of
    the windows. size: (width, height). n: windows B. Twelve bytes an event: what travels to the device is what costs.
    """

    t: Tensor
    pixel: Tensor
    item: Tensor
    window: Tensor
    size: tuple[int, int]
    n: int

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> PackedEvents:
        """The same on another device."""
        moved = [each.to(device, non_blocking=non_blocking) for each in self[:4]]
        return PackedEvents(moved[0], moved[1], moved[2], moved[3], self.size, self.n)


def pack(
    batch: Sequence[Events], t0: Sequence[int], window_us: int, size: tuple[int, int] | None = None
) -> PackedEvents:
    """Cut a window out of each item and lay them side by side.

    Args:
        batch: B stretches of events.
        t0: [B] beginning of each window, microseconds; events with t0 <= t < t0 + window_us are taken.
        window_us: length of the windows.
        size: (width, height) of the grid; by default the sensor's, which must be the same for all.
    Raises:
        ValueError: lengths differ, no common size is known, or an event lies outside it.
    """
    if len(batch) != len(t0):
        raise ValueError(f"{len(batch)} items but {len(t0)} beginnings given; expected one each")
    if window_us < 1:
        raise ValueError(f"window_us={window_us} given; expected microseconds, >= 1")
    grid = check_size(size)
    if grid is None:
        sizes = {each.sensor_size for each in batch}
        grid = next(iter(sizes)) if len(sizes) == 1 else None
        if grid is None:
            raise ValueError(f"the items have sensors {sizes or 'none'}; pass size=(width, height)")
    width, height = grid
    if 2 * width * height >= 1 << 31:
        raise ValueError(f"a grid of {width}x{height} given; expected fewer than 2^30 pixels: crop the events first")
    clock = np.int32 if window_us < 1 << 31 else np.int64
    times, pixels, items = [], [], []
    for number, (events, start) in enumerate(zip(batch, t0, strict=True)):
        part = events.window(start, start + window_us)
        extent = part.extent()
        if extent[0] > width or extent[1] > height:
            raise ValueError(f"item {number} reaches {extent[0]}x{extent[1]}, outside the grid {width}x{height}")
        times.append((part.t - start).astype(clock))
        pixels.append((part.p.astype(np.int32) * height + part.y) * width + part.x)
        items.append(np.full(len(part), number, np.int32))
    nothing = [np.empty(0, np.int32)]
    flat = [torch.from_numpy(np.concatenate(each or nothing)) for each in (times, pixels, items)]
    return PackedEvents(flat[0], flat[1], flat[2], torch.tensor(window_us), grid, len(batch))


def bin_batch(packed: PackedEvents, n_bins: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Counts of a whole batch on the packed events' device; the host is not waited for.

    Equal to micro_counts(events, n_bins, t0, t0 + window_us) of each item.

    Args:
        packed: from :func:`pack`, moved to the device by ``.to(device)``.
        n_bins: time bins T. dtype: of the counts.
    Returns:
        [B, T, 2, H, W].
    """
    if n_bins < 1:
        raise ValueError(f"n_bins={n_bins} given; expected >= 1")
    width, height = packed.size
    plane = 2 * width * height
    m = torch.div(packed.t.long() * n_bins, packed.window, rounding_mode="floor")
    place = (packed.item.long() * n_bins + m) * plane + packed.pixel
    out = torch.zeros(packed.n * n_bins * plane, dtype=dtype, device=packed.t.device)
    one = torch.ones((), dtype=dtype, device=packed.t.device)
    out.scatter_add_(0, place, one.expand(place.shape))
    return out.view(packed.n, n_bins, 2, height, width)
