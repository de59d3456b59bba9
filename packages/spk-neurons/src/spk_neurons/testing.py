"""Helpers for the tests of dependents and third parties: tolerances, the neuron contract, strategies."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons.state import map_state

__all__ = ["TOLERANCE", "assert_close", "check_neuron", "inputs", "relative_error"]

#: largest relative RMS difference that counts as equal
TOLERANCE: dict[torch.dtype, float] = {
    torch.float64: 1e-10,
    torch.float32: 1e-5,
    torch.float16: 5e-3,
    torch.bfloat16: 2e-2,
}


def relative_error(got: Tensor, want: Tensor) -> float:
    """RMS of the difference over RMS of the wanted value (over 1e-12 at least)."""
    if got.shape != want.shape:
        raise AssertionError(f"shape {tuple(got.shape)} differs from the expected {tuple(want.shape)}")
    if want.numel() == 0:
        return 0.0
    a, b = got.detach().double(), want.detach().double()
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt().clamp_min(1e-12))


def assert_close(got: Tensor, want: Tensor, name: str = "value", tolerance: float | None = None) -> None:
    """AssertionError if got differs from want by more than the tolerance of want's dtype."""
    bound = TOLERANCE[want.dtype] if tolerance is None else tolerance
    error = relative_error(got, want)
    if not error <= bound:
        raise AssertionError(f"{name} differs by {error:.3g} (relative RMS), allowed {bound:.3g}")


def inputs(*, max_steps: int = 12, max_neurons: int = 9) -> Any:
    """A hypothesis strategy of inputs [T, B, C] (needs hypothesis): values on a coarse grid, so that ties happen."""
    from hypothesis import strategies as st

    def tensor(shape: tuple[int, int, int]) -> Any:
        count = shape[0] * shape[1] * shape[2]
        cells = st.lists(st.integers(-16, 24), min_size=count, max_size=count)
        return cells.map(lambda v: torch.tensor(v, dtype=torch.float32).reshape(shape) / 8)

    shapes = st.tuples(st.integers(1, max_steps), st.integers(1, 3), st.integers(1, max_neurons))
    return shapes.flatmap(tensor)


def _equal(a: Any, b: Any, what: str) -> None:
    flat_a: list[Tensor] = []
    flat_b: list[Tensor] = []
    map_state(flat_a.append, a)
    map_state(flat_b.append, b)
    if len(flat_a) != len(flat_b):
        raise AssertionError(f"{what}: {len(flat_a)} tensors against {len(flat_b)}")
    for x, y in zip(flat_a, flat_b, strict=True):
        if x.shape != y.shape or not torch.allclose(x, y, rtol=1e-5, atol=1e-6):
            raise AssertionError(f"{what}: {tuple(x.shape)} and {tuple(y.shape)} differ")


def check_neuron(module: nn.Module, shape: Sequence[int], *, steps: int = 6, seed: int = 0) -> None:
    """Check the contract that everything built on these neurons relies on; third parties can run it on theirs.

    Args:
        module: called as ``module(x)``, ``module(x, state, return_state=True)``, with ``step`` and ``initial_state``.
        shape: S of one step's input, e.g. (B, C). steps: T of the test. seed: of the random input.
    Raises:
        AssertionError: which clause failed. The clauses: output shaped like the input and finite; deterministic,
            with no
            state kept between calls; ``initial_state`` means the same as None; ``step`` in a loop and a split sequence
            equal one call; T = 0 returns empty and the state unchanged; integer input is refused; a state of wrong
            shape is refused; a second backward works; state_dict has no state in it; a deep copy behaves the same.
    """
    g = torch.Generator().manual_seed(seed)
    x = (2 * torch.rand((steps, *shape), generator=g)).requires_grad_()

    def seeded(call: Any) -> Any:
        torch.manual_seed(seed)
        return call()

    keys = set(module.state_dict())
    s, last = seeded(lambda: module(x, return_state=True))
    if s.shape != x.shape:
        raise AssertionError(f"output has shape {tuple(s.shape)}, expected that of the input {tuple(x.shape)}")
    if not bool(torch.isfinite(s).all()):
        raise AssertionError("output holds nan or inf for a finite input")
    _equal(seeded(lambda: module(x)), s, "a second call differs from the first: state leaks between calls")
    start = module.initial_state(tuple(shape), x.dtype, x.device)  # type: ignore[operator]
    if start is not None:
        _equal(seeded(lambda: module(x, start)), s, "initial_state differs from state=None")
        noisy = hasattr(module, "noise")
        state, rows = start, []
        if not noisy:
            for t in range(steps):
                row, state = module.step(x[t], state)  # type: ignore[operator]
                rows.append(row)
            _equal(torch.stack(rows), s, "step in a loop differs from one call")
            _equal(state, last, "the state after stepping differs from that of one call")
            half = steps // 2
            s1, middle = module(x[:half], return_state=True)
            s2, end = module(x[half:], middle, return_state=True)
            _equal(torch.cat([s1, s2]), s, "a sequence split in two with the state passed on differs from one call")
            _equal(end, last, "the state after a split differs")
        nothing, same = module(x[:0], start, return_state=True)
        if nothing.shape != (0, *shape):
            raise AssertionError(f"T = 0 gives {tuple(nothing.shape)}, expected {(0, *shape)}")
        _equal(same, start, "T = 0 changes the state")
        wrong = map_state(lambda t: torch.cat([t, t]), start)
        try:
            module(x, wrong)
        except (ValueError, TypeError):
            pass
        else:
            raise AssertionError("a state of wrong shape is accepted")
    try:
        module((x > 0).to(torch.int64))
    except (TypeError, ValueError):
        pass
    else:
        raise AssertionError("an integer input is accepted")
    for _ in range(2):
        x.grad = None
        seeded(lambda: module(x)).sum().backward()
    if x.grad is None or not bool(torch.isfinite(x.grad).all()):
        raise AssertionError("no finite gradient reaches the input")
    if set(module.state_dict()) != keys:
        raise AssertionError("state_dict changed by running: state must not be in it")
    twin = copy.deepcopy(module)
    _equal(seeded(lambda: twin(x)), s, "a deep copy behaves differently")
