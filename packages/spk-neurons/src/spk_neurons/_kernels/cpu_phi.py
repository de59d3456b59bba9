"""Surrogate derivatives for compiled kernels: phi(u) by the surrogate's kind, with constants worked out once."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba.extending import register_jitable

from spk_neurons._kernels.cpu_math import exp

# phi(u) of each surrogate; the constants c0..c3 come from `constants`. Plain functions, not compiled ones: kernels that
# refer to them can then be found again on disk.
ONE, ZERO, SIX2 = np.float32(1), np.float32(0), np.float32(36)  # exact in both precisions


@register_jitable
def _phi_rectangle(u, c0, c1, c2, c3):
    return c1 if abs(u) <= c0 else ZERO


@register_jitable
def _phi_triangle(u, c0, c1, c2, c3):
    return max(c0 - abs(u), ZERO) * c1


@register_jitable
def _phi_atan(u, c0, c1, c2, c3):
    z = c1 * u
    return c0 / (ONE + z * z)


@register_jitable
def _phi_sigmoid(u, c0, c1, c2, c3):
    e = exp(-abs(c0 * u))
    q = ONE / (ONE + e)
    return c0 * e * q * q


@register_jitable
def _phi_fast_sigmoid(u, c0, c1, c2, c3):
    z = ONE + c0 * abs(u)
    return ONE / (z * z)


@register_jitable
def _phi_gaussian(u, c0, c1, c2, c3):
    return c0 * exp(c1 * u * u)


@register_jitable
def _phi_exponential(u, c0, c1, c2, c3):
    return c0 * exp(c1 * abs(u))


@register_jitable
def _phi_lobes(u, c0, c1, c2, c3):
    d, s = u - c0, u + c0
    return c2 * exp(c1 * u * u) - c3 * (exp(c1 * d * d / SIX2) + exp(c1 * s * s / SIX2))


PHI = {
    1: _phi_rectangle, 2: _phi_triangle, 3: _phi_atan, 4: _phi_sigmoid, 5: _phi_fast_sigmoid, 6: _phi_gaussian,
    7: _phi_exponential, 8: _phi_lobes,
}  # fmt: skip


@lru_cache(64)
def constants(kind: int, p0: float, p1: float) -> tuple[float, float, float, float]:
    """What phi of this surrogate needs, worked out once in float64."""
    root = math.sqrt(2 * math.pi)
    return {
        1: (p0 / 2, 1 / p0, 0.0, 0.0),
        2: (p0, 1 / (p0 * p0), 0.0, 0.0),
        3: (p0 / 2, math.pi / 2 * p0, 0.0, 0.0),
        4: (p0, 0.0, 0.0, 0.0),
        5: (p0, 0.0, 0.0, 0.0),
        6: (1 / (p0 * root), -0.5 / (p0 * p0), 0.0, 0.0),
        7: (p0 / 2, -p0, 0.0, 0.0),
        8: (p0, -0.5 / (p0 * p0), (1 + p1) / (p0 * root), p1 / (6 * p0 * root)),
    }[kind]
