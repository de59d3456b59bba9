"""The shortest path from a call to a compiled kernel: numbers as parameters, spikes asked for, nothing traced.

An operator call costs a few hundred microseconds of bookkeeping, a kernel on a few neurons costs one. Closed loops
(one step per environment step) and short sequences come through here, with or without gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from spk_neurons._kernels.op import transforming
from spk_neurons._kernels.problem import NONE, Rule

RECTANGLE = 1


def applies(x: Tensor, v0: Tensor | float, backend: str, rule: Rule, numbers: tuple[Any, ...]) -> bool:
    """True if plain CPU tensors and Python numbers say it all."""
    if backend != "numba" or type(x) not in (Tensor, Parameter) or x.dtype not in (torch.float32, torch.float64):
        return False
    if (
        type(v0) not in (float, Tensor)
        or any(type(p) is not float for p in numbers)
        or transforming()
        or torch._C._len_torch_dispatch_stack()
    ):
        return False
    # with a Rectangle and a detached reset the operator saves two bits per step instead of x
    two_bits = rule.kind == RECTANGLE and (rule.detach or rule.reset == NONE)
    return not (two_bits and torch.is_grad_enabled() and x.requires_grad)


class _Direct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, v0: Tensor | float, numbers: Any, rule: Rule) -> tuple[Tensor, Tensor]:
        from spk_neurons._kernels import cpu

        ctx.set_materialize_grads(False)
        given = isinstance(v0, Tensor)
        ctx.save_for_backward(x, v0 if given else None)
        ctx.start, ctx.numbers, ctx.rule = None if given else v0, numbers, rule
        return cpu.spikes(x, v0, numbers, rule)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gs: Tensor | None, gv: Tensor | None) -> tuple[Tensor | None, ...]:
        from spk_neurons._kernels import cpu

        x, v0 = ctx.saved_tensors
        if gs is None:
            gs = torch.zeros_like(x)
        gx, gv0 = cpu.adjoint(x, ctx.start if v0 is None else v0, gs, gv, ctx.numbers, ctx.rule)
        return gx, None if v0 is None else gv0, None, None


def run(x: Tensor, v0: Tensor | float, numbers: Any, rule: Rule) -> tuple[Tensor, Tensor]:
    """Spikes like x [T, *S] and the last state [*S], differentiable in x and v0 (a number: the state everywhere)."""
    if torch.is_grad_enabled() and (x.requires_grad or (isinstance(v0, Tensor) and v0.requires_grad)):
        return _Direct.apply(x, v0, numbers, rule)  # type: ignore[no-any-return,no-untyped-call]
    from spk_neurons._kernels import cpu

    return cpu.spikes(x, v0, numbers, rule)
