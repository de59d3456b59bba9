"""The point neuron with one state: LIF, without leak (IF), with a learned time constant (PLIF)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spk_neurons import functional as F
from spk_neurons._checks import number, within
from spk_neurons._kernels.backends import check_name
from spk_neurons.neurons.base import Neuron, Number, as_number, per_neuron, zeros
from spk_neurons.state import LIFState
from spk_neurons.surrogate import ATan, Surrogate

__all__ = ["IF", "LIF", "PLIF"]


class LIF(Neuron):
    """Leaky integrate-and-fire neurons (see :func:`spk_neurons.functional.lif` for the equations).

    Args:
        tau: time constant in steps, >= 1, a number or a tensor that broadcasts to one step's input.
        threshold: > 0, number or tensor.
        reset: "hard" (to v_reset), "soft" (minus ``amount``, default the threshold) or "none".
        v_reset: potential after a hard reset, below the threshold; None means a soft reset.
        decay_input: gain 1/tau (True) or 1.
        detach_reset: no gradient through the reset.
        surrogate: default ATan().
        learn_tau: learn w with 1/tau = sigmoid(w), as in PLIF; tau > 1 then.
        learn_threshold: learn the threshold; kept positive by softplus.
        shape: shape of tau and threshold when learned or given as numbers, e.g. (C, 1, 1); None: one for all.
        decay, gain, bias: the transition's own numbers instead of tau (gain defaults to 1, bias to 0).
        amount: what a soft reset subtracts. fire: "ge" or "gt".
        check_finite: raise on NaN or infinite input, at the cost of one pass over it.
        backend: "auto", "reference", "torch", "numba", "triton".
    Raises:
        ValueError: tau < 1, threshold <= 0, v_reset >= threshold, unknown names.
    Example:
        >>> s = LIF(tau=2.0)(torch.full((4, 1, 2), 1.5))
        >>> s[:, 0, 0].tolist()  # h = 0.75, 1.125 (fires, back to 0), 0.75, 1.125
        [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(
        self,
        tau: Number | None = None,
        threshold: Number = 1.0,
        reset: Literal["hard", "soft", "none"] = "hard",
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        detach_reset: bool = False,
        surrogate: Surrogate | None = None,
        *,
        learn_tau: bool = False,
        learn_threshold: bool = False,
        shape: Sequence[int] | None = None,
        decay: Number | None = None,
        gain: Number | None = None,
        bias: Number | None = None,
        amount: Number | None = None,
        fire: Literal["ge", "gt"] = "ge",
        check_finite: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if v_reset is None:
            v_reset, reset = 0.0, "soft"
        if tau is not None and decay is not None:
            raise ValueError(f"give tau={tau} or decay={decay}, not both")
        if fire not in ("ge", "gt"):
            raise ValueError(f"fire={fire!r} is not known; choose 'ge' (h >= threshold) or 'gt' (h > threshold)")
        self.reset, self.v_reset = reset, number("v_reset", v_reset)
        self.decay_input, self.detach_reset, self.fire = decay_input, detach_reset, fire
        self.surrogate = surrogate or ATan()
        self.check_finite, self.backend = check_finite, check_name(backend)
        self.learn_tau, self.learn_threshold = learn_tau, learn_threshold
        if decay is None:
            tau = per_neuron("tau", 2.0 if tau is None else tau, shape)
        else:
            decay = per_neuron("decay", decay, shape)
        threshold = per_neuron("threshold", threshold, shape)
        F.check_values(tau=tau, decay=decay, threshold=threshold, v_reset=self.v_reset, reset=reset)
        if amount is not None and reset != "soft":
            raise ValueError(f"amount={amount} is the soft reset's; with reset={reset!r} leave it out")
        self.hold("_decay", decay)
        self.hold("_gain", None if gain is None else per_neuron("gain", gain, None))
        self.hold("_bias", None if bias is None else per_neuron("bias", bias, None))
        self.hold("_amount", None if amount is None else per_neuron("amount", amount, None))
        if learn_tau:
            if tau is None:
                raise ValueError("learn_tau needs tau, not decay")
            t = torch.as_tensor(tau, dtype=torch.get_default_dtype())
            within("tau", t, above=1.0, why="sigmoid(w) = 1/tau has no finite w at tau = 1")
            self.w = nn.Parameter(-torch.log(t - 1))
        else:
            self.hold("_tau", tau)
        if learn_threshold:
            th = torch.as_tensor(threshold, dtype=torch.get_default_dtype())
            # softplus and its inverse keep the learned threshold positive
            self.raw_threshold = nn.Parameter(th + torch.log(-torch.expm1(-th)))
        else:
            self.hold("_threshold", threshold)

    _tau: Any
    _decay: Any
    _gain: Any
    _bias: Any
    _amount: Any
    _threshold: Any

    @property
    def tau(self) -> float | Tensor:
        """Time constant in steps (learned, given, or from decay)."""
        if self.learn_tau:
            return 1 / torch.sigmoid(self.w)
        if self._tau is None:
            # an integrator forgets nothing: decay = 1 is an infinite time constant
            return 1 / (1 - self._decay) if isinstance(self._decay, Tensor) or self._decay < 1 else math.inf
        return as_number(self._tau)

    @property
    def threshold(self) -> float | Tensor:
        """Firing threshold (learned or given)."""
        if self.learn_threshold:
            return nn.functional.softplus(self.raw_threshold)
        return as_number(self._threshold)

    def numbers(self) -> dict[str, Any]:
        """The transition's numbers: decay, gain, bias, threshold, and v_reset or amount."""
        threshold = self.threshold
        if self.learn_tau:
            inverse = torch.sigmoid(self.w)
            decay: Any = 1 - inverse
            gain: Any = inverse if self.decay_input else 1.0
            bias: Any = self.v_reset * inverse if self.reset == "hard" and self.v_reset else 0.0
        elif self._decay is not None:
            decay, gain, bias = self._decay, 1.0, 0.0
        else:
            tau = self._tau
            decay = 1 - 1 / tau
            gain = 1 / tau if self.decay_input else 1.0
            bias = self.v_reset / tau if self.reset == "hard" and self.v_reset else 0.0
        gain = gain if self._gain is None else self._gain
        bias = bias if self._bias is None else self._bias
        return {"decay": decay, "gain": gain, "bias": bias, "threshold": threshold, "amount": self._amount}

    def initial_state(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> LIFState:
        """v = v_reset (hard reset) or 0."""
        return LIFState(zeros(shape, dtype, device, self.v_reset if self.reset == "hard" else 0.0))

    def _options(self) -> dict[str, Any]:
        return {
            "reset": self.reset, "v_reset": self.v_reset, "detach_reset": self.detach_reset, "backend": self.backend,
            **self.numbers(),
        }  # fmt: skip

    def _call(self, x: Tensor, state: Any, **extra: Any) -> tuple[Tensor, F.Output]:
        s, out = F.lif(
            x, state, fire=self.fire, surrogate=self.surrogate, check_finite=self.check_finite, return_state=True,
            **self._options(), **extra,
        )  # fmt: skip
        return s, out

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, LIFState]:
        recorder = self._recorder
        if recorder is None:
            s, out = self._call(x, state)
            return s, out.state
        s, out = self._call(x, state, record=recorder.names, stats=recorder.stats)
        recorder.put(self, s, out)
        return s, out.state

    def extra_repr(self) -> str:
        tau = "learned" if self.learn_tau else (f"{self.tau:g}" if isinstance(self.tau, float) else "tensor")
        return f"tau={tau}, reset={self.reset}, surrogate={self.surrogate!r}, backend={self.backend}"


class IF(LIF):
    """Integrate-and-fire without a leak: decay 1, gain 1. Arguments as :class:`LIF`, without tau."""

    def __init__(
        self, threshold: Number = 1.0, reset: Literal["hard", "soft", "none"] = "hard", **options: Any
    ) -> None:
        for name in ("tau", "decay", "decay_input", "learn_tau"):
            if name in options:
                raise TypeError(f"IF has no leak and takes no {name}; use LIF")
        super().__init__(decay=1.0, threshold=threshold, reset=reset, **options)


class PLIF(LIF):
    """LIF with a learned time constant, 1/tau = sigmoid(w) (Fang et al. 2021, "PLIF").

    Args: tau: initial value, > 1 (default 2); ``shape`` for one per channel; others as :class:`LIF`.
    """

    def __init__(self, tau: Number = 2.0, **options: Any) -> None:
        super().__init__(tau=tau, **{**options, "learn_tau": True})
