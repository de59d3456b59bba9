"""The torch backend's quick case: scalar parameters, nothing but spikes asked for.

Whole-array operations cost what they read and write, and how. Three things make them cheap here:

- Buffers are reused (``out=``), and neurons are taken in chunks whose rows stay in the second-level cache.
- No masks: comparisons write floats, and the reset is ``threshold``. On a CPU operations on booleans are not SIMD code
  and take five to fifteen times as long.
- ``threshold(h, limit, value)`` replaces what is *below* a limit, a reset what is above. So the loop runs on negated
  potentials, -h and -v; rounding is symmetric, and spikes are the same to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from spk_neurons._kernels.problem import HARD, SOFT, Params, Rule

ATAN = 3
#: neurons per chunk on a CPU: a row of float32 takes 128 kB
CHUNK = 32768


class _Step:
    """One time step on negated potentials."""

    def __init__(self, params: Params, rule: Rule) -> None:
        self.decay, self.rule = params.decay, rule
        self.gain, self.bias, self.theta = -params.gain, -params.bias, -params.theta
        self.level = params.level.item()
        self.biased = self.bias.item() != 0.0
        # a strict comparison is one with the next number below
        below = torch.nextafter(self.theta, torch.full_like(self.theta, -math.inf))
        self.limit = (below if rule.strict else self.theta).item()

    def charge(self, v: Tensor, scaled: Tensor, out: Tensor) -> None:
        """out = decay v + scaled + bias; ``out`` may be ``scaled``, not ``v``."""
        if out is scaled:
            out += self.decay * v
        else:
            torch.mul(v, self.decay, out=out)
            out += scaled
        if self.biased:
            out += self.bias

    def fire(self, h: Tensor, out: Tensor) -> None:
        """out = spikes of h, 0.0 or 1.0."""
        torch.le(h, self.limit, out=out)

    def reset(self, h: Tensor, s: Tensor | None, out: Tensor) -> None:
        """out = v after h; ``s`` is needed for the soft reset."""
        if self.rule.reset == HARD:
            torch.ops.aten.threshold.out(h, self.limit, -self.level, out=out)
        elif self.rule.reset == SOFT:
            assert s is not None
            torch.add(h, s, alpha=self.level, out=out)
        else:
            out.copy_(h)


def _chunks(n: int, device: torch.device) -> list[slice]:
    width = CHUNK if device.type == "cpu" else n
    return [slice(lo, min(n, lo + width)) for lo in range(0, n, max(1, width))]


def forward(x: Tensor, v0: Tensor, params: Params, rule: Rule) -> tuple[Tensor, Tensor]:
    """Spikes [T, N] and the last state [N]."""
    step = _Step(params, rule)
    s, last = torch.empty_like(x), torch.empty_like(v0)
    for part in _chunks(x.shape[1], x.device):
        v = -v0[part]
        h = torch.empty_like(v)
        # gain x of all steps goes where the spikes will be
        for st in torch.mul(x[:, part], step.gain, out=s[:, part]).unbind():
            step.charge(v, st, h)
            step.fire(h, st)
            step.reset(h, st, v)
        torch.neg(v, out=last[part])
    return s, last


def backward(
    x: Tensor,
    v0: Tensor,
    gs: Tensor,
    gv_last: Tensor | None,
    params: Params,
    rule: Rule,
    derivative: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """dL/dx [T, N] and dL/dv0 [N]."""
    step = _Step(params, rule)
    gain, decay, through = params.gain, params.decay, not rule.detach
    gx = torch.empty_like(x)
    first = torch.zeros_like(v0) if gv_last is None else gv_last.clone()
    for part in _chunks(x.shape[1], x.device):
        v = -v0[part]
        u, s, q = (torch.empty_like(v) for _ in range(3))
        # -h of each step waits where that step's gradient will be
        rows = torch.mul(x[:, part], step.gain, out=gx[:, part]).unbind()
        for ht in rows:
            step.charge(v, ht, ht)
            if rule.reset == SOFT:
                step.fire(ht, s)
            step.reset(ht, s, v)
        carry = first[part]
        for ht, g in zip(reversed(rows), reversed(gs[:, part].unbind()), strict=True):
            if through and rule.reset == HARD:
                torch.addcmul(g, carry, ht if step.level == 0.0 else ht + step.level, out=q)
            elif through and rule.reset == SOFT:
                torch.sub(g, carry, alpha=step.level, out=q)
            else:
                q.copy_(g)
            torch.sub(step.theta, ht, out=u)  # h - threshold
            if rule.kind == ATAN:
                # q phi = q / (2/alpha + (pi^2 alpha/2) u^2)
                torch.add(2 / rule.p0, u.mul_(u), alpha=math.pi**2 / 2 * rule.p0, out=u)
                q.div_(u)
            else:
                q.mul_(derivative(u))
            if rule.reset == HARD:
                torch.gt(ht, step.limit, out=s)  # 1 - spike
                q.addcmul_(carry, s)
            else:
                q.add_(carry)
            torch.mul(q, gain, out=ht)
            torch.mul(q, decay, out=carry)
    return gx, first
