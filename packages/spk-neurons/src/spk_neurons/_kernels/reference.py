"""The transition written once, plainly: a loop over time, gradients by autograd. Every other backend is tested by it.

    h[t] = decay[t] v[t-1] + gain[t] x[t] + bias
    s[t] = 1 if h[t] >= threshold (or > when strict) else 0
    v[t] = h - level s | level where s, else h | h          soft | hard | no reset

Differentiable any number of times where the surrogate is; runs under every torch transform.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spk_neurons._kernels.problem import HARD, SOFT
from spk_neurons.surrogate import Surrogate


class _Spike(torch.autograd.Function):
    """Heaviside of ``u`` (decided beforehand as ``fired``) with the surrogate's derivative at ``at``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(fired: Tensor, at: Tensor, surrogate: Surrogate) -> Tensor:
        return fired.to(at.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Surrogate], output: Tensor) -> None:
        _, at, ctx.surrogate = inputs
        ctx.save_for_backward(at)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        (at,) = ctx.saved_tensors
        return None, grad * ctx.surrogate.derivative(at).to(grad.dtype), None


def spike(u: Tensor, surrogate: Surrogate, *, strict: bool = False, shift: Tensor | float = 0.0) -> Tensor:
    """H(u), with derivative surrogate.derivative(u - shift) in the backward pass."""
    return _Spike.apply(u > 0 if strict else u >= 0, u - shift, surrogate)  # type: ignore[no-any-return,no-untyped-call]


def _at(p: Tensor, t: int, x: Tensor) -> Tensor:
    return p[min(t, p.shape[0] - 1)] if p.dim() == x.dim() and p.dim() > 0 else p


def lif(
    x: Tensor,
    v0: Tensor,
    decay: Tensor,
    gain: Tensor,
    bias: Tensor,
    threshold: Tensor,
    level: Tensor,
    *,
    reset: int,
    detach: bool,
    strict: bool,
    surrogate: Surrogate,
    noise: Tensor | None = None,
    shift: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spikes, last state, and all h and v; x [T, *S], parameters broadcast to x, noise and shift like x.

    ``noise`` is added to h where it is compared with the threshold; ``shift`` is subtracted from h where the
    surrogate is evaluated.
    """
    spikes, potentials, states = [], [], []
    v = v0
    for t in range(x.shape[0]):
        theta, lv = _at(threshold, t, x), _at(level, t, x)
        h = (_at(decay, t, x) * v + _at(gain, t, x) * x[t]) + _at(bias, t, x)
        u = h - theta
        seen = h if noise is None else h + noise[t]
        # compared, not subtracted: h + noise >= theta decides, as in every other backend
        fired = seen > theta if strict else seen >= theta
        s: Tensor = _Spike.apply(fired, u if shift is None else u - shift[t], surrogate)  # type: ignore[no-untyped-call]
        r = s.detach() if detach else s
        if reset == SOFT:
            v = h - lv * r
        elif reset == HARD:
            # the choice gives the value (a product would turn inf * 0 into nan), the second term, zero, the gradient
            v = torch.where(r.detach() > 0, lv, h)
            if not detach:
                v = v + (r - r.detach()) * torch.where(torch.isfinite(h), lv - h, 0.0)
        else:
            v = h
        spikes.append(s)
        potentials.append(h)
        states.append(v)
    return torch.stack(spikes), v, torch.stack(potentials), torch.stack(states)
