"""From images to inputs over time, each with a gradient to the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons import encode

__all__ = ["Direct", "Encoder", "Latency", "Poisson", "SignedPoisson", "make_encoder"]


class Encoder(nn.Module):
    """Base: x [B, ...] in [0, 1] becomes [T, B, ...].

    Args: steps: T. seed: of the draws of a stochastic encoder; its generator is its own, the global one is not touched.
    """

    stochastic = False

    def __init__(self, steps: int = 4, seed: int = 0) -> None:
        super().__init__()
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps={steps!r} given; expected a whole number of time steps >= 1")
        self.steps, self.seed = steps, seed
        self._generator: torch.Generator | None = None

    def reseed(self, seed: int) -> None:
        """Start the draws again."""
        self.seed, self._generator = seed, None

    def draws(self, x: Tensor) -> torch.Generator:
        """The generator, on x's device."""
        if self._generator is None or self._generator.device != x.device:
            self._generator = torch.Generator(x.device).manual_seed(self.seed)
        return self._generator

    def __getstate__(self) -> dict[str, Any]:
        # a generator cannot be copied; a copy starts its draws again
        return {**self.__dict__, "_generator": None}

    def extra_repr(self) -> str:
        return f"steps={self.steps}"


class Direct(Encoder):
    """The same value at every step, a view without a copy."""

    def forward(self, x: Tensor) -> Tensor:
        return encode.constant(x, self.steps)


class Poisson(Encoder):
    """Independent spikes with probability x per step; straight-through gradient (ds/dx = 1 per step)."""

    stochastic = True

    def forward(self, x: Tensor) -> Tensor:
        return encode.poisson(x, self.steps, generator=self.draws(x), straight_through=True, clip=True)


class SignedPoisson(Encoder):
    """Spikes of sign(2x - 1) with probability |2x - 1|: mean 2x - 1; straight-through gradient (ds/dx = 2 per step)."""

    stochastic = True

    def forward(self, x: Tensor) -> Tensor:
        y = 2 * x.clamp(0, 1) - 1
        spikes = encode.poisson(y.abs(), self.steps, generator=self.draws(x), straight_through=True)
        return spikes * y.detach().sign()


class _LatencyGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: int) -> Tensor:
        spikes = encode.latency(x, steps, clip=True)
        ctx.save_for_backward(spikes)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (spikes,) = ctx.saved_tensors
        last = spikes.shape[0] - 1
        if last == 0:
            return torch.zeros_like(grad[0]), None
        at = spikes.argmax(0, keepdim=True)
        before, after = (at - 1).clamp_min(0), (at + 1).clamp_max(last)
        change = grad.gather(0, before) - grad.gather(0, after)
        # x rises by 1 / (T - 1) when the spike comes one step earlier
        return (change / (after - before) * last)[0], None


class Latency(Encoder):
    """One spike per pixel, earlier for brighter ones; its gradient is the difference of moving the spike by a step."""

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = _LatencyGradient.apply(x, self.steps)  # type: ignore[no-untyped-call]
        return spikes


ENCODERS: dict[str, type[Encoder]] = {
    "direct": Direct, "poisson": Poisson, "signed": SignedPoisson, "latency": Latency,
}  # fmt: skip


def make_encoder(name: str, steps: int, seed: int = 0) -> Encoder:
    """An encoder by name: direct, poisson, signed or latency."""
    if name not in ENCODERS:
        raise ValueError(f"encoder {name!r} is not known; choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name](steps, seed)
