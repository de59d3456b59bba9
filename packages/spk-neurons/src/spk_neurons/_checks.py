"""Input checks shared by functions and modules: what came, what was expected, what to do."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spk_neurons._kernels.op import transforming
from spk_neurons._kernels.problem import compute_dtype


def number(name: str, value: Any) -> float:
    """A finite Python float from any real number (an int where a float is meant is fine)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        try:
            value = float(value) if not isinstance(value, (str, bytes, bool)) else None
        except (TypeError, ValueError):
            value = None
        if value is None:
            raise TypeError(f"{name} must be a number or a tensor, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name}={value} given; it must be finite")
    return float(value)


def within(
    name: str,
    value: float | Tensor,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    why: str = "",
) -> None:
    """Range of a number or of all elements of a small tensor; tensors on a device or under a transform pass."""
    if isinstance(value, Tensor):
        if transforming() or value.device.type != "cpu" or value.numel() == 0 or value.numel() > 1 << 16:
            return
        low, high = (float(v) for v in torch.aminmax(value.detach()))
    else:
        low = high = value
    if not (low >= least and high <= most and low > above):
        bounds = [f">= {least:g}"] if least > -math.inf else []
        bounds += [f"> {above:g}"] if above > -math.inf else []
        bounds += [f"<= {most:g}"] if most < math.inf else []
        given = f"{low:g}" if low == high else f"values in [{low:g}, {high:g}]"
        raise ValueError(f"{name}={given} given; {name} must be {' and '.join(bounds)}{why and ': ' + why}")


def check_input(x: Any, *, least_dim: int = 1, name: str = "x") -> None:
    """A float tensor [T, ...]."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor [T, ...], got {type(x).__name__}; use torch.as_tensor({name})")
    if not x.is_floating_point():
        hint = "spikes as bool: call .float()" if x.dtype == torch.bool else "call .float()"
        raise TypeError(f"{name} has dtype {x.dtype}; neurons compute in floating point, {hint}")
    if x.dim() < least_dim:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; expected time first, [T, B, ...] ({least_dim} axes or more)"
        )


def check_finite(x: Tensor) -> None:
    """Refuse nan and inf, which would silence a neuron for good."""
    bad = ~torch.isfinite(x)
    if bool(bad.any()):
        first = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"x holds {int(bad.sum())} nan or inf values, the first at {first}; a nan potential never fires again"
        )


def check_state(name: str, state: Any, x: Tensor) -> Tensor:
    """A state tensor that fits inputs x [T, *S]: shape S (or broadcastable), compute dtype, same device."""
    rest = x.shape[1:]
    if not isinstance(state, Tensor):
        raise TypeError(f"state {name!r} must be a tensor of shape {tuple(rest)}, got {type(state).__name__}")
    if state.shape != rest:
        hint = "pass state=None to start fresh"
        if state.dim() == len(rest) > 0 and state.shape[0] > rest[0] and state.shape[1:] == rest[1:]:
            hint += f", or state[:{rest[0]}] to go on with the first {rest[0]}"
        raise ValueError(f"state {name!r} has shape {tuple(state.shape)} but x wants {tuple(rest)}; {hint}")
    if state.device != x.device:
        raise ValueError(f"state {name!r} is on {state.device} but x is on {x.device}; move one with .to()")
    want = compute_dtype(x.dtype)
    if state.dtype != want:
        raise TypeError(
            f"state {name!r} has dtype {state.dtype} but {x.dtype} inputs are computed in {want}; use state.to({want})"
        )
    return state


def check_param(name: str, p: Tensor, x: Tensor) -> None:
    """A parameter tensor that broadcasts to x."""
    if not p.is_floating_point():
        raise TypeError(f"{name} has dtype {p.dtype}; call .float()")
    if p.device != x.device and p.dim() > 0:
        raise ValueError(f"{name} is on {p.device} but x is on {x.device}; move one with .to()")
    try:
        fits = torch.broadcast_shapes(p.shape, x.shape) == x.shape  # type: ignore[no-untyped-call]
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} has shape {tuple(p.shape)}, which does not broadcast to x {tuple(x.shape)}; give a number, "
            "one value per "
            f"neuron {tuple(x.shape[1:])} (or e.g. [C, 1, 1] per channel), or one per step and neuron {tuple(x.shape)}"
        )
