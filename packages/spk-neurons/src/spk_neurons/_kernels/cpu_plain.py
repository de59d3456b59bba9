"""Compiled kernels of the case that time is spent in: scalar parameters, one pass over each row of a block.

A block is as wide as the cache allows; its potentials stay in the cache from the first step to the last, and the
backward kernel recomputes them into a tile instead of reading a stored stream. Whatever is rarer (parameters per
neuron, gradients of parameters, recorded v) runs in ``cpu_lif``, in several passes over a row.

The rule for every inner loop here: one array written, or two among five. The compiler checks at run time that written
arrays overlap no other, and gives up on SIMD code above eight comparisons.

Kernels are made by factories: choices are compiled in, and what a call does not ask for is not compiled, which keeps
the first call short. Scalars arrive as Python floats and are rounded to the arrays' precision inside.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable

from spk_neurons._kernels.cpu_math import JIT, STAMP, SUMS, histogram_row, sum_row
from spk_neurons._kernels.cpu_phi import PHI

SOFT, HARD, NONE = 0, 1, 2


@register_jitable
def _begin(given, otherwise, a, row):
    """Fill a row with the given values from neuron a on, or with one number where the array is empty."""
    if given.shape[0] > 0:
        for j in range(row.shape[0]):
            row[j] = given[a + j]
    else:
        for j in range(row.shape[0]):
            row[j] = otherwise


@cache
def make_forward(reset: int, strict: bool, noisy: bool) -> Any:
    """Kernel of the forward pass that only emits spikes."""
    stamp = STAMP

    @njit(**JIT)
    def forward(x, v0, start, v, s, noise, decay, gain, bias, theta, level, lo, hi, width):
        """Steps of neurons lo..hi; x, s (and noise, if noisy) [T, N].

        The first state is v0 [N], or ``start`` where v0 is empty; the last one is left in v [N].
        """
        _ = stamp
        real = x.dtype.type
        decay, gain, bias, theta, level = real(decay), real(gain), real(bias), real(theta), real(level)
        one, zero = real(1), real(0)
        for a in range(lo, hi, width):
            b = min(a + width, hi)
            vb = v[a:b]
            _begin(v0, start, a, vb)
            for t in range(x.shape[0]):
                xr, sr = x[t, a:b], s[t, a:b]
                if noisy:
                    er = noise[t, a:b]
                for j in range(b - a):
                    h = (decay * vb[j] + gain * xr[j]) + bias
                    seen = h + er[j] if noisy else h
                    fired = seen > theta if strict else seen >= theta
                    sr[j] = one if fired else zero
                    if reset == HARD:
                        vb[j] = level if fired else h
                    elif reset == SOFT:
                        vb[j] = h - (level if fired else zero)
                    else:
                        vb[j] = h

    return forward


@cache
def make_watched_forward(reset: int, strict: bool, record: bool, moments: bool, counting: bool) -> Any:
    """Kernel of the forward pass that also looks at h: records it, or takes its statistics while it is in the cache."""
    stamp = STAMP

    @njit(**JIT)
    def forward(
        x, v0, start, v, s, h_out, decay, gain, bias, theta, level, total, square, channels, inner, counts, inside, low,
        bin_width, window_lo, window_hi, lo, hi, width,
    ):  # fmt: skip
        """As the plain kernel; total, square [T, C], counts [bins] and inside [T] are added to."""
        _ = stamp
        real = x.dtype.type
        decay, gain, bias, theta, level = real(decay), real(gain), real(bias), real(theta), real(level)
        one, zero = real(1), real(0)
        scratch = np.empty(width, x.dtype)
        local = np.zeros(2 * SUMS if moments else 0, x.dtype)
        for a in range(lo, hi, width):
            b = min(a + width, hi)
            n = b - a
            vb = v[a:b]
            _begin(v0, start, a, vb)
            for t in range(x.shape[0]):
                xr, sr = x[t, a:b], s[t, a:b]
                hr = h_out[t, a:b] if record else scratch[:n]
                for j in range(n):
                    h = (decay * vb[j] + gain * xr[j]) + bias
                    fired = h > theta if strict else h >= theta
                    hr[j] = h
                    sr[j] = one if fired else zero
                    if reset == HARD:
                        vb[j] = level if fired else h
                    elif reset == SOFT:
                        vb[j] = h - (level if fired else zero)
                    else:
                        vb[j] = h
                if moments:
                    sum_row(hr, a, channels, inner, local, total[t], square[t])
                if counting:
                    inside[t] += histogram_row(hr, low, bin_width, counts, window_lo, window_hi)

    return forward


#: how dL/dh of the statistics comes: not at all, in channels next to each other, in runs of one channel
NO_STATS, ROWS, RUNS = 0, 1, 2
#: channels per row of the table of a and b
CHUNK = 512


@cache
def make_backward(kind: int, reset: int, detach: bool, strict: bool, given: bool, extra: bool, stats: int) -> Any:
    """Kernel of the backward pass: gradients of x and of the first state.

    Args:
        kind, reset, detach, strict: the rule. given: the emitted spikes are read (chance decided them).
        extra: dL/dh is given as a stream. stats: dL/dh = a[t, c] + b[t, c] h, in one of the three layouts.
    """
    stamp = STAMP
    phi = PHI[kind]
    # the rule at the head of this file: with two more arrays to read, one is written at a time
    fused = given + extra + (stats == ROWS) < 2

    @njit(**JIT)
    def backward(
        x, v0, start, gs, spikes, gh, stat, channels, inner, last, c, decay, gain, bias, theta, level, gx, c0, c1, c2,
        c3, tile, lo, hi, width,
    ):  # fmt: skip
        """Reverse steps of neurons lo..hi: gx [T, N] and dL/dv[0] in c [N] are written.

        ``last`` [N] is dL/dv[T], zero where empty. ``stat`` holds a and b: [T, C, 2] for runs; for rows
        [T, K, 2 CHUNK], CHUNK channels of a before the same of b, which count as one array at a constant distance.
        """
        _ = stamp
        real = x.dtype.type
        decay, gain, bias, theta, level = real(decay), real(gain), real(bias), real(theta), real(level)
        c0, c1, c2, c3 = real(c0), real(c1), real(c2), real(c3)
        zero = real(0)
        steps = x.shape[0]
        work = np.empty(width, x.dtype)
        for a in range(lo, hi, width):
            b = min(a + width, hi)
            n = b - a
            v, cb = work[:n], c[a:b]
            _begin(v0, start, a, v)
            _begin(last, zero, a, cb)
            for t in range(steps):
                h, xr = tile[t, :n], x[t, a:b]
                if given:
                    sr = spikes[t, a:b]
                for j in range(n):
                    z = (decay * v[j] + gain * xr[j]) + bias
                    fired = sr[j] > zero if given else (z > theta if strict else z >= theta)
                    h[j] = z
                    if reset == HARD:
                        v[j] = level if fired else z
                    elif reset == SOFT:
                        v[j] = z - (level if fired else zero)
                    else:
                        v[j] = z
            for i in range(steps):
                t = steps - 1 - i
                first = 0
                while first < n:
                    # neurons whose statistics' adjoint is one row of a table, or one number: usually the whole block
                    stop = n
                    if stats == ROWS:
                        k = (a + first) % channels
                        stop = min(n, first + channels - k, first + CHUNK - k % CHUNK)
                        ab = stat[t, k // CHUNK, k % CHUNK :]
                    elif stats == RUNS:
                        k = ((a + first) // inner) % channels
                        stop = min(n, first + inner - (a + first) % inner)
                        a0, b0 = stat[t, k, 0], stat[t, k, 1]
                    h, w = tile[t, first:stop], cb[first:stop]
                    g, out = gs[t, a + first : a + stop], gx[t, a + first : a + stop]
                    if given:
                        sr = spikes[t, a + first : a + stop]
                    if extra:
                        more = gh[t, a + first : a + stop]
                    for j in range(stop - first):
                        z = h[j]
                        q = g[j]
                        kept = w[j]
                        if reset == HARD:
                            fired = sr[j] > zero if given else (z > theta if strict else z >= theta)
                            if not detach:
                                q += kept * (level - z)
                            kept = zero if fired else kept
                        elif reset == SOFT and not detach:
                            q -= kept * level
                        e = phi(z - theta, c0, c1, c2, c3) * q + kept
                        if extra:
                            e += more[j]
                        if stats == ROWS:
                            e += ab[j] + ab[j + CHUNK] * z
                        elif stats == RUNS:
                            e += a0 + b0 * z
                        if fused:
                            out[j] = gain * e
                            w[j] = decay * e
                        else:
                            h[j] = e
                    if not fused:
                        for j in range(stop - first):
                            out[j] = gain * h[j]
                            w[j] = decay * h[j]
                    first = stop

    return backward
