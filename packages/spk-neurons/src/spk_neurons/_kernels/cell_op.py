"""Cells of ``spk_neurons.scan`` as torch operators: one pair of operators, the cell named by a string."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spk_neurons._kernels import library
from spk_neurons._kernels.op import _front, _inner_rank, _param, reduce_to
from spk_neurons._kernels.problem import compute_dtype, flatten_param, varies_in_time
from spk_neurons._kernels.step import Step

#: cells by name: an operator's schema can carry a string, not an object
CELLS: dict[str, Step] = {}


def _eager_forward(
    cell: Step, xs: list[Tensor], states: list[Tensor], params: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    outs = [torch.empty_like(xs[0]) for _ in range(cell.outputs)]
    state = list(states)
    for t in range(xs[0].shape[0]):
        here = [p if p.dim() == 0 else p[min(t, p.shape[0] - 1)] for p in params]
        result = cell.forward(*(x[t] for x in xs), *state, *here)
        for o, value in zip(outs, result[: cell.outputs], strict=True):
            o[t] = value
        state = list(result[cell.outputs :])
    return outs, [s.clone() if s is before else s for s, before in zip(state, states, strict=True)]


def _eager_backward(
    cell: Step, xs: list[Tensor], states: list[Tensor], params: list[Tensor], go: list[Tensor], gs: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    steps, n = xs[0].shape
    before: list[list[Tensor]] = []
    state = list(states)
    rows = [[p if p.dim() == 0 else p[min(t, p.shape[0] - 1)] for p in params] for t in range(steps)]
    for t in range(steps):
        before.append(state)
        state = list(cell.forward(*(x[t] for x in xs), *state, *rows[t])[cell.outputs :])
    gx = [torch.empty_like(x) for x in xs]
    gp = [xs[0].new_zeros((1, n) if p.dim() == 0 else p.shape) for p in params]
    carry = list(gs)
    for t in range(steps - 1, -1, -1):
        result = cell.backward(*(x[t] for x in xs), *before[t], *rows[t], *(g[t] for g in go), *carry)
        for g, value in zip(gx, result[: cell.inputs], strict=True):
            g[t] = value
        carry = list(result[cell.inputs : cell.inputs + cell.states])
        for g, value in zip(gp, result[cell.inputs + cell.states :], strict=True):
            g[min(t, g.shape[0] - 1)] += value
    return gx, [c.clone() for c in carry], gp


def _flat(
    xs: list[Tensor], states: list[Tensor], params: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor], torch.Size]:
    shape = xs[0].shape
    f = compute_dtype(xs[0].dtype)
    n = math.prod(shape[1:])
    return (
        [x.to(f).reshape(shape[0], n) for x in xs],
        [s.to(f).reshape(n) for s in states],
        [flatten_param(p, shape, f) for p in params],
        shape,
    )


def run_forward(name: str, xs: list[Tensor], states: list[Tensor], params: list[Tensor], backend: str) -> list[Tensor]:
    cell = CELLS[name]
    fx, fs, fp, shape = _flat(xs, states, params)
    if backend == "numba":
        from spk_neurons._kernels import cell_cpu

        outs, last = cell_cpu.forward(cell, fx, fs, fp)
    else:
        outs, last = _eager_forward(cell, fx, fs, fp)
    return [o.to(xs[0].dtype).reshape(shape) for o in outs] + [s.reshape(shape[1:]) for s in last]


@library.define("cell")
def cell_op(name: str, xs: list[Tensor], states: list[Tensor], params: list[Tensor], backend: str) -> list[Tensor]:
    return run_forward(name, xs, states, params, backend)


@library.fake("cell")
def _(name: str, xs: list[Tensor], states: list[Tensor], params: list[Tensor], backend: str) -> list[Tensor]:
    cell, x = CELLS[name], xs[0]
    f = compute_dtype(x.dtype)
    return [x.new_empty(x.shape) for _ in range(cell.outputs)] + [
        x.new_empty(x.shape[1:], dtype=f) for _ in range(cell.states)
    ]


@library.define("cell_backward")
def cell_backward_op(
    name: str, xs: list[Tensor], states: list[Tensor], params: list[Tensor], go: list[Tensor], gs: list[Tensor],
    backend: str,
) -> list[Tensor]:  # fmt: skip
    cell = CELLS[name]
    fx, fs, fp, shape = _flat(xs, states, params)
    fgo, fgs, _, _ = _flat(go, gs, []) if go else ([], [g.to(fs[0].dtype).reshape(-1) for g in gs], [], shape)
    if backend == "numba":
        from spk_neurons._kernels import cell_cpu

        gx, g0, gp = cell_cpu.backward(cell, fx, fs, fp, fgo, fgs)
    else:
        gx, g0, gp = _eager_backward(cell, fx, fs, fp, fgo, fgs)
    shaped = [g.reshape(shape if varies_in_time(p, shape) else shape[1:]) for g, p in zip(gp, params, strict=True)]
    return [g.to(xs[0].dtype).reshape(shape) for g in gx] + [g.reshape(shape[1:]) for g in g0] + shaped


@library.fake("cell_backward")
def _(
    name: str, xs: list[Tensor], states: list[Tensor], params: list[Tensor], go: list[Tensor], gs: list[Tensor],
    backend: str,
) -> list[Tensor]:  # fmt: skip
    x = xs[0]
    f = compute_dtype(x.dtype)
    return (
        [x.new_empty(x.shape) for _ in xs]
        + [x.new_empty(x.shape[1:], dtype=f) for _ in states]
        + [x.new_empty(x.shape if varies_in_time(p, x.shape) else x.shape[1:], dtype=f) for p in params]
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    name, xs, states, params, backend = inputs
    ctx.name, ctx.backend, ctx.counts = name, backend, (len(xs), len(states), len(params))
    ctx.save_for_backward(*xs, *states, *params)


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    cell = CELLS[ctx.name]
    saved = list(ctx.saved_tensors)
    ni, ns, _ = ctx.counts
    xs, states, params = saved[:ni], saved[ni : ni + ns], saved[ni + ns :]
    go, gs = list(grads[: cell.outputs]), list(grads[cell.outputs :])
    out = cell_backward_op(ctx.name, xs, states, params, go, gs, ctx.backend)
    gp = [reduce_to(g, p) for g, p in zip(out[ni + ns :], params, strict=True)]
    g0 = [g.to(s.dtype) for g, s in zip(out[ni : ni + ns], states, strict=True)]
    return None, list(out[:ni]), g0, gp, None


library.autograd("cell", _backward, _setup)


class Transformed(torch.autograd.Function):
    """The operator under ``torch.func`` transforms, which differentiate autograd functions of plain tensors."""

    generate_vmap_rule = True

    @staticmethod
    def forward(name: str, backend: str, ni: int, ns: int, *flat: Tensor) -> tuple[Tensor, ...]:
        return tuple(cell_op(name, list(flat[:ni]), list(flat[ni : ni + ns]), list(flat[ni + ns :]), backend))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        name, backend, ni, ns, *flat = inputs
        _setup(ctx, (name, flat[:ni], flat[ni : ni + ns], flat[ni + ns :], backend), list(output))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        _, gx, g0, gp, _ = _backward(ctx, list(grads))
        return None, None, None, None, *gx, *g0, *gp


def _dims(dims: Any, count: int) -> list[int | None]:
    return [None] * count if dims is None else list(dims)


def _mapped(
    size: int, xs: list[Tensor], dx: Any, states: list[Tensor], ds: Any, params: list[Tensor], dp: Any
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    dx, ds, dp = _dims(dx, len(xs)), _dims(ds, len(states)), _dims(dp, len(params))
    rank = _inner_rank(xs[0], dx[0])
    bx = [_front(x, d, size, rank, timed=True) for x, d in zip(xs, dx, strict=True)]
    bs = [s.expand(size, *s.shape) if d is None else s.movedim(d, 0) for s, d in zip(states, ds, strict=True)]
    bp = [_param(p, d, size, rank) for p, d in zip(params, dp, strict=True)]
    return bx, bs, bp


@library.vmap("cell")
def _(
    info: Any, in_dims: Any, name: str, xs: list[Tensor], states: list[Tensor], params: list[Tensor], backend: str
) -> Any:
    bx, bs, bp = _mapped(info.batch_size, xs, in_dims[1], states, in_dims[2], params, in_dims[3])
    cell = CELLS[name]
    return cell_op(name, bx, bs, bp, backend), [1] * cell.outputs + [0] * cell.states


@library.vmap("cell_backward")
def _(
    info: Any, in_dims: Any, name: str, xs: list[Tensor], states: list[Tensor], params: list[Tensor],
    go: list[Tensor], gs: list[Tensor], backend: str,
) -> Any:  # fmt: skip
    size = info.batch_size
    bx, bs, bp = _mapped(size, xs, in_dims[1], states, in_dims[2], params, in_dims[3])
    rank = _inner_rank(xs[0], _dims(in_dims[1], len(xs))[0])
    bgo = [_front(g, d, size, rank, timed=True) for g, d in zip(go, _dims(in_dims[4], len(go)), strict=True)]
    bgs = [
        g.expand(size, *g.shape) if d is None else g.movedim(d, 0)
        for g, d in zip(gs, _dims(in_dims[5], len(gs)), strict=True)
    ]
    out = cell_backward_op(name, bx, bs, bp, bgo, bgs, backend)
    shape = bx[0].shape
    return out, [1] * len(xs) + [0] * len(states) + [1 if varies_in_time(p, shape) else 0 for p in bp]
