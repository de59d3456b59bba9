"""What a detection costs: operations, input rates and an estimate of energy, layer by layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons import firing_rates as rates_of
from spk_neurons.energy import MAC_JOULE, EnergyRow, EnergyTable, fan_out

from .models.detector import EventDetector
from .sampler import ARSNNSampler, RSNNEmbedding, SNNEmbedding

__all__ = ["LayerTable", "firing_rates", "profile"]


class LayerTable(EnergyTable):
    """Rows by layer and their sums, per item of the batch and all its steps; ``print(table)`` shows it.

    rows: of spk_neurons' EnergyTable, so that networks of other packages fit into the same table: layer, kind ("AC"
    where spikes alone come in, else "MAC"), operations (accumulates actually done, or all multiply-accumulates), dense
    (multiply-accumulates if every input were active), input_rate (mean value of an input: a shortcut's 1 + 1 counts as
    two), energy in joule (0.9 pJ an AC, 4.6 pJ a MAC: 32 bit, 45 nm).
    """

    @property
    def picojoule(self) -> float:
        """Of all layers."""
        return 1e12 * self.energy

    @property
    def dense_picojoule(self) -> float:
        """Of the same network if each operation were a multiply-accumulate on every input: 4.6 pJ each."""
        return sum(1e12 * MAC_JOULE * row.dense for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        macs = sum(row.dense for row in self.rows)
        more = {"macs": macs, "picojoule": self.picojoule, "dense_picojoule": self.dense_picojoule}
        return {**super().to_dict(), **more}

    def __str__(self) -> str:
        lines = [f"{'layer':<36}{'kind':<5}{'MACs':>13}{'rate':>8}{'operations':>13}{'nJ':>11}"]
        for row in self.rows:
            lines.append(
                f"{row.layer:<36}{row.kind:<5}{row.dense:>13,.0f}{row.input_rate:>8.3f}{row.operations:>13,.0f}"
                f"{1e9 * row.energy:>11.1f}"
            )
        told = f"{self.picojoule / 1e9:.4f} mJ, {self.dense_picojoule / max(self.picojoule, 1e-12):.1f} times less than"
        lines.append(f"{told} {self.dense_picojoule / 1e9:.4f} mJ of all operations as MACs (45 nm, an estimate)")
        return "\n".join(lines)


@torch.no_grad()
def profile(model: EventDetector, batch: Tensor) -> LayerTable:
    """Operations of one forward pass in eval mode.

    Args:
        model: the detector. batch: [B, bins, C, H, W] counts.
    Returns:
        LayerTable, per item: the sampler's, the stem's and all layers with real-valued input count as MACs, those that
        spikes drive as ACs: an input of 2 (a shortcut adds spikes) is two. An input that is the same at every step is
        convolved once and counted once. Biases, norms and neurons are not counted.
    Source: 45 nm energies as the field quotes them. Memory traffic, which dominates on real chips, is left out.
    """
    if batch.dim() != 5 or not len(batch):
        raise ValueError(f"batch has shape {tuple(batch.shape)}; expected [B >= 1, bins, C, H, W]")
    counters = {name: _Counter() for name, each in model.named_modules() if isinstance(each, nn.Conv2d)}
    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_pre_hook(counter) for name, counter in counters.items()]
    was = model.training
    try:
        model.eval()(batch)
        _sampler_work(model.embedding, batch)
    finally:
        model.train(was)
        for handle in handles:
            handle.remove()
    rows: list[EnergyRow] = []
    for name, counter in counters.items():
        if not counter.inputs:
            continue
        # counts are whole numbers too, but no spikes: the first layers multiply
        real = name.startswith(("embedding.conv_in", "backbone.stem")) or not counter.whole
        operations = counter.dense if real else counter.done
        done, dense = operations / len(batch), counter.dense / len(batch)
        rows.append(EnergyRow(name, "MAC" if real else "AC", done, dense, counter.active / counter.inputs))
    return LayerTable(rows)


def _sampler_work(embedding: nn.Module, batch: Tensor) -> None:
    """What a sampler's convolutions see: it computes them folded, so that its modules are not called by it."""
    if not isinstance(embedding, (ARSNNSampler, RSNNEmbedding, SNNEmbedding)):
        return
    embedding.conv_in(batch.flatten(0, 1))
    if isinstance(embedding, SNNEmbedding):
        return
    twin: nn.Module = embedding
    if isinstance(embedding, RSNNEmbedding):
        # the same weights, the same spikes; only a sampler of intervals tells them
        twin = ARSNNSampler(
            embedding.in_channels, threshold=embedding.threshold, v_reset=embedding.v_reset, order=embedding.order
        )
        twin.conv_in, twin.conv_rec = embedding.conv_in, embedding.conv_rec
        twin.eval()
    spikes = twin(batch, return_info=True).spikes[:-1]
    if len(spikes):
        embedding.conv_rec(spikes.flatten(0, 1))


class _Counter:
    def __init__(self) -> None:
        self.done = self.dense = self.active = self.inputs = 0.0
        self.whole = True
        self.edges: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0].detach()
        shape = tuple(x.shape[1:])
        if shape not in self.edges:
            self.edges[shape] = _edges(module, shape).to(x.device, torch.float32)
        edges = self.edges[shape]
        self.whole = self.whole and bool(((x >= 0) & (x == x.round())).all())
        total = x.sum(0)
        self.done += float((total * edges).sum())
        self.dense += float(edges.sum(dtype=torch.float64)) * len(x)
        self.active += float(total.sum())
        self.inputs += x.numel()


def _edges(module: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """[C, H, W] connections that leave each input; every channel is alike, so one is counted."""
    assert isinstance(module, nn.Conv2d)
    one = nn.Conv2d(1, 1, module.kernel_size, module.stride, module.padding, module.dilation, bias=False)  # type: ignore[arg-type]
    return fan_out(one, (1, *shape[1:])).expand(shape) * module.out_channels


def firing_rates(model: EventDetector, batch: Tensor) -> dict[str, float]:
    """Mean spikes per neuron and step of every layer of neurons, in eval mode; batch as of profile."""
    was = model.training
    try:
        return rates_of(model.eval(), batch)
    finally:
        model.train(was)
