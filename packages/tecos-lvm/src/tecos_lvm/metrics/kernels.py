"""Spike kernels: post-synaptic traces, maximum mean discrepancy, a differentiable van Rossum distance (torch)."""

from __future__ import annotations

import torch
from torch import Tensor

from tecos_lvm._checks import positive

__all__ = ["mmd", "psp", "van_rossum_binned"]


def psp(spikes: Tensor, tau: float, state: Tensor | None = None) -> Tensor:
    """Post-synaptic potential r_t = r_{t-1} + (y_t - r_{t-1}) / tau along bins.

    Args:
        spikes: [..., T, N], any float dtype. tau: in bins, >= 1. state: r before the first bin, [..., N].
    Returns:
        Traces [..., T, N], differentiable.

    >>> psp(torch.tensor([[1.0], [0.0], [0.0], [1.0], [1.0], [0.0]]), 2.0).flatten().tolist()
    [0.5, 0.25, 0.125, 0.5625, 0.78125, 0.390625]
    """
    if not tau >= 1:
        raise ValueError(f"tau={tau} given; the trace's time constant in bins must be >= 1")
    from spk_neurons import functional as F

    time_first = spikes.movedim(-2, 0)
    start = None if state is None else state
    return F.li(time_first.contiguous(), start, decay=1 - 1 / tau, gain=1 / tau).movedim(0, -2)  # type: ignore[no-any-return]


def mmd(
    a: Tensor, b: Tensor, *, tau: float | tuple[float, ...] = 2.0, unbiased: bool = True, drop_real: bool = False
) -> Tensor:
    """Squared maximum mean discrepancy between two sets of trains, linear kernel of their PSP traces, per neuron [N].

    Args:
        a: the model's trains [K, T, N]; b: the recorded ones [R, T, N]; zeros and ones, differentiable in both.
        tau: time constant(s) in bins; several are averaged.
        unbiased: U statistic: pairs of different trains only. It may be negative; do not take its root.
        drop_real: leave out the term of the recorded trains alone (a constant of training), as one trial demands.
    Returns:
        The sum over time, per neuron [N].
    Raises:
        ValueError: unbiased with fewer than two trains (of the model; of the recording unless ``drop_real``).
    """
    if a.dim() != 3 or b.dim() != 3 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"trains have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected [K, T, N] and [R, T, N]")
    if unbiased and len(a) < 2:
        raise ValueError(f"{len(a)} sample given; the unbiased MMD compares different samples, so K >= 2 is needed")
    if unbiased and len(b) < 2 and not drop_real:
        raise ValueError("one recorded trial given; the unbiased MMD needs R >= 2, or drop_real=True")
    taus = tau if isinstance(tau, tuple) else (tau,)
    rows = [_mmd(psp(a, t), psp(b, t), unbiased, drop_real) for t in taus]
    return torch.stack(rows).mean(0)


def _within(x: Tensor, unbiased: bool) -> Tensor:
    # mean over pairs without a Gram matrix: the square of the sum, minus the squares
    total = x.sum(0).square().sum(0)
    if not unbiased:
        return total / len(x) ** 2
    return (total - x.square().sum((0, 1))) / (len(x) * (len(x) - 1))


def _mmd(a: Tensor, b: Tensor, unbiased: bool, drop_real: bool) -> Tensor:
    cross = (a.mean(0) * b.mean(0)).sum(0)
    real = torch.zeros_like(cross) if drop_real else _within(b, unbiased)
    return _within(a, unbiased) - 2 * cross + real


def van_rossum_binned(a: Tensor, b: Tensor, *, tau_ms: float, dt_ms: float) -> Tensor:
    """Van Rossum distance of binned trains, differentiable, [...] over leading axes and neurons.

    The sum over pairs of bins of d_i d_j exp(-|i - j| dt / tau) with d = a - b, as one recursion in time.

    Args:
        a, b: [..., T, N]. tau_ms, dt_ms: > 0.
    """
    from spk_neurons import functional as F

    decay = float(torch.exp(torch.tensor(-positive("dt_ms", dt_ms) / positive("tau_ms", tau_ms), dtype=torch.float64)))
    d = (a - b).movedim(-2, 0).contiguous()
    trace = F.li(d, None, decay=decay, gain=1.0)
    square = (2 * d * trace - d.square()).sum(0)
    return square.clamp_min(0).sqrt()  # type: ignore[no-any-return]
