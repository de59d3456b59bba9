"""The neuron with intrinsic noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spk_neurons import functional as F
from spk_neurons._checks import check_finite
from spk_neurons.neurons.base import Number
from spk_neurons.neurons.lif import LIF
from spk_neurons.noise import Gaussian, Noise

__all__ = ["NoisyLIF"]


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
        if self.check_finite:
            check_finite(x)
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
