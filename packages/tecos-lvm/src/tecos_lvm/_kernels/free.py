"""Compiled: a model with the cascade memory running free, all of a bin in one pass; no prior, no gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from tecos_lvm._kernels.cascade import _normalise


@njit(cache=True, nogil=True)
def _multiply(a: Any, w: Any, out: Any) -> None:
    """out = a w, rows of w added up: for these sizes as fast as BLAS, which would wake its threads, and a row's digits
    depend neither on their number nor on the other rows."""
    for i in range(len(a)):
        for j in range(w.shape[1]):
            out[i, j] = 0.0
        whole = len(w) - len(w) % 4
        for k in range(0, whole, 4):
            x0, x1, x2, x3 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            for j in range(w.shape[1]):
                out[i, j] += x0 * w[k, j] + x1 * w[k + 1, j] + x2 * w[k + 2, j] + x3 * w[k + 3, j]
        for k in range(whole, len(w)):
            x0 = a[i, k]
            for j in range(w.shape[1]):
                out[i, j] += x0 * w[k, j]


@njit(cache=True, nogil=True)
def _fire(u: Any, current: Any, eps: Any, b: float, theta: float, sigma: float, read: Any, bias: Any, out: Any) -> None:
    """Noisy units with a hard reset, in place; ``out`` gets bias plus the read-out rows of those that fired."""
    rows, units = u.shape
    for i in range(rows):
        for k in range(len(bias)):
            out[i, k] = bias[k]
        for j in range(units):
            x = b * u[i, j] + current[i, j]
            if x + sigma * eps[i, j] >= theta:
                u[i, j] = 0.0
                for k in range(len(bias)):
                    out[i, k] += read[j, k]
            else:
                u[i, j] = x


@njit(cache=True, nogil=True)
def run(
    f_q: Any, f_m: Any, eps_z: Any, eps_e: Any, eps_d: Any, eps_y: Any,
    w_h: Any, v_q: Any, c_q: Any, w_z: Any, a: Any, a2: Any, w_d: Any, c_d: Any, v_o: Any, c_o: Any,
    decay: Any, amount: Any, soft: bool, b: float, theta: float, sigma: float, low: float, high: float,
    encoder: Any, v: Any, w: Any, decoder: Any, output: Any,
) -> Any:  # fmt: skip
    """Spikes [T, R, N] and potentials; features [T, B, .] serve row r as r modulo B; the five states change in place.

    w_h [H, E], v_q [E, 2Z], w_z [Z, D], w_d [Z + H, K], v_o [K, N]; decay, amount [N] of the output's reset.
    """
    steps, shared = f_q.shape[:2]
    rows, d = v.shape
    n_z, n_e, n_d, n = w_z.shape[0], f_q.shape[2], len(c_d), len(c_o)
    f = f_q.dtype
    spikes = np.empty((steps, rows, n), np.uint8)
    potential = np.empty((steps, rows, n), f)
    rstd = np.empty(rows, f)
    h = np.empty((rows, 2 * d), f)
    both = np.empty((rows, n_z + 2 * d), f)
    z, stats = np.empty((rows, n_z), f), np.empty((rows, 2 * n_z), f)
    current_e, current_d = np.empty((rows, n_e), f), np.empty((rows, n_d), f)
    drive, u = np.empty((rows, d), f), np.empty((rows, n), f)
    gain = np.sqrt(1 - a * a)
    for t in range(steps):
        _normalise(v, w, h, rstd)
        _multiply(h, w_h, current_e)
        for i in range(rows):
            for j in range(n_e):
                current_e[i, j] += f_q[t, i % shared, j]
        _fire(encoder, current_e, eps_e[t], b, theta, sigma, v_q, c_q, stats)
        for i in range(rows):
            for j in range(n_z):
                l = min(max(stats[i, n_z + j], low), high)  # noqa: E741
                z[i, j] = stats[i, j] + math.exp(0.5 * l) * eps_z[t, i, j]
                both[i, j] = z[i, j]
            for j in range(2 * d):
                both[i, n_z + j] = h[i, j]
        _multiply(both, w_d, current_d)
        for i in range(rows):
            for j in range(n_d):
                current_d[i, j] += c_d[j]
        _fire(decoder, current_d, eps_d[t], b, theta, sigma, v_o, c_o, u)
        for i in range(rows):
            for k in range(n):
                x = decay[k] * output[i, k] + u[i, k]
                potential[t, i, k] = x
                fired = x + sigma * eps_y[t, i, k] >= theta
                spikes[t, i, k] = fired
                output[i, k] = x if not fired else (x - amount[k] if soft else 0.0)
        _multiply(z, w_z, drive)
        for i in range(rows):
            for j in range(d):
                x = a[j] * v[i, j] + gain[j] * (drive[i, j] + f_m[t, i % shared, j])
                v[i, j] = x
                w[i, j] = a2[j] * w[i, j] + (1 - a2[j]) * x
    return spikes, potential
