"""The point neuron as a ``torch.library`` operator: fake, autograd and vmap rules, one dispatch for all backends.

The operator keeps x (by reference) for the backward pass and recomputes h from it. When h is recorded, h is kept
instead; with a Rectangle and a detached reset, two bits per step are.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spk_neurons._kernels import eager, library
from spk_neurons._kernels.problem import (
    HARD,
    Adjoint,
    Outputs,
    Params,
    Rule,
    StatsPlan,
    compute_dtype,
    flatten_param,
    varies_in_time,
)
from spk_neurons.surrogate import Surrogate, from_kind

# spikes, last v, h, v, mean, var, histogram, inside, code
Nine = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
Seven = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]

# what the operators take besides tensors, in one list of ints and one of floats: short signatures, cheap calls
INTS = (
    "reset",
    "detach",
    "strict",
    "kind",
    "record_h",
    "record_v",
    "bits",
    "moments",
    "channels",
    "inner",
    "bins",
    "window",
)
FLOATS = ("p0", "p1", "low", "high", "window_lo", "window_hi")


def _module(backend: str) -> Any:
    if backend == "numba":
        from spk_neurons._kernels import cpu

        return cpu
    if backend == "triton":
        from spk_neurons._kernels import gpu

        return gpu
    return eager


def _plan(ints: list[int], floats: list[float]) -> tuple[Rule, StatsPlan]:
    rule = Rule(ints[0], bool(ints[1]), bool(ints[2]), ints[3], floats[0], floats[1])
    stats = StatsPlan(
        bool(ints[7]), ints[8], ints[9], ints[10], floats[2], floats[3], bool(ints[11]), floats[4], floats[5]
    )
    return rule, stats


def run_forward(
    x: Tensor,
    v0: Tensor,
    five: tuple[Tensor, ...],
    noise: Tensor | None,
    ints: list[int],
    floats: list[float],
    backend: str,
) -> Nine:
    """The forward pass itself, without autograd or dispatch."""
    rule, stats = _plan(ints, floats)
    dtype = compute_dtype(x.dtype)
    steps, rest = x.shape[0], x.shape[1:]
    n = math.prod(rest)
    params = Params(*(flatten_param(p, x.shape, dtype) for p in five))
    flat_noise = None if noise is None else noise.to(dtype).reshape(steps, n)
    out: Outputs = _module(backend).forward(
        x.to(dtype).reshape(steps, n), v0.to(dtype).reshape(n), params, rule, stats, flat_noise,
        bool(ints[4]), bool(ints[5]), bool(ints[6]),
    )  # fmt: skip
    return (
        out.s.to(x.dtype).reshape(x.shape),
        out.v_last.reshape(rest),
        out.h.reshape(x.shape) if ints[4] else out.h.reshape(0),
        out.v.reshape(x.shape) if ints[5] else out.v.reshape(0),
        out.mean, out.var, out.counts, out.inside, out.code,
    )  # fmt: skip


def run_backward(
    x: Tensor, from_h: bool, v0: Tensor, gs: Tensor | None, gv_last: Tensor | None, gh: Tensor | None,
    gv: Tensor | None, five: tuple[Tensor, ...], shift: Tensor | None, spikes: Tensor | None,
    stat_a: Tensor | None, stat_b: Tensor | None, code: Tensor | None,
    need: list[bool], ints: list[int], floats: list[float], backend: str, surrogate: Surrogate | None = None,
) -> Seven:  # fmt: skip
    """The backward pass itself; parameter gradients are per neuron, not yet summed to the parameter's shape."""
    rule, stats = _plan(ints, floats)
    dtype = compute_dtype(x.dtype)
    shape = x.shape
    steps, rest = shape[0], shape[1:]
    n = math.prod(rest)

    def flat(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.to(dtype).reshape(steps, n)

    params = Params(*(flatten_param(p, shape, dtype) for p in five))
    zero = v0.to(dtype).reshape(n)
    g = flat(gs)
    adjoint = Adjoint(
        x=x.to(dtype).reshape(steps, n), from_h=from_h, v0=zero,
        gs=torch.zeros((steps, n), dtype=dtype, device=x.device) if g is None else g,
        gv_last=None if gv_last is None else gv_last.to(dtype).reshape(n),
        gh=flat(gh), gv=flat(gv), shift=flat(shift), spikes=flat(spikes), stat_a=stat_a, stat_b=stat_b,
        code=code, plan=stats, need=(need[0], need[1], need[2], need[3], need[4]),
    )  # fmt: skip
    if backend in ("numba", "triton"):
        gx, gv0, grads = _module(backend).backward(adjoint, params, rule)
    else:
        shape_fn = surrogate or from_kind(rule.kind, rule.p0, rule.p1)
        gx, gv0, grads = eager.backward(adjoint, params, rule, shape_fn.derivative)
    out = []
    for p, flat_p, wanted in zip(five, grads, need, strict=True):
        if not wanted:
            out.append(gx.new_empty(0))  # operators may not return one tensor twice
        elif varies_in_time(p, shape):
            out.append(flat_p.reshape(shape))
        else:
            out.append(flat_p.reshape(rest))
    return gx.to(x.dtype).reshape(shape), gv0.reshape(rest), out[0], out[1], out[2], out[3], out[4]


@library.define("lif")
def lif_op(
    x: Tensor, v0: Tensor, decay: Tensor, gain: Tensor, bias: Tensor, threshold: Tensor, level: Tensor,
    noise: Tensor | None, shift: Tensor | None, ints: list[int], floats: list[float], backend: str,
) -> Nine:  # fmt: skip
    return run_forward(x, v0, (decay, gain, bias, threshold, level), noise, ints, floats, backend)


@library.fake("lif")
def _(
    x: Tensor, v0: Tensor, decay: Tensor, gain: Tensor, bias: Tensor, threshold: Tensor, level: Tensor,
    noise: Tensor | None, shift: Tensor | None, ints: list[int], floats: list[float], backend: str,
) -> Nine:  # fmt: skip
    steps, rest = x.shape[0], x.shape[1:]
    n = math.prod(rest)
    f = compute_dtype(x.dtype)
    none = x.new_empty(0, dtype=f)
    moments = (steps, ints[8]) if ints[7] else (0,)
    return (
        x.new_empty(x.shape),
        x.new_empty(rest, dtype=f),
        x.new_empty(x.shape, dtype=f) if ints[4] else none.clone(),
        x.new_empty(x.shape, dtype=f) if ints[5] else none.clone(),
        x.new_empty(moments, dtype=f),
        x.new_empty(moments, dtype=f),
        x.new_empty(ints[10], dtype=torch.int64),
        x.new_empty(steps if ints[10] or ints[11] else 0, dtype=torch.int64),
        x.new_empty((-(-steps // 4) if ints[6] else 0, n), dtype=torch.uint8),
    )


@library.define("lif_backward")
def lif_backward_op(
    x: Tensor, from_h: bool, v0: Tensor, gs: Tensor | None, gv_last: Tensor | None, gh: Tensor | None,
    gv: Tensor | None, decay: Tensor, gain: Tensor, bias: Tensor, threshold: Tensor, level: Tensor,
    shift: Tensor | None, spikes: Tensor | None, stat_a: Tensor | None, stat_b: Tensor | None, code: Tensor | None,
    need: list[bool], ints: list[int], floats: list[float], backend: str,
) -> Seven:  # fmt: skip
    five = (decay, gain, bias, threshold, level)
    return run_backward(
        x, from_h, v0, gs, gv_last, gh, gv, five, shift, spikes, stat_a, stat_b, code, need, ints, floats, backend
    )


@library.fake("lif_backward")
def _(
    x: Tensor, from_h: bool, v0: Tensor, gs: Tensor | None, gv_last: Tensor | None, gh: Tensor | None,
    gv: Tensor | None, decay: Tensor, gain: Tensor, bias: Tensor, threshold: Tensor, level: Tensor,
    shift: Tensor | None, spikes: Tensor | None, stat_a: Tensor | None, stat_b: Tensor | None, code: Tensor | None,
    need: list[bool], ints: list[int], floats: list[float], backend: str,
) -> Seven:  # fmt: skip
    f = compute_dtype(x.dtype)
    shape, rest = x.shape, x.shape[1:]
    grads = [
        x.new_empty(shape if varies_in_time(p, shape) else rest, dtype=f) if need[i] else x.new_empty(0, dtype=f)
        for i, p in enumerate((decay, gain, bias, threshold, level))
    ]
    return x.new_empty(shape), x.new_empty(rest, dtype=f), grads[0], grads[1], grads[2], grads[3], grads[4]


def stats_adjoint(
    gmean: Tensor | None, gvar: Tensor | None, mean: Tensor, size: int
) -> tuple[Tensor | None, Tensor | None]:
    """(a, b) with dL/dh = a[t, c] + b[t, c] h for L's gradients of a channel's mean and (population) variance."""
    if gmean is None and gvar is None:
        return None, None
    gm = torch.zeros_like(mean) if gmean is None else gmean
    if gvar is None:
        return gm / size, torch.zeros_like(mean)
    b = 2 * gvar / size
    return gm / size - mean * b, b


def reduce_to(grad: Tensor, p: Tensor) -> Tensor:
    """Sum a per-neuron gradient over the axes along which the parameter was broadcast."""
    while grad.dim() < p.dim():
        grad = grad.unsqueeze(0)
    return grad.sum_to_size(p.shape).to(p.dtype)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Nine) -> None:
    x, v0, decay, gain, bias, threshold, level, noise, shift, ints, floats, backend = inputs
    s, _, h, _, mean, _, counts, inside, code = output
    ctx.mark_non_differentiable(counts, inside, code)
    ctx.set_materialize_grads(False)
    ctx.ints, ctx.floats, ctx.backend = ints, floats, backend
    ctx.from_h = bool(ints[4]) and not ctx.needs_input_grad[3]
    # the compiled kernels and the eager code read the emitted spikes where chance decided them
    spikes = s if noise is not None else None
    bits = code if ints[6] else None
    kept = None if bits is not None else (h if ctx.from_h else x)
    ctx.like = (x.shape, x.dtype)
    ctx.save_for_backward(kept, v0, decay, gain, bias, threshold, level, shift, spikes, mean, bits)


def _backward(ctx: Any, gs: Any, gv_last: Any, gh: Any, gv: Any, gmean: Any, gvar: Any, *_: Any) -> tuple[Any, ...]:
    kept, v0, decay, gain, bias, threshold, level, shift, spikes, mean, bits = ctx.saved_tensors
    needs = ctx.needs_input_grad
    ints = ctx.ints
    if kept is None:
        # with two bits saved there is no input to recompute from; gs has its shape
        kept = gs if gs is not None else torch.zeros(ctx.like[0], dtype=ctx.like[1], device=v0.device)
    size = max(1, math.prod(ctx.like[0][1:]) // max(1, ints[8]))
    stat_a, stat_b = stats_adjoint(gmean, gvar, mean, size)
    need = [bool(needs[i]) for i in range(2, 7)]
    gx, gv0, *grads = lif_backward_op(
        kept, ctx.from_h and bits is None, v0, gs, gv_last, gh if ints[4] else None, gv if ints[5] else None,
        decay, gain, bias, threshold, level, shift, spikes, stat_a, stat_b, bits, need, ints, ctx.floats, ctx.backend,
    )  # fmt: skip
    five = (decay, gain, bias, threshold, level)
    reduced = [reduce_to(g, p) if n else None for g, p, n in zip(grads, five, need, strict=True)]
    return (
        gx.to(ctx.like[1]) if needs[0] else None, gv0.to(v0.dtype) if needs[1] else None, *reduced,
        None, None, None, None, None,
    )  # fmt: skip


library.autograd("lif", _backward, _setup)


class Transformed(torch.autograd.Function):
    """The operator under ``torch.func`` transforms, which differentiate autograd functions, not operators."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> Nine:
        return lif_op(*inputs)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Nine) -> None:
        _setup(ctx, inputs, output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        return _backward(ctx, *grads)


# ---------------------------------------------------------------- vmap


def _front(t: Tensor, dim: int | None, size: int, rank: int, timed: bool) -> Tensor:
    """Move vmap's axis behind time (or to the front of an untimed tensor of fewer axes); ``rank`` of x inside."""
    if timed:
        return t.unsqueeze(1).expand(t.shape[0], size, *t.shape[1:]) if dim is None else t.movedim(dim, 1)
    if dim is None:
        return t
    t = t.movedim(dim, 0)
    return t.reshape(size, *([1] * (rank - t.dim())), *t.shape[1:])


def _inner_rank(t: Tensor, dim: int | None) -> int:
    return t.dim() - (dim is not None)


def _param(p: Tensor, dim: int | None, size: int, rank: int) -> Tensor:
    """A parameter under vmap: [T, ...] gets the axis second, [*S'] first, and one not mapped stays as it is."""
    if _inner_rank(p, dim) == rank:
        return p.unsqueeze(1) if dim is None else p.movedim(dim, 1)
    return _front(p, dim, size, rank, timed=False)


def _no_stats(ints: list[int]) -> None:
    if ints[7] or ints[10] or ints[11] or ints[6]:
        raise NotImplementedError(
            "statistics (and the two-bit save) of fused backends are not defined under vmap; use backend='reference'"
        )


@library.vmap("lif")
def _(info: Any, in_dims: Any, x: Tensor, v0: Tensor, *rest: Any) -> Any:
    five, (noise, shift, ints, floats, backend) = rest[:5], rest[5:]
    size = info.batch_size
    rank = _inner_rank(x, in_dims[0])
    ints = [*ints[:6], 0, *ints[7:]]
    _no_stats(ints)
    xb = _front(x, in_dims[0], size, rank, timed=True)
    v0b = v0.expand(size, *v0.shape) if in_dims[1] is None else v0.movedim(in_dims[1], 0)
    ps = [_param(p, d, size, rank) for p, d in zip(five, in_dims[2:7], strict=True)]
    extra = [
        None if t is None else _front(t, d, size, rank, timed=True)
        for t, d in zip((noise, shift), in_dims[7:9], strict=True)
    ]
    out = lif_op(xb, v0b, *ps, *extra, ints, floats, backend)
    return out, (1, 0, 1 if ints[4] else None, 1 if ints[5] else None, None, None, None, None, None)


@library.vmap("lif_backward")
def _(info: Any, in_dims: Any, *args: Any) -> Any:
    (x, from_h, v0, gs, gv_last, gh, gv, *five, shift, spikes, stat_a, _, code, need, ints, floats, backend) = args
    dx, _, dv0, dgs, dgvl, dgh, dgv = in_dims[:7]
    size = info.batch_size
    rank = _inner_rank(x, dx)
    if stat_a is not None or code is not None:
        _no_stats([*ints[:6], 1, *ints[7:]])

    def timed(t: Tensor | None, d: int | None) -> Tensor | None:
        return None if t is None else _front(t, d, size, rank, timed=True)

    def state(t: Tensor | None, d: int | None) -> Tensor | None:
        if t is None:
            return None
        return t.expand(size, *t.shape) if d is None else t.movedim(d, 0)

    ps = [_param(p, d, size, rank) for p, d in zip(five, in_dims[7:12], strict=True)]
    xb, v0b = timed(x, dx), state(v0, dv0)
    assert xb is not None
    assert v0b is not None
    out = lif_backward_op(
        xb, from_h, v0b, timed(gs, dgs), state(gv_last, dgvl), timed(gh, dgh), timed(gv, dgv), *ps,
        timed(shift, in_dims[12]), timed(spikes, in_dims[13]), None, None, None, need, ints, floats, backend,
    )  # fmt: skip
    dims: list[int | None] = [1, 0]
    for p, wanted in zip(ps, need, strict=True):
        dims.append((1 if varies_in_time(p, xb.shape) else 0) if wanted else None)
    return out, tuple(dims)


# ---------------------------------------------------------------- eager calls


class Eager(torch.autograd.Function):
    """The same two passes without the operator's bookkeeping, where nothing traces or transforms.

    It also takes a surrogate as an object, for those that no operator signature can carry.
    """

    @staticmethod
    def forward(ctx: Any, surrogate: Surrogate | None, *inputs: Any) -> Nine:
        x, v0, decay, gain, bias, threshold, level, noise, _, ints, floats, backend = inputs
        out = run_forward(x, v0, (decay, gain, bias, threshold, level), noise, ints, floats, backend)
        ctx.surrogate = surrogate
        _setup(ctx, inputs, out)
        ctx.from_h = bool(ints[4]) and not ctx.needs_input_grad[4]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gs: Any, gv_last: Any, gh: Any, gv: Any, gmean: Any, gvar: Any, *_: Any) -> Any:
        kept, v0, decay, gain, bias, threshold, level, shift, spikes, mean, bits = ctx.saved_tensors
        needs = ctx.needs_input_grad[1:]
        ints, shape = ctx.ints, ctx.like[0]
        if kept is None:
            # with two bits saved there is no input to recompute from; gs has its shape
            kept = gs if gs is not None else torch.zeros(shape, dtype=ctx.like[1], device=v0.device)
        stat_a, stat_b = stats_adjoint(gmean, gvar, mean, max(1, math.prod(shape[1:]) // max(1, ints[8])))
        need = [bool(needs[i]) for i in range(2, 7)]
        five = (decay, gain, bias, threshold, level)
        gx, gv0, *grads = run_backward(
            kept, ctx.from_h and bits is None, v0, gs, gv_last, gh if ints[4] else None, gv if ints[5] else None, five,
            shift, spikes, stat_a, stat_b, bits, need, ints, ctx.floats, ctx.backend, ctx.surrogate,
        )  # fmt: skip
        reduced = [reduce_to(g, p) if n else None for g, p, n in zip(grads, five, need, strict=True)]
        return (
            None, gx.to(ctx.like[1]) if needs[0] else None, gv0.to(v0.dtype) if needs[1] else None, *reduced,
            None, None, None, None, None,
        )  # fmt: skip


def _tracked(tensors: tuple[Tensor | None, ...]) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def transforming() -> bool:
    """True under torch.compile or a torch.func transform, where only the operator may be called."""
    if torch.compiler.is_compiling():
        return True
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return bool(active()) if active is not None else True


def call(
    x: Tensor, v0: Tensor, five: tuple[Tensor, ...], noise: Tensor | None, shift: Tensor | None,
    ints: list[int], floats: list[float], backend: str, surrogate: Surrogate | None,
) -> Nine:  # fmt: skip
    """A plain kernel call (nothing to differentiate), the eager function, or the operator (traced or transformed)."""
    tracked = _tracked((x, v0, *five))
    special = transforming()
    if not tracked and not special and type(x) is Tensor:
        return run_forward(x, v0, five, noise, [*ints[:6], 0, *ints[7:]], floats, backend)
    if surrogate is not None:
        return Eager.apply(surrogate, x, v0, *five, noise, shift, ints, floats, backend)  # type: ignore[no-any-return,no-untyped-call]
    bits_ok = (
        ints[3] == 1
        and (ints[1] or ints[0] not in (0, HARD))
        and not special
        and not (ints[4] or ints[5] or ints[7])
        and noise is None
        and shift is None
        and not any(p.requires_grad for p in five)
    )
    ints = [*ints[:6], int(bits_ok and tracked), *ints[7:]]
    if not special and type(x) in (Tensor, torch.nn.Parameter) and not torch._C._len_torch_dispatch_stack():
        return Eager.apply(None, x, v0, *five, noise, shift, ints, floats, backend)  # type: ignore[no-any-return,no-untyped-call]
    run: Any = Transformed.apply if special and not torch.compiler.is_compiling() else lif_op
    out: Nine = run(x, v0, *five, noise, shift, ints, floats, backend)
    return out
