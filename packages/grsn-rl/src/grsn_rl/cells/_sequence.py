"""A cell over a sequence: the compiled kernels called directly where nothing but plain CPU tensors is involved.

A registered operator costs more bookkeeping than a whole GRU step, and reinforcement learning takes one step at a time.
Acting, training and evaluation all end in the same kernel, so that they compute the same numbers.
"""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spk_neurons.scan import Cell

BACKENDS = ("auto", "reference", "torch", "numba", "triton")
Array = np.ndarray[Any, Any]


def plain(x: Tensor) -> bool:
    """True where the kernels can be called directly: a CPU tensor that nothing traces."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not torch.compiler.is_compiling()


@lru_cache(maxsize=64)
def _constant(value: float, n: int, double: bool) -> Array:
    row = np.full((1, n), value, np.float64 if double else np.float32)
    row.flags.writeable = True  # kernels take arrays of one kind; none of them writes here
    return row


def _params(z: Tensor, decay: Tensor, keep: Tensor | None, theta: float, alpha: float) -> tuple[Array, ...]:
    _, steps, batch, hidden = z.shape
    n, double = batch * hidden, z.dtype == torch.float64
    if keep is None:
        rows = _constant(1.0, n, double)
    else:
        rows = keep.to(z.dtype)[:, :, None].expand(steps, batch, hidden).reshape(steps, n).numpy()
    leak = decay.detach().expand(batch, hidden).reshape(1, n).numpy()
    return leak, rows, _constant(theta, n, double), _constant(alpha, n, double)


def _flat(t: Tensor, n: int) -> Array:
    array: Array = t.detach().reshape(-1, n).contiguous().numpy()
    return array


def _forward(
    cell: Cell, z: Tensor, states: tuple[Tensor, ...], params: tuple[Array, ...]
) -> tuple[list[Tensor], list[Tensor]]:
    gates, steps, batch, hidden = z.shape
    n = batch * hidden
    last = [s.detach().clone(memory_format=torch.contiguous_format) for s in states]
    outs = [torch.empty((steps, batch, hidden), dtype=z.dtype) for _ in range(cell.outputs)]
    x = z.detach().reshape(gates, steps, n).numpy()
    if steps and n:
        kernel = cell.compiled()[0]
        kernel(*x, *(s.view(n).numpy() for s in last), *params, *(o.view(steps, n).numpy() for o in outs), steps, 0, n)
    return outs, last


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: Cell, keep: Tensor | None, theta: float, alpha: float, z: Tensor, decay: Tensor, *states: Tensor
    ) -> tuple[Tensor, ...]:
        z = z.contiguous()
        outs, last = _forward(cell, z, states, _params(z, decay, keep, theta, alpha))
        ctx.save_for_backward(z, decay, keep, *states)
        ctx.rest = cell, theta, alpha
        return (*outs, *last)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cell, theta, alpha = ctx.rest
        z, decay, keep, *states = ctx.saved_tensors
        gates, steps, batch, hidden = z.shape
        n = batch * hidden
        params = _params(z, decay, keep, theta, alpha)
        go = [_flat(g, n) for g in grads[: cell.outputs]]
        carry = [g.clone(memory_format=torch.contiguous_format) for g in grads[cell.outputs :]]
        gz = torch.empty_like(z)
        gp = [np.zeros(p.shape, p.dtype) for p in params]
        if steps and n:
            cell.compiled()[1](
                *z.view(gates, steps, n).numpy(), *(s.reshape(n).numpy() for s in states), *params, *go,
                *(c.view(n).numpy() for c in carry), *gz.view(gates, steps, n).numpy(), *gp, steps, 0, n,
            )  # fmt: skip
        g_decay = torch.from_numpy(gp[0].reshape(batch, hidden).sum(0)) if ctx.needs_input_grad[5] else None
        return None, None, None, None, gz, g_decay, *carry


def _no_triton(z: Tensor) -> str | None:
    """Why the GPU's kernels cannot run on this tensor, or None if they can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not importable; it comes with CUDA builds of torch"
    if z.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "triton kernels run on a GPU (on the CPU only interpreted, with TRITON_INTERPRET=1 set before start)"
    return None if z.dtype in (torch.float32, torch.float64) else f"its kernels take no {z.dtype}"


