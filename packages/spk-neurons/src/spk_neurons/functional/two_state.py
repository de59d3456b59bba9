"""Neurons with a second state: a synaptic current, an adaptive threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spk_neurons import cells
from spk_neurons._checks import check_input, check_state, within
from spk_neurons._kernels.problem import HARD, RESETS, SOFT, compute_dtype
from spk_neurons.functional._common import (
    Fire,
    Number,
    Reset,
    check_values,
    first_tensor,
    level_of,
    resolve,
    to_number,
    to_tensor,
)
from spk_neurons.functional.point import transition
from spk_neurons.state import ALIFState, CuBaState
from spk_neurons.stats import StatsRequest
from spk_neurons.surrogate import ATan, Surrogate, known_to_kernels


def _check_surrogate(surrogate: Surrogate | None) -> Surrogate:
    surrogate = surrogate or ATan()
    if not known_to_kernels(surrogate):
        raise ValueError(
            f"{surrogate!r} is not one of spk_neurons.surrogate: this neuron's cell compiles its surrogate in; "
            "use lif, or write a cell with spk_neurons.scan"
        )
    return surrogate


def cuba_lif(
    x: Tensor,
    state: CuBaState | None = None,
    *,
    tau: Number | None = None,
    tau_syn: Number = 2.0,
    decay: Number | None = None,
    decay_syn: Number | None = None,
    gain: Number | None = None,
    threshold: Number = 1.0,
    reset: Reset = "hard",
    v_reset: Number | None = 0.0,
    amount: Number | None = None,
    decay_input: bool = True,
    detach_reset: bool = False,
    fire: Fire = "ge",
    surrogate: Surrogate | None = None,
    record: Sequence[str] = (),
    stats: StatsRequest | bool | None = None,
    return_state: bool = False,
    backend: str = "auto",
) -> Any:
    """LIF with a synaptic current: i[t] = decay_syn i[t-1] + x[t]; h[t] = decay v[t-1] + gain i[t] (+ bias).

    Args:
        x: [T, ...]. state: (i, v) before the first step.
        tau_syn: synaptic time constant, >= 1; or give decay_syn in [0, 1].
        Others as in :func:`lif`.
    Returns:
        s like x; or (s, CuBaState); or, with record or stats, (s, :class:`Output`).
    """
    check_input(x)
    threshold = to_number("threshold", threshold, x)
    surrogate = _check_surrogate(surrogate)
    reset_, level, rest = level_of(reset, threshold, v_reset, amount, x)
    lam, kap, c = resolve(x, tau, decay, gain, None, decay_input, rest, reset_)
    if decay_syn is None:
        tau_s = to_number("tau_syn", tau_syn, x)
        within("tau_syn", tau_s, least=1.0)
        decay_syn = 1.0 - 1.0 / tau_s
    check_values(decay=lam)
    check_values(decay=to_number("decay_syn", decay_syn, x))
    zero = torch.zeros(x.shape[1:], dtype=compute_dtype(x.dtype), device=x.device)
    i0 = zero if state is None else check_state("i", state.i, x)
    v0 = first_tensor(None if state is None else state.v, x, rest if RESETS[reset_] == HARD else 0.0)
    if record or stats:
        # a leaky integrator in front of a point neuron: the same numbers in the same order
        (current,), (last,) = cells.li()([x], [i0], [decay_syn, 1.0], backend=backend)
        s, out = transition(
            current, v0, lam, kap, c, threshold, level, reset=reset_, detach_reset=detach_reset, fire=fire,
            surrogate=surrogate, record=record, stats=StatsRequest() if stats is True else (stats or None),
            backend=backend,
        )  # fmt: skip
        return s, out._replace(state=CuBaState(last, out.state.v))
    if x.shape[0] == 0:
        return (x.clone(), CuBaState(i0.clone(), v0.clone())) if return_state else x.clone()
    cell = cells.cuba(surrogate.kind, RESETS[reset_], bool(detach_reset), fire == "gt")
    (s,), (i, v) = cell([x], [i0, v0], [decay_syn, lam, kap, c, threshold, level, *surrogate.params], backend=backend)
    return (s, CuBaState(i, v)) if return_state else s


def alif(
    x: Tensor,
    state: ALIFState | None = None,
    *,
    tau: Number | None = None,
    decay: Number | None = None,
    gain: Number | None = None,
    threshold: Number = 1.0,
    beta: Number = 1.8,
    tau_adapt: Number = 200.0,
    rho: Number | None = None,
    reset: Reset = "soft",
    v_reset: Number | None = 0.0,
    decay_input: bool = True,
    detach_reset: bool = False,
    fire: Fire = "ge",
    surrogate: Surrogate | None = None,
    record: Sequence[str] = (),
    stats: StatsRequest | bool | None = None,
    return_state: bool = False,
    backend: str = "auto",
) -> Any:
    """LIF whose threshold rises with its own spikes (Bellec et al. 2018): theta[t] = threshold + beta b[t-1],
    b[t] = rho b[t-1] + (1 - rho) s[t].

    Args:
        x: [T, ...]. state: (v, b) before the first step.
        beta: strength of adaptation, >= 0. tau_adapt: its time constant in steps, > 0 (rho = exp(-1/tau_adapt)); or rho
            in [0, 1]. The soft reset subtracts theta[t].
        Others as in :func:`lif`.
    Returns:
        s like x; or (s, ALIFState); or, with record or stats, (s, :class:`Output`). Recording costs a second pass.
    Source: backward pass by our derivation, tested against autograd.
    """
    check_input(x)
    threshold = to_number("threshold", threshold, x)
    beta = to_number("beta", beta, x)
    within("beta", beta, least=0.0)
    surrogate = _check_surrogate(surrogate)
    reset_, level, rest = level_of(reset, threshold, v_reset, None, x)
    lam, kap, c = resolve(x, tau, decay, gain, None, decay_input, rest, reset_)
    check_values(decay=lam)
    if rho is None:
        tau_a = to_number("tau_adapt", tau_adapt, x)
        within("tau_adapt", tau_a, above=0.0)
        rho = torch.exp(-1.0 / tau_a) if isinstance(tau_a, Tensor) else math.exp(-1.0 / tau_a)
    within("rho", to_number("rho", rho, x), least=0.0, most=1.0)
    zero = torch.zeros(x.shape[1:], dtype=compute_dtype(x.dtype), device=x.device)
    b0 = zero if state is None else check_state("b", state.b, x)
    v0 = first_tensor(None if state is None else state.v, x, rest if RESETS[reset_] == HARD else 0.0)
    if x.shape[0] == 0:
        if record or stats:
            _, out = transition(
                x, v0, 0.0, 0.0, 0.0, 1.0, 1.0, reset=reset_, detach_reset=detach_reset, fire=fire,
                surrogate=surrogate, record=record, stats=StatsRequest() if stats is True else (stats or None),
                backend=backend,
            )  # fmt: skip
            return x.clone(), out._replace(state=ALIFState(v0.clone(), b0.clone()))
        return (x.clone(), ALIFState(v0.clone(), b0.clone())) if return_state else x.clone()
    cell = cells.alif(surrogate.kind, RESETS[reset_], bool(detach_reset), fire == "gt")
    values = [lam, kap, c, threshold, beta, rho, level if RESETS[reset_] == HARD else 0.0, *surrogate.params]
    (s,), (v, b) = cell([x], [v0, b0], values, backend=backend)
    if record or stats:
        # its thresholds known, it is a point neuron; their dependence on earlier spikes is in the graph of s
        steps = _adaptation(s, b0, rho, backend)
        theta = to_tensor(threshold, x) + to_tensor(beta, x) * steps
        _, out = transition(
            x, v0, lam, kap, c, theta, theta if RESETS[reset_] == SOFT else level, reset=reset_,
            detach_reset=detach_reset, fire=fire, surrogate=surrogate, record=record,
            stats=StatsRequest() if stats is True else (stats or None), backend=backend,
        )  # fmt: skip
        return s, out._replace(state=ALIFState(v, b))
    return (s, ALIFState(v, b)) if return_state else s


def _adaptation(s: Tensor, b0: Tensor, rho: Number, backend: str) -> Tensor:
    """b[t-1] for every step t, from the spikes; float32 for half inputs."""
    s = s.to(compute_dtype(s.dtype))
    keep = to_tensor(rho, s)
    (after,), _ = cells.li()([s], [b0], [keep, 1 - keep], backend=backend)
    return torch.cat([b0.expand(s.shape[1:])[None], after[:-1]])
