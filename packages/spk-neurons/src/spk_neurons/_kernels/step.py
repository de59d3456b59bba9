"""What a cell of ``spk_neurons.scan`` is to the code that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Step(Protocol):
    """One time step, its adjoint, its reference, how many tensors it takes and returns, and its compiled kernels."""

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: int
    states: int
    params: int
    outputs: int

    def compiled(self) -> tuple[Any, Any]:
        """The kernels (forward, backward)."""
