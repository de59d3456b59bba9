"""The triton backend: one program per block of neurons walks through time, its state in registers.

The forward kernel writes what is asked for; the backward pass runs it once more for the potentials h (one stream that
lives until the pass is over) and then walks back. Statistics are reductions of such a transient h: no stream stays,
but they are not free as on the CPU. Fused multiply-adds are off: the order of operations is part of the contract.

Under ``TRITON_INTERPRET=1``, set before triton is imported, the same kernels run on the CPU, slowly: that is how they
are tested without a GPU.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,unused-ignore"
from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped,import-not-found]
import triton.language as tl  # type: ignore[import-untyped,import-not-found]
from torch import Tensor

from spk_neurons._kernels.problem import Adjoint, Outputs, Params, Rule, StatsPlan, empty

BLOCK = 256
# the numbers of problem.RESETS; kernels read globals only where they are compile-time constants
SOFT: tl.constexpr = tl.constexpr(0)
HARD: tl.constexpr = tl.constexpr(1)


@triton.jit
def _derivative(u, KIND: tl.constexpr, A: tl.constexpr, G: tl.constexpr):
    """phi(u) by the numbers of spk_neurons.surrogate; A and G are its two parameters."""
    if KIND == 1:
        phi = tl.where(tl.abs(u) <= A / 2, 1.0 / A, 0.0).to(u.dtype)
    elif KIND == 2:
        phi = tl.maximum(A - tl.abs(u), 0.0) / (A * A)
    elif KIND == 3:
        z = (1.5707963267948966 * A) * u
        phi = (A / 2) / (1.0 + z * z)
    elif KIND == 4:
        # both exponents are <= 0: nothing overflows, whatever u is
        w = tl.exp(-A * tl.abs(u))
        phi = A * w / ((1.0 + w) * (1.0 + w))
    elif KIND == 5:
        z = 1.0 + A * tl.abs(u)
        phi = 1.0 / (z * z)
    elif KIND == 6:
        z = u / A
        phi = tl.exp(-0.5 * z * z) * (0.3989422804014327 / A)
    elif KIND == 7:
        phi = (A / 2) * tl.exp(-A * tl.abs(u))
    else:
        z = u / A
        l = (u - A) / (6 * A)  # noqa: E741
        r = (u + A) / (6 * A)
        middle = tl.exp(-0.5 * z * z) * ((1.0 + G) * 0.3989422804014327 / A)
        lobes = (tl.exp(-0.5 * l * l) + tl.exp(-0.5 * r * r)) * (G * 0.3989422804014327 / (6 * A))
        phi = middle - lobes
    return phi


@triton.jit
def _forward(
    x, v0, decay, gain, bias, theta, level, noise, given, s, v_last, h_out, v_out, code, steps, n, sd, sg, sb, st, sl,
    RESET: tl.constexpr, STRICT: tl.constexpr, NOISY: tl.constexpr, GIVEN: tl.constexpr, KEEP_S: tl.constexpr,
    KEEP_H: tl.constexpr, KEEP_V: tl.constexpr, BITS: tl.constexpr, WIDTH: tl.constexpr, VD: tl.constexpr,
    VG: tl.constexpr, VB: tl.constexpr, VT: tl.constexpr, VL: tl.constexpr, BLOCK_: tl.constexpr,
):  # fmt: skip
    # offsets are added up, in 64 bits: t * n would overflow 32 bits on large inputs
    j = tl.program_id(0).to(tl.int64) * BLOCK_ + tl.arange(0, BLOCK_)
    ok = j < n
    at, quad = j, j
    jd, jg, jb, jt, jl = j, j, j, j, j
    v = tl.load(v0 + j, mask=ok, other=0.0)
    byte = tl.zeros([BLOCK_], dtype=tl.int32)
    # a parameter that does not vary in time is read once: read in every step, five of them cost more than x does
    d = tl.load(decay + jd, mask=ok, other=0.0)
    g = tl.load(gain + jg, mask=ok, other=0.0)
    b = tl.load(bias + jb, mask=ok, other=0.0)
    th = tl.load(theta + jt, mask=ok, other=0.0)
    lv = tl.load(level + jl, mask=ok, other=0.0)
    for t in range(steps):
        if VD:
            d = tl.load(decay + jd, mask=ok, other=0.0)
        if VG:
            g = tl.load(gain + jg, mask=ok, other=0.0)
        if VB:
            b = tl.load(bias + jb, mask=ok, other=0.0)
        if VT:
            th = tl.load(theta + jt, mask=ok, other=0.0)
        if VL:
            lv = tl.load(level + jl, mask=ok, other=0.0)
        h = (d * v + g * tl.load(x + at, mask=ok, other=0.0)) + b
        if GIVEN:
            fired = tl.load(given + at, mask=ok, other=0.0) > 0
        else:
            seen = h
            if NOISY:
                seen = h + tl.load(noise + at, mask=ok, other=0.0)
            if STRICT:
                fired = seen > th
            else:
                fired = seen >= th
        spike = tl.where(fired, 1.0, 0.0).to(h.dtype)
        v = h
        if RESET == SOFT:
            v = h - lv * spike
        if RESET == HARD:
            v = tl.where(fired, lv, h)
        if KEEP_S:
            tl.store(s + at, spike, mask=ok)
        if KEEP_H:
            tl.store(h_out + at, h, mask=ok)
        if KEEP_V:
            tl.store(v_out + at, v, mask=ok)
        if BITS:
            # four steps share a byte: bit 0 in the window of the rectangle, bit 1 fired
            two = tl.where(tl.abs(h - th) <= WIDTH / 2, 1, 0) + tl.where(fired, 2, 0)
            byte = tl.where(t % 4 == 0, 0, byte) + (two << (2 * (t % 4)))
            tl.store(code + quad, byte.to(tl.uint8), mask=ok)
            quad += tl.where(t % 4 == 3, n, 0)
        at += n
        jd += sd
        jg += sg
        jb += sb
        jt += st
        jl += sl
    tl.store(v_last + j, v, mask=ok)


@triton.jit
def _backward(
    h_in, x, v0, gs, gh, gv, shift, given, stat_a, stat_b, g_last, decay, gain, theta, level,
    gx, gv0, g_decay, g_gain, g_bias, g_theta, g_level, steps, n, end, channels, inner, sd, sg, sb, st, sl,
    KIND: tl.constexpr, A: tl.constexpr, G: tl.constexpr, RESET: tl.constexpr, DETACH: tl.constexpr,
    STRICT: tl.constexpr, GH: tl.constexpr, GV: tl.constexpr, SHIFT: tl.constexpr, GIVEN: tl.constexpr,
    STATS: tl.constexpr, DECAY: tl.constexpr, GAIN: tl.constexpr, BIAS: tl.constexpr, THETA: tl.constexpr,
    LEVEL: tl.constexpr, VD: tl.constexpr, VG: tl.constexpr, VB: tl.constexpr, VT: tl.constexpr, VL: tl.constexpr,
    BLOCK_: tl.constexpr,
):  # fmt: skip
    j = tl.program_id(0).to(tl.int64) * BLOCK_ + tl.arange(0, BLOCK_)
    ok = j < n
    at = j + end
    # a parameter with rows starts at its last one, one without (stride 0) stays where it is
    jd, jg, jb = j + tl.where(sd > 0, end, 0), j + tl.where(sg > 0, end, 0), j + tl.where(sb > 0, end, 0)
    jt, jl = j + tl.where(st > 0, end, 0), j + tl.where(sl > 0, end, 0)
    channel = (j // inner) % channels + (steps - 1) * channels
    carry = tl.load(g_last + j, mask=ok, other=0.0)
    start = tl.load(v0 + j, mask=ok, other=0.0)
    h = tl.load(h_in + at, mask=ok, other=0.0)
    th = tl.load(theta + jt, mask=ok, other=0.0)
    lv = tl.load(level + jl, mask=ok, other=0.0)
    fired = h > th if STRICT else h >= th
    if GIVEN:
        fired = tl.load(given + at, mask=ok, other=0.0) > 0
    sum_d, sum_g, sum_b, sum_t, sum_l = carry * 0, carry * 0, carry * 0, carry * 0, carry * 0
    d = tl.load(decay + jd, mask=ok, other=0.0)
    g = tl.load(gain + jg, mask=ok, other=0.0)
    for i in range(steps):
        # the step before: its potential, and with it v[t-1]
        first = i == steps - 1
        # one comparison: an "and" of a block and a scalar is no mask in every release of the interpreter
        earlier = j < tl.where(i < steps - 1, n, 0)
        h_ = tl.load(h_in + at - n, mask=earlier, other=0.0)
        th_, lv_ = th, lv
        if VT:
            th_ = tl.load(theta + jt - st, mask=earlier, other=0.0)
        if VL:
            lv_ = tl.load(level + jl - sl, mask=earlier, other=0.0)
        if VD:
            d = tl.load(decay + jd, mask=ok, other=0.0)
        if VG:
            g = tl.load(gain + jg, mask=ok, other=0.0)
        fired_ = h_ > th_ if STRICT else h_ >= th_
        if GIVEN:
            fired_ = tl.load(given + at - n, mask=earlier, other=0.0) > 0
        if GV:
            carry += tl.load(gv + at, mask=ok, other=0.0)
        u = h - th
        if SHIFT:
            u -= tl.load(shift + at, mask=ok, other=0.0)
        q = tl.load(gs + at, mask=ok, other=0.0)
        keep = carry
        if RESET == HARD:
            keep = tl.where(fired, 0.0, carry).to(carry.dtype)
            if not DETACH:
                q += carry * (lv - h)
        if RESET == SOFT and not DETACH:
            q -= carry * lv
        e = _derivative(u, KIND, A, G) * q
        if THETA:
            sum_t -= e
            if VT:
                tl.store(g_theta + jt, sum_t, mask=ok)
                sum_t = carry * 0
        if LEVEL:
            if RESET == HARD:
                sum_l += tl.where(fired, carry, 0.0).to(carry.dtype)
            if RESET == SOFT:
                sum_l -= tl.where(fired, carry, 0.0).to(carry.dtype)
            if VL:
                tl.store(g_level + jl, sum_l, mask=ok)
                sum_l = carry * 0
        e += keep
        if GH:
            e += tl.load(gh + at, mask=ok, other=0.0)
        if STATS:
            e += tl.load(stat_a + channel, mask=ok, other=0.0) + tl.load(stat_b + channel, mask=ok, other=0.0) * h
        if DECAY:
            before = h_
            if RESET == HARD:
                before = tl.where(fired_, lv_, h_)
            if RESET == SOFT:
                before = tl.where(fired_, h_ - lv_, h_)
            sum_d += e * tl.where(first, start, before)
            if VD:
                tl.store(g_decay + jd, sum_d, mask=ok)
                sum_d = carry * 0
        if GAIN:
            sum_g += e * tl.load(x + at, mask=ok, other=0.0)
            if VG:
                tl.store(g_gain + jg, sum_g, mask=ok)
                sum_g = carry * 0
        if BIAS:
            sum_b += e
            if VB:
                tl.store(g_bias + jb, sum_b, mask=ok)
                sum_b = carry * 0
        tl.store(gx + at, g * e, mask=ok)
        carry = d * e
        h, th, lv, fired = h_, th_, lv_, fired_
        at -= n
        channel -= channels
        jd -= sd
        jg -= sg
        jb -= sb
        jt -= st
        jl -= sl
    if DECAY and not VD:
        tl.store(g_decay + j, sum_d, mask=ok)
    if GAIN and not VG:
        tl.store(g_gain + j, sum_g, mask=ok)
    if BIAS and not VB:
        tl.store(g_bias + j, sum_b, mask=ok)
    if THETA and not VT:
        tl.store(g_theta + j, sum_t, mask=ok)
    if LEVEL and not VL:
        tl.store(g_level + j, sum_l, mask=ok)
    tl.store(gv0 + j, carry, mask=ok)


@triton.jit
def _backward_bits(
    code, gs, g_last, decay, gain, gx, gv0, steps, n, end, quad_end, sd, sg,
    RESET: tl.constexpr, WIDTH: tl.constexpr, VD: tl.constexpr, VG: tl.constexpr, BLOCK_: tl.constexpr,
):  # fmt: skip
    j = tl.program_id(0).to(tl.int64) * BLOCK_ + tl.arange(0, BLOCK_)
    ok = j < n
    at, quad = j + end, j + quad_end
    jd, jg = j + tl.where(sd > 0, end, 0), j + tl.where(sg > 0, end, 0)
    carry = tl.load(g_last + j, mask=ok, other=0.0)
    d = tl.load(decay + jd, mask=ok, other=0.0)
    g = tl.load(gain + jg, mask=ok, other=0.0)
    for i in range(steps):
        t = steps - 1 - i
        if VD:
            d = tl.load(decay + jd, mask=ok, other=0.0)
        if VG:
            g = tl.load(gain + jg, mask=ok, other=0.0)
        two = (tl.load(code + quad, mask=ok, other=0).to(tl.int32) >> (2 * (t % 4))) & 3
        e = tl.where((two & 1) > 0, tl.load(gs + at, mask=ok, other=0.0) / WIDTH, 0.0).to(carry.dtype)
        if RESET == HARD:
            e += tl.where((two & 2) > 0, 0.0, carry).to(carry.dtype)
        else:
            e += carry
        tl.store(gx + at, g * e, mask=ok)
        carry = d * e
        quad -= tl.where(t % 4 == 0, n, 0)
        at -= n
        jd -= sd
        jg -= sg
    tl.store(gv0 + j, carry, mask=ok)


def _rows(p: Tensor, n: int) -> tuple[Tensor, int]:
    """A parameter as contiguous rows [1 or T, N] and the stride between steps."""
    rows = p.reshape(1, 1).expand(1, n).contiguous() if p.dim() == 0 else p.contiguous()
    return rows, n if rows.shape[0] > 1 else 0


def _all_rows(params: Params, n: int) -> tuple[list[Tensor], list[int]]:
    five = (params.decay, params.gain, params.bias, params.theta, params.level)
    pairs = [_rows(p, n) for p in five]
    return [rows for rows, _ in pairs], [stride for _, stride in pairs]


def _varying(strides: list[int]) -> dict[str, bool]:
    """Which of the five parameters change from step to step, as the kernels' flags."""
    return {flag: stride > 0 for flag, stride in zip(("VD", "VG", "VB", "VT", "VL"), strides, strict=True)}


