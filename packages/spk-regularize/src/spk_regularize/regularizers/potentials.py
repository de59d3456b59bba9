"""Other penalties of the potentials' distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from spk_regularize.monitor import LayerTrace
from spk_regularize.regularizers.base import Regularizer, Schedule

__all__ = ["IMLoss", "RMPLoss", "ThresholdGuard"]


class ThresholdGuard(Regularizer):
    """Keep potentials away from the threshold: mean max(0, delta - |x|).

    Args: weight: lambda at the end; it grows along a cosine over the whole training. delta: the guarded distance, > 0.
    Source: the membrane constraint of TGO, arXiv 2602.20548, as reported second-hand. Its companion, noise on the
    potential in training, is ``spk_neurons.NoisyLIF(deterministic_eval=True)``.
    """

    needs = ("potentials",)

    def __init__(self, weight: float = 1.0, delta: float = 0.5, schedule: Schedule | None = None) -> None:
        super().__init__(weight, schedule or Schedule("cosine", 1.0))
        if not delta > 0:
            raise ValueError(f"delta={delta} given; expected a distance > 0 from the threshold")
        self.delta = float(delta)

    def layer(self, trace: LayerTrace) -> Tensor:
        return (self.delta - trace.potentials.float().abs()).clamp_min(0).mean()


class IMLoss(Regularizer):
    """Centre each layer's potential: (mean(u) - target)^2, u = x + V_th.

    Args:
        weight: 0.005 in the published code. target: None is V_th, as in the paper (half of the neurons then fire, if
            the distribution is symmetric); or a number.
        skip_ends: leave the first and the last layer out, as the published code does.
    Source: yfguo91/IM-Loss (which penalises the layer's input where this penalises the potential).
    """

    needs = ("moments",)

    def __init__(self, weight: float = 0.005, target: float | None = None, skip_ends: bool = False) -> None:
        super().__init__(weight)
        self.target, self.skip_ends = target, skip_ends

    def layer(self, trace: LayerTrace) -> Tensor:
        mean = trace.mean.mean()
        if self.target is None:
            return mean.square()
        threshold = torch.as_tensor(trace.threshold, device=mean.device).mean().detach()
        return (mean + threshold - self.target).square()

    def value(self, layers: Sequence[LayerTrace], **context: Any) -> Tensor:
        inner = layers[1:-1] if self.skip_ends else layers
        if not inner:
            raise ValueError(f"skip_ends=True leaves no layer of {len(layers)}; use skip_ends=False")
        return super().value(inner)


class RMPLoss(Regularizer):
    """Pull potentials towards 0 or the threshold: mean min(u^2, (u - V_th)^2), u = x + V_th.

    Args: weight. form: "min", or "product" for u^2 (u - V_th)^2, which is smooth.
    Source: a variant in yfguo91/IM-Loss; the exact polynomial of arXiv 2308.06787 could not be read.
    """

    needs = ("potentials",)

    def __init__(self, weight: float = 0.1, form: Literal["min", "product"] = "min") -> None:
        super().__init__(weight)
        if form not in ("min", "product"):
            raise ValueError(f"form={form!r} is not known; choose 'min' or 'product'")
        self.form = form

    def layer(self, trace: LayerTrace) -> Tensor:
        x = trace.potentials.float()
        low, high = (x + trace.threshold).square(), x.square()
        return (torch.minimum(low, high) if self.form == "min" else low * high).mean()
