"""What a backend is asked to compute: one value object for the forward, one for the backward pass.

Tensors are flattened to time and neurons here, once, so that no backend repeats it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

SOFT, HARD, NONE = 0, 1, 2
RESETS = {"soft": SOFT, "hard": HARD, "none": NONE}


@dataclass(frozen=True, slots=True)
class Rule:
    """The discrete choices of a transition, and its surrogate as kernels know it."""

    reset: int
    detach: bool
    strict: bool
    kind: int
    p0: float
    p1: float


@dataclass(frozen=True, slots=True)
class StatsPlan:
    """Which streaming statistics to take: moments per step and channel, and a histogram of fixed bins."""

    moments: bool = False
    channels: int = 1
    inner: int = 1
    bins: int = 0
    low: float = 0.0
    high: float = 1.0
    window: bool = False
    window_lo: float = 0.0
    window_hi: float = 0.0


@dataclass(slots=True)
class Params:
    """decay, gain, bias, threshold, level: each a 0-d tensor, or [1, N], or [T, N]."""

    decay: Tensor
    gain: Tensor
    bias: Tensor
    theta: Tensor
    level: Tensor


@dataclass(slots=True)
class Outputs:
    """Spikes [T, N], last state [N], and what was recorded (empty tensors otherwise)."""

    s: Tensor
    v_last: Tensor
    h: Tensor
    v: Tensor
    mean: Tensor
    var: Tensor
    counts: Tensor
    inside: Tensor
    code: Tensor


@dataclass(slots=True)
class Adjoint:
    """Inputs of a backward pass; ``None`` stands for zero."""

    x: Tensor  # [T, N]; the recorded h when from_h
    from_h: bool
    v0: Tensor
    gs: Tensor
    gv_last: Tensor | None
    gh: Tensor | None = None
    gv: Tensor | None = None
    shift: Tensor | None = None
    spikes: Tensor | None = None
    stat_a: Tensor | None = None
    stat_b: Tensor | None = None
    code: Tensor | None = None
    plan: StatsPlan = field(default_factory=StatsPlan)
    need: tuple[bool, bool, bool, bool, bool] = (False,) * 5


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half precision is computed in float32: membrane potentials drift in bfloat16 within a few hundred steps."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def flatten_param(p: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A parameter that broadcasts to x of ``shape`` [T, *S] as a 0-d, [1, N] or [T, N] tensor."""
    p = p.to(dtype)
    if p.numel() == 1 and not (p.dim() == len(shape) > 1 and shape[0] == 1 and math.prod(shape) == 1):
        return p.reshape(())
    if p.dim() < len(shape):
        return p.expand(shape[1:]).reshape(1, -1)
    rows = p.expand(p.shape[0], *shape[1:])
    return rows.reshape(p.shape[0], -1)


def varies_in_time(p: Tensor, shape: torch.Size) -> bool:
    """True if the parameter has its own value for each step."""
    return p.dim() == len(shape) and p.shape[0] > 1


def empty(like: Tensor, *shape: int) -> Tensor:
    """Zero-sized marker of "not asked for"."""
    return like.new_empty(shape or (0,))
