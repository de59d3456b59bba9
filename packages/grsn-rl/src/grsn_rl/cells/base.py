"""What spiking memories share: the signature of ``torch.nn.GRU``, one state tensor, masks, layers, readout."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from grsn_rl._checks import check_keep, check_state, choice, fraction, positive, whole
from grsn_rl.cells import _steps
from grsn_rl.cells._sequence import BACKENDS

__all__ = ["SpikingMemory"]

Readout = Literal["spike", "membrane", "trace"]
Reset = Literal["soft", "hard"]
ALPHA = 2.0


class SpikingMemory(nn.Module):
    """What :class:`GRSN` and :class:`LIFRecurrent` share: shapes, layers, state, masks, readout. Not used directly."""

    #: parts of the state, H wide each
    parts: tuple[str, ...] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        *,
        threshold: float,
        decay: float,
        learn_decay: bool,
        reset: str,
        surrogate: str,
        alpha: float,
        substeps: int,
        readout: str,
        inter_layer: str,
        detach_reset: bool,
        gain: float,
        backend: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        if bidirectional:
            raise ValueError(
                "bidirectional=True given; an agent's memory runs forward only: it acts before it has a future"
            )
        self.input_size, self.hidden_size = whole("input_size", input_size), whole("hidden_size", hidden_size)
        self.num_layers, self.bias, self.batch_first = whole("num_layers", num_layers), bool(bias), bool(batch_first)
        self.dropout = fraction("dropout", dropout, low_open=False)
        self.threshold, self.alpha = positive("threshold", threshold), positive("alpha", alpha)
        self.decay0, self.learn_decay = fraction("decay", decay), bool(learn_decay)
        self.reset = choice("reset", reset, _steps.RESETS)
        self.surrogate = choice("surrogate", surrogate, tuple(_steps.SURROGATES))
        self.substeps = whole("substeps", substeps)
        self.readout = choice("readout", readout, ("spike", "membrane", "trace"))
        self.inter_layer = choice("inter_layer", inter_layer, ("spike", "current"))
        self.detach_reset, self.gain = bool(detach_reset), positive("gain", gain)
        self.backend = choice("backend", backend, BACKENDS)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        for layer in range(self.num_layers):
            self._make_layer(layer, self.input_size if layer == 0 else self.hidden_size, factory)
            logit = torch.full((self.hidden_size,), math.log(self.decay0 / (1 - self.decay0)), **factory)
            if self.learn_decay:
                self.register_parameter(f"decay_logit_l{layer}", nn.Parameter(logit))
            else:
                self.register_buffer(f"decay_logit_l{layer}", logit)
        self.reset_parameters()

    # what a subclass defines

    def _make_layer(self, layer: int, width: int, factory: dict[str, Any]) -> None:
        raise NotImplementedError

    def _sequence(
        self, layer: int, x: Tensor, state: tuple[Tensor, ...], keep: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Spikes, membranes, currents [T, B, H] (the last two only where asked for) and the new state."""
        raise NotImplementedError

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Each gate's matrix orthogonal with ``gain``, biases zero, decays as given."""
        for name, p in self.named_parameters():
            if name.startswith("weight"):
                for matrix in p.chunk(len(p) // self.hidden_size):
                    nn.init.orthogonal_(matrix, self.gain)
            elif name.startswith("bias"):
                p.zero_()
            elif name.startswith("decay"):
                p.fill_(math.log(self.decay0 / (1 - self.decay0)))

    # shared behaviour

    @property
    def state_size(self) -> int:
        """Numbers of state per layer and batch row."""
        return len(self.parts) * self.hidden_size

    @property
    def _full(self) -> bool:
        return self.readout != "spike" or (self.inter_layer == "current" and self.num_layers > 1)

    def _new(self, name: str, rows: int, width: int | None, factory: dict[str, Any]) -> None:
        shape = (rows,) if width is None else (rows, width)
        self.register_parameter(name, nn.Parameter(torch.empty(shape, **factory)))

    def _get(self, name: str, layer: int) -> Tensor:
        tensor: Tensor = getattr(self, f"{name}_l{layer}")
        return tensor

    def decay(self, layer: int = 0) -> Tensor:
        """Leak of the membrane per step, in (0, 1), one per neuron: [H]."""
        return self._get("decay_logit", layer).sigmoid()

    def spikes(self, out: Tensor, state: Tensor) -> Tensor:
        """Spikes [B, H] of the last step, from what :meth:`forward` returned [T, B, H] and its state [L, B, S].

        With substeps, their mean; with another readout than "spike", those of the last substep.
        """
        return out[-1] if self.readout == "spike" else state[-1, :, -self.hidden_size :]

    def init_state(self, batch: int | None) -> Tensor:
        """Zero state: [L, batch, S], or [L, S] for ``batch=None`` (unbatched input)."""
        like = self._get("decay_logit", 0)
        shape = (self.num_layers, self.state_size) if batch is None else (self.num_layers, batch, self.state_size)
        return like.new_zeros(shape)

    def _gates(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """[T, B, I] to pre-activations [G, T, B, H] in one matrix product."""
        hidden = self.hidden_size
        if x.is_cuda or self.backend == "triton":  # the kernels there take gates that lie side by side
            return (
                nn.functional.linear(x, weight, bias)
                .view(*x.shape[:2], len(weight) // hidden, hidden)
                .permute(2, 0, 1, 3)
            )
        steps, batch, width = x.shape
        stacked = weight.view(-1, hidden, width).transpose(1, 2)
        gates = stacked.shape[0]
        rows = x.reshape(1, steps * batch, width).expand(gates, -1, -1)
        z = torch.bmm(rows, stacked) if bias is None else torch.baddbmm(bias.view(gates, 1, hidden), rows, stacked)
        return z.view(gates, steps, batch, hidden)

    def forward(self, x: Tensor, state: Tensor | None = None, *, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run over a sequence.

        Args:
            x: [T, B, I], or [B, T, I] with ``batch_first``, or unbatched [T, I]; float.
            state: [L, B, S] as returned ([L, S] unbatched); None starts from zero.
            keep: bool or float [T, B] ([T] unbatched; [B, T] with ``batch_first``): 0 where an episode starts at that
                step, so that what was before is forgotten; else 1.
        Returns:
            out, like x with H in place of I: spikes in {0, 1} (with substeps K, multiples of 1/K), or the chosen
            readout; and the new state. Both as ``torch.nn.GRU`` returns them.
        Raises:
            ValueError: a shape, device or mask that does not fit. TypeError: not a float tensor.
        """
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{type(self).__name__} takes a tensor, got {type(x).__name__}; pass padded ones with keep= instead"
            )
        if not x.is_floating_point():
            raise TypeError(f"{type(self).__name__} takes float input, got {x.dtype}; convert it with x.float()")
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__} with input_size={self.input_size} takes [T, B, {self.input_size}] or "
                f"[T, {self.input_size}], got {tuple(x.shape)}"
            )
        single = x.dim() == 2
        if single:
            x = x[:, None]
        elif self.batch_first:
            x = x.transpose(0, 1)
        batch = x.shape[1]
        like = self._get("decay_logit", 0)
        dtype = like.dtype
        if state is None:
            state = self.init_state(batch)
        else:
            check_state(type(self).__name__, state, (self.num_layers, batch, self.state_size), like.device, single)
            state = state[:, None] if single else state
        if keep is not None:
            keep = check_keep(keep, x.shape[0], batch, single, self.batch_first and not single, x.device)
        if x.dtype != dtype:
            x = x.to(dtype)
        if state.dtype != dtype:
            state = state.to(dtype)
        if torch.is_autocast_enabled(x.device.type):
            # a membrane in half precision loses its spikes
            with torch.autocast(x.device.type, enabled=False):
                out, state = self._layers(x, state, keep)
        else:
            out, state = self._layers(x, state, keep)
        if single:
            return out[:, 0], state[:, 0]
        return (out.transpose(0, 1) if self.batch_first else out), state

    def _layers(self, x: Tensor, state: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        steps, k = x.shape[0], self.substeps
        if k > 1 and keep is not None:
            # only the first substep of an environment step may forget
            late = torch.ones_like(keep)
            keep = torch.stack([keep, *[late] * (k - 1)], 1).flatten(0, 1)
        new: list[Tensor] = []
        below = x
        for layer in range(self.num_layers):
            before = state[layer].chunk(len(self.parts), -1)
            spikes, membrane, current, after = self._sequence(layer, below, before, keep)
            new.append(torch.cat(after, -1))
            below = current if self.inter_layer == "current" and layer + 1 < self.num_layers else spikes
            if self.dropout and self.training and layer + 1 < self.num_layers:
                below = nn.functional.dropout(below, self.dropout)
        out = {"spike": spikes, "membrane": membrane, "trace": current}[self.readout]
        if k > 1:
            out = out.view(steps, k, *out.shape[1:]).mean(1)
        return out, torch.stack(new) if len(new) > 1 else new[0][None]

    def extra_repr(self) -> str:
        words = [f"{self.input_size}, {self.hidden_size}"]
        words += [
            f"{name}={getattr(self, name)!r}"
            for name, usual in (
                ("num_layers", 1), ("gate", "input"), ("reset", "soft"), ("substeps", 1), ("readout", "spike"),
                ("feedback", False),
            )
            if getattr(self, name, usual) != usual
        ]  # fmt: skip
        return ", ".join(words)

    def _repeat(self, z: Tensor, layer: int) -> Tensor:
        # the substeps of an environment step see the same input; layers above run at the substeps already
        return z.repeat_interleave(self.substeps, 1) if self.substeps > 1 and layer == 0 else z
