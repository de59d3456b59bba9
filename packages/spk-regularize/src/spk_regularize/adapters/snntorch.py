"""snnTorch: neurons fire through ``fire(mem)`` and keep ``mem`` and ``syn`` between calls when ``init_hidden``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spk_regularize.adapters.base import FireHook, Hooked
from spk_regularize.windows import measure_half_width

__all__ = ["SnnTorch"]

HIDDEN = ("mem", "syn", "syn_exc", "syn_inh", "spk", "reset", "a", "b")


class SnnTorch(Hooked):
    """Leaky, Synaptic, Alpha, Lapicque, RLeaky ... : all children of snnTorch's SpikingNeuron."""

    library = "snntorch"

    def matches(self, module: nn.Module) -> bool:
        return any(c.__name__ == "SpikingNeuron" and c.__module__.startswith("snntorch") for c in type(module).__mro__)

    def half_width(self, module: nn.Module) -> float:
        return measure_half_width(module.spike_grad)  # type: ignore[arg-type]

    def threshold(self, module: nn.Module) -> float | Tensor:
        value = module.threshold
        return value if isinstance(value, Tensor) and value.numel() > 1 else float(torch.as_tensor(value))

    def reset(self, module: nn.Module) -> None:
        # what a call left: an empty buffer makes the neuron start from zeros of its input's shape
        for name, value in self.snapshot(module).items():
            if isinstance(value, Tensor):
                setattr(module, name, torch.zeros(0, dtype=value.dtype, device=value.device))

    def snapshot(self, module: nn.Module) -> dict[str, Any]:
        return {name: getattr(module, name) for name in HIDDEN if isinstance(getattr(module, name, None), Tensor)}

    def restore(self, module: nn.Module, state: Any) -> None:
        for name, value in state.items():
            setattr(module, name, value)

    @contextmanager
    def fire(self, module: nn.Module, hook: FireHook) -> Iterator[None]:
        if getattr(module, "inhibition", False):
            raise ValueError("snnTorch neurons with inhibition=True fire by rank, not by threshold; turn it off")
        neuron: Any = module
        native = neuron.spike_grad

        # ``fire`` and not ``spike_grad``: the late reset calls the latter once more per step
        def fire(mem: Tensor) -> Tensor:
            quantise: Any = getattr(neuron, "state_quant", False)
            x = (quantise(mem) if quantise else mem) - neuron.threshold
            spikes: Tensor = hook(x, native) * neuron.graded_spikes_factor
            return spikes

        before = module.__dict__.get("fire")
        module.__dict__["fire"] = fire
        try:
            yield
        finally:
            del module.__dict__["fire"]
            if before is not None:
                module.__dict__["fire"] = before
