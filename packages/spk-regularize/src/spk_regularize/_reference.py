"""The overlap written once, plainly: per step and channel, mean and variance by autograd. Tests compare with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spk_regularize.stats import SIGMA_FLOOR, VARIANCE_FLOOR


def _phi(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-z / math.sqrt(2))


def overlap_of(x: Tensor, gamma: float | Tensor, *, sigma_floor: float = SIGMA_FLOOR) -> Tensor:
    """Omega [T, C] of potentials [T, B, C, ...]: same arguments as :func:`spk_regularize.stats.overlap_of`."""
    wide = torch.as_tensor(gamma, dtype=x.dtype).expand(x.shape[2] if x.dim() > 2 else 1)
    rows = []
    for t in range(x.shape[0]):
        columns = []
        for c in range(len(wide)):
            values = x[t] if x.dim() == 2 else x[t][:, c]
            mu = values.mean()
            sigma = (((values - mu) ** 2).mean() + VARIANCE_FLOOR).sqrt().clamp_min(sigma_floor)
            columns.append(_phi((-mu.abs() + wide[c]) / sigma) - _phi((-mu.abs() - wide[c]) / sigma))
        rows.append(torch.stack(columns))
    return torch.stack(rows)


def mpd_sgr(layers: list[Tensor], gamma: float) -> Tensor:
    """The loss over layers of centred potentials: mean over steps and channels, then over layers."""
    return torch.stack([overlap_of(x, gamma).mean() for x in layers]).mean()
