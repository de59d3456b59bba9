"""LN models and the GLM with spike history and coupling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tecos_lvm._checks import Array, choice
from tecos_lvm.baselines.base import Baseline

__all__ = ["LNModel", "PoissonGLM"]


class LNModel(Baseline):
    """Linear filter over ``window`` frames, then a static output, per neuron.

    Args:
        output: "softplus": A softplus(w x + b) with A learned (the strong one), or "exp".
        rank: the filter is a sum of so many space x time products (None: unconstrained).
        others: see :class:`Baseline`.
    """

    def __init__(self, *, output: str = "softplus", rank: int | None = 2, **options: Any) -> None:
        super().__init__(**options)
        self.output, self.rank = choice("output", output, ("softplus", "exp")), rank
        if rank is not None and rank < 1:
            raise ValueError(f"rank={rank} given; it must be >= 1, or None")

    def build(self, n_in: int, p_spike: Tensor) -> None:
        n, w = len(p_spike), self.window
        if self.rank is None:
            self.filter = nn.Parameter(torch.randn(n, w, n_in) * 0.1 / (w * n_in) ** 0.5)
        else:
            self.space = nn.Parameter(torch.randn(n * self.rank, n_in) / n_in**0.5)
            self.time = nn.Parameter(torch.randn(n, self.rank, w) * 0.1 / w**0.5)
        rate = -torch.log1p(-p_spike)
        if self.output == "exp":
            self.bias = nn.Parameter(rate.log())
            self.scale_log = None
        else:
            # at w x = 0 the drive is -1, in the bend of softplus, and A makes up for it
            self.bias = nn.Parameter(torch.full((n,), -1.0))
            self.scale_log = nn.Parameter((rate / F.softplus(torch.tensor(-1.0))).log())

    def linear(self, windows: Tensor) -> Tensor:
        """w x, [B, N]."""
        if self.rank is None:
            return windows.flatten(1) @ self.filter.flatten(1).T
        # [B, window, N, rank]
        projected = (windows @ self.space.T).reshape(*windows.shape[:2], -1, self.rank)
        return torch.einsum("bwnr,nrw->bn", projected, self.time)

    def link(self, drive: Tensor) -> Tensor:
        """Rate per bin from the drive before the bias."""
        u = drive + self.bias
        if self.scale_log is None:
            return torch.exp(u.clamp(max=6.0))
        return self.scale_log.exp() * F.softplus(u)

    def drive(self, windows: Tensor) -> Tensor:
        return self.link(self.linear(windows))


class PoissonGLM(LNModel):
    """The LN model with spike history and coupling inside the output: u = w x + sum over neurons and lags of h y.

    Args:
        history_bins: lags of the neurons' spikes. coupling: False: own spikes only. others: as :class:`LNModel`.
    """

    def __init__(self, *, history_bins: int = 10, coupling: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if history_bins < 1:
            raise ValueError(f"history_bins={history_bins} given; it must be >= 1 (an LNModel has none)")
        self.history_bins, self.coupling = history_bins, coupling

    mask: Tensor

    @property
    def lags(self) -> int:
        return self.history_bins

    def build(self, n_in: int, p_spike: Tensor) -> None:
        super().build(n_in, p_spike)
        n = len(p_spike)
        self.kernel = nn.Parameter(torch.zeros(n, n, self.history_bins))
        mask = torch.ones(n, n, 1) if self.coupling else torch.eye(n)[..., None]
        self.register_buffer("mask", mask)

    def history(self, past: Tensor) -> Tensor:
        return torch.einsum("blm,nml->bn", past, self.kernel * self.mask)

    def _rates(self, windows: Tensor, past: Tensor | None) -> Tensor:
        drive = self.linear(windows)
        return self.link(drive if past is None else drive + self.history(past))

    def _free(self, stimulus: Any, n: int, seed: int) -> tuple[Array, Array]:
        padded = self._prepare(stimulus)
        steps = len(padded) - self.window + 1
        generator = torch.Generator().manual_seed(seed)
        rows = [self.linear(self._windows(padded, part)) for part in torch.arange(steps).split(4096)]  # type: ignore[no-untyped-call]
        drive = torch.cat(rows)
        kernel = (self.kernel * self.mask).permute(2, 1, 0).flatten(0, 1)  # [lags * N, N]
        spikes = np.empty((n, steps, self.n_neurons), dtype=np.uint8)
        mean = np.empty((steps, self.n_neurons))
        past = torch.zeros(n, self.lags, self.n_neurons)
        for t in range(steps):
            rate = self.link(drive[t] + past.flatten(1) @ kernel)
            p = (-torch.expm1(-rate)).clamp(1e-6, 1 - 1e-6)
            y = (torch.rand(p.shape, generator=generator) < p).float()
            spikes[:, t], mean[t] = y.numpy(), p.mean(0).numpy()
            past = torch.cat([past[:, 1:], y[:, None]], dim=1)
        return spikes, mean
