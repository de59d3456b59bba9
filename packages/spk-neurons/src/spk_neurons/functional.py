"""Spiking neurons as pure functions: inputs [T, ...] and a state in, spikes and a state out.

The transition of every point neuron (``docs/spk-neurons/conventions.md``):

    h[t] = decay[t] v[t-1] + gain[t] x[t] + bias
    s[t] = 1 if h[t] >= threshold else 0              fire="ge"; ">" for fire="gt"
    v[t] = h - amount s | v_reset where s, else h | h  reset = "soft" | "hard" | "none"

Numbers may be Python numbers or tensors; every tensor broadcasts to x, is differentiable, and with T rows
([T, ...], as many axes as x) varies in time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from spk_neurons import cells
from spk_neurons._checks import check_finite as _check_finite
from spk_neurons._checks import check_input, check_param, check_state, number, within
from spk_neurons._kernels import direct, op, reference
from spk_neurons._kernels.backends import choose
from spk_neurons._kernels.problem import HARD, RESETS, SOFT, Rule, compute_dtype
from spk_neurons.noise import Gaussian, Noise
from spk_neurons.state import ALIFState, CuBaState, LIFState, LIState
from spk_neurons.stats import Stats, StatsRequest, from_potentials
from spk_neurons.surrogate import ATan, Surrogate, known_to_kernels

__all__ = ["Output", "alif", "cuba_lif", "li", "lif", "lif_step", "noisy_lif"]

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


def _number(name: str, value: Any, x: Tensor) -> Number:
    if isinstance(value, Tensor):
        check_param(name, value, x)
        return value
    return number(name, value)


def _tensor(value: Number, x: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value.to(x.device) if value.dim() == 0 else value
    return torch.tensor(value, dtype=compute_dtype(x.dtype), device=x.device)


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


def _resolve(
    x: Tensor, tau: Any, decay: Any, gain: Any, bias: Any, decay_input: bool, v_reset: Number, reset: str
) -> tuple[Number, Number, Number]:
    """(decay, gain, bias) from the friendly arguments."""
    if tau is not None and decay is not None:
        raise ValueError(f"give tau={tau} (time constant in steps) or decay={decay} (share kept per step), not both")
    if decay is not None:
        decay = _number("decay", decay, x)
        return (
            decay,
            1.0 if gain is None else _number("gain", gain, x),
            0.0 if bias is None else _number("bias", bias, x),
        )
    tau = _number("tau", 2.0 if tau is None else tau, x)
    check_values(tau=tau)
    decay = 1.0 - 1.0 / tau
    gain = (1.0 / tau if decay_input else 1.0) if gain is None else _number("gain", gain, x)
    if bias is None:
        # the leak pulls towards v_reset: 1 - decay of the way in each step
        rest = isinstance(v_reset, Tensor) or v_reset != 0.0
        return decay, gain, (v_reset / tau if reset == "hard" and rest else 0.0)
    return decay, gain, _number("bias", bias, x)


def _first(state: Any, x: Tensor, start: Number) -> Number:
    """The potential before the first step: a state that was given, checked, or the number where neurons start."""
    if isinstance(state, Output):
        state = state.state
    return start if state is None else check_state("v", getattr(state, "v", state), x)


def _state_v(state: Any, x: Tensor, start: Number) -> Tensor:
    """The same as a tensor of the neurons' shape."""
    v = _first(state, x, start)
    if isinstance(v, Tensor):
        return v.to(compute_dtype(x.dtype)).expand(x.shape[1:])
    return torch.full(x.shape[1:], v, dtype=compute_dtype(x.dtype), device=x.device)


