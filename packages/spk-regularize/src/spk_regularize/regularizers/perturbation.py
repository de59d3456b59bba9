"""Penalties of how far a perturbed input moves the potentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from spk_neurons import LIF
from spk_regularize.adapters.base import find_layers
from spk_regularize.adapters.native import Native
from spk_regularize.monitor import LayerTrace
from spk_regularize.regularizers.base import Regularizer, Schedule
from spk_regularize.regularizers.gradient import frozen_norms

__all__ = ["MPPD"]


class MPPD(Regularizer):
    """Membrane-potential perturbation dynamics of the last hidden layer, between x and a perturbed x'.

    eps[t] = decay eps[t-1] + (I[t] - I'[t]);   penalty = mean eps^2 ("l2") or mean |eps| ("l1")

    I is the layer's input current. Args: weight. norm: "l2" (MPPD) or "l1" (its total-variation successor). size: x' is
    ``x_perturbed`` of the context if given, else x + size * random signs, clamped to [0, 1]. layer: name; None: last.
    generator: of the signs; None: torch's.
    Source: arXiv 2405.20694 and its successor, as reported second-hand. One more forward pass; spk-neurons only.
    """

    def __init__(
        self,
        weight: float = 0.1,
        norm: Literal["l1", "l2"] = "l2",
        size: float = 8 / 255,
        layer: str | None = None,
        generator: torch.Generator | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(weight, schedule)
        if norm not in ("l1", "l2"):
            raise ValueError(f"norm={norm!r} is not known; choose 'l1' or 'l2'")
        if not size > 0:
            raise ValueError(f"size={size} given; expected a perturbation > 0")
        self.norm, self.size, self.name, self.generator = norm, size, layer, generator

    def value(self, layers: Sequence[LayerTrace], **context: Any) -> Tensor:
        model, x = context.get("model"), context.get("x")
        if model is None or x is None:
            raise ValueError("MPPD runs the model on two inputs; call it with model=... and x=...")
        found = [layer for layer in find_layers(model) if isinstance(layer.adapter, Native)]
        chosen = [layer for layer in found if self.name in (None, layer.name)]
        if not chosen or not isinstance(chosen[-1].module, LIF):
            raise ValueError(f"MPPD needs an LIF layer of spk-neurons; found {[layer.name for layer in found]}")
        neuron = chosen[-1].module
        other = context.get("x_perturbed")
        if other is None:
            signs = torch.randint(0, 2, x.shape, generator=self.generator).to(x) * 2 - 1
            other = (x + self.size * signs).clamp(0, 1)
        currents: list[Tensor] = []
        handle = neuron.register_forward_pre_hook(lambda _, args: currents.append(args[0]))
        try:
            with frozen_norms(model):
                model(x.detach())
                model(other.detach())
        finally:
            handle.remove()
        half = len(currents) // 2
        first, second = torch.cat(currents[:half]), torch.cat(currents[half:])
        decay = neuron.numbers()["decay"]
        eps, total = torch.zeros_like(first[0]), []
        for difference in first - second:
            eps = decay * eps + difference
            total.append(eps)
        moved = torch.stack(total)
        return moved.square().mean() if self.norm == "l2" else moved.abs().mean()
