"""The detector's layers stand in one table with those of any other spiking network."""

from __future__ import annotations

import pytest
import torch

from eas_det import EventDetector
from eas_det.energy import profile
from spk_neurons import synops
from spk_neurons.energy import EnergyTable


def lively() -> EventDetector:
    torch.manual_seed(0)
    net = EventDetector("pico", 2, "backbone", T=2)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net(torch.poisson(torch.full((4, 4, 2, 32, 32), 0.4)))
    return net.eval()


def test_a_detector_and_a_classifier_share_a_table() -> None:
    slr_cma = pytest.importorskip("slr_cma")
    classifier = synops(
        slr_cma.CMANet(5, size=(12, 12), channels=(8, 16), hidden=32, fusion="events"), torch.rand(6, 3, 2, 12, 12)
    )
    detector = profile(lively(), torch.poisson(torch.full((2, 4, 2, 32, 32), 0.4)))
    both = EnergyTable([*detector.rows, *classifier.rows])
    assert both.energy == pytest.approx(detector.energy + classifier.energy)
    assert both.total("AC") == pytest.approx(detector.total("AC") + classifier.total("AC"))
    assert both["backbone.stem.conv.conv"] is detector["backbone.stem.conv.conv"]
    assert {"AC", "MAC"} == {row.kind for row in both.rows}


def test_the_general_counter_agrees_where_inputs_are_zero_or_one() -> None:
    # it sees the layers that are called as modules (not the sampler's), and takes a shortcut's sums for real values
    net, x = lively(), torch.poisson(torch.full((2, 4, 2, 32, 32), 0.4))
    ours, general = profile(net, x), synops(net, x, batch_dim=0)
    same = [row for row in general.rows if row.kind == "AC"]
    assert len(same) > 10
    for row in same:
        assert ours[row.layer].kind == "AC"
        assert ours[row.layer].operations == pytest.approx(row.operations)
