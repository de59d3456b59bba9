"""Row-wise building blocks of the compiled kernels: parameters, exp, surrogate derivatives, statistics.

Every loop here reads and writes few arrays, because the compiler proves by run-time checks that they do not
overlap, and gives up on SIMD above a handful of them. No fast-math: the operation order of the transition is a
contract, and contraction to fused multiply-adds would move spikes.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}


#: channels whose sums are taken together
SUMS = 512


def _stamp() -> int:
    text = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("c*.py")))
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big")


#: the state of all compiled sources. numba looks at one file to decide whether a kernel on disk is still good, but
#: kernels contain code of several; each refers to this number, which makes it a part of the kernel's name on disk
STAMP = _stamp()


def row(p: Any, t: int, a: int, b: int) -> Any:
    """Row t, neurons a..b of a parameter [1 or T, N]; a scalar is its own row."""
    return p if np.ndim(p) == 0 else p[min(t, p.shape[0] - 1), a:b]


def at(r: Any, j: int) -> Any:
    """Element j of a row; a scalar stands for all of them."""
    return r if np.ndim(r) == 0 else r[j]


@overload(row, inline="always")
def _row(p, t, a, b):
    if isinstance(p, types.Array):
        return lambda p, t, a, b: p[min(t, p.shape[0] - 1), a:b]
    return lambda p, t, a, b: p


@overload(at, inline="always")
def _at(r, j):
    if isinstance(r, types.Array):
        return lambda r, j: r[j]
    return lambda r, j: r


def exp(x: float) -> float:
    return math.exp(x)


@overload(exp)
def _exp(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    # Cody-Waite reduction and a degree-6 polynomial, branch-free so that the loop around it becomes SIMD code
    # (libm's expf would be called element by element). Relative error below 3e-7 on [-87, 88].
    def impl(x):
        y = min(max(x, np.float32(-87.0)), np.float32(88.0))
        n = np.floor(y * np.float32(1.44269504) + np.float32(0.5))
        r = y - n * np.float32(0.693359375)
        r = r - n * np.float32(-2.12194440e-4)
        p = np.float32(1.3888889e-3)
        p = p * r + np.float32(8.3333333e-3)
        p = p * r + np.float32(4.1666667e-2)
        p = p * r + np.float32(1.6666667e-1)
        p = p * r + np.float32(0.5)
        p = p * r + np.float32(1.0)
        p = p * r + np.float32(1.0)
        scale = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
        return p * scale

    return impl


@njit(**JIT)
def copy_row(source, target):
    """target[:] = source, whose error message for shapes that differ would take seconds to compile."""
    for j in range(target.shape[0]):
        target[j] = source[j]


@njit(fastmath={"reassoc"}, **JIT)
def _sum_run(h, k):
    """Sum of h - k and of its square, in any order: the only loop here whose rounding is the compiler's choice."""
    x = y = h.dtype.type(0)
    for i in range(h.shape[0]):
        d = h[i] - k
        x += d
        y += d * d
    return x, y


@njit(**JIT)
def _merge(c, count, k, x, y, total, square):
    """Add ``count`` numbers to channel c whose distances from k sum to x, their squares to y."""
    k, x = np.float64(k), np.float64(x)
    total[c] += x + count * k
    square[c] += y + (x + x + count * k) * k


@njit(**JIT)
def _sum_samples(h, step, m, full, w, total, square):
    """Sums of m channels over ``full`` samples, ``step`` apart; w [2 SUMS] is scratch memory.

    Sums and sums of squares lie in one array at a constant distance: to the compiler, one array that is written.
    """
    zero = h.dtype.type(0)
    k = h[:m]
    for i in range(m):
        w[i] = zero
        w[i + SUMS] = zero
    r = 0
    while r + 4 <= full:
        o = r * step
        p, q = h[o : o + m], h[o + step : o + step + m]
        u, v = h[o + 2 * step : o + 2 * step + m], h[o + 3 * step : o + 3 * step + m]
        for i in range(m):
            a, b, c, d = p[i] - k[i], q[i] - k[i], u[i] - k[i], v[i] - k[i]
            w[i] += (a + b) + (c + d)
            w[i + SUMS] += (a * a + b * b) + (c * c + d * d)
        r += 4
    while r < full:
        p = h[r * step : r * step + m]
        for i in range(m):
            a = p[i] - k[i]
            w[i] += a
            w[i + SUMS] += a * a
        r += 1
    count = np.float64(full)
    for i in range(m):
        _merge(i, count, k[i], w[i], w[i + SUMS], total, square)


@njit(**JIT)
def sum_row(h, lo, channels, inner, local, total, square):
    """Add h and h^2 of neurons lo.. to the channel sums (float64 [C]).

    Short sums run in the kernel's precision (``local`` [2 SUMS] is their scratch memory), but of distances from the
    channel's first potential: squares of large potentials would leave no digits for the variance.
    """
    n = h.shape[0]
    j = 0
    if inner == 1 and channels <= n and lo % channels == 0:
        # whole samples, four at a time: the sums are loaded and stored a quarter as often
        full = n // channels
        for c in range(0, channels, SUMS):
            _sum_samples(h[c:], channels, min(channels - c, SUMS), full, local, total[c:], square[c:])
        j = full * channels
    while j < n:
        c = ((lo + j) // inner) % channels
        if inner == 1:
            m = min(n - j, channels - c)
            for i in range(m):
                z = np.float64(h[j + i])
                total[c + i] += z
                square[c + i] += z * z
        else:
            m = min(n - j, inner - (lo + j) % inner)
            x, y = _sum_run(h[j : j + m], h[j])
            _merge(c, m, h[j], x, y, total, square)
        j += m


@njit(**JIT)
def affine_row(h, lo, channels, inner, a, b, out):
    """out = a[c] + b[c] * h: the adjoint of a channel's mean and variance."""
    n = h.shape[0]
    j = 0
    while j < n:
        c = ((lo + j) // inner) % channels
        if inner == 1:
            m = min(n - j, channels - c)
            hj, oj, ac, bc = h[j : j + m], out[j : j + m], a[c : c + m], b[c : c + m]
            for i in range(m):
                oj[i] = ac[i] + bc[i] * hj[i]
        else:
            m = min(n - j, inner - (lo + j) % inner)
            hj, oj = h[j : j + m], out[j : j + m]
            a0, b0 = a[c], b[c]
            for i in range(m):
                oj[i] = a0 + b0 * hj[i]
        j += m


@njit(**JIT)
def histogram_row(h, low, width, counts, window_lo, window_hi):
    """Count h into equal bins (outliers into the outermost); returns how many lie in [window_lo, window_hi]."""
    inside = 0
    bins = counts.shape[0]
    for j in range(h.shape[0]):
        value = h[j]
        if window_lo <= value <= window_hi:
            inside += 1
        if bins > 0 and value == value:
            k = (value - low) / width
            counts[0 if k < 0 else (bins - 1 if k >= bins - 1 else int(k))] += 1
    return inside
