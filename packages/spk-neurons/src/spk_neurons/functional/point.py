"""The point neuron: the core that all neurons with one state share, and LIF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from spk_neurons._checks import check_finite as _check_finite
from spk_neurons._checks import check_input
from spk_neurons._kernels import direct, op, reference
from spk_neurons._kernels.backends import choose
from spk_neurons._kernels.problem import HARD, RESETS, SOFT, Rule, compute_dtype
from spk_neurons.functional._common import (
    Fire,
    Number,
    Output,
    Reset,
    check_values,
    first_tensor,
    first_v,
    resolve,
    to_number,
    to_tensor,
)
from spk_neurons.state import LIFState
from spk_neurons.stats import Stats, StatsRequest, from_potentials
from spk_neurons.surrogate import ATan, Surrogate, known_to_kernels


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
    v0 = first_tensor(None, x, v0)
    five = tuple(to_tensor(p, x) for p in numbers)
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
    v_reset = to_number("v_reset", v_reset, x)
    threshold = to_number("threshold", threshold, x)
    lam, kap, c = resolve(x, tau, decay, gain, bias, decay_input, v_reset, reset)
    check_values(decay=lam, threshold=threshold, v_reset=v_reset, reset=reset)
    if check_finite:
        _check_finite(x)
    level: Number = v_reset
    if RESETS[reset] == SOFT:
        level = threshold if amount is None else to_number("amount", amount, x)
    elif amount is not None:
        raise ValueError(f"amount={amount} is the soft reset's; with reset={reset!r} leave it out")
    s, out = transition(
        x, first_v(state, x, v_reset if RESETS[reset] == HARD else 0.0), lam, kap, c, threshold, level,
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
