"""Neurons as modules: thin shells over ``spk_neurons.functional`` that hold numbers and parameters, never state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spk_neurons import cells
from spk_neurons import functional as F
from spk_neurons._checks import check_input, number, within
from spk_neurons._kernels.backends import check_name
from spk_neurons._kernels.problem import RESETS, compute_dtype
from spk_neurons.noise import Gaussian, Noise
from spk_neurons.state import ALIFState, Carry, CuBaState, LIFState, LIState, moved
from spk_neurons.surrogate import ATan, Surrogate, known_to_kernels

__all__ = ["ALIF", "IF", "LI", "LIF", "PLIF", "CuBaLIF", "Neuron", "NoisyLIF"]

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


def as_number(value: Any) -> float | Tensor:
    """Narrow an attribute that may be a buffer or a number."""
    return value if isinstance(value, Tensor) else float(value)


def _zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str | None, value: float = 0.0) -> Tensor:
    return torch.full(tuple(shape), value, dtype=compute_dtype(dtype), device=device)


def _per_neuron(name: str, value: Any, shape: Sequence[int] | None) -> float | Tensor:
    """A Python number, or a tensor of ``shape`` when one is given."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            raise TypeError(f"{name} has dtype {value.dtype}; call .float()")
        return value if shape is None else value.expand(tuple(shape)).clone()
    value = number(name, value)
    return value if shape is None else torch.full(tuple(shape), value)


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
            tau = _per_neuron("tau", 2.0 if tau is None else tau, shape)
        else:
            decay = _per_neuron("decay", decay, shape)
        threshold = _per_neuron("threshold", threshold, shape)
        F.check_values(tau=tau, decay=decay, threshold=threshold, v_reset=self.v_reset, reset=reset)
        if amount is not None and reset != "soft":
            raise ValueError(f"amount={amount} is the soft reset's; with reset={reset!r} leave it out")
        self._number("_decay", decay)
        self._number("_gain", None if gain is None else _per_neuron("gain", gain, None))
        self._number("_bias", None if bias is None else _per_neuron("bias", bias, None))
        self._number("_amount", None if amount is None else _per_neuron("amount", amount, None))
        if learn_tau:
            if tau is None:
                raise ValueError("learn_tau needs tau, not decay")
            t = torch.as_tensor(tau, dtype=torch.get_default_dtype())
            within("tau", t, above=1.0, why="sigmoid(w) = 1/tau has no finite w at tau = 1")
            self.w = nn.Parameter(-torch.log(t - 1))
        else:
            self._number("_tau", tau)
        if learn_threshold:
            th = torch.as_tensor(threshold, dtype=torch.get_default_dtype())
            # softplus and its inverse keep the learned threshold positive
            self.raw_threshold = nn.Parameter(th + torch.log(-torch.expm1(-th)))
        else:
            self._number("_threshold", threshold)

    _tau: Any
    _decay: Any
    _gain: Any
    _bias: Any
    _amount: Any
    _threshold: Any

    def _number(self, name: str, value: Number | None) -> None:
        """Tensors become buffers (they follow .to()), numbers and None plain attributes."""
        if isinstance(value, Tensor):
            self.register_buffer(name, value, persistent=False)
        else:
            setattr(self, name, value)

    @property
    def tau(self) -> float | Tensor:
        """Time constant in steps (learned, given, or from decay)."""
        if self.learn_tau:
            return 1 / torch.sigmoid(self.w)
        if self._tau is None:
            return as_number(1 / (1 - self._decay))
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
        return LIFState(_zeros(shape, dtype, device, self.v_reset if self.reset == "hard" else 0.0))

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


class NoisyLIF(LIF):
    """LIF with intrinsic noise, trained through the noise's density (Ma, Yan & Tang 2023).

    Args:
        tau: default 2. noise: a law of ``spk_neurons.noise``, default Gaussian(0.3).
        mode: "escape", "diffusive" or "official" (see :func:`spk_neurons.functional.noisy_lif`).
        generator: source of all draws. deterministic_eval: after ``.eval()`` fire at h >= threshold, without noise
            (default: a noisy neuron is a probabilistic model in evaluation too).
        decay_input: default False, as in the paper's code. Others as :class:`LIF`.
    """

    def __init__(
        self,
        tau: Number | None = None,
        noise: Noise | None = None,
        mode: F.Mode = "escape",
        generator: torch.Generator | None = None,
        *,
        deterministic_eval: bool = False,
        decay_input: bool = False,
        **options: Any,
    ) -> None:
        law = noise or Gaussian(0.3)
        if not isinstance(law, Noise):
            raise TypeError(f"noise={law!r} given; it must be a law of spk_neurons.noise, e.g. noise.Gaussian(0.3)")
        if mode not in ("escape", "diffusive", "official"):
            raise ValueError(f"mode={mode!r} is not known; choose 'escape', 'diffusive' or 'official'")
        for name in ("surrogate", "fire"):
            if name in options:
                raise TypeError(f"NoisyLIF takes no {name}: the noise's density is its surrogate")
        super().__init__(tau, decay_input=decay_input, surrogate=law.surrogate(), **options)
        self.noise, self.mode, self.generator = law, mode, generator
        self.deterministic_eval = deterministic_eval

    def _call(self, x: Tensor, state: Any, **extra: Any) -> tuple[Tensor, F.Output]:
        if self.deterministic_eval and not self.training:
            return super()._call(x, state, **extra)
        s, out = F.noisy_lif(
            x,
            state,
            noise=self.noise,
            mode=self.mode,
            generator=self.generator,
            return_state=True,
            **self._options(),
            **extra,
        )
        return s, out

    def __getstate__(self) -> dict[str, Any]:
        # a torch generator cannot be copied: a copy draws from the global one until it is given its own
        return {**super().__getstate__(), "generator": None}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, noise={self.noise!r}, mode={self.mode}"


