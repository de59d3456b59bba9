"""The torch backend: whole-array operations and hand-written backpropagation through time, on any device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spk_neurons._kernels import eager_plain
from spk_neurons._kernels.problem import HARD, SOFT, Adjoint, Outputs, Params, Rule, StatsPlan, empty


def _row(p: Tensor, t: int) -> Tensor:
    return p if p.dim() == 0 else p[min(t, p.shape[0] - 1)]


def _charge(params: Params, t: int, v: Tensor, x: Tensor, plain_gain: bool, plain_bias: bool) -> Tensor:
    """decay v + gain x + bias in the contract's order; multiplying by one and adding zero change no bit."""
    h = _row(params.decay, t) * v
    h += x if plain_gain else _row(params.gain, t) * x
    return h if plain_bias else h.add_(_row(params.bias, t))


def _scalar(params: Params) -> bool:
    return not any(p.dim() for p in (params.decay, params.gain, params.bias, params.theta, params.level))


def _plain(p: Tensor, value: float) -> bool:
    return p.dim() == 0 and float(p) == value


def _reset(rule: Rule, params: Params, t: int, h: Tensor, s: Tensor) -> Tensor:
    if rule.reset == SOFT:
        return h - _row(params.level, t) * s
    if rule.reset == HARD:
        return torch.where(s > 0, _row(params.level, t), h)
    return h


