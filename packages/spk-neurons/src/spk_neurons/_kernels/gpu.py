"""The triton backend: one program per block of neurons walks through time; potentials are kept for the way back.

Fused multiply-adds are switched off, so that the operation order of the contract holds on a GPU too. Registers hold a
block's state; the backward pass reads h instead of recomputing it, one stream more than on a CPU.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,unused-ignore"
from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped,import-not-found]
import triton.language as tl  # type: ignore[import-untyped,import-not-found]
from torch import Tensor

from spk_neurons._kernels import eager
from spk_neurons._kernels.problem import HARD, SOFT, Adjoint, Outputs, Params, Rule, StatsPlan, empty
from spk_neurons.surrogate import from_kind

BLOCK = 256


@triton.jit
def _forward(
    x, v, decay, gain, bias, theta, level, noise, s, h_out, v_out, steps, n,
    sd, sg, sb, st, sl, SOFT_: tl.constexpr, HARD_: tl.constexpr, STRICT: tl.constexpr, NOISY: tl.constexpr,
    KEEP_H: tl.constexpr, KEEP_V: tl.constexpr, BLOCK_: tl.constexpr,
):  # fmt: skip
    j = tl.program_id(0) * BLOCK_ + tl.arange(0, BLOCK_)
    ok = j < n
    vt = tl.load(v + j, mask=ok, other=0.0)
    for t in range(steps):
        at = t * n + j
        d = tl.load(decay + t * sd + j, mask=ok, other=0.0)
        g = tl.load(gain + t * sg + j, mask=ok, other=0.0)
        b = tl.load(bias + t * sb + j, mask=ok, other=0.0)
        th = tl.load(theta + t * st + j, mask=ok, other=0.0)
        lv = tl.load(level + t * sl + j, mask=ok, other=0.0)
        h = (d * vt + g * tl.load(x + at, mask=ok, other=0.0)) + b
        u = h + tl.load(noise + at, mask=ok, other=0.0) if NOISY else h
        fired = u > th if STRICT else u >= th
        spike = tl.where(fired, 1.0, 0.0)
        if SOFT_:
            vt = h - lv * spike
        elif HARD_:
            vt = tl.where(fired, lv, h)
        else:
            vt = h
        tl.store(s + at, spike, mask=ok)
        if KEEP_H:
            tl.store(h_out + at, h, mask=ok)
        if KEEP_V:
            tl.store(v_out + at, vt, mask=ok)
    tl.store(v + j, vt, mask=ok)


@triton.jit
def _backward(
    h_in, gs, phi, c, decay, gain, theta, level, spikes, gx, steps, n, sd, sg, st, sl,
    SOFT_: tl.constexpr, HARD_: tl.constexpr, DETACH: tl.constexpr, STRICT: tl.constexpr, GIVEN: tl.constexpr,
    BLOCK_: tl.constexpr,
):  # fmt: skip
    j = tl.program_id(0) * BLOCK_ + tl.arange(0, BLOCK_)
    ok = j < n
    carry = tl.load(c + j, mask=ok, other=0.0)
    for i in range(steps):
        t = steps - 1 - i
        at = t * n + j
        h = tl.load(h_in + at, mask=ok, other=0.0)
        th = tl.load(theta + t * st + j, mask=ok, other=0.0)
        lv = tl.load(level + t * sl + j, mask=ok, other=0.0)
        q = tl.load(gs + at, mask=ok, other=0.0)
        if GIVEN:
            fired = tl.load(spikes + at, mask=ok, other=0.0) > 0
        else:
            fired = h > th if STRICT else h >= th
        keep = carry
        if HARD_:
            keep = tl.where(fired, 0.0, carry)
            if not DETACH:
                q += carry * (lv - h)
        if SOFT_ and not DETACH:
            q -= carry * lv
        e = tl.load(phi + at, mask=ok, other=0.0) * q + keep
        tl.store(gx + at, tl.load(gain + t * sg + j, mask=ok, other=0.0) * e, mask=ok)
        carry = tl.load(decay + t * sd + j, mask=ok, other=0.0) * e
    tl.store(c + j, carry, mask=ok)


def _rows(p: Tensor, n: int) -> tuple[Tensor, int]:
    """A parameter as contiguous rows [1 or T, N] and the stride between steps."""
    rows = p.reshape(1, 1).expand(1, n).contiguous() if p.dim() == 0 else p.contiguous()
    return rows, n if rows.shape[0] > 1 else 0


def forward(
    x: Tensor,
    v0: Tensor,
    params: Params,
    rule: Rule,
    plan: StatsPlan,
    noise: Tensor | None,
    record_h: bool,
    record_v: bool,
    bits: bool,
) -> Outputs:
    """Run all steps; see :class:`Outputs`. Statistics and two-bit codes are the torch backend's."""
    if plan.moments or plan.bins or plan.window or bits:
        return eager.forward(x, v0, params, rule, plan, noise, record_h, record_v, bits)
    steps, n = x.shape
    x, v = x.contiguous(), v0.clone(memory_format=torch.contiguous_format)
    s = torch.empty_like(x)
    h = torch.empty_like(x) if record_h else empty(x, 0, n)
    vs = torch.empty_like(x) if record_v else empty(x, 0, n)
    five = (params.decay, params.gain, params.bias, params.theta, params.level)
    rows, strides = zip(*(_rows(p, n) for p in five), strict=True)
    if n and steps:
        _forward[(triton.cdiv(n, BLOCK),)](
            x, v, *rows, x if noise is None else noise.contiguous(), s, h if record_h else s,
            vs if record_v else s, steps, n,
            *strides, SOFT_=rule.reset == SOFT, HARD_=rule.reset == HARD, STRICT=rule.strict, NOISY=noise is not None,
            KEEP_H=record_h, KEEP_V=record_v, BLOCK_=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    none = torch.zeros(0, dtype=torch.int64, device=x.device)
    code = torch.zeros((0, n), dtype=torch.uint8, device=x.device)
    return Outputs(s, v, h, vs, empty(x), empty(x), none, none.clone(), code)


def backward(a: Adjoint, params: Params, rule: Rule) -> tuple[Tensor, Tensor, list[Tensor]]:
    """dL/dx, dL/dv0 and parameter gradients; the latter, like extra adjoints, go through the torch backend."""
    shape = from_kind(rule.kind, rule.p0, rule.p1)
    extra = (a.gh, a.gv, a.stat_a, a.code)
    if any(a.need) or any(t is not None for t in extra):
        return eager.backward(a, params, rule, shape.derivative)
    steps, n = a.gs.shape
    rows, strides = zip(*(_rows(p, n) for p in (params.decay, params.gain, params.theta, params.level)), strict=True)
    if a.from_h:
        h = a.x.contiguous()
    elif a.spikes is None:
        plan = StatsPlan()
        h = forward(a.x, a.v0, params, rule, plan, None, True, False, False).h
    else:
        # the emitted spikes decide the reset: one pass of the torch backend recomputes h from them
        h = torch.stack(list(eager._recompute(a, params, rule, False, False)[0])).contiguous()
    u = h - params.theta
    phi = shape.derivative(u if a.shift is None else u - a.shift).contiguous()
    gs = a.gs.contiguous()
    gx = torch.empty_like(gs)
    carry = torch.zeros_like(gs[0]) if a.gv_last is None else a.gv_last.clone(memory_format=torch.contiguous_format)
    if n and steps:
        _backward[(triton.cdiv(n, BLOCK),)](
            h, gs, phi, carry, *rows, gs if a.spikes is None else a.spikes.contiguous(), gx, steps, n, *strides,
            SOFT_=rule.reset == SOFT, HARD_=rule.reset == HARD, DETACH=rule.detach, STRICT=rule.strict,
            GIVEN=a.spikes is not None, BLOCK_=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return gx, carry, [empty(gs, 0, n) for _ in range(5)]