class LI(Neuron):
    """Leaky integrator, a readout that never fires: v[t] = decay v[t-1] + gain x[t], returned as [T, ...].

    Args: tau (default 2) or decay and gain; decay_input, backend as in :class:`LIF`.
    """

    def __init__(
        self,
        tau: Number | None = None,
        *,
        decay_input: bool = True,
        decay: Number | None = None,
        gain: Number | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if tau is not None and decay is not None:
            raise ValueError(f"give tau={tau} or decay={decay}, not both")
        tau = 2.0 if tau is None and decay is None else tau
        F.check_values(tau=tau, decay=decay)
        cells.li()
        self.tau, self.decay, self.gain, self.decay_input, self.backend = (
            tau,
            decay,
            gain,
            decay_input,
            check_name(backend),
        )

    def initial_state(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> LIState:
        """v = 0."""
        return LIState(_zeros(shape, dtype, device))

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, LIState]:
        v, last = F.li(
            x, state, tau=self.tau, decay=self.decay, gain=self.gain, decay_input=self.decay_input,
            backend=self.backend,
            return_state=True,
        )  # fmt: skip
        if self._recorder is not None:
            self._recorder.put(self, v, F.Output(last, v, v))
        return v, last

    def extra_repr(self) -> str:
        return f"tau={self.tau}" if self.decay is None else f"decay={self.decay}"


class _TwoState(Neuron):
    """Shell of the neurons whose function takes keyword options."""

    def __init__(self, backend: str, surrogate: Surrogate | None, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.surrogate = surrogate or ATan()
        self.backend = check_name(backend)
        F.check_values(
            tau=options.get("tau"), decay=options.get("decay"), threshold=options["threshold"],
            v_reset=0.0 if options["v_reset"] is None else options["v_reset"], reset=options["reset"],
        )  # fmt: skip

    @property
    def threshold(self) -> Any:
        """The threshold at rest."""
        return self.options["threshold"]

    def _prepare(self, factory: Any) -> None:
        """Make the cell now: a compiler that traces the first call cannot."""
        o = self.options
        reset = "soft" if o["v_reset"] is None else o["reset"]
        if known_to_kernels(self.surrogate):
            factory(self.surrogate.kind, RESETS[reset], bool(o.get("detach_reset", False)), o.get("fire") == "gt")

    def _v0(self) -> float:
        hard = self.options["reset"] == "hard" and self.options["v_reset"] is not None
        return float(self.options["v_reset"]) if hard else 0.0

    def _function(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        raise NotImplementedError

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        s, last = self._function(
            x, state, surrogate=self.surrogate, backend=self.backend, return_state=True, **self.options
        )
        if self._recorder is not None:
            if self._recorder.names or self._recorder.stats:
                raise ValueError(f"{type(self).__name__} records spikes only; record(net, 's')")
            self._recorder.put(self, s, F.Output(last))
        return s, last

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.options.items() if v is not None)


class CuBaLIF(_TwoState):
    """LIF with a synaptic current (see :func:`spk_neurons.functional.cuba_lif`, whose options it takes)."""

    def __init__(
        self,
        tau: Number | None = None,
        tau_syn: float = 2.0,
        threshold: float = 1.0,
        reset: Literal["hard", "soft", "none"] = "hard",
        v_reset: float | None = 0.0,
        surrogate: Surrogate | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        within("tau_syn", tau_syn, least=1.0)
        super().__init__(
            backend, surrogate, tau=tau, tau_syn=tau_syn, threshold=threshold, reset=reset, v_reset=v_reset, **options
        )
        self._prepare(cells.cuba)

    def initial_state(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> CuBaState:
        """i = 0, v = v_reset (hard) or 0."""
        return CuBaState(_zeros(shape, dtype, device), _zeros(shape, dtype, device, self._v0()))

    def _function(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        s, last = F.cuba_lif(x, state, **options)
        return s, last


class ALIF(_TwoState):
    """LIF with an adaptive threshold (see :func:`spk_neurons.functional.alif`, whose options it takes)."""

    def __init__(
        self,
        tau: Number | None = None,
        threshold: float = 1.0,
        beta: float = 1.8,
        tau_adapt: float = 200.0,
        reset: Literal["hard", "soft", "none"] = "soft",
        v_reset: float | None = 0.0,
        surrogate: Surrogate | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        within("beta", beta, least=0.0)
        within("tau_adapt", tau_adapt, above=0.0)
        super().__init__(
            backend, surrogate, tau=tau, threshold=threshold, beta=beta, tau_adapt=tau_adapt, reset=reset,
            v_reset=v_reset,
            **options,
        )  # fmt: skip
        self._prepare(cells.alif)

    def initial_state(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> ALIFState:
        """v = v_reset (hard) or 0, b = 0."""
        return ALIFState(_zeros(shape, dtype, device, self._v0()), _zeros(shape, dtype, device))

    def _function(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        s, last = F.alif(x, state, **options)
        return s, last