def _spike(rule: Rule, params: Params, t: int, h: Tensor, noise: Tensor | None = None) -> Tensor:
    u = h if noise is None else h + noise[t]
    theta = _row(params.theta, t)
    return u > theta if rule.strict else u >= theta


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
    steps, n = x.shape
    taking = plan.moments or plan.bins > 0 or plan.window
    if _scalar(params) and noise is None and not (record_h or record_v or bits or taking):
        spikes, last = eager_plain.forward(x, v0, params, rule)
        counts, inside = (torch.empty(0, dtype=torch.int64, device=x.device) for _ in range(2))
        code = torch.empty(0, dtype=torch.uint8, device=x.device)
        return Outputs(spikes, last, empty(x), empty(x), empty(x), empty(x), counts, inside, code)
    s = torch.empty_like(x)
    h = torch.empty_like(x) if record_h else empty(x, 0, n)
    vs = torch.empty_like(x) if record_v else empty(x, 0, n)
    code = torch.zeros((-(-steps // 4) if bits else 0, n), dtype=torch.uint8, device=x.device)
    mean = x.new_empty((steps, plan.channels) if plan.moments else (0,))
    var = torch.empty_like(mean)
    counts = torch.zeros(plan.bins, dtype=torch.int64, device=x.device)
    inside = torch.zeros(steps if plan.bins or plan.window else 0, dtype=torch.int64, device=x.device)
    plain_gain, plain_bias = _plain(params.gain, 1.0), _plain(params.bias, 0.0)
    v = v0
    for t in range(steps):
        ht = _charge(params, t, v, x[t], plain_gain, plain_bias)
        st = s[t].copy_(_spike(rule, params, t, ht, noise))
        v = _reset(rule, params, t, ht, st)
        if record_h:
            h[t] = ht
        if record_v:
            vs[t] = v
        if bits:
            two = ((ht - _row(params.theta, t)).abs() <= rule.p0 / 2).to(torch.uint8) + 2 * st.to(torch.uint8)
            code[t // 4] |= two << (2 * (t % 4))
        if taking:
            take(ht, t, plan, mean, var, counts, inside)
    return Outputs(s, v.clone() if v is v0 else v, h, vs, mean, var, counts, inside, code)


def take(h: Tensor, t: int, plan: StatsPlan, mean: Tensor, var: Tensor, counts: Tensor, inside: Tensor) -> None:
    """Statistics of one step's potentials [N] into the rows of their tables."""
    if plan.moments:
        by_channel = h.reshape(-1, plan.channels, plan.inner)
        mean[t] = by_channel.mean(dim=(0, 2))
        var[t] = by_channel.var(dim=(0, 2), correction=0)
    if plan.bins:
        k = ((h - plan.low) / ((plan.high - plan.low) / plan.bins)).nan_to_num(nan=-1.0)
        counts += torch.bincount(k[~h.isnan()].clamp(0, plan.bins - 1).long(), minlength=plan.bins)
    if plan.bins or plan.window:
        inside[t] = ((h >= plan.window_lo) & (h <= plan.window_hi)).sum()


def backward(
    a: Adjoint, params: Params, rule: Rule, derivative: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """dL/dx [T, N], dL/dv0 [N] and the gradients of the five parameters ([1 or T, N], or empty)."""
    steps, n = a.gs.shape
    gs = a.gs
    rare = (a.code, a.gh, a.gv, a.shift, a.spikes, a.stat_a)
    if _scalar(params) and not (a.from_h or any(a.need)) and all(t is None for t in rare):
        gx, carry = eager_plain.backward(a.x, a.v0, gs, a.gv_last, params, rule, derivative)
        return gx, carry, [empty(gs, 0, n)] * 5
    gx = torch.empty_like(gs)
    carry = torch.zeros_like(gs[0]) if a.gv_last is None else a.gv_last
    five = (params.decay, params.gain, params.bias, params.theta, params.level)
    grads = [
        gs.new_zeros((p.shape[0] if p.dim() == 2 else 1, n)) if need else empty(gs, 0, n)
        for p, need in zip(five, a.need, strict=True)
    ]
    plain_gain, plain_bias = _plain(params.gain, 1.0), _plain(params.bias, 0.0)
    if a.code is not None:
        for t in range(steps - 1, -1, -1):
            two = a.code[t // 4] >> (2 * (t % 4))
            e = gs[t] * (two & 1) / rule.p0
            e += torch.where((two & 2) > 0, 0.0, carry) if rule.reset == HARD else carry
            torch.mul(e, _row(params.gain, t), out=gx[t])
            carry = _row(params.decay, t) * e
        return gx, carry, grads
    h, before = _recompute(a, params, rule, plain_gain, plain_bias)
    for t in range(steps - 1, -1, -1):
        ht, theta, level = h[t], _row(params.theta, t), _row(params.level, t)
        if a.gv is not None:
            carry = carry + a.gv[t]
        u = ht - theta
        phi = derivative(u if a.shift is None else u - a.shift[t])
        fired: Tensor | None = None
        if rule.reset == HARD or a.need[4]:
            fired = a.spikes[t] > 0 if a.spikes is not None else (u > 0 if rule.strict else u >= 0)
        if rule.detach or rule.reset not in (SOFT, HARD):
            e = phi.mul_(gs[t])
        elif rule.reset == SOFT:
            e = phi.mul_(gs[t] - carry * level)
        else:
            e = phi.mul_(gs[t] + carry * (level - ht))
        if a.need[3]:
            grads[3][min(t, grads[3].shape[0] - 1)] -= e
        if a.need[4] and rule.reset in (SOFT, HARD):
            assert fired is not None
            row = grads[4][min(t, grads[4].shape[0] - 1)]
            row += torch.where(fired, -carry if rule.reset == SOFT else carry, 0.0)
        e += carry.masked_fill(fired, 0.0) if rule.reset == HARD and fired is not None else carry
        if a.gh is not None:
            e += a.gh[t]
        if a.stat_a is not None and a.stat_b is not None:
            by_channel = ht.reshape(-1, a.plan.channels, a.plan.inner)
            e += (a.stat_a[t][:, None] + a.stat_b[t][:, None] * by_channel).reshape(-1)
        if a.need[0]:
            grads[0][min(t, grads[0].shape[0] - 1)] += e * before(t)
        if a.need[1]:
            grads[1][min(t, grads[1].shape[0] - 1)] += e * a.x[t]
        if a.need[2]:
            grads[2][min(t, grads[2].shape[0] - 1)] += e
        if plain_gain:
            gx[t] = e
        else:
            torch.mul(e, _row(params.gain, t), out=gx[t])
        carry = e.mul_(_row(params.decay, t))
    return gx, carry, grads


def _recompute(
    a: Adjoint, params: Params, rule: Rule, plain_gain: bool, plain_bias: bool
) -> tuple[Tensor | list[Tensor], Callable[[int], Tensor]]:
    """The potentials h and a function t -> v[t-1]; h is a list of steps, freed with it."""

    def spiked(t: int, ht: Tensor) -> Tensor:
        if a.spikes is not None:
            return a.spikes[t]
        return _spike(rule, params, t, ht).to(ht.dtype)

    h: list[Tensor] = list(a.x) if a.from_h else []
    if not a.from_h:
        v = a.v0
        for t in range(a.gs.shape[0]):
            ht = _charge(params, t, v, a.x[t], plain_gain, plain_bias)
            h.append(ht)
            v = _reset(rule, params, t, ht, spiked(t, ht)) if rule.reset in (SOFT, HARD) else ht

    def before(t: int) -> Tensor:
        return a.v0 if t == 0 else _reset(rule, params, t - 1, h[t - 1], spiked(t - 1, h[t - 1]))

    return h, before
