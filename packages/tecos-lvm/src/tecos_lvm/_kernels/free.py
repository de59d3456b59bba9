"""Compiled: a model with the cascade memory running free, all of a bin in one pass; no prior, no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tecos_lvm._kernels.cascade import LN_EPS
from tecos_lvm._kernels.noise import below, bits, normal

ROWS = 4  # sequences in step: a weight that was fetched serves all
EIGHT = 8  # read-out rows added at once; a list of fired units ends with as many of the row of zeros


@njit(cache=True, nogil=True, fastmath={"contract"})
def _multiply(a: Any, w: Any, out: Any) -> None:
    """out += a w for four rows; w [K / 4, 4, M]. No BLAS: it would wake its threads, and so a
    row's digits depend neither on the number of rows nor on the others."""
    for k in range(len(w)):
        m = 4 * k
        a0, a1, a2, a3 = a[0, m], a[0, m + 1], a[0, m + 2], a[0, m + 3]
        b0, b1, b2, b3 = a[1, m], a[1, m + 1], a[1, m + 2], a[1, m + 3]
        c0, c1, c2, c3 = a[2, m], a[2, m + 1], a[2, m + 2], a[2, m + 3]
        d0, d1, d2, d3 = a[3, m], a[3, m + 1], a[3, m + 2], a[3, m + 3]
        for j in range(w.shape[2]):
            x0, x1, x2, x3 = w[k, 0, j], w[k, 1, j], w[k, 2, j], w[k, 3, j]
            out[0, j] = out[0, j] + a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
            out[1, j] = out[1, j] + b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
            out[2, j] = out[2, j] + c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
            out[3, j] = out[3, j] + d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _normalise(size: int, v: Any, w: Any, h: Any) -> None:
    """h = layer norm of v and w together."""
    d = v.shape[1]
    f = v.dtype.type
    for i in range(size):
        total = f(0)
        for j in range(d):
            total += v[i, j] + w[i, j]
        mean = total / f(2 * d)
        square = f(0)
        for j in range(d):
            square += (v[i, j] - mean) * (v[i, j] - mean) + (w[i, j] - mean) * (w[i, j] - mean)
        r = f(1) / np.sqrt(square / f(2 * d) + f(LN_EPS))
        for j in range(d):
            h[i, j] = (v[i, j] - mean) * r
        for j in range(d):
            h[i, d + j] = (w[i, j] - mean) * r


