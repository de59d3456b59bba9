"""Plain spiking neurons as a memory: the baseline without gates."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from grsn_rl.cells import _steps
from grsn_rl.cells._sequence import run
from grsn_rl.cells.base import ALPHA, Readout, Reset, SpikingMemory

__all__ = ["LIFRecurrent"]


class LIFRecurrent(SpikingMemory):
    """Leaky integrate-and-fire neurons as a recurrent memory: the baseline without gates.

        h = decay v + (1 - decay) (W x + b);  o = [h >= threshold];  v' = (1 - o) h  (reset="hard", the default here)

    Args:
        feedback: add ``U o`` of the last spikes to the current. Others: as in :class:`GRSN`.
    State: [L, B, 2H]: v, o side by side.
    """

    parts = ("v", "o")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        feedback: bool = False,
        threshold: float = 1.0,
        decay: float = 0.5,
        learn_decay: bool = True,
        reset: Reset = "hard",
        surrogate: str = "atan",
        alpha: float = ALPHA,
        substeps: int = 1,
        readout: Readout = "spike",
        inter_layer: Literal["spike", "current"] = "spike",
        detach_reset: bool = False,
        gain: float = 2.0,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.feedback = bool(feedback)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            threshold=threshold, decay=decay, learn_decay=learn_decay, reset=reset, surrogate=surrogate, alpha=alpha,
            substeps=substeps, readout=readout, inter_layer=inter_layer, detach_reset=detach_reset, gain=gain,
            backend=backend, device=device, dtype=dtype,
        )  # fmt: skip

    def _make_layer(self, layer: int, width: int, factory: dict[str, Any]) -> None:
        self._new(f"weight_ih_l{layer}", self.hidden_size, width, factory)
        if self.bias:
            self._new(f"bias_ih_l{layer}", self.hidden_size, None, factory)
        if self.feedback:
            self._new(f"weight_hh_l{layer}", self.hidden_size, self.hidden_size, factory)

    def _sequence(
        self, layer: int, x: Tensor, state: tuple[Tensor, ...], keep: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        v, o = state
        cell, decay = _steps.leaky(self.reset == "hard", self.detach_reset, self.surrogate), self.decay(layer)
        rest = (self.threshold, self.alpha, self.backend)
        z = self._repeat(
            self._gates(x, self._get("weight_ih", layer), self._get("bias_ih", layer) if self.bias else None), layer
        )
        if not self.feedback:
            (spikes, membrane), (v,) = run(cell, z, (v,), decay, keep, *rest)
            return spikes, membrane, z[0], (v, spikes[-1] if len(spikes) else o)
        weight = self._get("weight_hh", layer).t()
        rows: list[tuple[Tensor, ...]] = []
        for t in range(z.shape[1]):
            now = None if keep is None else keep[t : t + 1]
            if now is not None:
                o = o * now[0, :, None]
            current = torch.addmm(z[0, t], o, weight)
            (spikes, membrane), (v,) = run(cell, current[None, None], (v,), decay, now, *rest)
            o = spikes[0]
            rows.append((spikes, membrane, current[None]))
        if not rows:
            return z[0], z[0], z[0], (v, o)
        columns = [torch.cat(column) for column in zip(*rows, strict=True)]
        return columns[0], columns[1], columns[2], (v, o)
