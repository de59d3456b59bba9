"""Compiled: encoder and cascade memory over a clip, forward and backward (the part of the model that needs a loop).

Derivation by hand; `tecos_lvm.recurrence.run_reference` is the readable twin under autograd. Arrays are [T, B, ...],
C-contiguous, one float type.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

LN_EPS = 1e-5


@njit(cache=True, nogil=True)
def _normalise(v: Any, w: Any, h: Any, rstd: Any) -> None:
    batch, d = v.shape
    for i in range(batch):
        mean = 0.0
        for j in range(d):
            mean += v[i, j] + w[i, j]
        mean /= 2 * d
        var = 0.0
        for j in range(d):
            var += (v[i, j] - mean) ** 2 + (w[i, j] - mean) ** 2
        r = 1.0 / math.sqrt(var / (2 * d) + LN_EPS)
        rstd[i] = r
        for j in range(d):
            h[i, j] = (v[i, j] - mean) * r
            h[i, d + j] = (w[i, j] - mean) * r


@njit(cache=True, nogil=True)
def forward(
    f_q: Any, f_m: Any, eps_o: Any, eps_z: Any, w_h: Any, v_q: Any, c_q: Any, w_z: Any, a: Any, a2: Any,
    b: float, theta: float, sigma: float, low: float, high: float, e0: Any, v0: Any, w0: Any,
) -> Any:  # fmt: skip
    """Potentials, spikes, statistics, latents and memory of every step; w_h [H, E], v_q [E, 2Z], w_z [Z, D]."""
    steps, batch, n_e = f_q.shape
    d, n_z = v0.shape[1], w_z.shape[0]
    f = f_q.dtype
    pot = np.empty((steps, batch, n_e), f)
    spk = np.empty((steps, batch, n_e), f)
    stats = np.empty((steps, batch, 2 * n_z), f)
    z = np.empty((steps, batch, n_z), f)
    drive = np.empty((steps, batch, d), f)
    v = np.empty((steps + 1, batch, d), f)
    w = np.empty((steps + 1, batch, d), f)
    h = np.empty((steps + 1, batch, 2 * d), f)
    rstd = np.empty((steps + 1, batch), f)
    post = e0.copy()
    v[0], w[0] = v0, w0
    _normalise(v[0], w[0], h[0], rstd[0])
    current = np.empty((batch, n_e), f)
    gain = np.sqrt(1 - a * a)
    for t in range(steps):
        np.dot(h[t], w_h, current)
        for i in range(batch):
            for j in range(n_e):
                u = b * post[i, j] + current[i, j] + f_q[t, i, j]
                pot[t, i, j] = u
                if u + sigma * eps_o[t, i, j] >= theta:
                    spk[t, i, j] = 1.0
                    post[i, j] = 0.0
                else:
                    spk[t, i, j] = 0.0
                    post[i, j] = u
        np.dot(spk[t], v_q, stats[t])
        for i in range(batch):
            for j in range(2 * n_z):
                stats[t, i, j] += c_q[j]
            for j in range(n_z):
                l = min(max(stats[t, i, n_z + j], low), high)  # noqa: E741
                z[t, i, j] = stats[t, i, j] + math.exp(0.5 * l) * eps_z[t, i, j]
        np.dot(z[t], w_z, drive[t])
        for i in range(batch):
            for j in range(d):
                drive[t, i, j] += f_m[t, i, j]
                x = a[j] * v[t, i, j] + gain[j] * drive[t, i, j]
                v[t + 1, i, j] = x
                w[t + 1, i, j] = a2[j] * w[t, i, j] + (1 - a2[j]) * x
        _normalise(v[t + 1], w[t + 1], h[t + 1], rstd[t + 1])
    return pot, spk, stats, z, drive, v, w, h, rstd, post


@njit(cache=True, nogil=True)
def backward(
    g_h: Any, g_z: Any, g_stats: Any, pot: Any, spk: Any, stats: Any, drive: Any, v: Any, w: Any, h: Any, rstd: Any,
    eps_z: Any, w_h_t: Any, v_q_t: Any, w_z_t: Any, a: Any, a2: Any,
    b: float, theta: float, sigma: float, low: float, high: float,
) -> Any:  # fmt: skip
    """Adjoint of :func:`forward`: g_h [T, B, H] belongs to h before each step; transposed weights come in as *_t.

    Returns gradients of f_q, of the statistics, of f_m, of a and of a2.
    """
    steps, batch, n_e = pot.shape
    d, n_z = v.shape[2], w_z_t.shape[1]
    f = pot.dtype
    g_f = np.empty((steps, batch, n_e), f)
    g_s = np.empty((steps, batch, 2 * n_z), f)
    g_m = np.empty((steps, batch, d), f)
    g_a, g_a2 = np.zeros(d), np.zeros(d)
    carry_v, carry_w = np.zeros((batch, d), f), np.zeros((batch, d), f)
    carry_h = np.zeros((batch, 2 * d), f)
    g_pot = np.zeros((batch, n_e), f)
    latent = np.empty((batch, n_z), f)
    fired = np.empty((batch, n_e), f)
    gain = np.sqrt(1 - a * a)
    scale = 1.0 / (sigma * math.sqrt(2 * math.pi))
    for t in range(steps - 1, -1, -1):
        for i in range(batch):
            # layer norm of the memory after this step
            mean, along = 0.0, 0.0
            for j in range(2 * d):
                mean += carry_h[i, j]
                along += carry_h[i, j] * h[t + 1, i, j]
            mean /= 2 * d
            along /= 2 * d
            for j in range(d):
                gv = rstd[t + 1, i] * (carry_h[i, j] - mean - h[t + 1, i, j] * along) + carry_v[i, j]
                gw = rstd[t + 1, i] * (carry_h[i, d + j] - mean - h[t + 1, i, d + j] * along) + carry_w[i, j]
                g_a2[j] += gw * (w[t, i, j] - v[t + 1, i, j])
                carry_w[i, j] = a2[j] * gw
                gv += (1 - a2[j]) * gw
                g_a[j] += gv * (v[t, i, j] - drive[t, i, j] * a[j] / gain[j])
                carry_v[i, j] = a[j] * gv
                g_m[t, i, j] = gain[j] * gv
        np.dot(g_m[t], w_z_t, latent)
        for i in range(batch):
            for j in range(n_z):
                g = latent[i, j] + g_z[t, i, j]
                raw = stats[t, i, n_z + j]
                inside = low <= raw <= high
                l = min(max(raw, low), high)  # noqa: E741
                g_s[t, i, j] = g_stats[t, i, j] + g
                spread = g_stats[t, i, n_z + j] + g * eps_z[t, i, j] * 0.5 * math.exp(0.5 * l)
                g_s[t, i, n_z + j] = spread if inside else 0.0
        np.dot(g_s[t], v_q_t, fired)
        for i in range(batch):
            for j in range(n_e):
                u, o = pot[t, i, j], spk[t, i, j]
                after = b * g_pot[i, j]
                q = (u - theta) / sigma
                g_pot[i, j] = after * (1 - o) + (fired[i, j] - after * u) * scale * math.exp(-0.5 * q * q)
                g_f[t, i, j] = g_pot[i, j]
        np.dot(g_pot, w_h_t, carry_h)
        for i in range(batch):
            for j in range(2 * d):
                carry_h[i, j] += g_h[t, i, j]
    return g_f, g_s, g_m, g_a, g_a2
