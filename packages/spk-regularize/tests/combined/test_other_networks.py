"""Networks of the other packages regularised, attacked and judged, without a change to their code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import spk_neurons
from spk_regularize import MPDSGR, PGD, MembraneMonitor, SpikingClassifier, check_stateless, masking_verdict

STEPS = 5


class Signs(nn.Module):
    """slr-cma's event network on still images: the same picture at every step."""

    def __init__(self) -> None:
        super().__init__()
        slr_cma = pytest.importorskip("slr_cma", reason="slr-cma is not installed")
        self.net = slr_cma.CMANet(3, size=(12, 12), channels=(8, 16), hidden=32, fusion="events")

    def forward(self, x: Tensor) -> Tensor:  # [B, 2, 12, 12] -> [B, 3]
        return self.net(x.expand(STEPS, *x.shape))


class Seen(nn.Module):
    """eas-det's spiking backbone with a read-out of its coarsest map."""

    def __init__(self) -> None:
        super().__init__()
        models = pytest.importorskip("eas_det.models", reason="eas-det is not installed")
        self.net = models.SpikingCSPDarknet(depth=0.33, width=0.125)
        self.read = nn.Linear(128, 3)

    def forward(self, x: Tensor) -> Tensor:  # [B, 2, 32, 32] -> [B, 3]
        coarse = self.net(x[None], steps=2)[-1]  # [T, B, 128, 1, 1]
        return self.read(coarse.mean((0, 3, 4)))


class Agent(nn.Module):
    """grsn-rl's gated neurons behind a layer of spk-neurons' plain ones: those are what is regularised."""

    def __init__(self) -> None:
        super().__init__()
        grsn_rl = pytest.importorskip("grsn_rl", reason="grsn-rl is not installed")
        self.encoder = nn.Sequential(nn.Flatten(1), nn.Linear(16, 24))
        self.neurons = spk_neurons.LIF(2.0, decay_input=False)
        self.memory, self.read = grsn_rl.GRSN(24, 32, readout="membrane"), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:  # [B, 1, 4, 4] -> [B, 3]
        spikes = self.neurons(4 * self.encoder(x).expand(STEPS, -1, -1))
        return self.read(self.memory(spikes)[0][-1])


SHAPES = {Signs: (2, 12, 12), Seen: (2, 32, 32), Agent: (1, 4, 4)}


def classifier(kind: type[nn.Module]) -> SpikingClassifier:
    torch.manual_seed(0)
    return SpikingClassifier(kind(), time="inside")


def batch(kind: type[nn.Module], n: int = 12) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, *SHAPES[kind], generator=torch.Generator().manual_seed(1))
    return x, torch.arange(n) % 3


@pytest.mark.parametrize("kind", SHAPES)
def test_potentials_are_regularised(kind: type[nn.Module]) -> None:
    model = classifier(kind)
    reg = MPDSGR(eta=1.0, warmup=0.0)
    x, _ = batch(kind)
    with MembraneMonitor(model, reg) as monitor:
        model(x)
    penalty = reg(monitor)
    penalty.backward()
    assert penalty > 0
    moved = [p for p in model.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(moved) >= 2


@pytest.mark.parametrize("kind", SHAPES)
def test_attack_and_verdict(kind: type[nn.Module]) -> None:
    model = classifier(kind).eval()
    check_stateless(model, batch(kind)[0])
    x, _ = batch(kind, 9)
    y = model(x).argmax(1)  # what it says is what is attacked: an untrained network names nothing right
    moved = PGD(model, eps=0.3, steps=5)(x, y)
    assert (moved - x).abs().max() <= 0.3 + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    verdict = masking_verdict(model, x, y, 0.3, steps=2, long=4, queries=6)
    assert len(verdict.items) == 11
