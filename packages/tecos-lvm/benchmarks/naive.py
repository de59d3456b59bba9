"""TeCoS-LVM one bin at a time, as the equations stand: every layer in a Python loop under autograd.

The peer of the training step in ``speed.py``; equal draws give equal losses and gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tecos_lvm import TeCoSLVM
from tecos_lvm.recurrence import DECAY, LOGVAR, escape


def loss(model: TeCoSLVM, x: Tensor, y: Tensor, beta: float, generator: torch.Generator) -> Tensor:
    """Negative log likelihood plus beta KL, mean per bin, of stimuli [B, T, ...] and recorded spikes [B, T, N]."""
    c = model.config
    flat = model._input(x)
    batch, steps = flat.shape[:2]
    eps_z, eps_e, eps_d, _, eps_p = model._draws(steps, batch, True, generator)
    state = model.initial_state(batch)
    v_e, v_p, v_d, u, memory = state.encoder, state.prior, state.decoder, state.output, state.memory
    before = torch.zeros_like(u)
    total = u.new_zeros(())
    for t in range(steps):
        h = model.memory.read(memory)
        f = model.features(flat[:, t])
        v_p = DECAY * v_p + model.prior_h(h)
        s_p = escape(v_p, eps_p[t], c.sigma)
        v_p = v_p * (1 - s_p)
        m_p, l_p = model.prior_read(s_p).chunk(2, dim=-1)
        l_p = l_p.clamp(*LOGVAR)
        v_e = DECAY * v_e + model.encoder_h(h) + model.encoder_f(f)
        s_e = escape(v_e, eps_e[t], c.sigma)
        v_e = v_e * (1 - s_e)
        m_q, l_q = model.encoder_read(s_e).chunk(2, dim=-1)
        l_q = l_q.clamp(*LOGVAR)
        z = m_q + torch.exp(0.5 * l_q) * eps_z[t]
        v_d = DECAY * v_d + model.decoder(torch.cat([z, h], dim=-1))
        s_d = escape(v_d, eps_d[t], c.sigma)
        v_d = v_d * (1 - s_d)
        u = torch.sigmoid(model.output_decay) * u + model.read(s_d) - model.output_reset * before
        before = y[:, t]
        q = ((u - 1) / c.sigma).clamp(-8, 8)
        total = total - torch.special.log_ndtr(torch.where(before > 0, q, -q)).sum(-1).mean()
        kl = 0.5 * (l_p - l_q + (l_q.exp() + (m_q - m_p).square()) * torch.exp(-l_p) - 1)
        total = total + beta * kl.sum(-1).mean()
        memory = model.memory.step(model.memory_f(f) + model.memory_z(z), memory)
    return total / steps
