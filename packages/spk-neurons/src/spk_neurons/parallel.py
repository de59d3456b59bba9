"""Parallel spiking neurons: no reset, so all time steps are one matrix product (Fang et al. 2023, "PSN")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons._kernels.problem import compute_dtype
from spk_neurons._kernels.reference import spike
from spk_neurons.neurons import Neuron
from spk_neurons.state import PSNState
from spk_neurons.surrogate import ATan, Surrogate

__all__ = ["PSN", "MaskedPSN", "SlidingPSN"]


class PSN(Neuron):
    """h = W x over time, s = [h + b >= 0] with a T x T weight and one bias (minus threshold) per step.

    Args:
        T: number of steps, fixed. surrogate: default ATan().
    Raises (at a call):
        ValueError: x has another number of steps; a state is given or one step asked for (every output sees all steps).
    """

    def __init__(self, T: int, surrogate: Surrogate | None = None) -> None:
        super().__init__()
        if T < 1:
            raise ValueError(f"T={T} given; a parallel neuron needs at least one step")
        self.T, self.surrogate = T, surrogate or ATan()
        self.weight = nn.Parameter(torch.empty(T, T))
        self.bias = nn.Parameter(torch.full((T, 1), -1.0))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def effective_weight(self) -> Tensor:
        """The matrix that multiplies time, [T, T]."""
        return self.weight

    def initial_state(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> None:
        """None: the neuron has no state."""

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Not defined: the neuron needs all steps at once. Raises ValueError."""
        raise ValueError(
            f"{type(self).__name__} needs all {self.T} steps at once; use SlidingPSN for one step at a time"
        )

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if state is not None:
            raise ValueError(f"{type(self).__name__} has no state; call it with state=None")
        if x.shape[0] != self.T:
            raise ValueError(f"x has {x.shape[0]} steps but this {type(self).__name__} was made for T={self.T}")
        h = torch.addmm(self.bias, self.effective_weight(), x.reshape(self.T, -1).to(self.weight.dtype))
        return spike(h, self.surrogate).reshape(x.shape).to(x.dtype), None

    def extra_repr(self) -> str:
        return f"T={self.T}, surrogate={self.surrogate!r}"


class MaskedPSN(PSN):
    """PSN that sees only the last ``order`` steps: causal, W masked to a band below the diagonal.

    Args: order: 1..T. T, surrogate: as :class:`PSN`.
    The attribute ``blend`` in [0, 1] says how much of the mask applies (default 1); training may raise it from 0.
    """

    mask: Tensor

    def __init__(self, order: int, T: int, surrogate: Surrogate | None = None) -> None:
        super().__init__(T, surrogate)
        if not 1 <= order <= T:
            raise ValueError(f"order={order} given; expected 1 <= order <= T={T}")
        self.order, self.blend = order, 1.0
        lag = torch.arange(T)[:, None] - torch.arange(T)[None, :]
        self.register_buffer("mask", ((lag >= 0) & (lag < order)).float(), persistent=False)

    def effective_weight(self) -> Tensor:
        """The masked matrix, [T, T]."""
        return self.weight * (self.blend * self.mask + (1 - self.blend))


class SlidingPSN(Neuron):
    """h[t] = sum_i w[i] x[t - order + 1 + i] + b: one short filter for all steps, so any T, and streaming.

    Args: order: number of taps, >= 1. surrogate: default ATan(). The state is the last ``order - 1`` inputs.
    """

    def __init__(self, order: int = 2, surrogate: Surrogate | None = None) -> None:
        super().__init__()
        if order < 1:
            raise ValueError(f"order={order} given; expected at least 1")
        self.order, self.surrogate = order, surrogate or ATan()
        self.weight = nn.Parameter(2.0 ** torch.arange(-order + 1.0, 1.0))
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def initial_state(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> PSNState:
        """Silence before the first step, [order - 1, *S]."""
        return PSNState(torch.zeros((self.order - 1, *shape), dtype=compute_dtype(dtype), device=device))

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, PSNState]:
        if state is None:
            state = self.initial_state(x.shape[1:], x.dtype, x.device)
        past = state.x
        if past.shape != (self.order - 1, *x.shape[1:]):
            raise ValueError(
                f"state 'x' has shape {tuple(past.shape)} but x wants {(self.order - 1, *x.shape[1:])}; pass "
                "state=None to start fresh"
            )
        steps = x.shape[0]
        line = torch.cat([past, x.to(past.dtype)])
        last = PSNState(line[steps:].clone())
        if steps == 0:
            return x.clone(), last
        # a T x (T + order - 1) band: one matrix product over time
        band = x.new_zeros((steps, steps + self.order - 1), dtype=self.weight.dtype)
        lag = (
            torch.arange(steps + self.order - 1, device=x.device)[None, :]
            - torch.arange(steps, device=x.device)[:, None]
        )
        inside = (lag >= 0) & (lag < self.order)
        band = torch.where(inside, self.weight[lag.clamp(0, self.order - 1)], band)
        h = band @ line.reshape(steps + self.order - 1, -1).to(band.dtype) + self.bias
        return spike(h, self.surrogate).reshape(x.shape).to(x.dtype), last

    def extra_repr(self) -> str:
        return f"order={self.order}, surrogate={self.surrogate!r}"
