"""Arguments judged once: what came, what was expected, what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def whole(name: str, value: Any, least: int = 1) -> int:
    """An integer of at least ``least``."""
    if isinstance(value, bool) or not float(value).is_integer() or int(value) < least:
        raise ValueError(f"{name}={value!r} given; expected a whole number >= {least}")
    return int(value)


def positive(name: str, value: Any) -> float:
    """A finite number above zero."""
    if not (math.isfinite(float(value)) and float(value) > 0):
        raise ValueError(f"{name}={value!r} given; expected a finite number > 0")
    return float(value)


def fraction(name: str, value: Any, *, low_open: bool = True) -> float:
    """A number in (0, 1), or in [0, 1)."""
    number = float(value)
    if not (0 < number < 1 if low_open else 0 <= number < 1):
        raise ValueError(f"{name}={value!r} given; expected a number in {'(0, 1)' if low_open else '[0, 1)'}")
    return number


def choice(name: str, value: Any, known: Sequence[str]) -> str:
    """One of the known words."""
    if value not in known:
        raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(map(repr, known))}")
    return str(value)


def check_state(who: str, state: Any, shape: tuple[int, int, int], device: torch.device, single: bool) -> None:
    """A state tensor of exactly this shape, on this device; nothing is repaired."""
    wanted = (shape[0], shape[2]) if single else shape
    if not isinstance(state, Tensor):
        raise TypeError(
            f"state of {who} is {type(state).__name__}; pass the tensor {list(wanted)} it returned, or None"
        )
    if tuple(state.shape) != wanted:
        raise ValueError(
            f"state of {who} has shape {tuple(state.shape)}, the input asks for {wanted}; pass state=None to start "
            "fresh, or the rows that go on"
        )
    if state.device != device:
        raise ValueError(
            f"state of {who} lies on {state.device}, its parameters on {device}; move it with state.to(...)"
        )


def check_keep(keep: Tensor, steps: int, batch: int, single: bool, batch_first: bool, device: torch.device) -> Tensor:
    """The mask as [T, B]."""
    wanted = (steps,) if single else ((batch, steps) if batch_first else (steps, batch))
    if not isinstance(keep, Tensor) or tuple(keep.shape) != wanted:
        got = tuple(keep.shape) if isinstance(keep, Tensor) else type(keep).__name__
        raise ValueError(f"keep has shape {got}, expected {wanted}: 0 where an episode starts, else 1")
    if keep.device != device:
        raise ValueError(f"keep lies on {keep.device}, the input on {device}; move it with keep.to(...)")
    return keep[:, None] if single else (keep.t() if batch_first else keep)
