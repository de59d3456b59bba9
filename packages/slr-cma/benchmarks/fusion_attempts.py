"""Networks of the fusion study outside the package: gates that know the faults, and late cross-allocation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slr_cma import CMANet, CrossModalityAttention
from slr_cma.models import SpatialScorer, TemporalScorer


class Informed(CMANet):
    """A network whose inputs carry one channel more: 1 where that modality is broken, 0 elsewhere.

    The channel never reaches the convolutions (unless ``told``); it feeds the oracle gate or the loss.

    Args:
        oracle: None, "hard" (currents times what is whole) or "soft" (times (1 + whole) / 2): the ceiling of a gate.
        told: the convolutions see the channel too: the ceiling of any use of that knowledge.
        predict: weight of the loss by which P Q must tell what is whole.
    """

    def __init__(self, *, oracle: str | None = None, told: bool = False, predict: float = 0.0, **options: Any) -> None:
        super().__init__(24, in_channels=(3, 2) if told else (2, 1), **options)
        self.told, self.predict = told, predict
        if oracle is not None:
            self.attention["1"] = OracleGate(oracle == "hard")
        elif predict:
            self.attention["1"].__class__ = _Kept  # the same weights, drawn from the same seed

    def _inputs(self, events: Tensor | None, frames: Tensor | None, mask: Tensor | None) -> list[Tensor]:
        assert events is not None
        assert frames is not None
        # stage 1 has maps half as large
        self.whole = [1 - F.avg_pool2d(x[:, :, -1], 2) for x in (events, frames)]
        if "1" in self.attention and isinstance(self.attention["1"], OracleGate):
            self.attention["1"].whole = self.whole
        if not self.told:
            events, frames = events[:, :, :-1], frames[:, :, :-1]
        return super()._inputs(events, frames, mask)

    def loss(self, *inputs: Any, **options: Any) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(*inputs, **options)
        if self.predict:
            s = self.attention["1"].last
            for p, q, whole in zip(s[:2], s[2:], self.whole, strict=True):
                loss = loss + self.predict * F.binary_cross_entropy(p[:, :, None, None] * q, whole)
        return loss, logits


class _Kept(CrossModalityAttention):
    """Attention that keeps its last scores."""

    def scores(self, *inputs: Any) -> Any:
        self.last = super().scores(*inputs)
        return self.last


class OracleGate(nn.Module):
    """Currents of each branch times what is whole of it, as the generator knows."""

    def __init__(self, hard: bool) -> None:
        super().__init__()
        self.hard, self.whole = hard, [torch.ones(())] * 2

    def forward(self, x_e: Tensor, x_f: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        del mask
        gates = [w if self.hard else (1 + w) / 2 for w in self.whole]
        return x_e * gates[0][:, :, None], x_f * gates[1][:, :, None]


def joined(net: CMANet) -> None:
    """Turn self-attention into one scorer over both modalities that starts as the same function.

    Both modalities' scorers stand side by side in one of twice the width; the weights between them start at zero.
    """
    own = net.attention["1"]
    assert isinstance(own, CrossModalityAttention)
    cross = CrossModalityAttention(own.channels, allocate="joint", hidden=16)
    parts = [_layers(each) for each in zip(own.time, own.space, strict=True)]
    for number, wide in enumerate(_layers((cross.time[0], cross.space[0]))):
        rows, columns = parts[0][number].weight.shape[:2]
        with torch.no_grad():
            wide.weight.zero_()
            for i, layers in enumerate(parts):
                block = (slice(i * rows, (i + 1) * rows), slice(i * columns, (i + 1) * columns))
                wide.weight[block] = layers[number].weight
                wide.bias[i * rows : (i + 1) * rows] = layers[number].bias
    net.attention["1"] = cross


def _layers(scorers: tuple[nn.Module, nn.Module]) -> list[Any]:
    """The convolutions of a temporal and a spatial scorer."""
    time, space = scorers
    assert isinstance(time, TemporalScorer)
    assert isinstance(space, SpatialScorer)
    return [time.first, time.last, space.net[0], space.net[2]]


class Switch:
    """Holds the weights between modalities of a :func:`joined` network at zero until it is opened.

    The network must be where it will be trained: moving it to another device makes new parameters.
    """

    def __init__(self, net: CMANet) -> None:
        self.open = False
        cross = net.attention["1"]
        assert isinstance(cross, CrossModalityAttention)
        for layer in _layers((cross.time[0], cross.space[0])):
            rows, columns = (side // 2 for side in layer.weight.shape[:2])
            inside = torch.zeros_like(layer.weight)
            inside[:rows, :columns] = inside[rows:, columns:] = 1
            layer.weight.register_hook(lambda g, inside=inside: g if self.open else g * inside)