def transition(
    x: Tensor,
    v0: Number,
    decay: Number,
    gain: Number,
    bias: Number,
    threshold: Number,
    level: Number,
    *,
    reset: str,
    detach_reset: bool,
    fire: str,
    surrogate: Surrogate,
    noise: Tensor | None = None,
    shift: Tensor | None = None,
    record: Sequence[str] = (),
    stats: StatsRequest | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Output]:
    """The core all point neurons share; arguments are checked by its callers."""
    if fire not in ("ge", "gt"):
        raise ValueError(f"fire={fire!r} is not known; choose 'ge' (h >= threshold) or 'gt' (h > threshold)")
    unknown = [r for r in record if r not in ("h", "v")]
    if unknown or isinstance(record, str):
        raise ValueError(f"record={record!r} given; it is a tuple of names out of 'h' (before reset) and 'v' (after)")
    custom = not known_to_kernels(surrogate)
    name = choose(backend, x, custom=custom)
    p0, p1 = surrogate.params if not custom else (1.0, 0.0)
    numbers = (decay, gain, bias, threshold, level)
    if not (record or stats or custom or noise is not None or shift is not None):
        rule = Rule(RESETS[reset], bool(detach_reset), fire == "gt", surrogate.kind, p0, p1)
        if x.numel() and direct.applies(x, v0, name, rule, numbers):
            s, v = direct.run(x, v0, numbers, rule)
            return s, Output(LIFState(v))
    v0 = _state_v(None, x, v0)
    five = tuple(_tensor(p, x) for p in numbers)
    keep_h, keep_v = "h" in record, "v" in record
    if x.shape[0] == 0:
        none = x.new_empty(x.shape, dtype=v0.dtype)
        taken = from_potentials(none, stats) if stats is not None else None
        return x.clone(), Output(
            LIFState(v0.clone()), none if keep_h else None, none.clone() if keep_v else None, taken
        )
    if name == "reference":
        f = compute_dtype(x.dtype)
        wide = (t.to(f) for t in five)
        s, v, h, vs = reference.lif(
            x.to(f), v0, *wide, reset=RESETS[reset], detach=detach_reset, strict=fire == "gt", surrogate=surrogate,
            noise=noise, shift=shift,
        )  # fmt: skip
        v = v.expand(x.shape[1:])
        taken = from_potentials(h, stats) if stats is not None else None
        return s.to(x.dtype), Output(LIFState(v), h if keep_h else None, vs if keep_v else None, taken)
    plan_i, plan_f = (stats or StatsRequest(moments=False)).plan(x.shape)
    ints = [
        RESETS[reset],
        int(detach_reset),
        int(fire == "gt"),
        0 if custom else surrogate.kind,
        int(keep_h),
        int(keep_v),
        0,
        *plan_i,
    ]
    out = op.call(x, v0, five, noise, shift, ints, [p0, p1, *plan_f], name, surrogate if custom else None)
    taken = None
    if stats is not None:
        taken = Stats.collect(stats, out[4], out[5], out[6], out[7], x.shape)
    return out[0], Output(LIFState(out[1]), out[2] if keep_h else None, out[3] if keep_v else None, taken)


def lif(
    x: Tensor,
    state: LIFState | Tensor | Output | None = None,
    *,
    tau: Number | None = None,
    decay: Number | None = None,
    gain: Number | None = None,
    bias: Number | None = None,
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
    check_finite: bool = False,
    backend: str = "auto",
) -> Any:
    """Leaky integrate-and-fire neurons over time.

    Args:
        x: input [T, B, ...] (at least [T]), float.
        state: state before the first step; None: at ``v_reset`` (hard) or 0.
        tau: time constant in steps, >= 1 (default 2): decay = 1 - 1/tau, gain = 1/tau if ``decay_input`` else 1, and
            the leak pulls towards v_reset (hard reset).
        decay, gain, bias: the transition's own numbers instead of tau; gain defaults to 1 and bias to 0 then.
        threshold: > 0.
        reset: "hard" (to ``v_reset``; None means soft), "soft" (minus ``amount``, default the threshold), "none".
        decay_input: see tau.
        detach_reset: no gradient through the reset.
        fire: "ge" fires at h >= threshold, "gt" strictly above.
        surrogate: stands for the derivative of the spike; default ATan().
        record: "h" (before the reset) and/or "v" (after), differentiable, [T, ...].
        stats: True, or a :class:`StatsRequest`: streaming statistics of h, differentiable, no h stored.
        return_state: also return an :class:`Output`; implied by record and stats.
        check_finite: refuse nan and inf in x (they would silence neurons for good).
        backend: "auto", "reference", "torch", "numba" or "triton".
    Returns:
        s in {0, 1}, like x; or (s, :class:`Output`).
    Raises:
        ValueError, TypeError: see the messages; nothing is computed then.
    Example:
        >>> s = lif(torch.tensor([1.5, 0.75, 2.0, 0.0, 1.25, 3.0]), decay=0.5)
        >>> s.tolist()
        [1.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    """
    check_input(x)
    if v_reset is None:
        v_reset, reset = 0.0, "soft"
    v_reset = _number("v_reset", v_reset, x)
    threshold = _number("threshold", threshold, x)
    lam, kap, c = _resolve(x, tau, decay, gain, bias, decay_input, v_reset, reset)
    check_values(decay=lam, threshold=threshold, v_reset=v_reset, reset=reset)
    if check_finite:
        _check_finite(x)
    level: Number = v_reset
    if RESETS[reset] == SOFT:
        level = threshold if amount is None else _number("amount", amount, x)
    elif amount is not None:
        raise ValueError(f"amount={amount} is the soft reset's; with reset={reset!r} leave it out")
    s, out = transition(
        x, _first(state, x, v_reset if RESETS[reset] == HARD else 0.0), lam, kap, c, threshold, level,
        reset=reset, detach_reset=detach_reset, fire=fire, surrogate=surrogate or ATan(), record=record,
        stats=StatsRequest() if stats is True else (stats or None), backend=backend,
    )  # fmt: skip
    return (s, out) if return_state or record or stats else s


