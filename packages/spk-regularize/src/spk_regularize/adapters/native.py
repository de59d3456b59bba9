"""spk-neurons: no hidden state; potentials and their statistics come from its own recording."""

from __future__ import annotations

from torch import Tensor, nn

from spk_neurons import LI, LIF, CuBaLIF, Neuron
from spk_regularize.adapters.base import Adapter
from spk_regularize.windows import half_width

__all__ = ["Native"]


class Native(Adapter):
    """Neurons of spk-neurons that fire; the readout ``LI`` and the shell ``Recurrent`` are none."""

    library = "spk-neurons"

    def matches(self, module: nn.Module) -> bool:
        return isinstance(module, Neuron) and not isinstance(module, LI) and hasattr(module, "surrogate")

    def half_width(self, module: nn.Module) -> float:
        return half_width(module.surrogate)  # type: ignore[arg-type]

    def threshold(self, module: nn.Module) -> float | Tensor:
        value = getattr(module, "threshold", 1.0)
        return value if isinstance(value, Tensor) else float(value)

    @staticmethod
    def check_potentials(module: nn.Module) -> None:
        """ValueError unless the distance of its potentials from the threshold can be recorded."""
        if not isinstance(module, (LIF, CuBaLIF)):
            raise ValueError(
                f"{type(module).__name__} has no potentials, or a threshold that moves, and is watched by its spikes "
                "alone; use LIF, IF, PLIF, NoisyLIF or CuBaLIF, or watch the other layers with layers=[...]"
            )
