"""State is a value: what a neuron carries from one call to the next, and the opt-in ways to carry it for you."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "ALIFState", "CuBaState", "LIFState", "LIState", "PSNState", "RecurrentState", "Stateful", "carry_state",
    "detach_state",
]  # fmt: skip


class LIFState(NamedTuple):
    """v: membrane potential after the last reset, [*S]."""

    v: Tensor


class LIState(NamedTuple):
    """v: the leaky integral, [*S]."""

    v: Tensor


class CuBaState(NamedTuple):
    """i: synaptic current, v: membrane potential after the last reset; both [*S]."""

    i: Tensor
    v: Tensor


class ALIFState(NamedTuple):
    """v: membrane potential after the last reset, b: adaptation (a running mean of spikes); both [*S]."""

    v: Tensor
    b: Tensor


class PSNState(NamedTuple):
    """x: the last ``order - 1`` inputs, oldest first, [order - 1, *S]."""

    x: Tensor


class RecurrentState(NamedTuple):
    """neuron: the state of the neuron inside; s: the spikes of the last step, [*S]."""

    neuron: Any
    s: Tensor


def map_state(fn: Any, state: Any) -> Any:
    """Apply fn to every tensor of a (nested) state."""
    if isinstance(state, Tensor):
        return fn(state)
    if isinstance(state, tuple):
        parts = [map_state(fn, s) for s in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def detach_state(state: Any) -> Any:
    """The same state without its graph: the cut of truncated backpropagation through time.

    Args:
        state: a state of this package, a tensor, or a tuple of these.
    Returns:
        The same structure, detached.
    """
    return map_state(lambda t: t.detach(), state)


class Carry:
    """Slot in which one module keeps its state between calls, while somebody asked it to."""

    def __init__(self, detach: bool) -> None:
        self.detach = detach
        self.state: Any = None

    def put(self, state: Any) -> None:
        self.state = detach_state(state) if self.detach else state


def _carriers(net: nn.Module) -> list[Any]:
    inner = {id(m.neuron) for m in net.modules() if getattr(m, "carries_inner", False)}
    found = [m for m in net.modules() if hasattr(m, "_carry") and id(m) not in inner]
    if not found:
        raise ValueError(f"{type(net).__name__} holds no neuron of spk_neurons, so there is no state to carry")
    return found


@contextmanager
def carry_state(net: nn.Module, *, detach: bool = True) -> Iterator[nn.Module]:
    """Inside the ``with`` block every neuron of ``net`` goes on from the state its last call left.

    Args:
        net: any module that contains neurons. detach: cut the graph between calls (truncated BPTT).
    Yields:
        The net itself.
    Raises:
        ValueError: no neuron inside, or carrying already; and, at a call, inputs whose shape differs from the
            carried state's (both are named).
    """
    carriers = _carriers(net)
    if any(m._carry is not None for m in carriers):
        raise ValueError("this network carries its state already; leave the other carry_state block or Stateful first")
    for m in carriers:
        m._carry = Carry(detach)
    try:
        yield net
    finally:
        for m in carriers:
            m._carry = None


class Stateful(nn.Module):
    """A network that remembers: its neurons go on from their last state until ``reset_state()``.

    Args:
        net: any module that contains neurons. detach: cut the graph between calls.

    States are no buffers: they are not in ``state_dict`` and follow ``.to()``. A call whose shapes do not fit the
    carried state raises ValueError naming both.
    """

    def __init__(self, net: nn.Module, *, detach: bool = True) -> None:
        super().__init__()
        self.net = net
        for m in _carriers(net):
            if m._carry is not None:
                raise ValueError(
                    "this network carries its state already; leave the other carry_state block or Stateful first"
                )
            m._carry = Carry(detach)

    def reset_state(self) -> None:
        """Start fresh at the next call."""
        for m in _carriers(self.net):
            m._carry.state = None

    def detach_state(self) -> None:
        """Cut the graph of the carried states here."""
        for m in _carriers(self.net):
            m._carry.state = detach_state(m._carry.state)

    def states(self) -> dict[str, Any]:
        """The carried states by module name (None before the first call)."""
        ids = {id(m) for m in _carriers(self.net)}
        return {name: m._carry.state for name, m in self.net.named_modules() if id(m) in ids}

    def unwrap(self) -> nn.Module:
        """The net, carrying nothing any more."""
        for m in _carriers(self.net):
            m._carry = None
        return self.net

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the net; see the class."""
        return self.net(*args, **kwargs)


def moved(state: Any, fn: Any) -> Any:
    """A carried state after ``module.to(...)``: device and dtype as the module's floats."""
    return map_state(lambda t: fn(t) if isinstance(t, torch.Tensor) else t, state)
