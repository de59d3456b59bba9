"""Exchange through NIR: exact parameters, and the same spikes after a trip through other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spk_neurons import IF, LI, LIF, CuBaLIF, NoisyLIF, TimeDistributed, from_nir, to_nir

nir = pytest.importorskip("nir")
pytestmark = pytest.mark.filterwarnings("ignore")


def drive(*shape: int) -> torch.Tensor:
    return torch.rand((40, 2, *shape), generator=torch.Generator().manual_seed(0)) * 2


def mlp(reset: Any = "hard", fire: Any = "gt") -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12), LIF(3.0, 0.3, reset=reset, fire=fire), nn.Linear(12, 4), LIF(2.0, 0.2, reset=reset, fire=fire)
    )


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("fire", ["ge", "gt"])
@pytest.mark.parametrize("dt", [1e-3, 1e-4])
def test_there_and_back(tmp_path: Path, reset: str, fire: str, dt: float) -> None:
    net, x = mlp(reset, fire), drive(6)
    graph = to_nir(net, dt=dt, sample=x)
    nir.write(tmp_path / "net.nir", graph)
    for source in (graph, tmp_path / "net.nir"):
        back = from_nir(source)
        assert back[1].reset == reset
        assert back[1].fire == fire
        assert torch.equal(back(x), net(x))


def test_parameters_are_exact() -> None:
    lif = LIF(7.0, 0.9, v_reset=-0.1)
    x = drive(5)
    node = to_nir(lif, dt=1e-3, sample=x).nodes["0"]
    assert np.allclose(node.tau, 7e-3, rtol=1e-12)
    assert np.allclose(node.r, 1.0, rtol=1e-12)
    assert np.allclose(node.v_leak, -0.1, rtol=1e-12)
    back = from_nir(to_nir(lif, dt=1e-3, sample=x))[0]
    for key, value in lif.numbers().items():
        if value is not None:
            assert back.numbers()[key] == pytest.approx(value, rel=1e-14)


def test_a_convolutional_network() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        TimeDistributed(nn.Conv2d(2, 4, 3, stride=2, padding=1)), LIF(2.0, 0.2), TimeDistributed(nn.AvgPool2d(2)),
        IF(0.3), TimeDistributed(nn.Flatten()), nn.Linear(16, 3), LI(3.0),
    )  # fmt: skip
    x = drive(2, 8, 8)
    torch.testing.assert_close(from_nir(to_nir(net, sample=x))(x), net(x))


def test_synaptic_current() -> None:
    net, x = CuBaLIF(3.0, 5.0, 0.8), drive(4)
    assert torch.equal(from_nir(to_nir(net, sample=x))(x), net(x))


def test_through_snntorch() -> None:
    snn_import = pytest.importorskip("snntorch.import_nir", exc_type=ImportError)
    # snnTorch reads beta and the threshold, and steps with dt = 1e-4; write the neuron it can hold
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 12), LIF(decay=0.9, gain=1.0, threshold=1.0, reset="hard", fire="gt"))
    x = drive(6)
    theirs = snn_import.import_from_nir(to_nir(net, dt=1e-4, sample=x))
    state, rows = None, []
    with torch.no_grad():
        for xt in x:
            out, state = theirs(xt, state)
            rows.append(out)
    spikes = torch.stack([r[0] if isinstance(r, tuple) else r for r in rows])
    assert 0 < spikes.mean() < 1
    assert torch.equal(spikes, net(x))


def test_through_norse() -> None:
    norse = pytest.importorskip("norse.torch.utils.import_nir", exc_type=ImportError)
    x = drive(6)
    net = mlp("hard", "gt")
    theirs = norse.from_nir(to_nir(net, dt=1e-3, sample=x), dt=1e-3)
    state, rows = None, []
    with torch.no_grad():
        for xt in x:
            out, state = theirs(xt, state)
            rows.append(out)
    assert torch.equal(torch.stack(rows), net(x))


def test_what_a_graph_does_not_say_is_asked_for() -> None:
    graph = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([3])}),
            "lif": nir.LIF(np.full(3, 2e-3), np.ones(3), np.zeros(3), np.ones(3)),
            "output": nir.Output({"output": np.array([3])}),
        },
        [("input", "lif"), ("lif", "output")],
    )
    with pytest.raises(ValueError, match="give dt="):
        from_nir(graph)
    with pytest.warns(UserWarning, match="taking reset='hard'"):
        assert from_nir(graph, dt=1e-3)[0].reset == "hard"
    assert from_nir(graph, dt=1e-3, reset="soft", method="zoh")[0].numbers()["decay"] == pytest.approx(np.exp(-0.5))
    with pytest.raises(ValueError, match="exceeds a time constant"):
        from_nir(graph, dt=5e-3, reset="soft")


def test_what_nir_cannot_say() -> None:
    x = drive(3)
    for net, reason in (
        (NoisyLIF(), "no noise"),
        (LIF(reset="soft", amount=0.5), "another amount"),
        (nn.Sequential(nn.Tanh()), "Tanh cannot be written"),
    ):
        with pytest.raises(ValueError, match=reason):
            to_nir(net, sample=x)
    with pytest.raises(ValueError, match="give sample="):
        to_nir(LIF())
