"""The cells on a GPU: one program per block of neurons walks through time, its state in registers.

The same step as in ``_steps``, which explains the symbols. The forward pass keeps the states after every step where a
gradient will be asked for; the backward pass reads them and walks back. Fused multiply-adds are off, as everywhere.

Under ``TRITON_INTERPRET=1``, set before triton is imported, the kernels run on the CPU, slowly: so they are tested.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,unused-ignore"
from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton  # type: ignore[import-untyped,import-not-found]
import triton.language as tl  # type: ignore[import-untyped,import-not-found]
from torch import Tensor

from grsn_rl.cells._steps import SURROGATES


class Rule(NamedTuple):
    """What a kernel is compiled for."""

    gated: bool  # a and b come in, c is a state
    driven: bool  # a current e comes in; h, and c if there is one, go out
    hard: bool
    detach: bool
    kind: int  # number of the surrogate
    theta: float
    alpha: float

    @property
    def outputs(self) -> int:
        return 1 + self.driven + (self.gated and self.driven)


def rule(name: str, theta: float, alpha: float) -> Rule:
    """The rule of a cell of ``_steps``, told from its name."""
    _, kind, reset, detach, shape = name.split(".")
    hard, cut, law = reset == "hard", detach == "detached", SURROGATES[shape].kind
    return Rule(kind != "leaky", kind != "gated", hard, cut, law, theta, alpha)


@triton.jit
def _sigmoid(x):
    e = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def _derivative(u, KIND: tl.constexpr, ALPHA: tl.constexpr):
    if KIND == 1:
        phi = tl.where(tl.abs(u) <= ALPHA / 2, 1.0 / ALPHA, 0.0)
    elif KIND == 2:
        phi = tl.maximum(ALPHA - tl.abs(u), 0.0) / (ALPHA * ALPHA)
    elif KIND == 3:
        z = (1.5707963267948966 * ALPHA) * u
        phi = (ALPHA / 2) / (1.0 + z * z)
    elif KIND == 4:
        w = tl.exp(-ALPHA * tl.abs(u))
        phi = ALPHA * w / ((1.0 + w) * (1.0 + w))
    elif KIND == 5:
        z = 1.0 + ALPHA * tl.abs(u)
        phi = 1.0 / (z * z)
    else:
        phi = (ALPHA / 2) * tl.exp(-ALPHA * tl.abs(u))
    return phi.to(u.dtype)


@triton.jit
def _step(a, b, e, v, c, d, theta, GATED: tl.constexpr, HARD: tl.constexpr):
    if GATED:
        f = _sigmoid(a)
        c = f * c + (1.0 - f) * tl.maximum(b, 0.0)
    h = d * v + (1.0 - d) * (c + e)
    o = tl.where(h >= theta, 1.0, 0.0).to(h.dtype)
    if HARD:
        v = (1.0 - o) * h
    else:
        v = h - theta * o
    return o, h, v, c


@triton.jit
def _forward(
    z, v0, c0, decay, keep, o_out, h_out, c_out, vs, cs, v_last, c_last, steps, batch, hidden, gate, move, line, theta,
    GATED: tl.constexpr, DRIVEN: tl.constexpr, HARD: tl.constexpr, KEEP: tl.constexpr, SAVE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    n = batch * hidden
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = j < n
    # offsets are counted in 64 bits; of z, ``gate``, ``move`` and ``line`` are the strides of gates, steps and rows
    at = j.to(tl.int64)
    entry = z + (j // hidden).to(tl.int64) * line + j % hidden
    d = tl.load(decay + j % hidden, mask=ok, other=0.5)
    v = tl.load(v0 + j, mask=ok, other=0.0)
    row = keep + j // hidden
    a, b, c, e = tl.zeros_like(v), tl.zeros_like(v), tl.zeros_like(v), tl.zeros_like(v)
    if GATED:
        c = tl.load(c0 + j, mask=ok, other=0.0)
    for _ in range(steps):
        if SAVE:
            tl.store(vs + at, v, mask=ok)
            if GATED:
                tl.store(cs + at, c, mask=ok)
        if KEEP:
            k = tl.load(row, mask=ok, other=0.0)
            v = k * v
            c = k * c
            row += batch
        if GATED:
            a = tl.load(entry, mask=ok, other=0.0)
            b = tl.load(entry + gate, mask=ok, other=0.0)
        if DRIVEN:
            e = tl.load(entry + gate + gate if GATED else entry, mask=ok, other=0.0)
        o, h, v, c = _step(a, b, e, v, c, d, theta, GATED, HARD)
        tl.store(o_out + at, o, mask=ok)
        if DRIVEN:
            tl.store(h_out + at, h, mask=ok)
        if GATED and DRIVEN:
            tl.store(c_out + at, c, mask=ok)
        at += n
        entry += move
    tl.store(v_last + j, v, mask=ok)
    if GATED:
        tl.store(c_last + j, c, mask=ok)


@triton.jit
def _backward(
    z, vs, cs, decay, keep, go, gh, gc, gz, g_v, g_c, g_decay, steps, batch, hidden, gate, move, line, end, end_z,
    theta,
    GATED: tl.constexpr, DRIVEN: tl.constexpr, HARD: tl.constexpr, DETACH: tl.constexpr, KIND: tl.constexpr,
    ALPHA: tl.constexpr, KEEP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = batch * hidden
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = j < n
    at = j.to(tl.int64) + end
    entry = (j // hidden).to(tl.int64) * line + j % hidden + end_z
    d = tl.load(decay + j % hidden, mask=ok, other=0.5)
    d_v = tl.load(g_v + j, mask=ok, other=0.0)
    row = keep + (steps - 1) * batch + j // hidden
    a, b, c, e = tl.zeros_like(d_v), tl.zeros_like(d_v), tl.zeros_like(d_v), tl.zeros_like(d_v)
    d_c, total = tl.zeros_like(d_v), tl.zeros_like(d_v)
    if GATED:
        d_c = tl.load(g_c + j, mask=ok, other=0.0)
    for _ in range(steps):
        v = tl.load(vs + at, mask=ok, other=0.0)
        if GATED:
            c = tl.load(cs + at, mask=ok, other=0.0)
        if KEEP:
            k = tl.load(row, mask=ok, other=0.0)
            v = k * v
            c = k * c
            row -= batch
        if GATED:
            a = tl.load(z + entry, mask=ok, other=0.0)
            b = tl.load(z + (entry + gate), mask=ok, other=0.0)
        if DRIVEN:
            e = tl.load(z + (entry + gate + gate if GATED else entry), mask=ok, other=0.0)
        d_o = tl.load(go + at, mask=ok, other=0.0)
        o, h, _, now = _step(a, b, e, v, c, d, theta, GATED, HARD)
        back = d_o
        if not DETACH:
            if HARD:
                back -= h * d_v
            else:
                back -= theta * d_v
        through = d_v
        if HARD:
            through = (1.0 - o) * d_v
        g_h = _derivative(h - theta, KIND, ALPHA) * back + through
        if DRIVEN:
            g_h += tl.load(gh + at, mask=ok, other=0.0)
        d_e = (1.0 - d) * g_h
        if GATED:
            if DRIVEN:
                d_c += tl.load(gc + at, mask=ok, other=0.0)
            g = d_c + d_e
            f = _sigmoid(a)
            rest = (1.0 - f) * g
            tl.store(gz + entry, rest * f * (c - tl.maximum(b, 0.0)), mask=ok)
            tl.store(gz + (entry + gate), tl.where(b > 0, rest, 0.0).to(rest.dtype), mask=ok)
            d_c = g * f
        if DRIVEN:
            tl.store(gz + (entry + gate + gate if GATED else entry), d_e, mask=ok)
        total += g_h * (v - (now + e))
        d_v = g_h * d
        if KEEP:
            d_c = k * d_c
            d_v = k * d_v
        at -= n
        entry -= move
    tl.store(g_v + j, d_v, mask=ok)
    if GATED:
        tl.store(g_c + j, d_c, mask=ok)
    tl.store(g_decay + j, total, mask=ok)


def _grid(n: int) -> tuple[tuple[int], dict[str, Any]]:
    # small blocks while they still spread over the processors
    block = 32 if n <= 1 << 14 else 128
    return (triton.cdiv(n, block),), {"BLOCK": block, "num_warps": max(1, block // 32), "enable_fp_fusion": False}


def _three(ts: list[Tensor]) -> list[Tensor]:
    # a pointer must point somewhere, also where nothing is read or written
    return [*ts, *[ts[-1]] * (3 - len(ts))]


def forward(
    r: Rule, z: Tensor, states: tuple[Tensor, ...], decay: Tensor, keep: Tensor | None, save: bool
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """z [G, T, B, H], its last dimension dense -> outputs [T, B, H], last states, states before each step."""
    _, steps, batch, hidden = z.shape
    outs = [z.new_empty(steps, batch, hidden) for _ in range(r.outputs)]
    first = [s.contiguous() for s in states]
    last = [torch.empty_like(s) for s in first]
    kept = [torch.empty_like(outs[0]) for _ in states] if save else last
    grid, options = _grid(batch * hidden)
    _forward[grid](
        z, first[0], first[-1], decay, z if keep is None else keep, *_three(outs), kept[0], kept[-1], last[0], last[-1],
        steps, batch, hidden, *z.stride()[:3], r.theta, GATED=r.gated, DRIVEN=r.driven, HARD=r.hard,
        KEEP=keep is not None, SAVE=save, **options,
    )  # fmt: skip
    return outs, last, kept


class Fused(torch.autograd.Function):
    """The two kernels as one differentiable call: outputs, then last states."""

    @staticmethod
    def forward(
        ctx: Any, r: Rule, keep: Tensor | None, z: Tensor, decay: Tensor, *states: Tensor
    ) -> tuple[Tensor, ...]:
        decay = decay.contiguous()
        outs, last, kept = forward(r, z, states, decay, keep, save=True)
        ctx.save_for_backward(z, decay, keep, *kept)
        ctx.rule = r
        return (*outs, *last)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        r: Rule = ctx.rule
        z, decay, keep, *kept = ctx.saved_tensors
        _, steps, batch, hidden = z.shape
        go = [g.contiguous() for g in grads[: r.outputs]]
        carry = [g.clone(memory_format=torch.contiguous_format) for g in grads[r.outputs :]]
        gz = torch.empty_like(z)  # of the same strides
        g_decay = torch.empty_like(carry[0])
        grid, options = _grid(batch * hidden)
        _backward[grid](
            z, kept[0], kept[-1], decay, z if keep is None else keep, *_three(go), gz, carry[0], carry[-1], g_decay,
            steps, batch, hidden, *z.stride()[:3], (steps - 1) * batch * hidden, (steps - 1) * z.stride(1), r.theta,
            GATED=r.gated, DRIVEN=r.driven, HARD=r.hard, DETACH=r.detach, KIND=r.kind, ALPHA=r.alpha,
            KEEP=keep is not None, **options,
        )  # fmt: skip
        return None, None, gz, g_decay.sum(0) if ctx.needs_input_grad[3] else None, *carry


def _dense(z: Tensor) -> Tensor:
    # gates may lie side by side in a row, as a linear layer gives them
    return z if z.is_contiguous() or z.permute(1, 2, 0, 3).is_contiguous() else z.contiguous()


def run(
    r: Rule, z: Tensor, states: tuple[Tensor, ...], decay: Tensor, keep: Tensor | None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Outputs [T, B, H] and last states [B, H]; what ``_sequence.run`` asks for."""
    kept = None if keep is None else keep.to(z.dtype).contiguous()
    if torch.is_grad_enabled() and any(t.requires_grad for t in (z, decay, *states)):
        flat = Fused.apply(r, kept, _dense(z), decay, *states)
        return tuple(flat[: r.outputs]), tuple(flat[r.outputs :])
    outs, last, _ = forward(r, _dense(z), states, decay.contiguous(), kept, save=False)
    return tuple(outs), tuple(last)
