"""The numba backend: torch tensors in, compiled kernels on their memory, torch tensors out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spk_neurons._kernels import cpu_lif, cpu_plain, threads
from spk_neurons._kernels.cpu_phi import constants
from spk_neurons._kernels.memory import empty_like
from spk_neurons._kernels.problem import NONE, Adjoint, Outputs, Params, Rule, StatsPlan, empty

#: the tile of a backward block: it shares the second-level cache with the streams that pass by (measured)
CACHE_BYTES = 1 << 19
#: rows shorter than this cost more than a tile of twice the size, which long sequences get (measured at T = 256)
SHORTEST = 1024
#: statistics are summed in at most this many parts whatever the thread count, in this order: same result always
STAT_PARTS = 8
#: neurons per block where nothing but one row has to stay in the cache (measured, as is the limit below)
ROW = 4096
#: neurons per block of a backward pass at most
MOST = 2048
#: neurons per block where sums over samples are taken: the more samples, the fewer sums to add up
WIDE = 16384
#: a row of this many elements is worth a loop
SHORT = 128

Numbers = tuple[float, float, float, float, float]


def _np(t: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = t.detach().numpy()
    return array


def _numbers(params: Params) -> Numbers | None:
    """The five parameters as numbers, or None if one of them is an array."""
    five = (params.decay, params.gain, params.bias, params.theta, params.level)
    if any(p.dim() for p in five):
        return None
    return tuple(p.item() for p in five)  # type: ignore[return-value]


def _group(real: Any, n: int, *params: Tensor) -> tuple[Any, ...]:
    """All scalars, or all arrays [., N]: keeps the number of compiled variants at two per group."""
    if all(p.dim() == 0 for p in params):
        return tuple(real(p.item()) for p in params)
    return tuple(_np(p.reshape(1, 1).expand(1, n).contiguous() if p.dim() == 0 else p.contiguous()) for p in params)


def block_width(steps: int, itemsize: int, n: int) -> int:
    """Neurons per block: as many as keep [steps, width] in the cache, a multiple of 64."""
    width = CACHE_BYTES // max(1, steps * itemsize)
    width = max(width, min(SHORTEST, 2 * width))
    return max(64, min(MOST, width - width % 64, -(-n // 64) * 64))


# ---------------------------------------------------------------- scalar parameters, nothing recorded


def _state(v0: Tensor | float, like: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], float]:
    """A first state as kernels take it: the array, or an empty one and the number that stands for it."""
    if isinstance(v0, Tensor) and v0.numel() > 1 and not any(v0.stride()):
        v0 = float(v0.detach().flatten()[0])
    return (_row(v0), 0.0) if isinstance(v0, Tensor) else (like[0, :0], v0)


def _row(v: Tensor) -> np.ndarray[Any, Any]:
    return _np(v.contiguous()).reshape(-1)


def spikes(
    x: Tensor, v0: Tensor | float, numbers: Numbers, rule: Rule, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Spikes like x [T, *S] and the last state [*S] from the first, or from one number; the shortest way through."""
    x = x.contiguous()
    s = empty_like(x)
    v = x.new_empty(x.shape[1:])
    steps, n = x.shape[0], v.numel()
    kernel = cpu_plain.make_forward(rule.reset, rule.strict, noise is not None)
    sn = s.numpy().reshape(steps, n)
    en = sn if noise is None else _np(noise.contiguous()).reshape(steps, n)
    args = (_np(x).reshape(steps, n), *_state(v0, sn), v.numpy().reshape(n), sn, en, *numbers)
    threads.run(lambda lo, hi: kernel(*args, lo, hi, ROW), threads.parts(n, ROW, steps * n))
    return s, v


