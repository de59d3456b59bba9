"""What a spiking network costs: synaptic operations by true fan-out, firing rates, an estimate of energy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons.record import record

__all__ = ["EnergyRow", "EnergyTable", "fan_out", "firing_rates", "synops"]

#: energy of one 32-bit operation in 45 nm CMOS, joule (Horowitz 2014, as the field quotes it)
MAC_JOULE = 4.6e-12
AC_JOULE = 0.9e-12

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class EnergyRow:
    """One layer, per sample (all its time steps): operations done, operations if every input were active, input
    rate."""

    layer: str
    kind: str
    operations: float
    dense: float
    input_rate: float

    @property
    def energy(self) -> float:
        """Joule per sample: 0.9 pJ per AC, 4.6 pJ per MAC (45 nm)."""
        return self.operations * (AC_JOULE if self.kind == "AC" else MAC_JOULE)


@dataclass
class EnergyTable:
    """``rows`` by layer, and their sums; ``print(table)`` shows it."""

    rows: list[EnergyRow] = field(default_factory=list)

    def total(self, kind: str | None = None) -> float:
        """Operations per sample, of one kind ("AC", "MAC") or of both."""
        return sum(r.operations for r in self.rows if kind is None or r.kind == kind)

    @property
    def energy(self) -> float:
        """Joule per sample."""
        return sum(r.energy for r in self.rows)

    def __getitem__(self, layer: str) -> EnergyRow:
        for row in self.rows:
            if row.layer == layer:
                return row
        raise KeyError(f"no layer {layer!r}; counted layers: {[r.layer for r in self.rows]}")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        rows = [{**vars(r), "energy_joule": r.energy} for r in self.rows]
        return {"rows": rows, "AC": self.total("AC"), "MAC": self.total("MAC"), "energy_joule": self.energy}

    def __str__(self) -> str:
        lines = [f"{'layer':<24}{'kind':<6}{'ops/sample':>14}{'dense':>14}{'rate':>8}{'energy nJ':>12}"]
        for r in self.rows:
            lines.append(
                f"{r.layer:<24}{r.kind:<6}{r.operations:>14.0f}{r.dense:>14.0f}"
                f"{r.input_rate:>8.3f}{r.energy * 1e9:>12.3f}"
            )
        lines.append(f"{'total':<30}{self.total():>14.0f}{'':>22}{self.energy * 1e9:>12.3f}")
        return "\n".join(lines)


def fan_out(module: nn.Module, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Number of connections that leave each input of a layer, for one sample of ``shape`` (no batch axis).

    Args: module: Linear, Conv or ConvTranspose, any stride, padding, dilation, groups. Returns: float64, ``shape``.
    """
    if isinstance(module, nn.Linear):
        return torch.full(tuple(shape), float(module.out_features), dtype=torch.float64)
    if not isinstance(module, _CONVS):
        raise TypeError(f"{type(module).__name__} has no countable connections; expected Linear, Conv or ConvTranspose")
    if module.padding_mode != "zeros":
        raise ValueError(
            f"padding_mode={module.padding_mode!r} repeats inputs at the border; only zero padding is counted"
        )
    # with unit weights the layer sums its inputs, so the gradient of its total output counts each input's edges
    x = torch.zeros((1, *shape), dtype=torch.float64, requires_grad=True)
    weight = torch.ones(module.weight.shape, dtype=torch.float64)
    with torch.enable_grad():
        if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            name = f"conv_transpose{len(module.kernel_size)}d"
            extra: dict[str, Any] = {"output_padding": module.output_padding}
        else:
            name, extra = f"conv{len(module.kernel_size)}d", {}
        y = getattr(nn.functional, name)(
            x,
            weight,
            None,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=module.groups,
            **extra,
        )
        (edges,) = torch.autograd.grad(y.sum(), x)
    return edges[0].detach()


class _Counter:
    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.done = self.dense = self.active = self.inputs = 0.0
        self.binary = True
        self.edges: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0].detach()
        if isinstance(module, nn.Linear):
            x = x.reshape(-1, x.shape[-1])
        elif x.dim() == len(module.kernel_size) + 1:  # type: ignore[arg-type]
            x = x.unsqueeze(0)
        shape = tuple(x.shape[1:])
        if shape not in self.edges:
            self.edges[shape] = fan_out(module, shape)
        edges = self.edges[shape].to(x.device)
        self.binary = self.binary and bool(((x == 0) | (x == 1)).all())
        active = (x != 0).sum(0)
        self.done += float((active * edges).sum())
        self.dense += float(edges.sum()) * x.shape[0]
        self.active += float(active.sum())
        self.inputs += x.numel()


@torch.no_grad()
def synops(net: nn.Module, x: Tensor, *, batch_dim: int = 1) -> EnergyTable:
    """Count synaptic operations in one forward pass.

    Args:
        net: a network of Linear, Conv and ConvTranspose layers among others. x: its input, [T, B, ...].
        batch_dim: axis of x that holds samples.
    Returns:
        :class:`EnergyTable`, per sample. A layer whose inputs are all 0 or 1 costs one accumulate (AC) per spike and
        connection; any other costs a multiply-accumulate (MAC) per connection, zeros included. Biases are not counted.
    """
    counters = {name: _Counter(m) for name, m in net.named_modules() if isinstance(m, (nn.Linear, *_CONVS))}
    if not counters:
        raise ValueError(f"{type(net).__name__} holds no Linear or Conv layer, so there is nothing to count")
    samples = max(1, x.shape[batch_dim])
    handles = [c.module.register_forward_pre_hook(c) for c in counters.values()]
    try:
        net(x)
    finally:
        for h in handles:
            h.remove()
    rows = []
    for name, c in counters.items():
        if c.inputs:
            ops = c.done if c.binary else c.dense
            rows.append(
                EnergyRow(name, "AC" if c.binary else "MAC", ops / samples, c.dense / samples, c.active / c.inputs)
            )
    return EnergyTable(rows)


@torch.no_grad()
def firing_rates(net: nn.Module, x: Tensor) -> dict[str, float]:
    """Mean spikes per neuron and step of every neuron layer of ``net``, for inputs x [T, B, ...]."""
    with record(net, "s") as rec:
        net(x)
    rates = {}
    for name, rows in rec.calls.items():
        spikes = [r.s for r in rows if r.s is not None]
        count = sum(s.numel() for s in spikes)
        rates[name] = math.fsum(float(s.sum()) for s in spikes) / max(1, count)
    return rates
