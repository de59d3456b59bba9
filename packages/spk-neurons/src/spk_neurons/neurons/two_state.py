"""Neurons with a second state: a synaptic current (CuBaLIF), an adaptive threshold (ALIF)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from spk_neurons import cells
from spk_neurons import functional as F
from spk_neurons._checks import check_finite, within
from spk_neurons._kernels.backends import check_name
from spk_neurons._kernels.problem import RESETS
from spk_neurons.neurons.base import Neuron, Number, zeros
from spk_neurons.state import ALIFState, CuBaState
from spk_neurons.surrogate import ATan, Surrogate, known_to_kernels

__all__ = ["ALIF", "CuBaLIF"]


class _TwoState(Neuron):
    """Shell of the neurons whose function takes keyword options."""

    function: ClassVar[Callable[..., Any]]

    def __init__(
        self, backend: str, surrogate: Surrogate | None, *, check_finite: bool = False, **options: Any
    ) -> None:
        super().__init__()
        known = [
            n
            for n, p in inspect.signature(self.function).parameters.items()
            if p.kind is p.KEYWORD_ONLY and n not in ("record", "stats", "return_state")
        ]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(unknown)}; it knows {', '.join(known)}")
        self.check_finite = check_finite
        self._names = tuple(options)
        for name, value in options.items():
            self.hold(f"_{name}", value)
        self.surrogate = surrogate or ATan()
        self.backend = check_name(backend)
        F.check_values(
            tau=options.get("tau"), decay=options.get("decay"), threshold=options["threshold"],
            v_reset=0.0 if options["v_reset"] is None else options["v_reset"], reset=options["reset"],
        )  # fmt: skip

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of the function, as given."""
        return {name: getattr(self, f"_{name}") for name in self._names}

    @property
    def threshold(self) -> Any:
        """The threshold at rest."""
        return self._threshold

    def _prepare(self, factory: Any) -> None:
        """Make the cell now: a compiler that traces the first call cannot."""
        o = self.options
        reset = "soft" if o["v_reset"] is None else o["reset"]
        if known_to_kernels(self.surrogate):
            factory(self.surrogate.kind, RESETS[reset], bool(o.get("detach_reset", False)), o.get("fire") == "gt")

    def _v0(self) -> float:
        hard = self.options["reset"] == "hard" and self.options["v_reset"] is not None
        return float(self.options["v_reset"]) if hard else 0.0

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.check_finite:
            check_finite(x)
        recorder = self._recorder
        wanted = {} if recorder is None else {"record": recorder.names, "stats": recorder.stats}
        s, out = type(self).function(
            x, state, surrogate=self.surrogate, backend=self.backend, return_state=True, **self.options, **wanted
        )
        if recorder is None:
            return s, out
        out = out if isinstance(out, F.Output) else F.Output(out)
        recorder.put(self, s, out)
        return s, out.state

    def extra_repr(self) -> str:
        given = {k: v for k, v in self.options.items() if v is not None}
        return ", ".join(f"{k}={'tensor' if isinstance(v, Tensor) else v}" for k, v in given.items())


class CuBaLIF(_TwoState):
    """LIF with a synaptic current (see :func:`spk_neurons.functional.cuba_lif`, whose options it takes).

    Args:
        tau: time constant of the potential in steps, >= 1. tau_syn: of the current, >= 1.
        threshold, reset, v_reset, surrogate, backend: as in :class:`LIF`.
    """

    function = staticmethod(F.cuba_lif)

    def __init__(
        self,
        tau: Number | None = None,
        tau_syn: Number = 2.0,
        threshold: Number = 1.0,
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
        return CuBaState(zeros(shape, dtype, device), zeros(shape, dtype, device, self._v0()))


class ALIF(_TwoState):
    """LIF with an adaptive threshold (see :func:`spk_neurons.functional.alif`, whose options it takes).

    Args:
        tau: time constant of the potential in steps, >= 1. threshold: at rest. beta: how far a spike raises it.
        tau_adapt: time constant of the adaptation in steps. reset, v_reset, surrogate, backend: as in :class:`LIF`.
    """

    function = staticmethod(F.alif)

    def __init__(
        self,
        tau: Number | None = None,
        threshold: Number = 1.0,
        beta: Number = 1.8,
        tau_adapt: Number = 200.0,
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
        return ALIFState(zeros(shape, dtype, device, self._v0()), zeros(shape, dtype, device))
