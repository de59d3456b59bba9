"""How much of a membrane-potential distribution lies inside the surrogate gradient's window.

``x = u - V_th`` is the potential before the reset, centred on the threshold; the window is ``|x| < gamma``. For
``x ~ N(mu, sigma^2)`` the overlap is

    Omega(mu, sigma; gamma) = Phi((mu + gamma) / sigma) - Phi((mu - gamma) / sigma)

Source: arXiv 2511.12199 (as reported second-hand; the options are our own where the paper could not be read).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = [
    "empirical_overlap",
    "expected_surrogate",
    "geometric_sum",
    "moments",
    "overlap",
    "overlap_of",
    "soft_window",
    "tdbn_moments",
]

VARIANCE_FLOOR = 1e-6
SIGMA_FLOOR = 1e-2
Shape = Literal["triangle", "rectangle"]


def _wide(x: Tensor) -> Tensor:
    """Half precision is widened: Phi has no kernel for it and would lose its tails."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _positive(name: str, value: float | Tensor) -> None:
    low = float(value.detach().min()) if isinstance(value, Tensor) and value.numel() else value
    if not isinstance(low, Tensor) and not low > 0:
        raise ValueError(f"{name} has a value of {low:g}; expected > 0 (clamp it, e.g. sigma.clamp_min(1e-2))")


def overlap(mu: Tensor, sigma: Tensor, gamma: float | Tensor) -> Tensor:
    """Probability that ``x ~ N(mu, sigma^2)`` lies in the window ``|x| < gamma``.

    Args:
        mu, sigma: mean and standard deviation of the centred potential, any shapes that broadcast; sigma > 0.
        gamma: half width of the window, > 0.
    Returns:
        Omega in [0, 1], broadcast shape, at least float32. Even in mu, so it is evaluated at -|mu|: with both
        arguments large and positive the difference would lose every digit.
    Raises:
        ValueError: sigma or gamma not positive, or shapes that do not broadcast.
    Example:
        >>> round(overlap(torch.tensor(0.0), torch.tensor(1.0), 1.0).item(), 4)
        0.6827
    """
    _positive("sigma", sigma)
    _positive("gamma", gamma)
    mu, sigma = _wide(mu), _wide(sigma)
    try:
        low = -mu.abs()
        return _cdf((low + gamma) / sigma) - _cdf((low - gamma) / sigma)
    except RuntimeError as error:
        wide = tuple(gamma.shape) if isinstance(gamma, Tensor) else ()
        raise ValueError(
            f"mu {tuple(mu.shape)}, sigma {tuple(sigma.shape)} and gamma {wide} do not broadcast ({error})"
        ) from None


def _cdf(z: Tensor) -> Tensor:
    """Phi(z). Through erfc: torch's ndtr rounds the lower tail away in single precision."""
    return 0.5 * torch.erfc(z * -math.sqrt(0.5))