@njit(cache=True, nogil=True, error_model="numpy")
def _fire(size: int, u: Any, current: Any, pairs: Any, noisy: bool, b: Any, theta: Any, inverse: Any, read: Any,
          bias: Any, marks: Any, fired: Any, out: Any) -> None:  # fmt: skip
    """Hidden units with a hard reset, u in place; out = bias + the read-out rows of those that fired."""
    n, m = u.shape[1], len(bias)
    zero = u.dtype.type(0)
    words = pairs.view(np.uint32)
    for i in range(size):
        for j in range(n):
            u[i, j] = b * u[i, j] + current[i, j]
        if noisy:
            for j in range(n):
                marks[j] = below((u[i, j] - theta) * inverse, words[i, j])
        else:
            for j in range(n):
                marks[j] = u[i, j] >= theta
        for j in range(n):
            u[i, j] = zero if marks[j] else u[i, j]
        count = 0
        for j in range(n):
            fired[count] = j
            count += marks[j]
        for j in range(count, count + EIGHT):
            fired[j] = n
        for k in range(m):
            out[i, k] = bias[k]
        for c in range(0, count, EIGHT):
            i0, i1, i2, i3 = fired[c], fired[c + 1], fired[c + 2], fired[c + 3]
            i4, i5, i6, i7 = fired[c + 4], fired[c + 5], fired[c + 6], fired[c + 7]
            for k in range(m):
                left = read[i0, k] + read[i1, k] + (read[i2, k] + read[i3, k])
                right = read[i4, k] + read[i5, k] + (read[i6, k] + read[i7, k])
                out[i, k] = out[i, k] + (left + right)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _exp(x: Any) -> Any:
    """exp(x) = exp(x / 16)^16 with ten terms of its series, for |x| <= 3: seven digits or more, no branch."""
    y = x * 0.0625
    e = ((2.7557319223985893e-7 * y + 2.7557319223985893e-6) * y + 2.48015873015873e-5) * y + 1.984126984126984e-4
    e = ((e * y + 1.388888888888889e-3) * y + 8.333333333333333e-3) * y + 4.1666666666666664e-2
    e = ((e * y + 0.16666666666666666) * y + 0.5) * y * y + y + 1.0
    e = e * e
    e = e * e
    e = e * e
    return e * e


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _latent(size: int, stats: Any, pairs: Any, noisy: bool, low: Any, high: Any, n: int, eps: Any, z: Any) -> None:
    """z = mean + exp(log variance / 2) times normal draws; ``stats`` holds mean and log variance."""
    two = z.dtype.type(2)
    words = pairs.view(np.uint32)
    for i in range(size):
        if noisy:
            for j in range(n):
                x = stats[i, n + j]
                x = x if x > low else low
                x = x if x < high else high
                z[i, j] = _exp(x / two)
            normal(words, i, n, eps)
            for j in range(n):
                z[i, j] = stats[i, j] + z[i, j] * eps[i, j]
        else:
            for j in range(n):
                z[i, j] = stats[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _release(size: int, v: Any, u: Any, decay: Any, amount: Any, soft: bool, noisy: bool, theta: Any, inverse: Any,
             pairs: Any, marks: Any) -> None:  # fmt: skip
    """The output: u becomes the potential, v what the reset leaves of it, ``marks`` the spikes."""
    n = len(decay)
    zero = v.dtype.type(0)
    words = pairs.view(np.uint32)
    for i in range(size):
        for k in range(n):
            u[i, k] = decay[k] * v[i, k] + u[i, k]
        if noisy:
            for k in range(n):
                marks[i, k] = below((u[i, k] - theta) * inverse, words[i, k])
        else:
            for k in range(n):
                marks[i, k] = u[i, k] >= theta
        if soft:
            for k in range(n):
                v[i, k] = u[i, k] - amount[k] if marks[i, k] else u[i, k]
        else:
            for k in range(n):
                v[i, k] = zero if marks[i, k] else u[i, k]


@njit(cache=True, nogil=True)
def _remember(size: int, drive: Any, a: Any, gain: Any, a2: Any, rest: Any, v: Any, w: Any) -> None:
    """One step of the cascade."""
    d = v.shape[1]
    for i in range(size):
        for j in range(d):
            v[i, j] = a[j] * v[i, j] + gain[j] * drive[i, j]
        for j in range(d):
            w[i, j] = a2[j] * w[i, j] + rest[j] * v[i, j]


@njit(cache=True, nogil=True)
def run(
    n_z: int, f_q: Any, f_m: Any, seeds: Any, noisy: Any, w_h: Any, w_z: Any, v_q: Any, c_q: Any, a: Any, a2: Any,
    c_d: Any, v_o: Any, c_o: Any, decay: Any, amount: Any, soft: bool, b: Any, theta: Any, inverse: Any, low: Any,
    high: Any, encoder: Any, v: Any, w: Any, decoder: Any, output: Any, spikes: Any, potential: Any,
) -> None:  # fmt: skip
    """Fills spikes [R, T, N] and, unless it is empty, potential; the five states [R, .] change in place.

    Args:
        n_z: size of the latent. f_q [T, B, E], f_m [T, B, D]: features in the encoder's and the memory's current; row
            r takes r modulo B.
        seeds [T, R]: of the noise. noisy: whether latent, hidden units and output have any.
        w_h [H / 4, 4, E + K]: from the memory into encoder and decoder; w_z [Z / 4, 4, K + D]: from the latent into
            decoder and memory. v_q [E + 1, 2 Z], v_o [K + 1, N]: read-outs, the last row zero, with bias c_q, c_o;
            columns may be padded.
        c_d [K]: the decoder's bias. a, a2 [D]: of the cascade. decay, amount [N]: of the output.
    """
    steps, shared, n_e = f_q.shape
    rows, d = v.shape
    n_d, n = len(c_d), len(decay)
    f = f_q.dtype
    one = f.type(1)
    gain, rest = np.sqrt(one - a * a), one - a2
    e_u, d_u, y_v = np.zeros((ROWS, n_e), f), np.zeros((ROWS, n_d), f), np.zeros((ROWS, n), f)
    m_v, m_w = np.zeros((ROWS, d), f), np.zeros((ROWS, d), f)
    h, z = np.zeros((ROWS, 4 * len(w_h)), f), np.zeros((ROWS, 4 * len(w_z)), f)
    eps = np.zeros((ROWS, n_z), f)
    of_h, of_z = np.zeros((ROWS, n_e + n_d), f), np.zeros((ROWS, n_d + d), f)
    drive, stats, u = np.zeros((ROWS, d), f), np.zeros((ROWS, len(c_q)), f), np.zeros((ROWS, len(c_o)), f)
    p_z, p_e = np.zeros((ROWS, (n_z + 1) // 2), np.uint64), np.zeros((ROWS, (n_e + 1) // 2), np.uint64)
    p_d, p_y = np.zeros((ROWS, (n_d + 1) // 2), np.uint64), np.zeros((ROWS, (n + 1) // 2), np.uint64)
    to_e, to_d = p_z.shape[1], p_z.shape[1] + p_e.shape[1]
    to_y = to_d + p_d.shape[1]
    marks, fired = np.zeros(max(n_e, n_d), np.uint8), np.zeros(max(n_e, n_d) + EIGHT, np.int64)
    out = np.zeros((ROWS, n), np.uint8)
    for start in range(0, rows, ROWS):
        size = min(ROWS, rows - start)
        for i in range(size):
            r = start + i
            e_u[i], d_u[i], y_v[i] = encoder[r], decoder[r], output[r]
            m_v[i], m_w[i] = v[r], w[r]
        for t in range(steps):
            for i in range(size):
                r = start + i
                seed = seeds[t, r]
                bits(seed, 0, p_z, i)
                bits(seed, to_e, p_e, i)
                bits(seed, to_d, p_d, i)
                bits(seed, to_y, p_y, i)
                s = r % shared
                for j in range(n_e):
                    of_h[i, j] = f_q[t, s, j]
                for j in range(n_d):
                    of_h[i, n_e + j] = c_d[j]
                for j in range(d):
                    of_z[i, n_d + j] = f_m[t, s, j]
            _normalise(size, m_v, m_w, h)
            _multiply(h, w_h, of_h)
            _fire(size, e_u, of_h, p_e, noisy[1], b, theta, inverse, v_q, c_q, marks, fired, stats)
            _latent(size, stats, p_z, noisy[0], low, high, n_z, eps, z)
            for i in range(size):
                for j in range(n_d):
                    of_z[i, j] = of_h[i, n_e + j]
            _multiply(z, w_z, of_z)
            for i in range(size):
                for j in range(d):
                    drive[i, j] = of_z[i, n_d + j]
            _fire(size, d_u, of_z, p_d, noisy[1], b, theta, inverse, v_o, c_o, marks, fired, u)
            _release(size, y_v, u, decay, amount, soft, noisy[2], theta, inverse, p_y, out)
            _remember(size, drive, a, gain, a2, rest, m_v, m_w)
            for i in range(size):
                for k in range(n):
                    spikes[start + i, t, k] = out[i, k]
                if len(potential):
                    for k in range(n):
                        potential[start + i, t, k] = u[i, k]
        for i in range(size):
            r = start + i
            encoder[r], decoder[r], output[r] = e_u[i], d_u[i], y_v[i]
            v[r], w[r] = m_v[i], m_w[i]