def adjoint(
    x: Tensor,
    v0: Tensor | float,
    gs: Tensor,
    gv_last: Tensor | None,
    numbers: Numbers,
    rule: Rule,
    *,
    given: Tensor | None = None,
    gh: Tensor | None = None,
    stats: tuple[Tensor, Tensor, int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dv0 for inputs [T, *S].

    ``given``: the emitted spikes, where chance decided them. ``gh``: dL/dh. ``stats``: (a, b, channels, inner) of
    dL/dh = a[t, c] + b[t, c] h.
    """
    gx = empty_like(x)
    carry = x.new_empty(x.shape[1:])
    steps, n = x.shape[0], carry.numel()
    detach = rule.detach or rule.reset == NONE
    ab, channels, inner, layout = x.new_empty(0, 0, 2), 1, 1, cpu_plain.NO_STATS
    if stats is not None:
        ab, channels, inner = _table(*stats)
        layout = cpu_plain.ROWS if inner == 1 else cpu_plain.RUNS
    kernel = cpu_plain.make_backward(
        rule.kind, rule.reset, detach, rule.strict, given is not None, gh is not None, layout
    )

    def rows(t: Tensor) -> np.ndarray[Any, Any]:
        return _np(t.contiguous()).reshape(steps, n)

    g = rows(gs)
    args = (
        rows(x), *_state(v0, g), g, g if given is None else rows(given), g if gh is None else rows(gh),
        _np(ab), channels, inner, g[0, :0] if gv_last is None else _row(gv_last), carry.numpy().reshape(n), *numbers,
        gx.numpy().reshape(steps, n), *constants(rule.kind, rule.p0, rule.p1),
    )  # fmt: skip
    _tiled(partial(kernel, *args), steps, n, g.itemsize)
    return gx, carry


def _period(channels: int, inner: int) -> int:
    """Length of a row of neurons after which channels repeat, at least SHORT: one or several samples."""
    sample = channels * inner
    return sample * -(-SHORT // sample)


def _table(a: Tensor, b: Tensor, channels: int, inner: int) -> tuple[Tensor, int, int]:
    """(a, b) of the statistics' adjoint as the kernel reads them, rows and runs long enough for a loop of their own."""
    ab = torch.stack([a, b], 1)
    if inner >= SHORT:
        return ab.transpose(1, 2).contiguous(), channels, inner
    period, chunk = _period(channels, inner), cpu_plain.CHUNK
    ab = ab.repeat_interleave(inner, 2).repeat(1, 1, period // (channels * inner))
    channels = period
    ab = torch.nn.functional.pad(ab, (0, -channels % chunk)).reshape(len(a), 2, -1, chunk).transpose(1, 2)
    return ab.reshape(len(a), -1, 2 * chunk), channels, 1


def _tiled(job: Callable[..., Any], steps: int, n: int, itemsize: int) -> None:
    """Run a backward kernel on every thread's neurons, each with its own tile."""
    width = block_width(steps, itemsize, n)

    def run(lo: int, hi: int) -> None:
        job(threads.workspace(steps * width, itemsize).reshape(steps, width), lo, hi, width)

    threads.run(run, threads.parts(n, width, steps * n))


# ---------------------------------------------------------------- everything


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
    steps, n = x.shape
    none = empty(x, 0, n)
    numbers = _numbers(params)
    taking = bool(plan.moments or plan.bins or plan.window)
    lean = numbers is not None and not (record_v or bits)
    if lean and not (taking or record_h):
        assert numbers is not None
        s, v = spikes(x, v0, numbers, rule, noise)
        none_long = torch.empty(0, dtype=torch.int64)
        code = torch.empty((0, n), dtype=torch.uint8)
        return Outputs(s, v, none, none.clone(), empty(x), empty(x), none_long, none_long.clone(), code)
    real = _np(x).dtype.type
    x = x.contiguous()
    v = v0.clone(memory_format=torch.contiguous_format)
    s = empty_like(x)
    h = empty_like(x) if record_h else none
    vs = empty_like(x) if record_v else none.clone()
    code = torch.zeros((-(-steps // 4) if bits else 0, n), dtype=torch.uint8)
    width = max(64, min(MOST, -(-n // 64) * 64))
    channels, inner = plan.channels, plan.inner
    if plan.moments and inner < SHORT:
        # short runs are summed neuron by neuron of a period, and folded into channels at the end
        channels, inner = _period(channels, inner), 1
        if channels <= WIDE // 2:
            width = WIDE - WIDE % channels  # whole periods: each sum begins at the row's beginning
    count = STAT_PARTS if taking else 1
    total = np.zeros((count, steps if plan.moments else 0, channels))
    square = np.zeros_like(total)
    counts = np.zeros((count, plan.bins), np.int64)
    inside = np.zeros((count, steps if plan.bins or plan.window else 0), np.int64)
    bin_width = (plan.high - plan.low) / plan.bins if plan.bins else 1.0
    counting = bool(plan.bins or plan.window)

    def tables(part: int) -> tuple[Any, ...]:
        return (
            total[part], square[part], channels, inner, counts[part], inside[part], plan.low, bin_width,
            plan.window_lo, plan.window_hi,
        )  # fmt: skip

    if lean and noise is None:
        assert numbers is not None
        watched = cpu_plain.make_watched_forward(rule.reset, rule.strict, record_h, plan.moments, counting)
        arrays: tuple[Any, ...] = (_np(x), *_state(v0, _np(x)), _np(v), _np(s), _np(h), *numbers)

        def job(lo: int, hi: int, part: int = 0) -> None:
            watched(*arrays, *tables(part), lo, hi, width)

    else:
        charge = _group(real, n, params.decay, params.gain, params.bias)
        fire = _group(real, n, params.theta, params.level)
        arrays = (_np(x), _np(v), *charge, *fire, _np(none if noise is None else noise.contiguous()))
        outs = (_np(s), _np(h), _np(vs), _np(code), real(rule.p0 / 2))
        general = cpu_lif.make_forward(noise is not None, record_h, record_v, plan.moments, counting, bits)

        def job(lo: int, hi: int, part: int = 0) -> None:
            general(*arrays, *outs, *tables(part), rule.reset, rule.strict, lo, hi, width)

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
        folded = (steps, -1, plan.channels, plan.inner if inner < plan.inner else 1)
        m, m2 = (table.sum(0).reshape(folded).sum((1, 3)) / size for table in (total, square))
        mean = torch.from_numpy(m).to(x.dtype)
        var = torch.from_numpy(np.maximum(m2 - m * m, 0.0)).to(x.dtype)
    return Outputs(
        s, v, h, vs, mean, var, torch.from_numpy(counts.sum(0)), torch.from_numpy(inside.sum(0)), code
    )  # fmt: skip


def backward(a: Adjoint, params: Params, rule: Rule) -> tuple[Tensor, Tensor, list[Tensor]]:
    """dL/dx [T, N], dL/dv0 [N] and the gradients of the five parameters ([1 or T, N], or empty)."""
    steps, n = a.gs.shape
    gs = a.gs.contiguous()
    none = empty(gs, 0, n)
    numbers = _numbers(params)
    rare = a.from_h or a.code is not None or a.gv is not None or a.shift is not None or any(a.need)
    if numbers is not None and not rare:
        stats = None
        if a.stat_a is not None and a.stat_b is not None:
            stats = (a.stat_a, a.stat_b, a.plan.channels, a.plan.inner)
        gx, carry = adjoint(a.x, a.v0, gs, a.gv_last, numbers, rule, given=a.spikes, gh=a.gh, stats=stats)
        return gx, carry, [none] * 5
    real = _np(gs).dtype.type
    gx = empty_like(gs)
    carry = torch.zeros_like(gs[0]) if a.gv_last is None else a.gv_last.clone(memory_format=torch.contiguous_format)
    charge = _group(real, n, params.decay, params.gain, params.bias)
    fire = _group(real, n, params.theta, params.level)
    grads = [
        torch.zeros((p.shape[0] if p.dim() == 2 else 1, n), dtype=gs.dtype) if need else none
        for p, need in zip((params.decay, params.gain, params.bias, params.theta, params.level), a.need, strict=True)
    ]
    if a.code is not None:
        args = (_np(a.code), _np(gs), _np(carry), charge[0], charge[1], real(1 / rule.p0), _np(gx), rule.reset)
        threads.run(
            lambda lo, hi: cpu_lif.backward_bits(*args, lo, hi, ROW), threads.parts(n, ROW, steps * n)
        )  # fmt: skip
        return gx, carry, grads
    opt = [_np(t.contiguous()) if t is not None else _np(none) for t in (a.gh, a.gv, a.shift, a.spikes)]
    stat = [_np(t.contiguous()) if t is not None else _np(none) for t in (a.stat_a, a.stat_b)]
    kernel = cpu_lif.make_backward(
        rule.kind, a.gh is not None, a.gv is not None, a.shift is not None or a.spikes is not None,
        a.stat_a is not None, any(a.need),
    )  # fmt: skip
    consts = tuple(real(k) for k in constants(rule.kind, rule.p0, rule.p1))
    job = partial(
        kernel, _np(a.x.contiguous()), _np(a.v0.contiguous()), _np(gs), opt[0], opt[1], _np(carry), *charge, *fire,
        opt[2], opt[3], *stat, a.plan.channels, a.plan.inner, _np(gx), *[_np(g) for g in grads], *consts,
        a.from_h, rule.reset, rule.detach or rule.reset == NONE, rule.strict,
    )  # fmt: skip
    _tiled(job, steps, n, gs.element_size())
    return gx, carry, grads