def _normal(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def expected_surrogate(mu: Tensor, sigma: Tensor, gamma: float | Tensor, shape: Shape = "triangle") -> Tensor:
    """Mean surrogate derivative ``E[g(x)]`` under ``x ~ N(mu, sigma^2)``, in closed form.

    Args:
        mu, sigma: as in :func:`overlap`. gamma: half width of the surrogate's support.
        shape: "triangle", g = max(0, gamma - |x|) / gamma^2, or "rectangle", g = 1 / (2 gamma) inside.
    Returns:
        E[g], broadcast shape. It is what the window's share stands for: E[g] <= Omega max g.
    Source: our derivation; psi is the mean of max(0, x - k).
    """
    if shape == "rectangle":
        return overlap(mu, sigma, gamma) / (2 * gamma)
    if shape != "triangle":
        raise ValueError(f"shape={shape!r} is not known; choose 'triangle' or 'rectangle'")
    _positive("sigma", sigma)
    _positive("gamma", gamma)
    mu, sigma = -_wide(mu).abs(), _wide(sigma)

    def psi(k: float | Tensor) -> Tensor:
        z = (mu - k) / sigma
        return (mu - k) * _cdf(z) + sigma * _normal(z)

    return (psi(-gamma) - 2 * psi(0.0) + psi(gamma)) / gamma**2


def _by_channel(x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """x as [T, B, C, space], and the axes that statistics average over."""
    if x.dim() < 2:
        raise ValueError(f"potentials of shape {tuple(x.shape)} given; expected [T, B, ...], time first")
    if x.dim() == 2:
        return x[:, :, None, None], (1, 3)
    return (x[..., None] if x.dim() == 3 else x.flatten(3)), (1, 3)


def _count(x: Tensor) -> int:
    """Samples per (step, channel); the error of :func:`moments` where there is one only."""
    per = math.prod(x.shape[1:]) // (x.shape[2] if x.dim() > 2 else 1)
    if per < 2:
        raise ValueError(
            f"need at least 2 samples per (step, channel) for a variance, got {per} from shape {tuple(x.shape)}; "
            "use a batch of 2 or more"
        )
    return per


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance per step and channel, in plain torch.

    Args: x: potentials [T, B, C, ...] (or [T, B]: one channel).
    Returns: mean [T, C] and the population variance [T, C]; channels are axis 2, batch and space are averaged over.
    Raises: ValueError: fewer than two samples per (step, channel), or too few axes.
    """
    flat, axes = _by_channel(_wide(x))
    _count(x)
    var, mean = torch.var_mean(flat, dim=axes, correction=0)
    return mean, var


def deviation(var: Tensor, floor: float = SIGMA_FLOOR) -> Tensor:
    """Standard deviation that stays away from zero: max(sqrt(var + 1e-6), floor).

    A dead layer has variance 0, where dOmega/dmu grows like 0.4 / sigma.
    """
    return torch.sqrt(var + VARIANCE_FLOOR).clamp_min(floor)


def _sums(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of [T, B, C, space] as [T, 1, C, 1], from sums over space: torch's var_mean over two axes costs
    as much as seventy passes. The sums are joined in double precision, where their difference loses nothing more."""
    n = x.shape[1] * x.shape[3]
    mean = x.sum(3).sum(1, dtype=torch.float64) / n
    norm = torch.linalg.vector_norm(torch.linalg.vector_norm(x, dim=3), dim=1, dtype=torch.float64)
    var = (norm.square() / n - mean.square()).clamp_min(0)
    return mean.to(x.dtype)[:, None, :, None], var.to(x.dtype)[:, None, :, None]


class _Fused(torch.autograd.Function):
    """Omega per (step, channel) of stored potentials; the backward pass is one multiply-add over them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, floor: float) -> Tensor:
        flat, _ = _by_channel(x)
        wide = _wide(flat)
        mu, var = _sums(wide)
        raw = torch.sqrt(var + VARIANCE_FLOOR)
        sigma = raw.clamp_min(floor)
        g = gamma.reshape(1, 1, -1, 1)
        ctx.save_for_backward(x, mu, sigma, raw, g)
        ctx.floor, ctx.n = floor, wide.shape[1] * wide.shape[3]
        low = -mu.abs()
        omega = _cdf((low + g) / sigma) - _cdf((low - g) / sigma)
        return omega[:, 0, :, 0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, mu, sigma, raw, g = ctx.saved_tensors
        out = grad[:, None, :, None]
        a, b = (mu + g) / sigma, (mu - g) / sigma
        pa, pb = _normal(a), _normal(b)
        by_mu = out * (pa - pb) / sigma
        # below the floor sigma does not follow the potentials
        by_sigma = torch.where(raw >= ctx.floor, -out * (a * pa - b * pb) / sigma, 0.0)
        k1 = by_sigma / (raw * ctx.n)
        k0 = by_mu / ctx.n - k1 * mu
        flat, _ = _by_channel(x)
        # factors written out over space: broadcast along the innermost axis, addcmul would take its slow way
        shift, slope = (k.expand(-1, 1, -1, flat.shape[3]).flatten(2) for k in (k0, k1))
        return torch.addcmul(shift, slope, _wide(flat).flatten(2)).to(x.dtype).reshape(x.shape), None, None


def overlap_of(x: Tensor, gamma: float | Tensor, *, sigma_floor: float = SIGMA_FLOOR) -> Tensor:
    """Omega per step and channel of stored potentials, as one fused operation.

    Args:
        x: centred potentials ``u - V_th``, [T, B, C, ...]; gradients flow to them. gamma: half width of the window,
            > 0, a number or one per channel [C].
        sigma_floor: least standard deviation.
    Returns:
        Omega [T, C], at least float32: two passes over x forward, one read and one write backward.
    Raises:
        ValueError: fewer than two samples per (step, channel), x not finite, gamma not positive.
    """
    _positive("gamma", gamma)
    _count(x)
    wide = torch.as_tensor(gamma, dtype=_wide(x).dtype, device=x.device)
    omega: Tensor = _Fused.apply(x, wide, sigma_floor)  # type: ignore[no-untyped-call]
    if not bool(torch.isfinite(omega.detach()).all()):
        raise ValueError("the potentials hold nan or inf, so they have no overlap; check the inputs and the step size")
    return omega


def empirical_overlap(x: Tensor, gamma: float | Tensor) -> Tensor:
    """Exact share of potentials with ``|x| < gamma`` per step and channel, [T, C]; no gradient.

    A hard reset makes the distribution skewed, so this and Omega differ (by up to about 0.1).
    """
    flat, axes = _by_channel(_wide(x).detach())
    wide = torch.as_tensor(gamma, dtype=flat.dtype, device=flat.device).reshape(1, 1, -1, 1)
    return (flat.abs() < wide).to(flat.dtype).mean(dim=axes)


def soft_window(x: Tensor, gamma: float | Tensor, softness: float = 0.1) -> Tensor:
    """Share of potentials in a window with smooth edges, per step and channel, [T, C]: mean sigmoid((gamma - |x|) / s).

    Differentiable and free of any distribution; tends to :func:`empirical_overlap` for s -> 0. Our own alternative.
    """
    _positive("softness", softness)
    flat, axes = _by_channel(_wide(x))
    wide = torch.as_tensor(gamma, dtype=flat.dtype, device=flat.device).reshape(1, 1, -1, 1)
    return torch.sigmoid((wide - flat.abs()) / softness).mean(dim=axes)


def geometric_sum(a: float, steps: int) -> list[float]:
    """D(a, t) = sum over i = 1..t of a^(t-i), for t = 1..steps.

    >>> geometric_sum(0.5, 4)
    [1.0, 1.5, 1.75, 1.875]
    """
    values, total = [], 0.0
    for _ in range(steps):
        total = total * a + 1.0
        values.append(total)
    return values


def tdbn_moments(
    weight: Tensor,
    bias: Tensor,
    decay: float,
    threshold: float,
    steps: int,
    alpha: float = 1.0,
    rate: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the centred potential that batch norm and leak imply (theorem 1).

    mu = beta_c D(decay, t) - V_th - S(t),   sigma = |lambda_c| alpha V_th sqrt(D(decay^2, t))

    Args:
        weight, bias: lambda_c and beta_c of the (td) batch norm, [C]. decay: leak in (0, 1]. threshold: V_th.
        steps: T. alpha: tdBN's scalar (1; 1/sqrt(2) where two branches add).
        rate: spikes per neuron [T, C] of the soft reset, S(t) = sum over i < t of decay^(t-i) V_th rate(i), detached;
            None: no reset.
    Returns:
        (mu [T, C], sigma [T, C]). The inputs of different steps are taken as independent; with direct coding they
        are equal, and the true deviation is larger (1.875 against 1.152 sigma at T = 4, decay = 0.5).
    Raises:
        ValueError: decay outside (0, 1], steps < 1, shapes that do not fit.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay={decay} given; expected a leak in (0, 1]")
    if steps < 1:
        raise ValueError(f"steps={steps} given; expected at least 1")
    if weight.shape != bias.shape or weight.dim() != 1:
        raise ValueError(f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)} given; expected [C] both")
    like = {"dtype": weight.dtype, "device": weight.device}
    first = torch.tensor(geometric_sum(decay, steps), **like)[:, None]  # type: ignore[arg-type]
    second = torch.tensor(geometric_sum(decay**2, steps), **like)[:, None]  # type: ignore[arg-type]
    mu = bias * first - threshold
    if rate is not None:
        if rate.shape != (steps, len(weight)):
            raise ValueError(f"rate {tuple(rate.shape)} given; expected [T, C] = [{steps}, {len(weight)}]")
        taken, removed = torch.zeros_like(bias), []
        for t in range(steps):
            removed.append(taken)
            taken = decay * (taken + threshold * rate[t].detach().to(taken))
        mu = mu - torch.stack(removed)
    return mu, weight.abs() * (alpha * threshold) * second.sqrt()
