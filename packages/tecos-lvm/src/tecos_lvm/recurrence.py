"""The loop over time that cannot be avoided: encoder -> latent -> memory. One readable twin, one compiled; without a
memory there is nothing to wait for.

Everything else of the model (features, prior, decoder, output) is computed for all bins at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spk_neurons import functional as F
from spk_neurons.noise import Gaussian
from tecos_lvm.memory import Cascade, Memory, Nothing, State

__all__ = ["LOGVAR", "Coder", "Given", "Unrolled", "run_at_once", "run_fast", "run_reference"]

LOGVAR = (-6.0, 3.0)
DECAY = 0.5
THRESHOLD = 1.0


class Coder(NamedTuple):
    """Weights of the loop: of h and of the features into the encoder, its read-out, z into the memory."""

    w_h: nn.Linear
    read: nn.Linear
    w_z: nn.Linear
    sigma: float


class Given(Gaussian):
    """Gaussian noise whose draws are handed in: spk-neurons' noisy units then follow one stream for the whole model."""

    def __init__(self, sigma: float, draws: Tensor) -> None:
        super().__init__(sigma)
        self.draws = draws

    def sample(self, shape: Any, **_: Any) -> Tensor:
        return self.scale * self.draws


class Unrolled(NamedTuple):
    """h before each bin [T, B, H], z, mean and log variance of the posterior [T, B, Z], and the last state."""

    h: Tensor
    z: Tensor
    mean: Tensor
    logvar: Tensor
    encoder_v: Tensor
    memory: State


