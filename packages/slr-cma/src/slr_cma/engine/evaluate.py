"""What a trained network can do: accuracy by group, over the length of a recording, and its energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from slr_cma._arrays import ArrayDataset
from slr_cma._sample import Sample
from slr_cma.data.corrupt import CORRUPTIONS, corrupt
from slr_cma.diagnostics.stats import wilson
from slr_cma.engine.train import batches, predict
from slr_cma.models.net import CMANet

__all__ = ["Evaluation", "energy", "evaluate", "prefix_curve", "robustness_suite"]


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

    full: also the prefix curve and the energy estimate.
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


def robustness_suite(
    net: CMANet,
    data: ArrayDataset,
    *,
    corruptions: Sequence[str] | str = "all",
    severities: Sequence[int] = (1, 3, 5),
    seeds: int = 3,
    device: str = "cpu",
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Accuracy under every corruption and severity, the mean over ``seeds`` draws.

    Returns:
        Rows {corruption, strikes, severity, accuracy, spread, drop}; first the clean one, then with one modality
        missing, last the worst of all.
    """
    from tqdm import tqdm

    names = (
        list(CORRUPTIONS) if corruptions == "all" else [corruptions] if isinstance(corruptions, str) else corruptions
    )

    def accuracy(e: NDArray[Any] | None, f: NDArray[Any] | None) -> float:
        logits, labels = predict(net, ArrayDataset(e, f, data.labels, mask=data.mask), device=device)
        return float((logits.argmax(1) == labels).double().mean())

    clean = accuracy(data.events, data.frames)
    rows: list[dict[str, Any]] = []

    def add(name: str, strikes: str, severity: int, values: list[float]) -> None:
        mean = float(np.mean(values))
        rows.append(
            {
                "corruption": name,
                "strikes": strikes,
                "severity": severity,
                "accuracy": mean,
                "spread": float(np.std(values)),
                "drop": clean - mean,
            }
        )

    add("none", "", 0, [clean])
    if data.events is not None and data.frames is not None:
        if net.config.fusion != "frames":
            add("no frames", "frames", 5, [accuracy(data.events, None)])
        if net.config.fusion != "events":
            add("no events", "events", 5, [accuracy(None, data.frames)])
    for name in tqdm(names, desc="corruptions", disable=not progress):
        for severity in severities:
            values = [
                accuracy(*corrupt(name, data.events, data.frames, severity=severity, seed=s)) for s in range(seeds)
            ]
            add(name, CORRUPTIONS[name][0] if name in CORRUPTIONS else "", severity, values)
    worst = min(rows, key=lambda row: row["accuracy"])
    return [*rows, {**worst, "corruption": f"worst: {worst['corruption']}"}]
