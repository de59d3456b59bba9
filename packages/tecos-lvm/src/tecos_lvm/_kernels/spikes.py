"""Compiled: spike distances over pairs of trains, and the simulation of refractory cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def van_rossum(times: Any, ends: Any, tau: float) -> Any:
    """All pairs of one population; trains lie one after the other in ``times``, train i ends at ``ends[i]``."""
    n = len(ends)
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            a, a_end = (ends[i - 1] if i > 0 else 0), ends[i]
            b, b_end = ends[j - 1], ends[j]
            total, s, last = 0.0, 0.0, 0.0
            # the difference of the trains as one sum of signed events; equal times cancel before anything is rounded
            while a < a_end or b < b_end:
                t = math.inf
                if a < a_end:
                    t = times[a]
                if b < b_end and times[b] < t:
                    t = times[b]
                w = 0.0
                while a < a_end and times[a] == t:
                    w += 1.0
                    a += 1
                while b < b_end and times[b] == t:
                    w -= 1.0
                    b += 1
                if w != 0.0:
                    s *= math.exp((last - t) / tau)
                    total += w * w + 2.0 * w * s
                    s += w
                    last = t
            out[i, j] = math.sqrt(max(total, 0.0))
            out[j, i] = out[i, j]
    return out


@njit(cache=True, nogil=True)
def victor_purpura_pair(a: Any, b: Any, q: float, row: Any) -> float:
    """Cheapest way from one train to another: 1 to add or remove a spike, q per ms to move it."""
    for j in range(len(b) + 1):
        row[j] = j
    for i in range(len(a)):
        diagonal = row[0]
        row[0] = i + 1.0
        for j in range(len(b)):
            best = diagonal + q * abs(a[i] - b[j])
            diagonal = row[j + 1]
            best = min(best, diagonal + 1.0)
            best = min(best, row[j] + 1.0)
            row[j + 1] = best
    return float(row[len(b)])


@njit(cache=True, nogil=True)
def victor_purpura(times: Any, ends: Any, q: float) -> Any:
    """All pairs, laid out as for :func:`van_rossum`."""
    n = len(ends)
    out = np.zeros((n, n))
    row = np.empty(len(times) + 1)
    for i in range(n):
        a = times[(ends[i - 1] if i > 0 else 0) : ends[i]]
        for j in range(i + 1, n):
            out[i, j] = victor_purpura_pair(a, times[ends[j - 1] : ends[j]], q, row)
            out[j, i] = out[i, j]
    return out


@njit(cache=True, nogil=True)
def simulate(rate: Any, gain: Any, uniform_seed: int, dt_s: float, fine: int, dead_s: float, recovery_s: float) -> Any:
    """Binary bins of refractory Poisson cells: rate [T, N] in Hz, gain [T], ``fine`` sub-steps per bin.

    After a spike: silent for dead_s, then the hazard comes back as 1 - exp(-(t - dead_s) / recovery_s).
    """
    np.random.seed(uniform_seed)  # noqa: NPY002 - numba's own stream, apart from numpy's
    steps, n = rate.shape
    out = np.zeros((steps, n), dtype=np.uint8)
    h = dt_s / fine
    since = np.full(n, 1.0)
    for t in range(steps):
        for k in range(n):
            r = rate[t, k] * gain[t] * h
            for _ in range(fine):
                since[k] += h
                if since[k] > dead_s:
                    free = 1.0 - math.exp(-(since[k] - dead_s) / recovery_s)
                    if np.random.random() < 1.0 - math.exp(-r * free):  # noqa: NPY002
                        out[t, k] = 1
                        since[k] = 0.0
    return out
