"""Laws of the noise in a noisy neuron: continuous, zero mean (or median), symmetric.

Each law gives the firing probability F (:meth:`Noise.cdf`), its density f (:meth:`Noise.pdf`), draws, and the
surrogate whose derivative is f: in noise-driven learning the derivative of the expected spike is the density.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from spk_neurons import surrogate as _surrogate
from spk_neurons.surrogate import Surrogate

__all__ = ["Cauchy", "Gaussian", "Logistic", "Noise", "Triangular", "Uniform"]


class Noise:
    """Base of the laws. Args: scale, > 0, in units of the membrane potential; its meaning is the subclass's."""

    name: ClassVar[str] = "scale"

    def __init__(self, scale: float) -> None:
        try:
            self.scale = float(scale)
        except (TypeError, ValueError):
            raise TypeError(f"{self.name}={scale!r} given; it must be a number") from None
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"{self.name}={scale} given; noise needs a finite {self.name} > 0")

    def surrogate(self) -> Surrogate:
        """The surrogate with this law's density as derivative."""
        raise NotImplementedError

    def cdf(self, u: Tensor) -> Tensor:
        """F(u), elementwise, accurate in both tails."""
        return self.surrogate().primitive(u)

    def pdf(self, u: Tensor) -> Tensor:
        """f(u), elementwise."""
        return self.surrogate().derivative(u)

    def _from_uniform(self, u: Tensor) -> Tensor:
        raise NotImplementedError

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: Any = None,
    ) -> Tensor:
        """Independent draws of this ``shape`` from ``generator`` alone (None: torch's global one)."""
        u = torch.rand(tuple(shape), generator=generator, dtype=dtype, device=device)
        return self._from_uniform(u)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.scale:g})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.scale))


class Gaussian(Noise):
    """Normal law. Args: sigma, the standard deviation (default 0.3)."""

    name: ClassVar[str] = "sigma"

    def __init__(self, sigma: float = 0.3) -> None:
        super().__init__(sigma)

    def surrogate(self) -> Surrogate:
        return _surrogate.Gaussian(self.scale)

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: Any = None,
    ) -> Tensor:
        return torch.randn(tuple(shape), generator=generator, dtype=dtype, device=device).mul_(self.scale)


class Logistic(Noise):
    """Logistic law. Args: scale s (default 0.3); the standard deviation is s pi / sqrt(3)."""

    def __init__(self, scale: float = 0.3) -> None:
        super().__init__(scale)

    def surrogate(self) -> Surrogate:
        return _surrogate.Sigmoid(1 / self.scale)

    def _from_uniform(self, u: Tensor) -> Tensor:
        # logit; the open interval keeps both ends finite
        tiny = torch.finfo(u.dtype).tiny
        u = u.clamp(tiny, 1 - torch.finfo(u.dtype).eps / 2)
        return (torch.log(u) - torch.log1p(-u)) * self.scale


class Triangular(Noise):
    """Triangular law on [-a, a]. Args: a (default 0.6)."""

    name: ClassVar[str] = "a"

    def __init__(self, a: float = 0.6) -> None:
        super().__init__(a)

    def surrogate(self) -> Surrogate:
        return _surrogate.Triangle(self.scale)

    def _from_uniform(self, u: Tensor) -> Tensor:
        z = 2 * u - 1
        return self.scale * torch.sign(z) * (1 - torch.sqrt(1 - z.abs()))


class Uniform(Noise):
    """Uniform law on [-a, a]. Args: a (default 0.5)."""

    name: ClassVar[str] = "a"

    def __init__(self, a: float = 0.5) -> None:
        super().__init__(a)

    def surrogate(self) -> Surrogate:
        return _surrogate.Rectangle(2 * self.scale)

    def _from_uniform(self, u: Tensor) -> Tensor:
        return self.scale * (2 * u - 1)


class Cauchy(Noise):
    """Cauchy law. Args: scale gamma, half the width at half height (default 0.3). It has no mean; its median is 0."""

    name: ClassVar[str] = "gamma"

    def __init__(self, gamma: float = 0.3) -> None:
        super().__init__(gamma)

    def surrogate(self) -> Surrogate:
        return _surrogate.ATan(2 / (math.pi * self.scale))

    def _from_uniform(self, u: Tensor) -> Tensor:
        return self.scale * torch.tan(math.pi * (u - 0.5))
