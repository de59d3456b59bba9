"""Streaming statistics of membrane potentials: taken in the pass that computes them, differentiable, nothing stored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from spk_neurons._kernels.problem import StatsPlan

__all__ = ["Stats", "StatsRequest"]


@dataclass(frozen=True)
class StatsRequest:
    """What to measure of h, the potential before the reset.

    Args:
        moments: mean and variance per step and channel (differentiable).
        bins: number of histogram bins (0: none) on ``range``; outliers count in the outermost bins.
        range: (low, high) of the histogram.
        window: (lo, hi): count the share of potentials inside, e.g. threshold + the surrogate's gradient range.
    Raises:
        ValueError: bins < 0, or an empty interval.

    Channels are axis 2 of x [T, B, C, ...]; batch and space are averaged over. x [T, B] and [T] count as one channel.
    """

    moments: bool = True
    bins: int = 0
    range: tuple[float, float] = (-2.0, 3.0)
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.bins < 0:
            raise ValueError(f"bins={self.bins} given; a histogram has at least one bin (0: no histogram)")
        for name, pair in (("range", self.range), ("window", self.window)):
            if pair is not None and not pair[0] < pair[1]:
                raise ValueError(f"{name}={pair} given; expected (lo, hi) with lo < hi")

    def plan(self, shape: torch.Size) -> tuple[list[int], list[float]]:
        """The integers and floats by which kernels know this request, for inputs of ``shape``."""
        channels, inner = layout(shape)
        window = self.window or (0.0, 0.0)
        ints = [int(self.moments), channels, inner, self.bins, int(self.window is not None)]
        return ints, [self.range[0], self.range[1], window[0], window[1]]


def layout(shape: torch.Size) -> tuple[int, int]:
    """(channels, neurons per channel and sample) of [T, B, C, ...]."""
    return (shape[2], math.prod(shape[3:])) if len(shape) > 2 else (1, 1)


@dataclass(frozen=True)
class Stats:
    """Statistics of one call.

    mean, var: [T, C], differentiable; the variance is that of the population (divided by n). None if not asked for.
    histogram: counts [bins], all steps and channels together, or None. edges: [bins + 1] bin edges, or None.
    inside: share of potentials in the window per step, [T], or None.
    """

    mean: Tensor | None
    var: Tensor | None
    histogram: Tensor | None = None
    edges: Tensor | None = None
    inside: Tensor | None = None

    @classmethod
    def collect(
        cls, request: StatsRequest, mean: Tensor, var: Tensor, counts: Tensor, inside: Tensor, shape: torch.Size
    ) -> Stats:
        """From a kernel's tables."""
        edges = torch.linspace(*request.range, request.bins + 1) if request.bins else None
        return cls(
            mean if request.moments else None,
            var if request.moments else None,
            counts if request.bins else None,
            edges,
            inside / max(1, math.prod(shape[1:])) if request.window else None,
        )


def from_potentials(h: Tensor, request: StatsRequest) -> Stats:
    """The same statistics from stored potentials h [T, B, C, ...]: the definition, in plain torch."""
    from spk_neurons._kernels.eager import take

    channels, inner = layout(h.shape)
    samples = h.shape[1] if h.dim() > 2 else math.prod(h.shape[1:])
    by_channel = h.reshape(h.shape[0], samples, channels, inner)
    ints, floats = request.plan(h.shape)
    plan = StatsPlan(False, channels, inner, ints[3], floats[0], floats[1], bool(ints[4]), floats[2], floats[3])
    counts = torch.zeros(request.bins, dtype=torch.int64, device=h.device)
    inside = torch.zeros(h.shape[0], dtype=torch.int64, device=h.device)
    if request.bins or request.window:
        for t in range(h.shape[0]):
            take(h[t].detach().reshape(-1), t, plan, h, h, counts, inside)
    if h.numel() == 0:
        mean = var = h.new_zeros(h.shape[0], channels)
    else:
        mean, var = by_channel.mean(dim=(1, 3)), by_channel.var(dim=(1, 3), correction=0)
    return Stats.collect(request, mean, var, counts, inside, h.shape)