def run(
    cell: Cell,
    z: Tensor,
    states: tuple[Tensor, ...],
    decay: Tensor,
    keep: Tensor | None,
    theta: float,
    alpha: float,
    backend: str = "auto",
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The cell's outputs [T, B, H] and last states [B, H].

    Args:
        cell: one of ``_steps``. z: its inputs, [G, T, B, H]. states: [B, H] each. decay: [H].
        keep: [T, B], 0 where the old state is forgotten before the step, else 1; None for no reset.
        theta, alpha: threshold, the surrogate's parameter. backend: one of ``BACKENDS``.
    """
    if backend in ("auto", "numba") and plain(z):
        if torch.is_grad_enabled() and any(t.requires_grad for t in (z, decay, *states)):
            flat = _Fused.apply(cell, keep, theta, alpha, z, decay, *states)  # type: ignore[no-untyped-call]
            return tuple(flat[: cell.outputs]), tuple(flat[cell.outputs :])
        z = z.contiguous()
        outs, last = _forward(cell, z, states, _params(z, decay, keep, theta, alpha))
        return tuple(outs), tuple(last)
    if backend == "triton" or (backend == "auto" and z.is_cuda and not torch.compiler.is_compiling()):
        missing = _no_triton(z)
        if missing is None:
            from grsn_rl.cells import _kernels

            return _kernels.run(_kernels.rule(cell.name, theta, alpha), z, states, decay, keep)
        if backend == "triton":
            raise ValueError(f"backend='triton' was asked for, but {missing}; use backend='auto' or 'torch'")
    kept: Tensor | float = 1.0 if keep is None else keep.to(z.dtype)[:, :, None]
    return cell(list(z), states, [decay, kept, theta, alpha], backend=backend)


def one_step(
    cell: Cell, z: Tensor, state: Tensor, decay: Tensor, keep: Tensor | None, theta: float, alpha: float
) -> tuple[Tensor, Tensor]:
    """One acting step of ``_steps.gated``: z [B, 2H], state [1, B, 3H] -> spikes [1, B, H], new state.

    What :func:`run` computes, by the same kernel, with as few tensor operations as possible around it.
    """
    batch, hidden = z.shape[0], z.shape[1] // 2
    n = batch * hidden
    gates = z.detach().numpy().reshape(batch, 2, hidden).transpose(1, 0, 2).reshape(2, 1, n)
    old = state.detach().numpy()[0]
    v, c = old[:, :hidden].ravel(), old[:, hidden : 2 * hidden].ravel()
    if v.base is not None:  # one row: ravel gave a view, and the kernel writes in place
        v, c = v.copy(), c.copy()
    double = z.dtype == torch.float64
    leak = np.empty((batch, hidden), gates.dtype)
    leak[:] = decay.detach().numpy()
    kept = _constant(1.0, n, double)
    if keep is not None:
        kept = np.empty((batch, hidden), gates.dtype)
        kept[:] = keep.detach().numpy().reshape(batch, 1)
        kept = kept.reshape(1, n)
    spikes = np.empty((1, n), gates.dtype)
    cell.compiled()[0](
        gates[0], gates[1], v, c, leak.reshape(1, n), kept, _constant(theta, n, double), _constant(alpha, n, double),
        spikes, 1, 0, n,
    )  # fmt: skip
    new = np.empty((1, batch, 3 * hidden), gates.dtype)
    out = spikes.reshape(1, batch, hidden)
    new[0, :, :hidden] = v.reshape(batch, hidden)
    new[0, :, hidden : 2 * hidden] = c.reshape(batch, hidden)
    new[0, :, 2 * hidden :] = out[0]
    return torch.from_numpy(out), torch.from_numpy(new)
