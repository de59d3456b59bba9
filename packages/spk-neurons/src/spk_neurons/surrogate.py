"""Surrogate gradients: what stands for the derivative of the spike in the backward pass.

A neuron fires ``s = H(u)`` with ``u = h - threshold``; the derivative of H is zero almost everywhere, so the
backward pass uses ``phi(u)`` instead. Every surrogate knows ``phi`` (:meth:`Surrogate.derivative`), a function
whose derivative it is (:meth:`Surrogate.primitive`) and the interval in which it is worth speaking of a gradient
(:meth:`Surrogate.gradient_range`).

The fused backends know the surrogates of this module by number. Any other object with a ``derivative`` works too:
subclass :class:`Surrogate`; such a one runs on the ``torch`` and ``reference`` backends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

__all__ = [
    "ATan",
    "Erf",
    "FastSigmoid",
    "Gaussian",
    "MultiGaussian",
    "PiecewiseExp",
    "Rectangle",
    "Sigmoid",
    "SuperSpike",
    "Surrogate",
    "Triangle",
]

DEFAULT_MASS = 0.8
_INF = math.inf


def _wide(u: Tensor) -> Tensor:
    """Half precision is widened: under autocast phi would lose its tails otherwise."""
    return u.float() if u.dtype in (torch.float16, torch.bfloat16) else u


def _normal(u: Tensor, sigma: float) -> Tensor:
    return torch.exp(-0.5 * (u / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


class Surrogate:
    """Base of all surrogates: a named scalar shape with one or two positive parameters.

    Args:
        alpha: the shape parameter; its meaning (slope or width) is stated by each subclass. > 0.

    Raises:
        ValueError: alpha is not a finite positive number.

    A subclass defines ``derivative`` (and, to be useful elsewhere, ``primitive`` and ``_range``).
    """

    #: number by which compiled kernels select the shape; 0 for shapes that only Python knows
    kind: ClassVar[int] = 0
    _default: ClassVar[float] = 1.0

    def __init__(self, alpha: float | None = None) -> None:
        self.alpha = self._check("alpha", self._default if alpha is None else alpha)

    @staticmethod
    def _check(name: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a number, got {value!r}") from None
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name}={number} given; a surrogate needs a finite {name} > 0")
        return number

    @property
    def params(self) -> tuple[float, float]:
        """The two numbers that compiled kernels read."""
        return self.alpha, 0.0

    @property
    def support(self) -> tuple[float, float]:
        """Smallest interval outside of which the derivative is exactly zero; infinite for most shapes."""
        return -_INF, _INF

    @property
    def peak(self) -> float:
        """The derivative at u = 0."""
        return float(self.derivative(torch.zeros((), dtype=torch.float64)))

    def derivative(self, u: Tensor) -> Tensor:
        """phi(u), elementwise; same shape as u, at least float32."""
        raise NotImplementedError(f"{type(self).__name__} must define derivative(u)")

    def primitive(self, u: Tensor) -> Tensor:
        """A function whose derivative is phi (0 at minus infinity unless the subclass says otherwise)."""
        raise NotImplementedError(f"{type(self).__name__} does not define primitive(u)")

    def gradient_range(self, eps: float | None = None, mass: float | None = None) -> tuple[float, float]:
        """The interval of u = h - threshold in which a gradient is available.

        Args:
            eps: the interval where ``derivative(u) >= eps``.
            mass: the central interval that holds this share of the derivative's integral, in (0, 1).
            With neither: the support if it is compact, else the central mass 0.8.
        Returns:
            (lo, hi), relative to the threshold.
        Raises:
            ValueError: both given, mass outside (0, 1), eps not in (0, peak].
        Source: closed forms, our derivation; :class:`MultiGaussian` by bisection.
        """
        if eps is not None and mass is not None:
            raise ValueError(f"give eps={eps} or mass={mass}, not both: they define different intervals")
        if eps is None and mass is None:
            if math.isfinite(self.support[1]):
                return self.support
            mass = DEFAULT_MASS
        if eps is not None:
            eps = self._check("eps", eps)
            if eps > self.peak:
                raise ValueError(f"eps={eps} is above the peak {self.peak:.6g} of {self!r}: no u has that derivative")
            radius = self._radius_eps(eps)
        else:
            assert mass is not None
            mass = self._check("mass", mass)
            if mass >= 1:
                raise ValueError(f"mass={mass} given; a central mass lies in (0, 1)")
            radius = self._radius_mass(mass)
        return -radius, radius

    def _radius_eps(self, eps: float) -> float:
        return _bisect(lambda r: float(self.derivative(torch.tensor(r, dtype=torch.float64))) - eps, falling=True)

    def _radius_mass(self, mass: float) -> float:
        def inside(r: float) -> float:
            edge = self.primitive(torch.tensor([-r, r], dtype=torch.float64))
            whole = self.primitive(torch.tensor([-1e6, 1e6], dtype=torch.float64))
            return float((edge[1] - edge[0]) / (whole[1] - whole[0])) - mass

        return _bisect(inside, falling=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.alpha:g})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self).__name__, tuple(sorted(vars(self).items()))))


def _bisect(f: Callable[[float], float], *, falling: bool) -> float:
    """First sign change of f on (0, inf) found on a fine grid, then bisected."""
    sign = -1.0 if falling else 1.0
    lo, step = 0.0, 1e-3
    hi = step
    while sign * f(hi) < 0 and hi < 1e4:
        lo, hi = hi, hi * 1.02 + step
    for _ in range(80):
        mid = 0.5 * (lo + hi)
        lo, hi = (lo, mid) if sign * f(mid) >= 0 else (mid, hi)
    return 0.5 * (lo + hi)


class Rectangle(Surrogate):
    """phi(u) = 1/alpha for abs(u) <= alpha/2, else 0. ``alpha`` is the width (default 1)."""

    kind: ClassVar[int] = 1

    @property
    def support(self) -> tuple[float, float]:
        return -self.alpha / 2, self.alpha / 2

    def derivative(self, u: Tensor) -> Tensor:
        u = _wide(u)
        return (u.abs() <= self.alpha / 2).to(u.dtype) / self.alpha

    def primitive(self, u: Tensor) -> Tensor:
        return (_wide(u) / self.alpha + 0.5).clamp(0, 1)

    def _radius_eps(self, eps: float) -> float:
        return self.alpha / 2

    def _radius_mass(self, mass: float) -> float:
        return mass * self.alpha / 2


class Triangle(Surrogate):
    """phi(u) = max(0, alpha - abs(u)) / alpha^2. ``alpha`` is half the base (default 1)."""

    kind: ClassVar[int] = 2

    @property
    def support(self) -> tuple[float, float]:
        return -self.alpha, self.alpha

    def derivative(self, u: Tensor) -> Tensor:
        return (self.alpha - _wide(u).abs()).clamp_min(0) / self.alpha**2

    def primitive(self, u: Tensor) -> Tensor:
        z = (_wide(u) / self.alpha).clamp(-1, 1)
        return 0.5 + z - 0.5 * z * z.abs()

    def _radius_eps(self, eps: float) -> float:
        return self.alpha - eps * self.alpha**2

    def _radius_mass(self, mass: float) -> float:
        return self.alpha * (1 - math.sqrt(1 - mass))


class ATan(Surrogate):
    """phi(u) = (alpha/2) / (1 + (pi alpha u / 2)^2). Default alpha = 2, peak 1 (Fang et al. 2021, PLIF)."""

    kind: ClassVar[int] = 3
    _default: ClassVar[float] = 2.0

    def derivative(self, u: Tensor) -> Tensor:
        return (self.alpha / 2) / (1 + (math.pi / 2 * self.alpha * _wide(u)) ** 2)

    def primitive(self, u: Tensor) -> Tensor:
        return torch.atan(math.pi / 2 * self.alpha * _wide(u)) / math.pi + 0.5

    def _radius_eps(self, eps: float) -> float:
        return 2 / (math.pi * self.alpha) * math.sqrt(self.alpha / (2 * eps) - 1)

    def _radius_mass(self, mass: float) -> float:
        return 2 / (math.pi * self.alpha) * math.tan(math.pi * mass / 2)


class Sigmoid(Surrogate):
    """phi(u) = alpha p (1 - p) with p = sigmoid(alpha u). Default alpha = 4, peak 1."""

    kind: ClassVar[int] = 4
    _default: ClassVar[float] = 4.0

    def derivative(self, u: Tensor) -> Tensor:
        # p (1 - p), never exp(-a u) / (1 + exp(-a u))^2: that is inf / inf = nan far below the threshold
        p = torch.sigmoid(self.alpha * _wide(u))
        return self.alpha * p * (1 - p)

    def primitive(self, u: Tensor) -> Tensor:
        return torch.sigmoid(self.alpha * _wide(u))

    def _radius_eps(self, eps: float) -> float:
        p = 0.5 * (1 + math.sqrt(1 - 4 * eps / self.alpha))
        return math.log(p / (1 - p)) / self.alpha

    def _radius_mass(self, mass: float) -> float:
        return 2 / self.alpha * math.atanh(mass)


class FastSigmoid(Surrogate):
    """phi(u) = 1 / (1 + alpha abs(u))^2; peak 1, not normalised. Default alpha = 25 (Zenke & Ganguli 2018).

    ``primitive`` is u / (1 + alpha abs(u)), odd, between -1/alpha and 1/alpha.
    """

    kind: ClassVar[int] = 5
    _default: ClassVar[float] = 25.0

    def derivative(self, u: Tensor) -> Tensor:
        return 1 / (1 + self.alpha * _wide(u).abs()) ** 2

    def primitive(self, u: Tensor) -> Tensor:
        u = _wide(u)
        return u / (1 + self.alpha * u.abs())

    def _radius_eps(self, eps: float) -> float:
        return (1 / math.sqrt(eps) - 1) / self.alpha

    def _radius_mass(self, mass: float) -> float:
        return mass / (self.alpha * (1 - mass))


class Gaussian(Surrogate):
    """phi(u) = normal density with standard deviation ``alpha`` (default 0.4); also called Erf."""

    kind: ClassVar[int] = 6
    _default: ClassVar[float] = 0.4

    @property
    def sigma(self) -> float:
        """The standard deviation, another name of alpha."""
        return self.alpha

    def derivative(self, u: Tensor) -> Tensor:
        return _normal(_wide(u), self.alpha)

    def primitive(self, u: Tensor) -> Tensor:
        # erfc keeps the lower tail that 1 + erf rounds away
        return 0.5 * torch.erfc(-_wide(u) / (self.alpha * math.sqrt(2)))

    def _radius_eps(self, eps: float) -> float:
        return self.alpha * math.sqrt(max(0.0, -2 * math.log(eps * self.alpha * math.sqrt(2 * math.pi))))

    def _radius_mass(self, mass: float) -> float:
        root = torch.erfinv(torch.tensor(mass, dtype=torch.float64))
        return self.alpha * math.sqrt(2) * float(root)


class PiecewiseExp(Surrogate):
    """phi(u) = (alpha/2) exp(-alpha abs(u)). Default alpha = 1."""

    kind: ClassVar[int] = 7

    def derivative(self, u: Tensor) -> Tensor:
        return self.alpha / 2 * torch.exp(-self.alpha * _wide(u).abs())

    def primitive(self, u: Tensor) -> Tensor:
        u = _wide(u)
        tail = 0.5 * torch.exp(-self.alpha * u.abs())
        return torch.where(u < 0, tail, 1 - tail)

    def _radius_eps(self, eps: float) -> float:
        return math.log(self.alpha / (2 * eps)) / self.alpha

    def _radius_mass(self, mass: float) -> float:
        return -math.log1p(-mass) / self.alpha


class MultiGaussian(Surrogate):
    """phi(u) = (1+g) N(u; 0, s) - g N(u; s, 6s) - g N(u; -s, 6s), with negative lobes (Yin et al. 2021).

    Args:
        alpha: s, the standard deviation of the central bump (default 0.5).
        height: g, the weight of the lobes (default 0.15), in (0, 1).

    ``primitive`` tends to 1 - g, the integral of phi. ``gradient_range`` speaks of the central positive bump.
    """

    kind: ClassVar[int] = 8
    _default: ClassVar[float] = 0.5

    def __init__(self, alpha: float | None = None, height: float = 0.15) -> None:
        super().__init__(alpha)
        self.height = self._check("height", height)
        if self.height >= 1:
            raise ValueError(f"height={self.height} given; the lobes' weight lies in (0, 1)")

    @property
    def params(self) -> tuple[float, float]:
        return self.alpha, self.height

    def derivative(self, u: Tensor) -> Tensor:
        u, s, g = _wide(u), self.alpha, self.height
        return (1 + g) * _normal(u, s) - g * _normal(u - s, 6 * s) - g * _normal(u + s, 6 * s)

    def primitive(self, u: Tensor) -> Tensor:
        u, s, g = _wide(u), self.alpha, self.height

        def phi(z: Tensor, sigma: float) -> Tensor:
            return 0.5 * torch.erfc(-z / (sigma * math.sqrt(2)))

        return (1 + g) * phi(u, s) - g * phi(u - s, 6 * s) - g * phi(u + s, 6 * s)

    def __repr__(self) -> str:
        return f"MultiGaussian({self.alpha:g}, height={self.height:g})"


#: the same shapes under the names other libraries use
Erf = Gaussian
SuperSpike = FastSigmoid

KINDS: dict[int, type[Surrogate]] = {
    c.kind: c for c in (Rectangle, Triangle, ATan, Sigmoid, FastSigmoid, Gaussian, PiecewiseExp, MultiGaussian)
}


def from_kind(kind: int, p0: float, p1: float) -> Surrogate:
    """The surrogate that a kernel's (kind, p0, p1) stands for."""
    cls = KINDS[kind]
    return cls(p0, p1) if cls is MultiGaussian else cls(p0)


def known_to_kernels(surrogate: Surrogate) -> bool:
    """True for the very classes of this module: a subclass may have changed the formula."""
    return KINDS.get(surrogate.kind) is type(surrogate)
