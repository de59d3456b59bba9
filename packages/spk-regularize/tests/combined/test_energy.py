"""One function counts the operations of every spiking network of the family, without touching their code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from spk_neurons import synops


def regularised() -> tuple[nn.Module, torch.Tensor]:
    from spk_regularize import build_model

    model = build_model("cnn", seed=0)
    return model.net, torch.rand(4, 2, 1, 8, 8)


def signs() -> tuple[nn.Module, torch.Tensor]:
    pytest.importorskip("slr_cma")
    from slr_cma import CMANet

    return CMANet(5, size=(12, 12), channels=(8, 16), hidden=32, fusion="events"), torch.rand(6, 3, 2, 12, 12)


def agent() -> tuple[nn.Module, torch.Tensor]:
    pytest.importorskip("grsn_rl")
    from grsn_rl import GRSN

    torch.manual_seed(0)
    return nn.Sequential(GRSN(4, 32), First(), nn.Linear(32, 2)), 5 * torch.randn(6, 3, 4)


def detector() -> tuple[nn.Module, torch.Tensor]:
    pytest.importorskip("eas_det")
    from eas_det import EventDetector

    torch.manual_seed(0)
    net = EventDetector(variant="pico", spiking="full", T=2, num_classes=2).eval()
    return net, torch.randint(0, 3, (2, 8, 2, 64, 64)).float()


def retina() -> tuple[nn.Module, torch.Tensor]:
    pytest.importorskip("tecos_lvm")
    from tecos_lvm import TeCoSConfig, TeCoSLVM

    torch.manual_seed(0)
    return TeCoSLVM(TeCoSConfig((8, 8), 3, 10.0)), torch.rand(2, 20, 8, 8)


class First(nn.Module):
    def forward(self, pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return pair[0]


@pytest.mark.parametrize(("build", "batch_dim"), [(regularised, 1), (signs, 1), (agent, 1), (detector, 0), (retina, 0)])
def test_one_function_counts_the_operations(
    build: Callable[[], tuple[nn.Module, torch.Tensor]], batch_dim: int
) -> None:
    net, x = build()
    table = synops(net, x, batch_dim=batch_dim)
    kinds = {row.kind for row in table.rows}
    assert "AC" in kinds  # some layer is fed spikes, and is counted as such
    assert table.energy > 0
