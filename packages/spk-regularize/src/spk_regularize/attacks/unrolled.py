"""Back through a layer of LIF neurons along a derivative that an attack gives, at the cost of a native pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons import IF, LIF, record

__all__ = ["Unrolled", "plain_numbers", "potentials"]


class Unrolled(torch.autograd.Function):
    """LIF of spk-neurons over time with phi given: the compiled forward pass, and the adjoint of its transition."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, s: Tensor, h: Tensor, phi: Tensor, module: nn.Module, numbers: Any) -> Tensor:
        ctx.save_for_backward(s, h, phi)
        ctx.numbers, ctx.reset, ctx.through = numbers, module.reset, not module.detach_reset
        return s

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        s, h, phi = ctx.saved_tensors
        decay, gain, level = ctx.numbers
        out = torch.empty_like(grad)
        carry = None
        for t in range(len(grad) - 1, -1, -1):
            g = grad[t]
            if carry is not None and ctx.through and ctx.reset != "none":
                # dv/ds, the reset's jump
                g = g + carry * (level - h[t]) if ctx.reset == "hard" else g - level * carry
            e = g * phi[t]
            if carry is not None:
                e += carry * (1 - s[t]) if ctx.reset == "hard" else carry
            torch.mul(e, gain, out=out[t])
            carry = e.mul_(decay)
        return out, None, None, None, None, None


def plain_numbers(module: Any) -> tuple[float, float, float] | None:
    """(decay, gain, level of the reset) of a LIF neuron whose numbers are numbers, else None."""
    if type(module) not in (LIF, IF):
        return None
    n = module.numbers()
    level = module.v_reset if module.reset == "hard" else n["threshold"] if n["amount"] is None else n["amount"]
    given = (n["decay"], n["gain"], level)
    return None if any(isinstance(v, Tensor) for v in (*given, n["threshold"], n["bias"])) else given


def potentials(module: nn.Module, native: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Spikes and the potentials before the reset, [T, B, ...], of one call; None where a monitor watches the layer."""
    with ExitStack() as stack:
        try:
            seen = stack.enter_context(record(module, "s", "h"))
        except ValueError:
            return None
        native(x)
    row = seen[""]
    assert row.s is not None
    assert row.h is not None
    return row.s, row.h
