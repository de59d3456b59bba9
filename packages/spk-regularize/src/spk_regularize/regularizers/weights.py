"""Penalties and projections of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spk_regularize.monitor import LayerTrace
from spk_regularize.regularizers.base import Regularizer

__all__ = ["LipschitzRows", "ParsevalOrtho"]

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _weights(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        if isinstance(module, _WEIGHTED) and module.weight.requires_grad:
            yield module.weight


class ParsevalOrtho(Regularizer):
    """Parseval step after each optimiser step: W <- (1 + beta) W - beta W W^T W, W as (out, rest).

    Args:
        beta: 0.004 (convolutions) to 0.002. share: matrices with at least ``many`` rows take this share of the rows,
            drawn by ``generator``, at a time. It adds nothing to the loss.
    Source: Cisse et al. 2017, as putshua/SNN-RAT applies it.
    """

    def __init__(
        self, beta: float = 0.002, share: float = 0.3, many: int = 200, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(1.0)
        if not 0 < beta < 1:
            raise ValueError(f"beta={beta} given; expected a step in (0, 1)")
        if not 0 < share <= 1:
            raise ValueError(f"share={share} given; expected a share of rows in (0, 1]")
        self.beta, self.share, self.many, self.generator = beta, share, many, generator

    def value(self, layers: Sequence[LayerTrace], **context: Any) -> Tensor:
        return torch.zeros(())

    @torch.no_grad()
    def post_step(self, model: nn.Module) -> None:
        for weight in _weights(model):
            flat = weight.view(weight.shape[0], -1)
            rows = torch.arange(len(flat))
            if len(flat) >= self.many:
                rows = torch.randperm(len(flat), generator=self.generator)[: max(1, round(self.share * len(flat)))]
            w = flat[rows]
            flat[rows] = (1 + self.beta) * w - self.beta * (w @ w.T) @ w


class LipschitzRows(Regularizer):
    """Sum over layers of (max_i sum relu(W_i) + max_i sum relu(-W_i)): what one row can add up at most.

    Args: weight: beta. Source: putshua/SNN-RAT (arsnn_reg).
    """

    def __init__(self, weight: float = 0.004) -> None:
        super().__init__(weight)

    def value(self, layers: Sequence[LayerTrace], **context: Any) -> Tensor:
        model = context.get("model")
        if model is None:
            raise ValueError("LipschitzRows reads the weights; call it with model=...")
        flats = [weight.flatten(1) for weight in _weights(model)]
        if not flats:
            raise ValueError(f"{type(model).__name__} has no trainable Linear or Conv layer")
        return torch.stack([w.relu().sum(1).max() + (-w).relu().sum(1).max() for w in flats]).sum()
