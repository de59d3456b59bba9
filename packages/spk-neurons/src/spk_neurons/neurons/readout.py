"""The readout that never fires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spk_neurons import cells
from spk_neurons import functional as F
from spk_neurons._kernels.backends import check_name
from spk_neurons.neurons.base import Neuron, Number, zeros
from spk_neurons.state import LIState

__all__ = ["LI"]


class LI(Neuron):
    """Leaky integrator, a readout that never fires: v[t] = decay v[t-1] + gain x[t], returned as [T, ...].

    Args: tau (default 2) or decay and gain; decay_input, backend as in :class:`LIF`.
    """

    def __init__(
        self,
        tau: Number | None = None,
        *,
        decay_input: bool = True,
        decay: Number | None = None,
        gain: Number | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if tau is not None and decay is not None:
            raise ValueError(f"give tau={tau} or decay={decay}, not both")
        tau = 2.0 if tau is None and decay is None else tau
        F.check_values(tau=tau, decay=decay)
        cells.li()
        for name, value in (("tau", tau), ("decay", decay), ("gain", gain)):
            self.hold(name, value)
        self.decay_input, self.backend = decay_input, check_name(backend)

    tau: Any
    decay: Any
    gain: Any

    def initial_state(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> LIState:
        """v = 0."""
        return LIState(zeros(shape, dtype, device))

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, LIState]:
        v, last = F.li(
            x, state, tau=self.tau, decay=self.decay, gain=self.gain, decay_input=self.decay_input,
            backend=self.backend,
            return_state=True,
        )  # fmt: skip
        if self._recorder is not None:
            self._recorder.put(self, v, F.Output(last, v, v))
        return v, last

    def extra_repr(self) -> str:
        return f"tau={self.tau}" if self.decay is None else f"decay={self.decay}"
