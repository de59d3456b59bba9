"""The sampler as one would first write it: step by step, each sample put where its pixel has room.

Slow, with boolean indexing; the published implementation has this form. Tests compare :class:`ARSNNSampler` with it,
values and gradients, and the benchmark times it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._parts import fire
from .arsnn import ARSNNSampler

__all__ = ["sample"]


def sample(sampler: ARSNNSampler, counts: Tensor) -> Tensor:
    """What ``sampler(counts)`` returns, with the same weights; sat="near_miss" and official are not known here.

    Args:
        counts: [B, T, C, H, W].
    Returns:
        [n_samples, B, C, H, W].
    """
    if sampler.sat == "near_miss" or sampler.official:
        raise ValueError("the reference has the published form: sat True or False, official=False")
    batch, steps, channels, height, width = counts.shape
    shape = (batch, channels, height, width)
    out = counts.new_zeros(sampler.n_samples, *shape)
    v, s, total, length = (counts.new_zeros(shape) for _ in range(4))
    n = torch.zeros(shape, dtype=torch.long, device=counts.device)
    for step in range(steps):
        f = counts[:, steps - 1 - step if sampler.order == "newest_first" else step]
        gate, current = (sampler.conv_in(f) + sampler.conv_rec(s)).chunk(2, 1)
        u = torch.sigmoid(gate) * v + current
        s = fire(u, sampler.threshold, sampler.surrogate)
        total, length = total + u, length + 1
        value = {"sum": total, "avg": total / length, "last": u}[sampler.readout]
        where = ((s.detach() > 0) & (n < sampler.n_samples)).nonzero(as_tuple=True)
        written = value[where] * s[where] if sampler.sat else value[where]
        out = out.index_put((n[where], *where), written, accumulate=True)
        v = u - sampler.threshold * s if sampler.v_reset is None else u * (1 - s) + sampler.v_reset * s
        fired = s.detach() > 0
        n = n + fired
        total, length = total.masked_fill(fired, 0), length.masked_fill(fired, 0)
    if not sampler.rpd:
        where = ((s.detach() == 0) & (n < sampler.n_samples)).nonzero(as_tuple=True)
        value = {"sum": total, "avg": total / length.clamp_min(1), "last": u}[sampler.readout]
        out = out.index_put((n[where], *where), value[where], accumulate=True)
    return torch.relu(out) if sampler.relu else out
