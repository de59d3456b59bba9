"""The numba backend: torch tensors in, compiled kernels on their memory, torch tensors out."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spk_neurons._kernels import threads
from spk_neurons._kernels.problem import NONE, Adjoint, Outputs, Params, Rule, StatsPlan, empty

#: the tile of a block: long contiguous rows pay more than a place in the second-level cache (measured)
CACHE_BYTES = 2 * 1024 * 1024
#: from here on numpy advises huge pages (its own threshold)
HUGE_BYTES = 1 << 22
#: statistics are summed in at most this many parts whatever the thread count, in this order: same result always
STAT_PARTS = 8


def _np(t: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = t.detach().numpy()
    return array


def allocate(like: Tensor) -> Tensor:
    """An uninitialised contiguous tensor like ``like``.

    Large ones come from numpy, which asks the system for huge pages: fresh memory then costs one page fault per two
    megabytes instead of one per four kilobytes, which can be dearer than the computation.
    """
    if like.numel() * like.element_size() < HUGE_BYTES or like.dtype not in (torch.float32, torch.float64):
        return torch.empty_like(like, memory_format=torch.contiguous_format)
    itemsize = like.element_size()
    raw = np.empty(like.numel() + 64 // itemsize, np.float32 if itemsize == 4 else np.float64)
    start = (-raw.ctypes.data % 64) // itemsize
    return torch.from_numpy(raw[start : start + like.numel()]).view(like.shape)


def _group(real: Any, n: int, *params: Tensor) -> tuple[Any, ...]:
    """All scalars, or all arrays [., N]: keeps the number of compiled variants at two per group."""
    if all(p.dim() == 0 for p in params):
        return tuple(real(p.item()) for p in params)
    return tuple(_np(p.reshape(1, 1).expand(1, n).contiguous() if p.dim() == 0 else p.contiguous()) for p in params)


def block_width(steps: int, itemsize: int, n: int, most: int = 4096) -> int:
    """Neurons per block: as many as keep [steps, width] in the cache, a multiple of 64."""
    width = CACHE_BYTES // max(1, steps * itemsize)
    return max(64, min(most, width - width % 64, -(-n // 64) * 64))


def forward(
    x: Tensor,
    v0: Tensor,
    params: Params,
    rule: Rule,
    plan: StatsPlan,
    noise: Tensor | None,
    record_h: bool,
    record_v: bool,
    bits: bool,
) -> Outputs:
    """Run all steps; see :class:`Outputs`."""
    from spk_neurons._kernels import cpu_lif

    steps, n = x.shape
    real = _np(x).dtype.type
    x = x.contiguous()
    v = v0.clone(memory_format=torch.contiguous_format)
    s = allocate(x)
    h = allocate(x) if record_h else empty(x, 0, n)
    vs = allocate(x) if record_v else empty(x, 0, n)
    code = torch.zeros((-(-steps // 4), n), dtype=torch.uint8) if bits else torch.empty((0, n), dtype=torch.uint8)
    charge = _group(real, n, params.decay, params.gain, params.bias)
    fire = _group(real, n, params.theta, params.level)
    width = block_width(8, x.element_size(), n, 4096)
    taking = plan.moments or plan.bins or plan.window
    count = STAT_PARTS if taking else 1
    total = np.zeros((count, steps if plan.moments else 0, plan.channels))
    square = np.zeros_like(total)
    counts = np.zeros((count, plan.bins), np.int64)
    inside = np.zeros((count, steps if plan.bins or plan.window else 0), np.int64)
    bin_width = (plan.high - plan.low) / plan.bins if plan.bins else 1.0
    arrays = (_np(x), _np(v), *charge, *fire, _np(noise.contiguous()) if noise is not None else _np(empty(x, 0, n)))
    scalar = isinstance(charge[0], np.floating) and isinstance(fire[0], np.floating)
    kernel = cpu_lif.make_forward(
        scalar and noise is None and not (record_h or taking or bits), noise is not None, record_h, record_v,
        plan.moments, bool(plan.bins or plan.window), bits,
    )  # fmt: skip
    tables = (_np(s), _np(h), _np(vs), _np(code), real(rule.p0 / 2))

    def job(lo: int, hi: int, part: int = 0) -> None:
        kernel(
            *arrays, *tables, total[part], square[part], plan.channels, plan.inner, counts[part], inside[part],
            plan.low, bin_width, plan.window_lo, plan.window_hi, rule.reset, rule.strict, lo, hi, width,
        )  # fmt: skip

    if taking:
        blocks = -(-n // width)
        edges = [min(n, width * (blocks * i // count)) for i in range(count)] + [n]

        def several(first: int, last: int) -> None:
            for part in range(first, last):
                job(edges[part], edges[part + 1], part)

        threads.run(several, threads.parts(count, 1, steps * n))
    else:
        threads.run(job, threads.parts(n, width, steps * n))
    mean, var = empty(x), empty(x)
    if plan.moments:
        size = max(1, n // plan.channels)
        m = total.sum(0) / size
        mean = torch.from_numpy(m).to(x.dtype)
        var = torch.from_numpy(np.maximum(square.sum(0) / size - m * m, 0.0)).to(x.dtype)
    return Outputs(
        s, v, h, vs, mean, var, torch.from_numpy(counts.sum(0)), torch.from_numpy(inside.sum(0)), code
    )  # fmt: skip


def backward(a: Adjoint, params: Params, rule: Rule) -> tuple[Tensor, Tensor, list[Tensor]]:
    """dL/dx [T, N], dL/dv0 [N] and the gradients of the five parameters ([1 or T, N], or empty)."""
    from spk_neurons._kernels import cpu_lif

    steps, n = a.gs.shape
    gs = a.gs.contiguous()
    real = _np(gs).dtype.type
    gx = allocate(gs)
    carry = torch.zeros_like(gs[0]) if a.gv_last is None else a.gv_last.clone(memory_format=torch.contiguous_format)
    charge = _group(real, n, params.decay, params.gain, params.bias)
    fire = _group(real, n, params.theta, params.level)
    scalar = isinstance(charge[0], np.floating) and isinstance(fire[0], np.floating)
    width = block_width(steps, gs.element_size(), n)
    none = empty(gs, 0, n)
    given = (gs, carry, *(t for t in (a.gh, a.gv, a.shift, a.spikes, a.stat_a) if t is not None))
    grads = [
        torch.zeros((p.shape[0] if p.dim() == 2 else 1, n), dtype=gs.dtype) if need else none
        for p, need in zip((params.decay, params.gain, params.bias, params.theta, params.level), a.need, strict=True)
    ]
    job: Any
    if a.code is not None:
        width = block_width(8, gs.element_size(), n)
        args = (_np(a.code), _np(gs), _np(carry), charge[0], charge[1], real(1 / rule.p0), _np(gx), rule.reset)
        job = partial(cpu_lif.backward_bits, *args)
    else:
        x, v0 = a.x.contiguous(), a.v0.contiguous()
        detach = rule.detach or rule.reset == NONE
        consts = tuple(real(k) for k in cpu_lif.constants(rule.kind, rule.p0, rule.p1))
        if scalar and len(given) == 2 and not any(a.need) and not rule.strict and not a.from_h:
            kernel = cpu_lif.make_backward_plain(rule.kind, rule.reset, detach)
            job = partial(kernel, _np(x), _np(v0), _np(gs), _np(carry), *charge, *fire, _np(gx), *consts)
        else:
            opt = [_np(t.contiguous()) if t is not None else _np(none) for t in (a.gh, a.gv, a.shift, a.spikes)]
            stat = [_np(t.contiguous()) if t is not None else _np(none) for t in (a.stat_a, a.stat_b)]
            kernel = cpu_lif.make_backward(
                rule.kind, a.gh is not None, a.gv is not None, a.shift is not None or a.spikes is not None,
                a.stat_a is not None, any(a.need),
            )  # fmt: skip
            job = partial(
                kernel, _np(x), _np(v0), _np(gs), opt[0], opt[1], _np(carry), *charge, *fire, opt[2], opt[3], *stat,
                a.plan.channels, a.plan.inner, _np(gx), *[_np(g) for g in grads], *consts,
                a.from_h, rule.reset, detach, rule.strict,
            )  # fmt: skip

    def run(lo: int, hi: int) -> None:
        job(threads.workspace(steps * width, gs.element_size()).reshape(steps, width), lo, hi, width)

    threads.run(run, threads.parts(n, width, steps * n))
    return gx, carry, grads