def _walk(
    x: Tensor, v0: Tensor, params: Params, rule: Rule, noise: Tensor | None, given: Tensor | None, *,
    keep_s: bool, keep_h: bool, keep_v: bool, bits: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Run the forward kernel: s, last v, h, v, two-bit code; what is not kept is empty."""
    steps, n = x.shape
    rows, strides = _all_rows(params, n)
    x, v0 = x.contiguous(), v0.contiguous()
    s, h, v = (torch.empty_like(x) if keep else empty(x, 0, n) for keep in (keep_s, keep_h, keep_v))
    last = torch.empty_like(v0)
    code = torch.zeros((-(-steps // 4) if bits else 0, n), dtype=torch.uint8, device=x.device)
    if n:
        _forward[(triton.cdiv(n, BLOCK),)](
            x, v0, *rows, x if noise is None else noise.contiguous(), x if given is None else given.contiguous(),
            # a pointer must point somewhere, also where nothing is written
            s if keep_s else last, last, h if keep_h else last, v if keep_v else last, code if bits else last,
            steps, n, *strides, RESET=rule.reset, STRICT=rule.strict, NOISY=noise is not None, GIVEN=given is not None,
            KEEP_S=keep_s, KEEP_H=keep_h, KEEP_V=keep_v, BITS=bits, WIDTH=rule.p0, **_varying(strides), BLOCK_=BLOCK,
            enable_fp_fusion=False,
        )  # fmt: skip
    return s, last, h, v, code


def _statistics(h: Tensor, plan: StatsPlan) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, variance, histogram and counts inside the window of stored potentials [T, N]."""
    steps, _ = h.shape
    mean, var = empty(h), empty(h)
    if plan.moments:
        by_channel = h.reshape(steps, -1, plan.channels, plan.inner)
        mean, var = by_channel.mean((1, 3)), by_channel.var((1, 3), correction=0)
    counts = torch.zeros(plan.bins, dtype=torch.int64, device=h.device)
    if plan.bins:
        known = h[~h.isnan()]
        k = (known - plan.low) / ((plan.high - plan.low) / plan.bins)
        counts += torch.bincount(k.clamp(0, plan.bins - 1).long(), minlength=plan.bins)
    inside = torch.zeros(steps if plan.bins or plan.window else 0, dtype=torch.int64, device=h.device)
    if inside.numel():
        inside += ((h >= plan.window_lo) & (h <= plan.window_hi)).sum(1)
    return mean, var, counts, inside


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
    """Run all steps; see :class:`Outputs`."""
    taking = plan.moments or plan.bins > 0 or plan.window
    s, last, h, v, code = _walk(
        x, v0, params, rule, noise, None, keep_s=True, keep_h=record_h or taking, keep_v=record_v, bits=bits
    )
    mean, var, counts, inside = _statistics(h if taking else empty(x, 0, x.shape[1]), plan)
    return Outputs(s, last, h if record_h else empty(x, 0, x.shape[1]), v, mean, var, counts, inside, code)


def backward(a: Adjoint, params: Params, rule: Rule) -> tuple[Tensor, Tensor, list[Tensor]]:
    """dL/dx [T, N], dL/dv0 [N] and the gradients of the five parameters ([1 or T, N], or empty)."""
    steps, n = a.gs.shape
    rows, strides = _all_rows(params, n)
    gs = a.gs.contiguous()
    gx, gv0 = torch.empty_like(gs), torch.empty_like(gs[0])
    g_last = torch.zeros_like(gs[0]) if a.gv_last is None else a.gv_last.contiguous()
    grads = [torch.zeros_like(p) if need else empty(gs, 0, n) for p, need in zip(rows, a.need, strict=True)]
    grid = (triton.cdiv(n, BLOCK),)
    if not n:
        return gx, gv0, grads
    if a.code is not None:
        _backward_bits[grid](
            a.code, gs, g_last, rows[0], rows[1], gx, gv0, steps, n, (steps - 1) * n, (steps - 1) // 4 * n,
            strides[0], strides[1], RESET=rule.reset, WIDTH=rule.p0, VD=strides[0] > 0, VG=strides[1] > 0, BLOCK_=BLOCK,
            enable_fp_fusion=False,
        )  # fmt: skip
        return gx, gv0, grads
    h = a.x.contiguous()
    if not a.from_h:
        # the emitted spikes, where chance decided them, decide the resets again
        keep = {"keep_s": False, "keep_h": True, "keep_v": False, "bits": False}
        h = _walk(a.x, a.v0, params, rule, None, a.spikes, **keep)[2]

    def or_gs(t: Tensor | None) -> Tensor:
        return gs if t is None else t.contiguous()

    _backward[grid](
        h, a.x.contiguous(), a.v0.contiguous(), gs, or_gs(a.gh), or_gs(a.gv), or_gs(a.shift), or_gs(a.spikes),
        or_gs(a.stat_a), or_gs(a.stat_b), g_last, rows[0], rows[1], rows[3], rows[4],
        gx, gv0, *(g if g.numel() else gx for g in grads), steps, n, (steps - 1) * n, a.plan.channels, a.plan.inner,
        *strides, KIND=rule.kind, A=rule.p0, G=rule.p1, RESET=rule.reset, DETACH=rule.detach, STRICT=rule.strict,
        GH=a.gh is not None, GV=a.gv is not None, SHIFT=a.shift is not None, GIVEN=a.spikes is not None,
        STATS=a.stat_a is not None, DECAY=a.need[0], GAIN=a.need[1], BIAS=a.need[2], THETA=a.need[3],
        LEVEL=a.need[4], **_varying(strides), BLOCK_=BLOCK, enable_fp_fusion=False,
    )  # fmt: skip
    return gx, gv0, grads