def lif_step(x: Tensor, state: LIFState | Tensor | None = None, **options: Any) -> tuple[Tensor, LIFState]:
    """One time step of :func:`lif`.

    Args:
        x: input of this step, [B, ...]. state: state before it. options: as :func:`lif` (no record, no stats).
    Returns:
        (s [B, ...], state after the step).
    """
    check_input(x, least_dim=0)
    s, out = lif(x.unsqueeze(0), state, **options, return_state=True)
    return s[0], out.state


def li(
    x: Tensor,
    state: LIState | Tensor | None = None,
    *,
    tau: Number | None = None,
    decay: Number | None = None,
    gain: Number | None = None,
    decay_input: bool = True,
    return_state: bool = False,
    backend: str = "auto",
) -> Any:
    """Leaky integrator (a readout that never fires): v[t] = decay v[t-1] + gain x[t].

    Args: x [T, ...], state, tau, decay, gain, decay_input, backend as in :func:`lif`.
    Returns: v [T, ...], or (v, LIState).
    """
    check_input(x)
    lam, kap, _ = _resolve(x, tau, decay, gain, 0.0, decay_input, 0.0, "none")
    check_values(decay=lam)
    v0 = _state_v(state, x, 0.0)
    if x.shape[0] == 0:
        return (x.clone(), LIState(v0.clone())) if return_state else x.clone()
    (v,), (last,) = cells.li()([x], [v0], [lam, kap], backend=backend)
    return (v, LIState(last)) if return_state else v


