"""Compiled kernels of the point neuron: all time steps of a block of neurons, block after block.

A block is as wide as the cache allows; its potentials stay in the cache from the first step to the last. The
backward kernel recomputes h of a block into a tile instead of reading a stored stream. Arrays are [T, N]; a
parameter is a scalar or an array [1 or T, N]; empty arrays stand for "not asked for".
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import numpy as np
from numba import njit

from spk_neurons._kernels.cpu_math import JIT, affine_row, at, derivative_row, histogram_row, row, sum_row

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
def _fire_reset(h, theta, level, reset, v):
    """Reset without writing the spikes: what the backward pass recomputes (fire on >=)."""
    zero = h.dtype.type(0)
    if reset == SOFT:
        for j in range(h.shape[0]):
            v[j] = h[j] - (at(level, j) if h[j] >= at(theta, j) else zero)
    elif reset == HARD:
        for j in range(h.shape[0]):
            v[j] = at(level, j) if h[j] >= at(theta, j) else h[j]
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
def forward(
    x, v, decay, gain, bias, theta, level, noise, s, h_out, v_out, code, half,
    reset, strict, total, square, channels, inner,
    counts, inside, low, bin_width, window_lo, window_hi, lo, hi, width,
):  # fmt: skip
    """Steps of neurons lo..hi. v [N] is read and left at its last value; s [T, N] is written."""
    steps = x.shape[0]
    record_h, record_v, noisy = h_out.shape[0] > 0, v_out.shape[0] > 0, noise.shape[0] > 0
    moments, counting, bits = total.shape[0] > 0, inside.shape[0] > 0, code.shape[0] > 0
    scratch = np.empty(width, x.dtype)
    lane = np.zeros((2, 32), x.dtype)
    local = np.zeros((2, channels if moments and inner == 1 and channels <= width else 1), x.dtype)
    for a in range(lo, hi, width):
        b = min(a + width, hi)
        vb = v[a:b]
        for t in range(steps):
            h = h_out[t, a:b] if record_h else scratch[: b - a]
            th, sr, lv = row(theta, t, a, b), s[t, a:b], row(level, t, a, b)
            _charge(x[t, a:b], vb, row(decay, t, a, b), row(gain, t, a, b), row(bias, t, a, b), h)
            if noisy:
                _fire_noisy(h, noise[t, a:b], th, strict, sr)
            else:
                _fire(h, th, strict, sr)
            _reset(h, sr, lv, reset, vb)
            if bits:
                _code_row(h, th, sr, half, 2 * (t % 4), code[t // 4, a:b])
            if moments:
                sum_row(h, a, channels, inner, lane, local, total[t], square[t])
            if counting:
                inside[t] += histogram_row(h, low, bin_width, counts, window_lo, window_hi)
            if record_v:
                v_out[t, a:b] = vb


@njit(**JIT)
def _adjoint(phi, gs, c, h, theta, spikes, level, reset, detach, use_spikes, e, thr):
    """e = phi (gs + c q) + c k, the adjoint of h; thr = phi (gs + c q), minus that of the threshold."""
    n = h.shape[0]
    zero = h.dtype.type(0)
    if reset == SOFT and not detach:
        for j in range(n):
            thr[j] = phi[j] * (gs[j] - c[j] * at(level, j))
    elif reset == HARD and not detach:
        for j in range(n):
            thr[j] = phi[j] * (gs[j] + c[j] * (at(level, j) - h[j]))
    else:
        for j in range(n):
            thr[j] = phi[j] * gs[j]
    if reset == HARD:
        if use_spikes:
            for j in range(n):
                e[j] = thr[j] + (zero if spikes[j] > zero else c[j])
        else:
            for j in range(n):
                e[j] = thr[j] + (zero if h[j] >= at(theta, j) else c[j])
    else:
        for j in range(n):
            e[j] = thr[j] + c[j]


@njit(**JIT)
def _send(e, decay, gain, gx, c):
    for j in range(e.shape[0]):
        gx[j] = at(gain, j) * e[j]
        c[j] = at(decay, j) * e[j]


@njit(**JIT)
def _plain(kind, p0, h, gs, c, theta, decay, gain, level, reset, gx, phi):
    """One reverse step when nothing but dx and dv0 is asked for, in one loop: e, then gx and the new carry."""
    real = h.dtype.type
    one, zero = real(1), real(0)
    n = h.shape[0]
    d, g, th, lv = decay, gain, theta, level
    if reset == 10:  # hard, not detached
        for j in range(n):
            k = zero if h[j] >= th else c[j]
            e = phi[j] * (gs[j] + c[j] * (lv - h[j])) + k
            gx[j] = g * e
            c[j] = d * e
    elif reset == 11:  # hard, detached
        for j in range(n):
            k = zero if h[j] >= th else c[j]
            e = phi[j] * gs[j] + k
            gx[j] = g * e
            c[j] = d * e
    elif reset == 0:  # soft, not detached
        for j in range(n):
            e = phi[j] * (gs[j] - c[j] * lv) + c[j]
            gx[j] = g * e
            c[j] = d * e
    else:
        for j in range(n):
            e = phi[j] * gs[j] + c[j]
            gx[j] = g * e
            c[j] = d * e
    return one


@njit(**JIT)
def _collect(e, other, out, fresh):
    if fresh:
        for j in range(e.shape[0]):
            out[j] = e[j] * other[j]
    else:
        for j in range(e.shape[0]):
            out[j] += e[j] * other[j]


@njit(**JIT)
def backward_plain(
    x, v0, gs, c, decay, gain, bias, theta, level, gx, reset, detach, kind, p0, p1, lo, hi, width,
):  # fmt: skip
    """The case that training spends its time in: scalar parameters, fire on >=, gradient of x and v0 only."""
    steps = x.shape[0]
    tile = np.empty((steps, width), x.dtype)
    vb, phi = np.empty(width, x.dtype), np.empty(width, x.dtype)
    case = 3 if reset == NONE else (10 if reset == HARD else 0) + (1 if detach else 0)
    for a in range(lo, hi, width):
        b = min(a + width, hi)
        v, ph, cb = vb[: b - a], phi[: b - a], c[a:b]
        v[:] = v0[a:b]
        for t in range(steps):
            h = tile[t, : b - a]
            _charge(x[t, a:b], v, decay, gain, bias, h)
            _fire_reset(h, theta, level, reset, v)
        for i in range(steps):
            t = steps - 1 - i
            h = tile[t, : b - a]
            derivative_row(kind, p0, p1, h, theta, ph)
            _plain(kind, p0, h, gs[t, a:b], cb, theta, decay, gain, level, case, gx[t, a:b], ph)


@njit(**JIT)
def backward(
    x, from_h, v0, gs, gh, gv, c, decay, gain, bias, theta, level, shift, spikes, stat_a, stat_b, channels, inner,
    gx, g_decay, g_gain, g_bias, g_theta, g_level,
    reset, detach, strict, kind, p0, p1, lo, hi, width,
):  # fmt: skip
    """Reverse steps of neurons lo..hi. ``x`` is the input, or the recorded h when ``from_h``.

    c [N] holds the adjoint of the last state and is left at decay * e[1], the adjoint of v0. ``shift`` is
    subtracted from h before the surrogate (the noise of this step, in diffusive mode). Parameter gradients are
    per neuron (a first axis of 1: summed over time) or per step and neuron, and are zeroed by the caller.
    """
    steps = x.shape[0]
    has_gh, has_gv, has_stats = gh.shape[0] > 0, gv.shape[0] > 0, stat_a.shape[0] > 0
    shifted, use_spikes = shift.shape[0] > 0, spikes.shape[0] > 0
    real = x.dtype.type
    one, zero = real(1), real(0)
    tile = np.empty((steps, width), x.dtype)
    work = np.empty((5, width), x.dtype)
    for a in range(lo, hi, width):
        b = min(a + width, hi)
        n = b - a
        v, ph, e, thr, s = work[0, :n], work[1, :n], work[2, :n], work[3, :n], work[4, :n]
        cb = c[a:b]
        v[:] = v0[a:b]
        for t in range(steps):
            h = tile[t, :n]
            if from_h:
                h[:] = x[t, a:b]
                continue
            th = row(theta, t, a, b)
            _charge(x[t, a:b], v, row(decay, t, a, b), row(gain, t, a, b), row(bias, t, a, b), h)
            if use_spikes:
                _reset(h, spikes[t, a:b], row(level, t, a, b), reset, v)
            else:
                _fire(h, th, strict, s)
                _reset(h, s, row(level, t, a, b), reset, v)
        for i in range(steps):
            t = steps - 1 - i
            h, th, lv = tile[t, :n], row(theta, t, a, b), row(level, t, a, b)
            if has_gv:
                gvr = gv[t, a:b]
                for j in range(n):
                    cb[j] += gvr[j]
            if shifted:
                sh = shift[t, a:b]
                for j in range(n):
                    e[j] = h[j] - sh[j]
                derivative_row(kind, p0, p1, e, th, ph)
            else:
                derivative_row(kind, p0, p1, h, th, ph)
            if use_spikes:
                s[:] = spikes[t, a:b]
            else:
                _fire(h, th, strict, s)
            _adjoint(ph, gs[t, a:b], cb, h, th, s, lv, reset, detach, True, e, thr)
            if g_theta.shape[0] > 0:
                out = g_theta[min(t, g_theta.shape[0] - 1), a:b]
                for j in range(n):
                    out[j] -= thr[j]
            if g_level.shape[0] > 0:
                out = g_level[min(t, g_level.shape[0] - 1), a:b]
                sign = -one if reset == SOFT else (one if reset == HARD else zero)
                for j in range(n):
                    out[j] += sign * s[j] * cb[j]
            if has_gh:
                ghr = gh[t, a:b]
                for j in range(n):
                    e[j] += ghr[j]
            if has_stats:
                affine_row(h, a, channels, inner, stat_a[t], stat_b[t], e)
            if g_decay.shape[0] > 0:
                if t == 0:
                    v[:] = v0[a:b]
                else:
                    before = tile[t - 1, :n]
                    if use_spikes:
                        s[:] = spikes[t - 1, a:b]
                    else:
                        _fire(before, row(theta, t - 1, a, b), strict, s)
                    _reset(before, s, row(level, t - 1, a, b), reset, v)
                full = g_decay.shape[0] == steps and steps > 1
                _collect(e, v, g_decay[t if full else 0, a:b], full)
            if g_gain.shape[0] > 0:
                full = g_gain.shape[0] == steps and steps > 1
                _collect(e, x[t, a:b], g_gain[t if full else 0, a:b], full)
            if g_bias.shape[0] > 0:
                out = g_bias[min(t, g_bias.shape[0] - 1), a:b]
                for j in range(n):
                    out[j] += e[j]
            _send(e, row(decay, t, a, b), row(gain, t, a, b), gx[t, a:b], cb)


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
