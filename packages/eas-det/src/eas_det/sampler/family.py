"""The sampler with parts taken away: what each of them brings is an ablation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spk_neurons import Surrogate

from ._parts import Order, check_options, find_surrogate, fire, initialise, time_first
from ._stacks import Stack, fold, stack, unfold

__all__ = ["CountEmbedding", "RSNNEmbedding", "SNNEmbedding"]


class RSNNEmbedding(nn.Module):
    """Gate and recurrence as in ARSNNSampler; the output is the sum of u over all steps, spikes close no interval.

    Args, Raises: as :class:`ARSNNSampler`; the weights of one fit the other.
    """

    def __init__(
        self,
        in_channels: int = 2,
        kernel_size: int = 5,
        depth: int = 2,
        *,
        threshold: float = 1.0,
        v_reset: float | None = 0.0,
        order: Order = "newest_first",
        surrogate: str | Surrogate = "rect",
    ) -> None:
        super().__init__()
        check_options(in_channels, kernel_size, depth, threshold, order)
        self.in_channels, self.threshold, self.v_reset, self.order = in_channels, float(threshold), v_reset, order
        self.surrogate = find_surrogate(surrogate)
        self.conv_in = stack(in_channels, 2 * in_channels, kernel_size, depth)
        self.conv_rec = stack(in_channels, 2 * in_channels, kernel_size, depth)
        initialise(self.conv_in, self.conv_rec)

    def forward(self, counts: Tensor) -> Tensor:
        """[B, T, C, H, W] -> [1, B, C, H, W]."""
        x, folded = fold(time_first(counts, self.in_channels, self.order))
        conv_rec = Stack(self.conv_rec, folded)
        v: Tensor | None = None
        s: Tensor | None = None
        total: Tensor | None = None
        for drive in Stack(self.conv_in, folded).drives(x):
            gate, current = (drive + (conv_rec.silent(drive) if s is None else conv_rec(s))).chunk(2, 1)
            u = current if v is None else torch.addcmul(current, torch.sigmoid(gate), v)
            s = fire(u, self.threshold, self.surrogate)
            v = u - self.threshold * s if self.v_reset is None else u * (1 - s) + self.v_reset * s
            total = u if total is None else total + u
        assert total is not None
        return unfold(total, folded)[None]


class SNNEmbedding(nn.Module):
    """No recurrence and no gate: one learned decay (through a sigmoid, 0.5 at first); the sum of u over all steps.

    Neurons fire and are reset as in ARSNNSampler, which the description of the ablation leaves open: our reading.

    Args, Raises: as :class:`ARSNNSampler`.
    """

    def __init__(
        self,
        in_channels: int = 2,
        kernel_size: int = 5,
        depth: int = 2,
        *,
        threshold: float = 1.0,
        v_reset: float | None = 0.0,
        order: Order = "newest_first",
        surrogate: str | Surrogate = "rect",
    ) -> None:
        super().__init__()
        check_options(in_channels, kernel_size, depth, threshold, order)
        self.in_channels, self.threshold, self.v_reset, self.order = in_channels, float(threshold), v_reset, order
        self.surrogate = find_surrogate(surrogate)
        self.conv_in = stack(in_channels, in_channels, kernel_size, depth)
        self.decay_logit = nn.Parameter(torch.zeros(()))
        initialise(self.conv_in, None)

    @property
    def decay(self) -> Tensor:
        """The leak in (0, 1)."""
        return torch.sigmoid(self.decay_logit)

    def forward(self, counts: Tensor) -> Tensor:
        """[B, T, C, H, W] -> [1, B, C, H, W]."""
        x, folded = fold(time_first(counts, self.in_channels, self.order))
        v: Tensor | None = None
        total: Tensor | None = None
        for current in Stack(self.conv_in, folded).drives(x):
            u = current if v is None else self.decay * v + current
            s = fire(u, self.threshold, self.surrogate)
            v = u - self.threshold * s if self.v_reset is None else u * (1 - s) + self.v_reset * s
            total = u if total is None else total + u
        assert total is not None
        return unfold(total, folded)[None]


class CountEmbedding(nn.Module):
    """The plain event count, the sum over all bins: the baseline without anything learned.

    in_channels: polarities of the counts, which stay the channels of the result.
    """

    def __init__(self, in_channels: int = 2) -> None:
        super().__init__()
        self.in_channels = in_channels

    def forward(self, counts: Tensor) -> Tensor:
        """[B, T, C, H, W] -> [1, B, C, H, W]."""
        return time_first(counts, self.in_channels, "oldest_first").sum(0)[None]