def _cell_level(
    reset: str, threshold: Number, v_reset: Number | None, amount: Number | None, x: Tensor
) -> tuple[str, Number, Number]:
    if v_reset is None:
        v_reset, reset = 0.0, "soft"
    v_reset = _number("v_reset", v_reset, x)
    check_values(threshold=threshold, v_reset=v_reset, reset=reset)
    level = v_reset
    if RESETS[reset] == SOFT:
        level = threshold if amount is None else _number("amount", amount, x)
    elif amount is not None:
        raise ValueError(f"amount={amount} is the soft reset's; with reset={reset!r} leave it out")
    return reset, level, v_reset


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
    return_state: bool = False,
    backend: str = "auto",
) -> Any:
    """LIF with a synaptic current: i[t] = decay_syn i[t-1] + x[t]; h[t] = decay v[t-1] + gain i[t] (+ bias).

    Args:
        x: [T, ...]. state: (i, v) before the first step.
        tau_syn: synaptic time constant, >= 1; or give decay_syn in [0, 1].
        Others as in :func:`lif`.
    Returns:
        s like x, or (s, CuBaState).
    """
    check_input(x)
    threshold = _number("threshold", threshold, x)
    surrogate = _check_surrogate(surrogate)
    reset_, level, rest = _cell_level(reset, threshold, v_reset, amount, x)
    lam, kap, c = _resolve(x, tau, decay, gain, None, decay_input, rest, reset_)
    if decay_syn is None:
        tau_s = _number("tau_syn", tau_syn, x)
        within("tau_syn", tau_s, least=1.0)
        decay_syn = 1.0 - 1.0 / tau_s
    check_values(decay=lam)
    check_values(decay=_number("decay_syn", decay_syn, x))
    zero = torch.zeros(x.shape[1:], dtype=compute_dtype(x.dtype), device=x.device)
    i0 = zero if state is None else check_state("i", state.i, x)
    v0 = _state_v(None if state is None else state.v, x, rest if RESETS[reset_] == HARD else 0.0)
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
        s like x, or (s, ALIFState).
    Source: backward pass by our derivation, tested against autograd.
    """
    check_input(x)
    threshold = _number("threshold", threshold, x)
    beta = _number("beta", beta, x)
    within("beta", beta, least=0.0)
    surrogate = _check_surrogate(surrogate)
    reset_, level, rest = _cell_level(reset, threshold, v_reset, None, x)
    lam, kap, c = _resolve(x, tau, decay, gain, None, decay_input, rest, reset_)
    check_values(decay=lam)
    if rho is None:
        tau_a = _number("tau_adapt", tau_adapt, x)
        within("tau_adapt", tau_a, above=0.0)
        rho = torch.exp(-1.0 / tau_a) if isinstance(tau_a, Tensor) else math.exp(-1.0 / tau_a)
    within("rho", _number("rho", rho, x), least=0.0, most=1.0)
    zero = torch.zeros(x.shape[1:], dtype=compute_dtype(x.dtype), device=x.device)
    b0 = zero if state is None else check_state("b", state.b, x)
    v0 = _state_v(None if state is None else state.v, x, rest if RESETS[reset_] == HARD else 0.0)
    if x.shape[0] == 0:
        return (x.clone(), ALIFState(v0.clone(), b0.clone())) if return_state else x.clone()
    cell = cells.alif(surrogate.kind, RESETS[reset_], bool(detach_reset), fire == "gt")
    values = [lam, kap, c, threshold, beta, rho, level if RESETS[reset_] == HARD else 0.0, *surrogate.params]
    (s,), (v, b) = cell([x], [v0, b0], values, backend=backend)
    return (s, ALIFState(v, b)) if return_state else s


Mode = Literal["escape", "diffusive", "official"]


def noisy_lif(
    x: Tensor,
    state: LIFState | Tensor | Output | None = None,
    *,
    noise: Noise | None = None,
    mode: Mode = "escape",
    generator: torch.Generator | None = None,
    tau: Number | None = None,
    decay: Number | None = None,
    gain: Number | None = None,
    bias: Number | None = None,
    threshold: Number = 1.0,
    reset: Reset = "hard",
    v_reset: Number | None = 0.0,
    amount: Number | None = None,
    decay_input: bool = False,
    detach_reset: bool = False,
    record: Sequence[str] = (),
    stats: StatsRequest | bool | None = None,
    return_state: bool = False,
    backend: str = "auto",
) -> Any:
    """LIF with noise, trained by noise-driven learning (Ma, Yan & Tang 2023): the surrogate is the noise's density.

    Args:
        noise: law of the noise; default ``noise.Gaussian(0.3)``.
        mode: "escape": s ~ Bernoulli(F(h - threshold)), the membrane carries no noise; "diffusive": the noise
            enters the
            membrane and stays in it, s = [h + eps >= threshold], gradient at the noise-free h of this step; "official":
            both, drawn independently, gradient at the noisy membrane, as the authors' published code computes (its
            firing curve is sqrt(2) wider than one noise of that scale gives).
        generator: source of all draws (on x's device); None: torch's global one.
        Others as in :func:`lif`. The emitted spike is the one that resets.
    Returns:
        s like x; or (s, :class:`Output`).
    """
    check_input(x)
    law = noise or Gaussian(0.3)
    if not isinstance(law, Noise):
        raise TypeError(f"noise={law!r} given; it must be a law of spk_neurons.noise, e.g. noise.Gaussian(0.3)")
    if mode not in ("escape", "diffusive", "official"):
        raise ValueError(f"mode={mode!r} is not known; choose 'escape', 'diffusive' or 'official'")
    if v_reset is None:
        v_reset, reset = 0.0, "soft"
    v_reset = _number("v_reset", v_reset, x)
    threshold = _number("threshold", threshold, x)
    lam, kap, c = _resolve(x, tau, decay, gain, bias, decay_input, v_reset, reset)
    check_values(decay=lam, threshold=threshold, v_reset=v_reset, reset=reset)
    level: Number = v_reset
    if RESETS[reset] == SOFT:
        level = threshold if amount is None else _number("amount", amount, x)
    f = compute_dtype(x.dtype)

    def draw() -> Tensor:
        return law.sample(x.shape, generator=generator, dtype=f, device=x.device)

    membrane = draw() if mode in ("diffusive", "official") else None
    firing = draw() if mode in ("escape", "official") else None
    if membrane is not None:
        c = c + membrane
    s, out = transition(
        x, _first(state, x, v_reset if RESETS[reset] == HARD else 0.0), lam, kap, c, threshold, level, reset=reset,
        detach_reset=detach_reset, fire="ge", surrogate=law.surrogate(), noise=firing,
        shift=membrane if mode == "diffusive" else None, record=record,
        stats=StatsRequest() if stats is True else (stats or None), backend=backend,
    )  # fmt: skip
    return (s, out) if return_state or record or stats else s
