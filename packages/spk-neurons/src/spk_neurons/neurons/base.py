"""What all neurons share: run over time, step, carry a state on request, hold numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons._checks import check_input, number
from spk_neurons._kernels.problem import compute_dtype
from spk_neurons.state import Carry, moved

__all__ = ["Neuron", "Number", "as_number", "per_neuron", "zeros"]

Number = float | Tensor


class Neuron(nn.Module):
    """Base of all neurons: ``forward`` over time, ``step``, ``initial_state``; a fresh state each call unless
    given one.

    A subclass defines ``_run(x, state) -> (s, state)`` and ``initial_state``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._carry: Carry | None = None
        self._recorder: Any = None

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define _run(x, state)")

    def initial_state(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> Any:
        """The state before the first step.

        Args:
            shape: S, the shape of one step's input, [B, ...]. dtype: of the input. device: of the input.
        """
        raise NotImplementedError(f"{type(self).__name__} must define initial_state(shape, dtype, device)")

    def forward(self, x: Tensor, state: Any = None, *, return_state: bool = False) -> Any:
        """Run over time.

        Args:
            x: [T, B, ...], float. state: state before the first step; None starts fresh.
            return_state: also return the state after the last step.
        Returns:
            s, like x; or (s, state).
        Raises:
            ValueError, TypeError: an input or state that does not fit.
        """
        check_input(x)
        if state is None and self._carry is not None:
            state = self._carry.state
        s, last = self._run(x, state)
        if self._carry is not None:
            self._carry.put(last)
        return (s, last) if return_state else s

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step: x [B, ...] and a state in, (s, state) out; ``step`` in a loop equals ``forward``."""
        check_input(x, least_dim=0)
        s, last = self._run(x.unsqueeze(0), state)
        return s[0], last

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Neuron:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self._carry is not None:
            self._carry.state = moved(self._carry.state, fn)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recorder": None}

    def hold(self, name: str, value: Number | None) -> None:
        """Keep a number: parameters are learned, other tensors become buffers (both follow ``.to()``)."""
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer(name, value, persistent=False)
        else:
            setattr(self, name, value)


def as_number(value: Any) -> float | Tensor:
    """Narrow an attribute that may be a buffer or a number."""
    return value if isinstance(value, Tensor) else float(value)


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str | None, value: float = 0.0) -> Tensor:
    return torch.full(tuple(shape), value, dtype=compute_dtype(dtype), device=device)


def per_neuron(name: str, value: Any, shape: Sequence[int] | None) -> float | Tensor:
    """A Python number, or a tensor of ``shape`` when one is given."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            raise TypeError(f"{name} has dtype {value.dtype}; call .float()")
        return value if shape is None else value.expand(tuple(shape)).clone()
    value = number(name, value)
    return value if shape is None else torch.full(tuple(shape), value)
