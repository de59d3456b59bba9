"""Gated recurrent spiking neurons.

One spiking update per call step, state in and out: the layer is the agent's memory. Method: GRSN and the temporal
alignment paradigm (arXiv 2404.15597); where the sources disagree about the gates' input, ``gate`` offers each reading.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from grsn_rl._checks import choice
from grsn_rl.cells import _steps
from grsn_rl.cells._sequence import one_step, plain, run
from grsn_rl.cells.base import ALPHA, Readout, Reset, SpikingMemory
from spk_neurons.scan import Cell

__all__ = ["GRSN", "GRSNCell"]

Gate = Literal["input", "spike", "input+spike"]


class GRSN(SpikingMemory):
    """Gated recurrent spiking neurons where ``nn.GRU`` was: ``out, state = GRSN(48, 128)(x, state)``.

    Per step, with z the gates' input (see ``gate``), elementwise over H neurons:

        f = sigmoid(W_f z + b_f);  i = relu(W_i z + b_i);  c' = f c + (1 - f) i
        h = decay v + (1 - decay) c';  o = [h >= threshold];  v' = h - threshold o  (reset="soft")

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional: as in ``nn.GRU``; the last must
            be False.
        gate: "input": z is the layer's input (the released code; cheapest, and the default). "input+spike": also the
            neurons' own last spikes. "spike": z is the last spikes alone, and the input is added to the current.
        threshold: firing threshold, > 0. decay: the leak at the start, in (0, 1). learn_decay: one learnable leak per
            neuron (``sigmoid(decay_logit)``), or a constant.
        reset: "soft" subtracts the threshold, "hard" sets to zero. detach_reset: no gradient through the reset.
        surrogate: "atan", "sigmoid", "fast_sigmoid", "triangle", "rectangle", "superspike". alpha: its parameter.
        substeps: spiking updates per step of the input; 1 is the temporal alignment paradigm, more is the ablation
            without it: the output is then the mean over the substeps.
        readout: "spike"; "membrane", h before the reset; "trace", the gated current c'.
        inter_layer: what the next layer sees: "spike", or "current" as in the released code.
        gain: of the orthogonal start of each gate's matrix; forget_bias: start of b_f.
        backend: "auto"; "numba", compiled for the CPU; "triton", for the GPU; "torch", any device; "reference", a loop
            with autograd.
        device, dtype: of the parameters.
    State: [L, B, 3H]: v, c, o side by side; any indexing of a GRU's state works on it.
    Raises:
        ValueError: an argument out of its range; the message names it.
    Source: arXiv 2404.15597 and its released code; docs/grsn-rl/guide.md lists what each says.
    Example:
        >>> out, state = GRSN(4, 8)(torch.rand(5, 2, 4))
        >>> out.shape, state.shape
        (torch.Size([5, 2, 8]), torch.Size([1, 2, 24]))
    """

    parts = ("v", "c", "o")

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
        gate: Gate = "input",
        threshold: float = 1.0,
        decay: float = 0.5,
        learn_decay: bool = True,
        reset: Reset = "soft",
        surrogate: str = "atan",
        alpha: float = ALPHA,
        substeps: int = 1,
        readout: Readout = "spike",
        inter_layer: Literal["spike", "current"] = "spike",
        detach_reset: bool = False,
        gain: float = 2.0,
        forget_bias: float = 0.0,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.gate = choice("gate", gate, ("input", "spike", "input+spike"))
        self.forget_bias = float(forget_bias)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            threshold=threshold, decay=decay, learn_decay=learn_decay, reset=reset, surrogate=surrogate, alpha=alpha,
            substeps=substeps, readout=readout, inter_layer=inter_layer, detach_reset=detach_reset, gain=gain,
            backend=backend, device=device, dtype=dtype,
        )  # fmt: skip

    def _make_layer(self, layer: int, width: int, factory: dict[str, Any]) -> None:
        inputs = self.hidden_size if self.gate == "spike" else 2 * self.hidden_size
        self._new(f"weight_ih_l{layer}", inputs, width, factory)
        if self.bias:
            self._new(f"bias_ih_l{layer}", inputs, None, factory)
        if self.gate != "input":
            self._new(f"weight_hh_l{layer}", 2 * self.hidden_size, self.hidden_size, factory)
        if self.gate == "spike" and self.bias:
            self._new(f"bias_hh_l{layer}", 2 * self.hidden_size, None, factory)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Each gate's matrix orthogonal with ``gain``, biases zero but the forget gate's, decays as given."""
        super().reset_parameters()
        for layer in range(self.num_layers if self.bias else 0):
            self._get("bias_hh" if self.gate == "spike" else "bias_ih", layer)[: self.hidden_size] = self.forget_bias

    def forward(self, x: Tensor, state: Tensor | None = None, *, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As :meth:`SpikingMemory.forward`; one acting step takes a short way to the same kernel."""
        if state is not None and not torch.is_grad_enabled() and self._acts(x, state, keep):
            own = self._parameters
            z = nn.functional.linear(x[0], own["weight_ih_l0"], own.get("bias_ih_l0"))  # type: ignore[arg-type]
            return one_step(self._cell(), z, state, self.decay(), keep, self.threshold, self.alpha)
        return super().forward(x, state, keep=keep)

    def _acts(self, x: Tensor, state: Tensor, keep: Tensor | None) -> bool:
        """Whether this is one step of the usual cell on plain tensors that fit; what does not fit is told elsewhere."""
        return (
            self.gate == "input"
            and self.readout == "spike"
            and self.num_layers == self.substeps == 1
            and self.backend in ("auto", "numba")
            and not self.batch_first
            and isinstance(x, Tensor)
            and isinstance(state, Tensor)
            and x.dim() == state.dim() == 3
            and plain(x)
            and x.dtype == state.dtype == self._get("decay_logit", 0).dtype
            and x.shape == (1, state.shape[1], self.input_size)
            and state.shape == (1, x.shape[1], 3 * self.hidden_size)
            and state.device == x.device
            and (keep is None or (keep.shape == x.shape[:2] and keep.device == x.device))
            and not torch.is_autocast_enabled(x.device.type)
        )

    def _cell(self) -> Cell:
        make = _steps.driven if self._full or self.gate == "spike" else _steps.gated
        return make(self.reset == "hard", self.detach_reset, self.surrogate)

    def _sequence(
        self, layer: int, x: Tensor, state: tuple[Tensor, ...], keep: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        v, c, o = state
        cell, decay = self._cell(), self.decay(layer)
        rest = (self.threshold, self.alpha, self.backend)
        z = self._repeat(
            self._gates(x, self._get("weight_ih", layer), self._get("bias_ih", layer) if self.bias else None), layer
        )
        if self.gate == "input":
            if cell.inputs == 3:
                z = torch.cat([z, torch.zeros_like(z[:1])])
            outs, (v, c) = run(cell, z, (v, c), decay, keep, *rest)
            return outs[0], outs[-2 % len(outs)], outs[-1], (v, c, outs[0][-1] if len(outs[0]) else o)
        weight = self._get("weight_hh", layer).view(2, self.hidden_size, self.hidden_size).transpose(1, 2)
        bias = self._get("bias_hh", layer).view(2, 1, -1) if self.gate == "spike" and self.bias else None
        rows: list[tuple[Tensor, ...]] = []
        for t in range(z.shape[1]):
            now = None if keep is None else keep[t : t + 1]
            if now is not None:
                o = o * now[0, :, None]
            back = o.expand(2, *o.shape)
            if self.gate == "spike":
                gates = torch.bmm(back, weight) if bias is None else torch.baddbmm(bias, back, weight)
                step = torch.cat([gates, z[:, t]])
            else:
                step = torch.baddbmm(z[:, t], back, weight)
                if cell.inputs == 3:
                    step = torch.cat([step, torch.zeros_like(step[:1])])
            outs, (v, c) = run(cell, step[:, None], (v, c), decay, now, *rest)
            o = outs[0][0]
            rows.append(outs)
        if not rows:
            empty = x.new_zeros((0, *o.shape))
            return empty, empty, empty, (v, c, o)
        columns = [torch.cat(column) for column in zip(*rows, strict=True)]
        return columns[0], columns[-2 % len(columns)], columns[-1], (v, c, o)


class GRSNCell(GRSN):
    """One step of :class:`GRSN`, for loops that are written out: ``o, state = cell(x, state)``.

    Args:
        input_size, hidden_size, bias: as in ``nn.GRUCell``. Everything after ``*`` of :class:`GRSN` but substeps > 1.
    Shape: x [B, I] or [I]; state [B, 3H] or [3H]; o [B, H] or [H].
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **options: Any) -> None:
        super().__init__(input_size, hidden_size, 1, bias, **options)

    def forward(self, x: Tensor, state: Tensor | None = None, *, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step; keep is [B] or a scalar here. Errors as in :class:`GRSN`."""
        out, new = super().forward(
            x[None], None if state is None else state[None], keep=None if keep is None else keep[None]
        )
        return out[0], new[0]