def escape(u: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Spikes [u + sigma noise >= 1]; the gradient is that of their probability, the noise's density at u - 1."""
    p: Tensor = torch.special.ndtr((u - THRESHOLD) / sigma)
    fired = (u.detach() + sigma * noise >= THRESHOLD).to(u.dtype)
    return fired + (p - p.detach())


def run_reference(
    f_q: Tensor, f_m: Tensor, eps_o: Tensor, eps_z: Tensor, coder: Coder, memory: Memory, v0: Tensor, m0: State
) -> Unrolled:
    """Any memory, any device, autograd.

    Args:
        f_q: features' part of the encoder's current, [T, B, E]. f_m: of the memory's drive, [T, B, D].
        eps_o, eps_z: standard normal draws [T, B, E] and [T, B, Z]; zeros for deterministic units.
        v0: encoder's potential after the last reset, [B, E]. m0: memory's state.
    """
    hs: list[Tensor] = []
    zs: list[Tensor] = []
    means: list[Tensor] = []
    logvars: list[Tensor] = []
    v, state = v0, m0
    for t in range(len(f_q)):
        h = memory.read(state)
        u = DECAY * v + coder.w_h(h) + f_q[t]
        o = escape(u, eps_o[t], coder.sigma)
        v = u * (1 - o)
        mean, raw = coder.read(o).chunk(2, dim=-1)
        logvar = raw.clamp(*LOGVAR)
        z = mean + torch.exp(0.5 * logvar) * eps_z[t]
        state = memory.step(f_m[t] + coder.w_z(z), state)
        for row, x in zip((hs, zs, means, logvars), (h, z, mean, logvar), strict=True):
            row.append(x)
    return Unrolled(torch.stack(hs), torch.stack(zs), torch.stack(means), torch.stack(logvars), v, state)


def spiking_layer(current: Tensor, eps: Tensor, v: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Spikes of all bins, and the potential after: decay 0.5, hard reset, gradient by the noise's density."""
    s, out = F.noisy_lif(current.contiguous(), v.detach(), noise=Given(sigma, eps), tau=2.0, return_state=True)
    return s, out.state.v


def run_at_once(
    f_q: Tensor, f_m: Tensor, eps_o: Tensor, eps_z: Tensor, coder: Coder, memory: Memory, v0: Tensor, m0: State
) -> Unrolled:
    """As :func:`run_reference` where nothing is remembered: h is 0, so that all bins are computed together."""
    if not isinstance(memory, Nothing):
        raise TypeError(f"only a model without memory is computed at once, got {type(memory).__name__}")
    o, v = spiking_layer(f_q, eps_o, v0, coder.sigma)
    mean, raw = coder.read(o).chunk(2, dim=-1)
    logvar = raw.clamp(*LOGVAR)
    z = mean + torch.exp(0.5 * logvar) * eps_z
    return Unrolled(memory.read(m0).expand(len(f_q), -1, -1), z, mean, logvar, v, m0)


class _Cascade(torch.autograd.Function):
    """The same for the cascade memory, compiled, with the hand-written adjoint. States get no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        f_q: Tensor,
        f_m: Tensor,
        eps_o: Tensor,
        eps_z: Tensor,
        w_h: Tensor,
        w_q: Tensor,
        c_q: Tensor,
        w_z: Tensor,
        a: Tensor,
        a2: Tensor,
        sigma: float,
        v0: Tensor,
        m0: Tensor,
        m1: Tensor,
    ) -> Any:
        from tecos_lvm._kernels import cascade

        tensors = (f_q, f_m, eps_o, eps_z, w_h.T, w_q.T, c_q, w_z.T, a, a2)
        arrays = [x.detach().contiguous().numpy() for x in tensors]
        states = [x.detach().contiguous().numpy() for x in (v0, m0, m1)]
        out = cascade.forward(*arrays, DECAY, THRESHOLD, sigma, *LOGVAR, *states)  # type: ignore[arg-type,call-arg]
        pot, spk, stats, z, drive, v, w, h, rstd, post = out
        ctx.kept = (pot, spk, stats, drive, v, w, h, rstd, arrays[3], z)
        ctx.sigma = sigma
        ctx.save_for_backward(w_h, w_q, w_z, a, a2)
        n_z = z.shape[-1]
        last = [torch.from_numpy(x.copy()) for x in (post, v[-1], w[-1])]
        ctx.mark_non_differentiable(*last)
        found = torch.from_numpy(stats)
        return (
            torch.from_numpy(h[:-1]),
            torch.from_numpy(z),
            found[..., :n_z].clone(),
            found[..., n_z:].clone(),
            *last,
        )

    @staticmethod
    def backward(ctx: Any, g_h: Tensor, g_z: Tensor, g_mean: Tensor, g_raw: Tensor, *_: Any) -> Any:
        from tecos_lvm._kernels import cascade

        pot, spk, stats, drive, v, w, h, rstd, eps_z, z = ctx.kept
        w_h, w_q, w_z, a, a2 = ctx.saved_tensors
        g_stats = torch.cat([g_mean, g_raw], dim=-1).numpy()
        weights = [x.detach().contiguous().numpy() for x in (w_h, w_q, w_z, a, a2)]
        g_f, g_s, g_m, g_a, g_a2 = (
            torch.from_numpy(x)
            for x in cascade.backward(  # type: ignore[call-arg]
                g_h.contiguous().numpy(),
                g_z.contiguous().numpy(),
                g_stats,
                pot,
                spk,
                stats,
                drive,
                v,
                w,
                h,
                rstd,
                eps_z,
                *weights,
                DECAY,
                THRESHOLD,
                ctx.sigma,
                *LOGVAR,
            )
        )

        def outer(g: Tensor, x: Any) -> Tensor:
            return g.reshape(-1, g.shape[-1]).T @ torch.from_numpy(x).reshape(-1, x.shape[-1])

        return (
            g_f,
            g_m,
            None,
            None,
            outer(g_f, h[:-1]),
            outer(g_s, spk),
            g_s.sum((0, 1)),
            outer(g_m, z),
            g_a.to(a.dtype),
            g_a2.to(a.dtype),
            None,
            None,
            None,
            None,
        )


def run_fast(
    f_q: Tensor, f_m: Tensor, eps_o: Tensor, eps_z: Tensor, coder: Coder, memory: Memory, v0: Tensor, m0: State
) -> Unrolled:
    """As :func:`run_reference` for the cascade memory on a CPU; the incoming state gets no gradient."""
    if not isinstance(memory, Cascade):
        raise TypeError(f"the compiled loop is the cascade memory's, got {type(memory).__name__}; use run_reference")
    h, z, mean, raw, v, m, w = _Cascade.apply(  # type: ignore[no-untyped-call]
        f_q,
        f_m,
        eps_o,
        eps_z,
        coder.w_h.weight,
        coder.read.weight,
        coder.read.bias,
        coder.w_z.weight,
        torch.sigmoid(memory.decay),
        torch.sigmoid(memory.decay2),
        coder.sigma,
        v0,
        *m0,
    )
    # the clamp's mask sits in the compiled adjoint for the path through z; this one is for the KL term
    return Unrolled(h, z, mean, raw.clamp(*LOGVAR), v, (m, w))
