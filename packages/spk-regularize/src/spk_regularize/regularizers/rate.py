"""Penalties of how much a network fires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spk_regularize.monitor import LayerTrace
from spk_regularize.regularizers.base import Regularizer, Schedule

__all__ = ["RateFloor", "SpikeRate", "SynapticOps"]


class SpikeRate(Regularizer):
    """Hold the firing rate (spikes per neuron and step) of each layer.

    Args:
        weight. target: (rate - target)^2 per layer; or, instead,
        lower, upper: hinges per neuron, mean of max(0, lower - rate)^2 + max(0, rate - upper)^2.
    Raises: ValueError: neither or both ways given, or rates outside [0, 1].
    """

    needs = ("spikes",)

    def __init__(
        self,
        weight: float = 1.0,
        target: float | None = None,
        lower: float | None = None,
        upper: float | None = None,
    ) -> None:
        super().__init__(weight)
        if (target is None) == (lower is None and upper is None):
            raise ValueError(f"target={target}, lower={lower}, upper={upper} given; expected a target, or bounds")
        for name, value in (("target", target), ("lower", lower), ("upper", upper)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name}={value} given; a rate per step lies in [0, 1]")
        self.target, self.lower, self.upper = target, lower, upper

    def layer(self, trace: LayerTrace) -> Tensor:
        spikes = trace.fired.float()
        if self.target is not None:
            return (spikes.mean() - self.target).square()
        rate = spikes.mean(dim=(0, 1))
        low = 0.0 if self.lower is None else (self.lower - rate).clamp_min(0).square().mean()
        high = 0.0 if self.upper is None else (rate - self.upper).clamp_min(0).square().mean()
        return torch.as_tensor(low + high, device=spikes.device)


class RateFloor(Regularizer):
    """Keep layers from falling silent: max(0, floor - mean sigmoid(x / softness))^2 per layer.

    Args: weight: 30 in the study behind it. floor: least (soft) rate, in [0, 1]. softness: of the count, > 0: it passes
    a gradient to neurons far from the window, where the spikes themselves pass none. Our own.
    """

    needs = ("potentials",)

    def __init__(
        self, floor: float = 0.24, weight: float = 30.0, softness: float = 0.25, schedule: Schedule | None = None
    ) -> None:
        super().__init__(weight, schedule)
        if not 0 <= floor <= 1:
            raise ValueError(f"floor={floor} given; a rate per step lies in [0, 1]")
        if not softness > 0:
            raise ValueError(f"softness={softness} given; expected > 0")
        self.floor, self.softness = floor, softness

    def layer(self, trace: LayerTrace) -> Tensor:
        rate = torch.sigmoid(trace.potentials.float() / self.softness).mean()
        return (self.floor - rate).clamp_min(0).square()


class SynapticOps(Regularizer):
    """Spikes times fan-out, summed over layers, per sample and divided by a million: a proxy of energy.

    Args: weight. The fan-out of a layer is that of the next Linear or convolution by module order, away from borders
    (out channels x kernel size / stride / groups); ``spk_neurons.synops`` counts exactly, without a gradient.
    """

    needs = ("spikes",)

    def value(self, layers: Sequence[LayerTrace], **context: Any) -> Tensor:
        model = context.get("model")
        if model is None:
            raise ValueError("SynapticOps reads the weights behind each layer; call it with model=...")
        fans = _fans(model)
        total = [trace.fired.float().sum() / trace.fired.shape[1] * fans.get(trace.name, 0.0) for trace in layers]
        return torch.stack(total).sum() / 1e6


def _fans(model: nn.Module) -> dict[str, float]:
    fans: dict[str, float] = {}
    waiting: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            fan = float(module.out_features)
        elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            kernel, stride = torch.tensor(module.kernel_size), torch.tensor(module.stride)
            fan = module.out_channels / module.groups * float(kernel.prod()) / float(stride.prod())
        else:
            waiting.append(name)
            continue
        fans.update(dict.fromkeys(waiting, fan))
        waiting = []
    return fans
