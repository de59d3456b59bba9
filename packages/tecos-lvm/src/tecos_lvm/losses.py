"""What is minimised: a spike-train term per bin, plus beta times the KL divergence of posterior and prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tecos_lvm.metrics.kernels import mmd, psp
from tecos_lvm.model import TeCoSOutput
from tecos_lvm.recurrence import THRESHOLD

__all__ = ["TeCoSLoss", "kl_normal", "spike_nll"]

LIMIT = 8.0  # of (u - 1) / sigma: beyond it a probability is 1e-15


def kl_normal(m_q: Tensor, l_q: Tensor, m_p: Tensor, l_p: Tensor) -> Tensor:
    """KL( N(m_q, exp l_q) || N(m_p, exp l_p) ) per dimension, nats."""
    return 0.5 * (l_p - l_q + (l_q.exp() + (m_q - m_p).square()) * torch.exp(-l_p) - 1)


def spike_nll(potential: Tensor, spikes: Tensor, sigma: float) -> Tensor:
    """Negative log likelihood of spikes whose probability is Phi((u - 1) / sigma), elementwise, nats.

    Exact when the potential was reset by these same spikes (``y_teacher``).
    """
    q = ((potential - THRESHOLD) / sigma).clamp(-LIMIT, LIMIT)
    log_p: Tensor = torch.special.log_ndtr(torch.where(spikes > 0, q, -q))
    return -log_p


@dataclass(frozen=True)
class TeCoSLoss:
    """Weighted sum of the terms, in nats per bin.

    Args:
        nll: weight of the exact spike likelihood (teacher-forced reset; noisy output).
        mmd: of the unbiased maximum mean discrepancy (needs n_samples >= 2; the deterministic output's default).
        psp: of the squared difference of post-synaptic traces. For comparison: with one sample it prefers a silent
            model to a real one (docs, page "The model").
        rate: of the squared difference of the samples' mean from the spikes.
        beta: weight of the KL term, reached linearly over the first ``warmup`` share of training.
        tau_ms: time constants of the traces; several are averaged.
        free_bits: nats per latent dimension that cost nothing. kl_balance: share of the KL gradient that goes to the
            prior; None: the plain gradient.
    """

    nll: float = 1.0
    mmd: float = 0.0
    psp: float = 0.0
    rate: float = 0.0
    beta: float = 1e-3
    warmup: float = 0.2
    tau_ms: tuple[float, ...] = (50.0,)
    free_bits: float = 0.0
    kl_balance: float | None = None

    def __post_init__(self) -> None:
        for name in ("nll", "mmd", "psp", "rate", "beta", "warmup", "free_bits"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} given; it must be >= 0")
        if self.nll == self.mmd == self.psp == self.rate == 0:
            raise ValueError("all four spike terms weigh 0; give at least one of nll, mmd, psp, rate")
        if self.kl_balance is not None and not 0 <= self.kl_balance <= 1:
            raise ValueError(f"kl_balance={self.kl_balance} given; it is a share, 0 to 1")

    @property
    def samples(self) -> bool:
        """Whether a term needs free-running samples."""
        return self.mmd > 0 or self.psp > 0 or self.rate > 0

    def kl(self, out: TeCoSOutput, skip: int = 0) -> Tensor:
        """Mean KL per bin after ``skip`` bins, with free bits and balance."""
        (m_q, l_q), (m_p, l_p) = ((m[:, :, skip:], v[:, :, skip:]) for m, v in (out.posterior, out.prior))
        if self.kl_balance is None:
            per = kl_normal(m_q, l_q, m_p, l_p)
        else:
            to_prior = kl_normal(m_q.detach(), l_q.detach(), m_p, l_p)
            to_posterior = kl_normal(m_q, l_q, m_p.detach(), l_p.detach())
            per = self.kl_balance * to_prior + (1 - self.kl_balance) * to_posterior
        per = per.mean((0, 1, 2))
        return per.clamp_min(self.free_bits).sum() if self.free_bits else per.sum()

    def spike_terms(self, forced: TeCoSOutput | None, free: TeCoSOutput | None, y: Tensor, *, sigma: float,
                    dt_ms: float, skip: int = 0) -> Tensor:  # fmt: skip
        """The spike-train terms; ``forced`` was reset by y [B, T, N], ``free`` ran on its own [K, B, T, N]."""
        total = y.new_zeros(())
        if self.nll and forced is not None:
            u = forced.potential[:, :, skip:]
            total = total + self.nll * spike_nll(u, y[None, :, skip:].expand_as(u), sigma).sum(-1).mean()
        if free is None:
            return total
        own, real = free.spikes[:, :, skip:], y[:, skip:]
        taus = tuple(max(1.0, t / dt_ms) for t in self.tau_ms)
        if self.mmd:
            rows = [mmd(own[:, b], real[b : b + 1], tau=taus, drop_real=True).sum() for b in range(len(real))]
            total = total + self.mmd * torch.stack(rows).mean() / real.shape[1]
        if self.psp:
            rows = [(psp(own, t) - psp(real, t)).square().sum(-1).mean() for t in taus]
            total = total + self.psp * torch.stack(rows).mean()
        if self.rate:
            total = total + self.rate * (own.mean(0) - real).square().sum(-1).mean()
        return total
