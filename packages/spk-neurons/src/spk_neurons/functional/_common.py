"""Shared by all functions: what a call returns, numbers and their ranges, the state before the first step."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from spk_neurons._checks import check_param, check_state, number, within
from spk_neurons._kernels.problem import RESETS, SOFT, compute_dtype
from spk_neurons.stats import Stats

Number = float | Tensor
Reset = Literal["hard", "soft", "none"]
Fire = Literal["ge", "gt"]


class Output(NamedTuple):
    """What a call returns besides the spikes.

    state: the state after the last step. h, v: recorded potentials [T, ...] before and after the reset, or None.
    stats: streaming statistics, or None.
    """

    state: Any
    h: Tensor | None = None
    v: Tensor | None = None
    stats: Stats | None = None


def to_number(name: str, value: Any, x: Tensor) -> Number:
    if isinstance(value, Tensor):
        check_param(name, value, x)
        return value
    return number(name, value)


def to_tensor(value: Number, x: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value.to(x.device) if value.dim() == 0 else value
    # filled on the device: a copy from the host would wait for it, and could not be recorded in a CUDA graph
    return torch.full((), value, dtype=compute_dtype(x.dtype), device=x.device)


def check_values(
    *,
    tau: Number | None = None,
    decay: Number | None = None,
    threshold: Number = 1.0,
    v_reset: Number = 0.0,
    reset: str = "hard",
) -> None:
    """Ranges of a point neuron's numbers; shared with the modules.

    Raises:
        ValueError: tau < 1, decay outside [0, 1], threshold <= 0, v_reset >= threshold, unknown reset.
    """
    if reset not in RESETS:
        raise ValueError(f"reset={reset!r} is not known; choose 'hard', 'soft' or 'none'")
    if tau is not None:
        why = "the leak is 1 - 1/tau, negative for a smaller tau; tau = 1 means no memory"
        within("tau", tau, least=1.0, why=why)
    if decay is not None and not (isinstance(decay, Tensor) and decay.numel() > 1 << 16):
        within("decay", decay, least=0.0, most=1.0, why="it is the share of the potential kept per step")
    within("threshold", threshold, above=0.0)
    if (
        reset == "hard"
        and not isinstance(v_reset, Tensor)
        and not isinstance(threshold, Tensor)
        and v_reset >= threshold
    ):
        raise ValueError(
            f"v_reset={v_reset} is not below threshold={threshold}: the neuron would fire forever; lower v_reset"
        )


def resolve(
    x: Tensor, tau: Any, decay: Any, gain: Any, bias: Any, decay_input: bool, v_reset: Number, reset: str
) -> tuple[Number, Number, Number]:
    """(decay, gain, bias) from the friendly arguments."""
    if tau is not None and decay is not None:
        raise ValueError(f"give tau={tau} (time constant in steps) or decay={decay} (share kept per step), not both")
    if decay is not None:
        decay = to_number("decay", decay, x)
        return (
            decay,
            1.0 if gain is None else to_number("gain", gain, x),
            0.0 if bias is None else to_number("bias", bias, x),
        )
    tau = to_number("tau", 2.0 if tau is None else tau, x)
    check_values(tau=tau)
    decay = 1.0 - 1.0 / tau
    gain = (1.0 / tau if decay_input else 1.0) if gain is None else to_number("gain", gain, x)
    if bias is None:
        # the leak pulls towards v_reset: 1 - decay of the way in each step
        rest = isinstance(v_reset, Tensor) or v_reset != 0.0
        return decay, gain, (v_reset / tau if reset == "hard" and rest else 0.0)
    return decay, gain, to_number("bias", bias, x)


def first_v(state: Any, x: Tensor, start: Number) -> Number:
    """The potential before the first step: a state that was given, checked, or the number where neurons start."""
    if isinstance(state, Output):
        state = state.state
    return start if state is None else check_state("v", getattr(state, "v", state), x)


def first_tensor(state: Any, x: Tensor, start: Number) -> Tensor:
    """The same as a tensor of the neurons' shape."""
    v = first_v(state, x, start)
    if isinstance(v, Tensor):
        return v.to(compute_dtype(x.dtype)).expand(x.shape[1:])
    # one number seen as many: a graph that keeps it keeps no memory
    return torch.full((), v, dtype=compute_dtype(x.dtype), device=x.device).expand(x.shape[1:])


def level_of(
    reset: str, threshold: Number, v_reset: Number | None, amount: Number | None, x: Tensor
) -> tuple[str, Number, Number]:
    """(reset, level, v_reset) with "v_reset=None means soft"; the level is what a soft reset subtracts, or v_reset.

    Raises:
        ValueError: an amount where the reset is not soft; values out of range.
    """
    if v_reset is None:
        v_reset, reset = 0.0, "soft"
    v_reset = to_number("v_reset", v_reset, x)
    check_values(threshold=threshold, v_reset=v_reset, reset=reset)
    if RESETS[reset] == SOFT:
        return reset, threshold if amount is None else to_number("amount", amount, x), v_reset
    if amount is not None:
        raise ValueError(f"amount={amount} is the soft reset's; with reset={reset!r} leave it out")
    return reset, v_reset, v_reset
