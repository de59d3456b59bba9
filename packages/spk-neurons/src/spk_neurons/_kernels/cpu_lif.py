"""Compiled kernels of the point neuron in general: parameters per neuron or step, their gradients, every recording.

They work like those of ``cpu_plain`` (blocks of neurons, all steps of a block before the next), but in several short
passes over a row, so that each loop has few arrays and becomes SIMD code. Arrays are [T, N]; a parameter is a scalar
or an array [1 or T, N]; empty arrays stand for "not asked for".
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from spk_neurons._kernels.cpu_math import JIT, STAMP, SUMS, affine_row, at, copy_row, histogram_row, row, sum_row
from spk_neurons._kernels.cpu_phi import PHI

SOFT, HARD, NONE = 0, 1, 2


@njit(**JIT)
def _charge(x, v, decay, gain, bias, h):
    for j in range(h.shape[0]):
        h[j] = (at(decay, j) * v[j] + at(gain, j) * x[j]) + at(bias, j)


@njit(**JIT)
def _fire(h, theta, strict, s):
    real = h.dtype.type
    one, zero = real(1), real(0)
    if strict:
        for j in range(h.shape[0]):
            s[j] = one if h[j] > at(theta, j) else zero
    else:
        for j in range(h.shape[0]):
            s[j] = one if h[j] >= at(theta, j) else zero


@njit(**JIT)
def _fire_noisy(h, noise, theta, strict, s):
    real = h.dtype.type
    one, zero = real(1), real(0)
    if strict:
        for j in range(h.shape[0]):
            s[j] = one if h[j] + noise[j] > at(theta, j) else zero
    else:
        for j in range(h.shape[0]):
            s[j] = one if h[j] + noise[j] >= at(theta, j) else zero


@njit(**JIT)
def _reset(h, s, level, reset, v):
    zero = h.dtype.type(0)
    if reset == SOFT:
        for j in range(h.shape[0]):
            v[j] = h[j] - at(level, j) * s[j]
    elif reset == HARD:
        for j in range(h.shape[0]):
            v[j] = at(level, j) if s[j] > zero else h[j]
    else:
        for j in range(h.shape[0]):
            v[j] = h[j]


@njit(**JIT)
def _code_row(h, theta, s, half, shift, code):
    """Two bits per neuron and step: inside the rectangle, spiked."""
    zero = h.dtype.type(0)
    for j in range(h.shape[0]):
        inside = 1 if abs(h[j] - at(theta, j)) <= half else 0
        spiked = 2 if s[j] > zero else 0
        code[j] |= np.uint8((inside + spiked) << shift)


@njit(**JIT)
def _send(e, decay, gain, gx, c):
    for j in range(e.shape[0]):
        gx[j] = at(gain, j) * e[j]
        c[j] = at(decay, j) * e[j]


@njit(**JIT)
def _collect(e, other, out):
    for j in range(e.shape[0]):
        out[j] += e[j] * other[j]


@cache
def make_forward(noisy: bool, record_h: bool, record_v: bool, moments: bool, counting: bool, bits: bool) -> Any:
    """Kernel of the forward pass, whatever is asked for."""
    stamp = STAMP

    @njit(**JIT)
    def forward(
        x, v, decay, gain, bias, theta, level, noise, s, h_out, v_out, code, half, total, square, channels, inner,
        counts, inside, low, bin_width, window_lo, window_hi, reset, strict, lo, hi, width,
    ):  # fmt: skip
        """Steps of neurons lo..hi. v [N] is read and left at its last value; s [T, N] is written."""
        _ = stamp
        steps = x.shape[0]
        scratch = np.empty(width, x.dtype)
        local = np.zeros(2 * SUMS if moments else 0, x.dtype)
        for a in range(lo, hi, width):
            b = min(a + width, hi)
            n = b - a
            vb = v[a:b]
            for t in range(steps):
                h = h_out[t, a:b] if record_h else scratch[:n]
                xr, sr = x[t, a:b], s[t, a:b]
                th, lv = row(theta, t, a, b), row(level, t, a, b)
                _charge(xr, vb, row(decay, t, a, b), row(gain, t, a, b), row(bias, t, a, b), h)
                if noisy:
                    _fire_noisy(h, noise[t, a:b], th, strict, sr)
                else:
                    _fire(h, th, strict, sr)
                _reset(h, sr, lv, reset, vb)
                if bits:
                    _code_row(h, th, sr, half, 2 * (t % 4), code[t // 4, a:b])
                if moments:
                    sum_row(h, a, channels, inner, local, total[t], square[t])
                if counting:
                    inside[t] += histogram_row(h, low, bin_width, counts, window_lo, window_hi)
                if record_v:
                    copy_row(vb, v_out[t, a:b])

    return forward


@cache
def make_backward(kind: int, gh_: bool, gv_: bool, noisy: bool, stats: bool, any_need: bool) -> Any:
    """Kernel of the general backward pass."""
    stamp = STAMP
    phi = PHI[kind]

    @njit(**JIT)
    def backward(
        x, v0, gs, gh, gv, c, decay, gain, bias, theta, level, shift, spikes, stat_a, stat_b, channels, inner,
        gx, g_decay, g_gain, g_bias, g_theta, g_level, c0, c1, c2, c3, from_h, reset, detach, strict, tile,
        lo, hi, width,
    ):  # fmt: skip
        """Reverse steps of neurons lo..hi. ``x`` is the input, or the recorded h when ``from_h``.

        c [N] holds the adjoint of the last state and is left at decay * e[1], the adjoint of v0. ``shift`` is
        subtracted from h before the surrogate (the noise of this step, in diffusive mode). Parameter gradients are
        per neuron (a first axis of 1: summed over time) or per step and neuron, and are zeroed by the caller.
        """
        _ = stamp
        steps = x.shape[0]
        zero = x.dtype.type(0)
        shifted, use_spikes = noisy and shift.shape[0] > 0, noisy and spikes.shape[0] > 0
        need_decay, need_gain = any_need and g_decay.shape[0] > 0, any_need and g_gain.shape[0] > 0
        need_bias, need_theta = any_need and g_bias.shape[0] > 0, any_need and g_theta.shape[0] > 0
        need_level = any_need and g_level.shape[0] > 0 and reset != NONE
        work = np.empty((5, width), x.dtype)
        for a in range(lo, hi, width):
            b = min(a + width, hi)
            n = b - a
            v, u, e, thr, s = work[0, :n], work[1, :n], work[2, :n], work[3, :n], work[4, :n]
            cb = c[a:b]
            copy_row(v0[a:b], v)
            for t in range(steps):
                h = tile[t, :n]
                if from_h:
                    copy_row(x[t, a:b], h)
                else:
                    th = row(theta, t, a, b)
                    _charge(x[t, a:b], v, row(decay, t, a, b), row(gain, t, a, b), row(bias, t, a, b), h)
                    if use_spikes:
                        _reset(h, spikes[t, a:b], row(level, t, a, b), reset, v)
                    else:
                        _fire(h, th, strict, s)
                        _reset(h, s, row(level, t, a, b), reset, v)
            for i in range(steps):
                t = steps - 1 - i
                h, g, th, lv = tile[t, :n], gs[t, a:b], row(theta, t, a, b), row(level, t, a, b)
                if gv_:
                    gvr = gv[t, a:b]
                    for j in range(n):
                        cb[j] += gvr[j]
                if shifted:
                    sh = shift[t, a:b]
                    for j in range(n):
                        u[j] = (h[j] - at(th, j)) - sh[j]
                else:
                    for j in range(n):
                        u[j] = h[j] - at(th, j)
                if reset == HARD or need_level:
                    if use_spikes:
                        copy_row(spikes[t, a:b], s)
                    else:
                        _fire(h, th, strict, s)
                # thr = phi (gs + c q), minus the threshold's adjoint; e = thr + c k, that of h
                for j in range(n):
                    u[j] = phi(u[j], c0, c1, c2, c3)
                if detach or reset == NONE:
                    for j in range(n):
                        thr[j] = u[j] * g[j]
                elif reset == SOFT:
                    for j in range(n):
                        thr[j] = u[j] * (g[j] - cb[j] * at(lv, j))
                else:
                    for j in range(n):
                        thr[j] = u[j] * (g[j] + cb[j] * (at(lv, j) - h[j]))
                if reset == HARD:
                    for j in range(n):
                        e[j] = thr[j] + (zero if s[j] > zero else cb[j])
                else:
                    for j in range(n):
                        e[j] = thr[j] + cb[j]
                if need_theta:
                    out = g_theta[min(t, g_theta.shape[0] - 1), a:b]
                    for j in range(n):
                        out[j] -= thr[j]
                if need_level:
                    out = g_level[min(t, g_level.shape[0] - 1), a:b]
                    for j in range(n):
                        w = s[j] * cb[j]
                        out[j] += -w if reset == SOFT else w
                if gh_:
                    ghr = gh[t, a:b]
                    for j in range(n):
                        e[j] += ghr[j]
                if stats:
                    affine_row(h, a, channels, inner, stat_a[t], stat_b[t], u)
                    for j in range(n):
                        e[j] += u[j]
                if need_decay:
                    if t == 0:
                        copy_row(v0[a:b], v)
                    else:
                        before = tile[t - 1, :n]
                        if use_spikes:
                            _reset(before, spikes[t - 1, a:b], row(level, t - 1, a, b), reset, v)
                        else:
                            _fire(before, row(theta, t - 1, a, b), strict, s)
                            _reset(before, s, row(level, t - 1, a, b), reset, v)
                    _collect(e, v, g_decay[min(t, g_decay.shape[0] - 1), a:b])
                if need_gain:
                    _collect(e, x[t, a:b], g_gain[min(t, g_gain.shape[0] - 1), a:b])
                if need_bias:
                    out = g_bias[min(t, g_bias.shape[0] - 1), a:b]
                    for j in range(n):
                        out[j] += e[j]
                _send(e, row(decay, t, a, b), row(gain, t, a, b), gx[t, a:b], cb)

    return backward


@njit(**JIT)
def backward_bits(
    code, gs, c, decay, gain, top, gx, reset, lo, hi, width,
):  # fmt: skip
    """Rectangle with a detached (or no) reset: two bits per step are all that the gradient needs."""
    steps = gs.shape[0]
    real = gs.dtype.type
    zero = real(0)
    for a in range(lo, hi, width):
        b = min(a + width, hi)
        cb = c[a:b]
        for i in range(steps):
            t = steps - 1 - i
            cr, shift = code[t // 4, a:b], 2 * (t % 4)
            g, out = gs[t, a:b], gx[t, a:b]
            dr, gr = row(decay, t, a, b), row(gain, t, a, b)
            for j in range(b - a):
                two = cr[j] >> shift
                e = (top if two & 1 else zero) * g[j]
                e += zero if (reset == HARD and two & 2) else cb[j]
                out[j] = at(gr, j) * e
                cb[j] = at(dr, j) * e
