"""The neurons of other libraries as points of our transition (docs/spk-neurons/conventions.md has the table)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from spk_neurons._checks import number, within
from spk_neurons.neurons import LIF, CuBaLIF
from spk_neurons.surrogate import ATan, FastSigmoid, PiecewiseExp, Sigmoid, Surrogate

__all__ = ["CONVENTIONS", "from_convention"]


def _spikingjelly(
    *,
    tau: float = 2.0,
    decay_input: bool = True,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = False,
    surrogate: Surrogate | None = None,
    **options: Any,
) -> LIF:
    """LIFNode: leak towards v_reset, fires at >=, resets in the same step; v_reset=None is a soft reset."""
    return LIF(
        tau, v_threshold, v_reset=v_reset, decay_input=decay_input, detach_reset=detach_reset,
        surrogate=surrogate or Sigmoid(4.0), **options,
    )  # fmt: skip


def _snntorch(
    *,
    beta: float,
    threshold: float = 1.0,
    reset_mechanism: str = "subtract",
    reset_delay: bool = True,
    surrogate: Surrogate | None = None,
    **options: Any,
) -> LIF:
    """Leaky: fires at >, resets one step late. The late reset is a same-step soft reset of amount threshold / beta."""
    beta = number("beta", beta)
    if not 0 <= beta <= 1:
        raise ValueError(f"beta={beta} given; snnTorch clamps beta to [0, 1], give the clamped value")
    common: dict[str, Any] = {
        "decay": beta, "gain": 1.0, "threshold": threshold, "fire": "gt", "detach_reset": True,
        "surrogate": surrogate or ATan(2.0), **options,
    }  # fmt: skip
    if reset_mechanism == "subtract":
        if not reset_delay:
            return LIF(reset="soft", **common)
        if beta == 0:
            raise ValueError(
                "beta=0 with the delayed subtract reset cannot be mapped: it subtracts threshold from the next, "
                "otherwise "
                "memoryless potential, which no same-step reset does; use reset_delay=False"
            )
        return LIF(reset="soft", amount=number("threshold", threshold) / beta, **common)
    if reset_mechanism == "zero":
        return LIF(reset="hard", v_reset=0.0, **common)
    if reset_mechanism == "none":
        return LIF(reset="none", **common)
    raise ValueError(f"reset_mechanism={reset_mechanism!r} is not known; snnTorch has 'subtract', 'zero' and 'none'")


def _norse(
    *,
    neuron: str = "box",
    tau_mem_inv: float = 100.0,
    tau_syn_inv: float | None = None,
    dt: float = 1e-3,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    surrogate: Surrogate | None = None,
    **options: Any,
) -> LIF | CuBaLIF:
    """LIFBoxCell, LIFCell: Euler step of tau dv/dt = (v_leak - v) + current, fires at >, resets by value."""
    k = _euler("tau_mem_inv", tau_mem_inv, dt)
    common: dict[str, Any] = {
        "threshold": v_th, "v_reset": v_reset, "fire": "gt", "surrogate": surrogate or FastSigmoid(100.0), **options,
    }  # fmt: skip
    if neuron == "lif":
        if v_leak != 0:
            raise ValueError(f"v_leak={v_leak} of Norse's LIF cannot be mapped: CuBaLIF leaks towards 0; use v_leak=0")
        syn = _euler("tau_syn_inv", 200.0 if tau_syn_inv is None else tau_syn_inv, dt)
        return CuBaLIF(decay=1 - k, gain=k, decay_syn=1 - syn, **common)
    if neuron != "box":
        raise ValueError(f"neuron={neuron!r} is not known; choose 'box' (LIFBoxCell) or 'lif' (LIFCell)")
    if tau_syn_inv is not None:
        raise ValueError(f"tau_syn_inv={tau_syn_inv} given: the box cell has no synaptic current; use neuron='lif'")
    return LIF(decay=1 - k, gain=k, bias=k * v_leak, **common)


def _euler(name: str, inverse: float, dt: float) -> float:
    """dt times an inverse time constant, the share that leaks in one Euler step."""
    k = number("dt", dt) * number(name, inverse)
    if not 0 < k <= 1:
        raise ValueError(f"dt * {name} = {k:g} given; the Euler step is a leak only in (0, 1]")
    return k


def _sinabs(
    *,
    tau_mem: float,
    spike_threshold: float = 1.0,
    norm_input: bool = True,
    spike_fn: str = "single",
    reset_fn: str = "subtract",
    min_v_mem: float | None = None,
    surrogate: Surrogate | None = None,
    **options: Any,
) -> LIF:
    """LIF with SingleSpike: decay exp(-1/tau), input normalised by 1 - decay, subtract (or reset to zero)."""
    if spike_fn not in ("single", "SingleSpike"):
        raise ValueError(
            f"spike_fn={spike_fn!r} cannot be mapped: several spikes per step are integers, and these neurons "
            "emit 0 or 1; "
            "use spike_fn='single' on both sides"
        )
    if min_v_mem is not None:
        raise ValueError(
            f"min_v_mem={min_v_mem} cannot be mapped: the transition has no clipping; use min_v_mem=None on both sides"
        )
    within("tau_mem", number("tau_mem", tau_mem), above=0.0)
    if reset_fn not in ("subtract", "zero"):
        raise ValueError(f"reset_fn={reset_fn!r} is not known; choose 'subtract' or 'zero'")
    decay = math.exp(-1.0 / tau_mem)
    return LIF(
        decay=decay, gain=1 - decay if norm_input else 1.0, threshold=spike_threshold,
        reset="soft" if reset_fn == "subtract" else "hard", surrogate=surrogate or PiecewiseExp(2.0), **options,
    )  # fmt: skip


CONVENTIONS: dict[str, Callable[..., LIF | CuBaLIF]] = {
    "spikingjelly": _spikingjelly,
    "snntorch": _snntorch,
    "norse": _norse,
    "sinabs": _sinabs,
}


def from_convention(library: str, **arguments: Any) -> Any:
    """A neuron that fires exactly when another library's does.

    Args:
        library: "spikingjelly", "snntorch", "norse" or "sinabs".
        arguments: that library's own names and defaults:
            spikingjelly: tau=2, decay_input=True, v_threshold=1, v_reset=0 (None: soft), detach_reset=False
            snntorch: beta, threshold=1, reset_mechanism="subtract"|"zero"|"none", reset_delay=True
            norse: neuron="box"|"lif", tau_mem_inv=100, dt=1e-3, v_leak=0, v_th=1, v_reset=0; with neuron="lif" also
                tau_syn_inv=200
            sinabs: tau_mem, spike_threshold=1, norm_input=True, reset_fn="subtract"|"zero" (single spike)
            and, for all, surrogate and :class:`LIF`'s backend.
    Returns:
        A LIF; a CuBaLIF for Norse's "lif". Spikes are equal up to rounding where a potential meets the threshold
        (other operation order).
    Raises:
        ValueError: an unknown library, or something the transition cannot express, with the reason.
    """
    if library not in CONVENTIONS:
        raise ValueError(f"library={library!r} is not known; choose one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[library](**arguments)
