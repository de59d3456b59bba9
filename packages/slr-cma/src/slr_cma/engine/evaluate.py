"""What a trained network can do: accuracy by group, over the length of a recording, and its energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from slr_cma._sample import Sample
from slr_cma.diagnostics.stats import wilson
from slr_cma.engine.train import batches, predict
from slr_cma.models.net import CMANet

__all__ = ["Evaluation", "energy", "evaluate", "prefix_curve"]


@dataclass
class Evaluation:
    """Accuracy with its Wilson interval, macro F1, confusion [true][predicted], and accuracy per group.

    groups: such as {"light": {"dimLED": 0.9, ...}}; worst: the lowest of them, with its name.
    """

    accuracy: float
    low: float
    high: float
    macro_f1: float
    n: int
    confusion: list[list[int]]
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    worst: tuple[str, float] | None = None
    prefix: dict[str, float] | None = None
    energy: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def evaluate(net: CMANet, data: Dataset[Sample], *, device: str = "cpu", full: bool = False) -> Evaluation:
    """Evaluate on a dataset; its ``meta`` (list of dicts), if it has one, names the groups.

    Args:
        net, data: the network and its samples. device: where it computes. full: also the prefix curve and the energy
            estimate.
    """
    logits, labels = predict(net, data, device=device)
    answer, truth = logits.argmax(1).numpy(), labels.numpy()
    k = net.config.n_classes
    confusion = np.bincount(truth * k + answer, minlength=k * k).reshape(k, k)
    hits = np.diag(confusion)
    present = confusion.sum(1) > 0
    f1 = 2 * hits / np.maximum(confusion.sum(0) + confusion.sum(1), 1)
    low, high = wilson(int(hits.sum()), len(truth))
    out = Evaluation(
        float(hits.sum() / len(truth)), low, high, float(f1[present].mean()), len(truth), confusion.tolist()
    )
    meta = getattr(data, "meta", None)
    if meta:
        right = answer == truth
        for name in ("light", "position", "user"):
            values = np.array([str(m.get(name, "")) for m in meta])
            if (values != "").all():
                out.groups[name] = {v: float(right[values == v].mean()) for v in sorted(set(values))}
        every = {f"{g} {v}": a for g, table in out.groups.items() for v, a in table.items()}
        if every:
            worst = min(every, key=lambda each: every[each])
            out.worst = (worst, every[worst])
    if full:
        out.prefix = prefix_curve(net, data, device=device)
        out.energy = energy(net, data)
    return out


@torch.no_grad()
def prefix_curve(
    net: CMANet, data: Dataset[Sample], *, shares: Sequence[float] = (0.25, 0.5, 0.75, 1.0), device: str = "cpu"
) -> dict[str, float]:
    """Accuracy after the first part of each recording: {"25%": ...}."""
    net.eval()
    right = np.zeros(len(shares))
    total = 0
    for batch in batches(data, 64):
        moved = batch.to(device)
        for i, share in enumerate(shares):
            t = max(1, round(share * len(moved.mask)))
            cut = [None if x is None else x[:t] for x in (moved.events, moved.frames)]
            right[i] += int((net(*cut, moved.mask[:t]).argmax(1) == moved.labels).sum())
        total += len(batch.labels)
    return {f"{share:.0%}": float(r / total) for share, r in zip(shares, right, strict=True)}


class _OneInput(nn.Module):
    """Events and frames as one tensor, for counting operations."""

    def __init__(self, net: CMANet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        e = self.net.config.in_channels[0]
        out: Tensor = self.net(x[:, :, :e], x[:, :, e:])
        return out


def energy(net: CMANet, data: Dataset[Sample], *, samples: int = 8) -> dict[str, Any]:
    """Synaptic operations per sample, an energy estimate (45 nm), firing rates; over the first samples."""
    from spk_neurons import firing_rates, synops

    batch = next(batches(data, samples))
    steps, size = batch.mask.shape, net.config.size
    parts = [
        x if x is not None else torch.zeros(*steps, c, *size)
        for x, c in zip((batch.events, batch.frames), net.config.in_channels, strict=True)
    ]
    joined = torch.cat(parts, 2)
    module = _OneInput(net.eval().cpu())
    return {**synops(module, joined).to_dict(), "firing_rates": firing_rates(module, joined)}
