"""Inside the samplers that reproduce.py trained: when they look, what they drop, where their potentials lie."""

from __future__ import annotations

import math

import numpy as np
import torch

from eas_det.data import Rendered
from eas_det.sampler import ARSNNSampler


@torch.no_grad()
def start_at_counts(sampler: ARSNNSampler) -> None:
    """Not published: the current is the pixel's own count, and a tenth of the usual random weights."""
    channels = sampler.in_channels
    for stack in (sampler.conv_in, sampler.conv_rec):
        for weights in stack.parameters():
            weights *= 0.1
    weight = sampler.conv_in[-1].weight
    for channel in range(channels):
        weight[channels + channel, channel, weight.shape[2] // 2, weight.shape[3] // 2] += 1


@torch.no_grad()
def look_inside(sampler: ARSNNSampler, data: Rendered) -> dict[str, float]:
    """Interval against speed, silent pixels, and where the potentials lie."""
    lengths, speeds, silent, active = [], [], 0.0, 0.0
    near = total = 0.0
    histogram = np.zeros(10)
    edges = np.linspace(-1.5, 3.5, 11)
    for part in torch.split(torch.arange(len(data)), 64):
        counts = data.batch(part).counts
        output = sampler(counts, return_info=True)
        busy = counts.sum(1) > 0  # pixels and polarities that saw an event
        silent += float((busy & (output.n_fired == 0)).sum())
        active += float(busy.sum())
        u = potentials(sampler, counts)
        chosen = u[busy.expand_as(u)]
        near += float(((chosen - sampler.threshold).abs() < 0.5).sum())
        total += chosen.numel()
        histogram += np.histogram(chosen.clamp(-1.5, 3.5).cpu().numpy(), edges)[0]
        interval, fired = output.interval[0].cpu(), (output.n_fired > 0).cpu() & busy.cpu()
        for row, place in enumerate(part.tolist()):
            sample = data.labels_at(place)
            for box, speed, ignored in zip(sample.boxes, sample.speed, sample.ignore, strict=True):
                x1, y1, x2, y2 = (int(each) for each in (box[0], box[1], box[2].ceil(), box[3].ceil()))
                here = interval[row, :, y1:y2, x1:x2][fired[row, :, y1:y2, x1:x2]]
                if not ignored and len(here) >= 5 and math.isfinite(speed):
                    lengths.append(float(here.float().mean()))
                    speeds.append(float(speed))
    rank = [np.argsort(np.argsort(each)).astype(float) for each in (lengths, speeds)]
    rho = float(np.corrcoef(*rank)[0, 1]) if len(lengths) > 10 and np.std(lengths) > 0 else math.nan
    bars = {f"u_{low:g}": share for low, share in zip(edges[:-1], histogram / max(1, histogram.sum()), strict=True)}
    return {
        "interval_speed_rho": rho, "objects": len(lengths), "interval_mean": float(np.mean(lengths or [math.nan])),
        "silent_share": silent / max(1, active), "near_threshold": near / max(1, total), **bars,
    }  # fmt: skip


def potentials(sampler: ARSNNSampler, counts: torch.Tensor) -> torch.Tensor:
    """[T, B, C, H, W] potentials before the reset, by the sampler's equations step by step."""
    bins = counts.transpose(0, 1)
    v = s = torch.zeros_like(bins[0])
    out = []
    for f in bins.flip(0) if sampler.order == "newest_first" else bins:
        gate, current = (sampler.conv_in(f) + sampler.conv_rec(s)).chunk(2, 1)
        u = torch.sigmoid(gate) * v + current
        s = (u > sampler.threshold).to(u.dtype)
        v = u * (1 - s) + (sampler.v_reset or 0.0) * s
        out.append(u)
    return torch.stack(out)
