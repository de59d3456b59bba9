"""Compiled: the noise of a bin, drawn where it is used. Every bin of every row has a stream of its own.

A stream is SplitMix64 (Steele, Lea and Flood 2014) started at 64 bits that torch's generator gave for this bin and row;
a draw is a uniform of 24 bits. As a normal it is the quantile function (Wichura 1988, AS 241, seven digits); for a unit
that only has to fire or not it is compared with the probability, which is the same event and cheaper.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_EIGHT = np.uint32(8)
_HALF, _UNIT = np.float32(0.5), np.float32(2.0**-24)
_EDGE = np.float32(5.5)
_TOP = 2**24
_TAIL = int(0.075 * _TOP)  # draws this near to 0 or 1 are the tails
# Phi(q) = 1/2 + q P(q^2) / Q(q^2) on |q| <= 5.5, our fit: off by 7e-9, by 2e-7 in single precision
_P = tuple(np.float32(x) for x in (3.98942232e-1, 3.38618383e-2, 4.67774598e-3, 1.68907908e-4, 6.35160044e-6,
                                   2.27353993e-8))  # fmt: skip
_Q = tuple(np.float32(x) for x in (2.51544952e-1, 2.86509302e-2, 1.88491598e-3, 7.36681541e-5, 1.19705737e-6))


@njit(cache=True, nogil=True)
def bits(seed: Any, first: int, out: Any, i: int) -> None:
    """Draws ``2 * first`` and on of a stream into row i of ``out``, uint64: 32 bits for each, the lower ones first."""
    start = np.uint64(seed) + np.uint64(first + 1) * _STEP
    for j in range(out.shape[1]):
        x = start + np.uint64(j) * _STEP
        x = (x ^ (x >> _S30)) * _MIX1
        x = (x ^ (x >> _S27)) * _MIX2
        out[i, j] = x ^ (x >> _S31)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def below(q: Any, word: Any) -> Any:
    """Whether the draw of these bits is below Phi(q): a unit with this noise fires at q = (u - theta) / sigma."""
    x = np.float32(q)
    x = x if x < _EDGE else _EDGE
    x = x if x > -_EDGE else -_EDGE
    t = x * x
    over = ((((_P[5] * t + _P[4]) * t + _P[3]) * t + _P[2]) * t + _P[1]) * t + _P[0]
    under = (((((_Q[4] * t + _Q[3]) * t + _Q[2]) * t + _Q[1]) * t + _Q[0]) * t) + np.float32(1)
    u = (np.float32(np.int32(word >> _EIGHT)) + _HALF) * _UNIT
    return (u < _HALF + x * over / under) & (x > -_EDGE)


@njit(cache=True, nogil=True, error_model="numpy")
def _tail(q: Any) -> float:
    r = math.sqrt(-math.log(np.float32(0.5 - abs(q))))
    if r <= 5.0:
        r -= 1.6
        x = (((1.7023821103e-1 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777) / (
            (1.2021132975e-1 * r + 7.3700164250e-1) * r + 1.0
        )
    else:
        r -= 5.0
        x = (((1.7337203997e-2 * r + 4.2868294337e-1) * r + 3.0812263860) * r + 6.6579051150) / (
            (1.2258202635e-2 * r + 2.4197894225e-1) * r + 1.0
        )
    return x if q >= 0 else -x


@njit(cache=True, nogil=True, error_model="numpy")
def normal(words: Any, i: int, n: int, out: Any) -> None:
    """The first n draws of row i as standard normals: minus the quantile, so that large means firing, as in `below`."""
    for j in range(n):
        q = 0.5 - (float(np.int32(words[i, j] >> _EIGHT)) + 0.5) * 2.0**-24
        r = 0.180625 - q * q
        over = ((5.9109374720e1 * r + 1.5929113202e2) * r + 5.0434271938e1) * r + 3.3871327179
        out[i, j] = q * over / (((6.7187563600e1 * r + 7.8757757664e1) * r + 1.7895169469e1) * r + 1.0)
    for j in range(n):
        word = np.int32(words[i, j] >> _EIGHT)
        if word < _TAIL or word >= _TOP - _TAIL:
            out[i, j] = _tail(0.5 - (float(word) + 0.5) * 2.0**-24)


@njit(cache=True, nogil=True)
def normals(seeds: Any, out: Any) -> None:
    """``out`` [S, W]: the draws of these streams as standard normals."""
    pairs = np.empty((1, (out.shape[1] + 1) // 2), np.uint64)
    words = pairs.view(np.uint32)
    for i in range(len(seeds)):
        bits(seeds[i], 0, pairs, 0)
        normal(words, 0, out.shape[1], out[i : i + 1])
