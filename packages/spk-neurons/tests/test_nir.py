"""Exchange through NIR: exact parameters, and the same spikes after a trip through other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spk_neurons import ALIF, IF, LI, LIF, PLIF, CuBaLIF, NoisyLIF, Recurrent, TimeDistributed, from_nir, to_nir
from spk_neurons.nir import NIRNetwork

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


@pytest.mark.parametrize(
    "neuron",
    [
        CuBaLIF(3.0, 5.0, 0.8), CuBaLIF(3.0, 5.0, v_reset=None), CuBaLIF(3.0, v_reset=-0.25), CuBaLIF(reset="none"),
        CuBaLIF(decay=0.7, decay_syn=0.6, gain=0.4, v_reset=-0.25), CuBaLIF(4.0, decay_input=False, fire="gt"),
        PLIF(3.0), LIF(3.0, v_reset=-0.25), LIF(torch.tensor([2.0, 3.0, 4.0, 5.0])), IF(2.0, "soft"), LI(decay=0.7),
    ],
    ids=repr,
)  # fmt: skip
def test_every_neuron(neuron: nn.Module, tmp_path: Path) -> None:
    x = drive(4)
    nir.write(tmp_path / "one.nir", to_nir(neuron, sample=x))
    back = from_nir(tmp_path / "one.nir")
    want = neuron(x)
    assert want.mean() > 0
    if isinstance(neuron, LI):
        torch.testing.assert_close(back(x), want)
    else:
        assert torch.equal(back(x), want)


def recurrent() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 5), Recurrent(LIF(8.0, 0.2, fire="gt"), nn.Linear(5, 5)), nn.Linear(5, 3),
        LIF(4.0, 0.05, fire="gt"),
    )  # fmt: skip


def test_a_recurrent_layer_is_a_cycle(tmp_path: Path) -> None:
    net, x = recurrent(), drive(6)
    graph = to_nir(net, sample=x)
    assert {("0", "1.lif"), ("1.lif", "1.w_rec"), ("1.w_rec", "1.lif"), ("1.lif", "2")} < set(graph.edges)
    nir.write(tmp_path / "net.nir", graph)
    back = from_nir(tmp_path / "net.nir")
    assert isinstance(back[1], Recurrent)
    assert torch.equal(back(x), net(x))
    assert not torch.equal(net[1].neuron(net[0](x)), net[1](net[0](x)))  # the feedback matters here


def test_feedback_of_several_layers() -> None:
    torch.manual_seed(0)
    feedback = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1, bias=False))
    net, x = Recurrent(CuBaLIF(3.0), feedback), drive(2, 5, 5)
    assert torch.equal(from_nir(to_nir(net, sample=x))(x), net(x))


def test_branches_add_where_they_meet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = NIRNetwork(
        {"fc": nn.Linear(4, 4), "lif": LIF(2.0, 0.3), "short": nn.Linear(4, 4, bias=False), "out": LIF(3.0, 0.2)},
        [("input", "fc"), ("fc", "lif"), ("lif", "out"), ("input", "short"), ("short", "out"), ("out", "output")],
    )
    x = drive(4)
    assert torch.equal(net(x), net.nodes["out"](net.nodes["lif"](net.nodes["fc"](x)) + net.nodes["short"](x)))
    nir.write(tmp_path / "net.nir", to_nir(net, sample=x))
    back = from_nir(tmp_path / "net.nir")
    assert isinstance(back, NIRNetwork)
    assert torch.equal(back(x), net(x))
    inside = nn.Sequential(net, nn.Linear(4, 2))
    assert torch.equal(from_nir(to_nir(inside, sample=x))(x), inside(x))


@pytest.mark.parametrize(
    ("edges", "reason"),
    [
        ([("input", "a"), ("a", "b"), ("b", "a"), ("a", "output")], "cycle"),
        ([("input", "a"), ("a", "output")], "no edge leaves 'b'"),
        ([("input", "a"), ("a", "c"), ("b", "output")], "does not join"),
        ([("input", "b"), ("b", "a"), ("a", "b")], "cycle"),
    ],
)
def test_networks_that_cannot_be(edges: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        NIRNetwork({"a": nn.Identity(), "b": nn.Identity()}, edges)


def test_values_of_different_shapes_do_not_add() -> None:
    net = NIRNetwork({"a": nn.Linear(3, 2)}, [("input", "a"), ("a", "output"), ("input", "output")])
    with pytest.raises(ValueError, match=r"inputs of 'output' differ in shape"):
        net(drive(3))


def one(*parts: tuple[str, Any], edges: list[tuple[str, str]]) -> Any:
    ends = {"input": nir.Input({"input": np.array([3])}), "output": nir.Output({"output": np.array([3])})}
    return nir.NIRGraph({**ends, **dict(parts)}, edges)


def cell() -> Any:
    return nir.LIF(np.full(3, 2e-3), np.ones(3), np.zeros(3), np.full(3, 0.3), np.zeros(3))


def test_subgraphs_are_dissolved() -> None:
    w = np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3)
    chain = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    inner = one(("lif", cell()), ("w_rec", nir.Linear(w)), edges=chain)
    outer = one(("layer", inner), edges=[("input", "layer"), ("layer", "output")])
    net, x = from_nir(outer, dt=1e-3, reset="hard"), drive(3)
    assert list(dict(net.named_children())) == ["layer_lif"]
    neuron = Recurrent(LIF(2.0, 0.3, fire="gt"), nn.Linear(3, 3, bias=False))
    neuron.feedback.weight.data = torch.from_numpy(w)
    assert torch.equal(net(x), neuron(x))


W = np.eye(3, dtype=np.float32)


@pytest.mark.parametrize(
    ("parts", "edges", "reason"),
    [
        ("ab", [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")], "holds 2 neurons"),
        ("aw", [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output"), ("w", "output")], "branches at 'w'"),
        ("a", [("input", "a"), ("a", "a"), ("a", "output")], "without a layer"),
        ("aw", [("input", "a"), ("a", "output"), ("w", "a")], "2 nodes Input"),
        ("aw", [("input", "a"), ("a", "output"), ("a", "w")], "2 nodes Output"),
    ],
)  # fmt: skip
def test_graphs_that_cannot_be_read(parts: str, edges: list[tuple[str, str]], reason: str) -> None:
    nodes = [(p, nir.Linear(W) if p == "w" else cell()) for p in parts]
    with pytest.raises(ValueError, match=reason):
        from_nir(one(*nodes, edges=edges), dt=1e-3, reset="hard")


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


def test_recurrence_through_norse() -> None:
    norse = pytest.importorskip("norse.torch.utils.import_nir", exc_type=ImportError)
    net, x = recurrent(), drive(6)
    theirs, state, rows = norse.from_nir(to_nir(net, dt=1e-3, sample=x), dt=1e-3), None, []
    with torch.no_grad():
        for xt in x:
            out, state = theirs(xt, state)
            rows.append(out)
    assert 0.1 < torch.stack(rows).mean() < 0.9
    assert torch.equal(torch.stack(rows), net(x))


def test_recurrence_from_snntorch() -> None:
    snn = pytest.importorskip("snntorch", exc_type=ImportError)
    export = pytest.importorskip("snntorch.export_nir", exc_type=ImportError)
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 5)
            self.lif = snn.RLeaky(
                beta=torch.full((5,), 0.9), all_to_all=True, linear_features=5, reset_mechanism="zero",
                reset_delay=False,
            )  # fmt: skip

        def forward(self, x: torch.Tensor, spk: Any = None, mem: Any = None) -> Any:
            return self.lif(self.fc(x), *(self.lif.init_rleaky() if spk is None else (spk, mem)))

    net, x = Net(), drive(6)[:, 0]
    ours = from_nir(export.export_to_nir(net, x[0]), dt=1e-4, reset="hard")
    spk, mem, rows = torch.zeros(5), torch.zeros(5), []
    with torch.no_grad():
        for xt in x:
            spk, mem = net(xt, spk, mem)
            rows.append(spk)
    assert 0.1 < torch.stack(rows).mean() < 0.9
    assert torch.equal(ours(x[:, None])[:, 0], torch.stack(rows))


def test_from_sinabs() -> None:
    layers, activation = (pytest.importorskip(f"sinabs.{m}", exc_type=ImportError) for m in ("layers", "activation"))
    export = pytest.importorskip("sinabs.nir", exc_type=ImportError)
    torch.manual_seed(0)
    single = {"spike_fn": activation.SingleSpike, "reset_fn": activation.MembraneSubtract()}
    net = nn.Sequential(
        nn.Linear(6, 5), layers.LIFSqueeze(tau_mem=torch.full((5,), 4.0), batch_size=2, spike_threshold=torch.full(
        (5,), 0.2), **single), nn.Linear(5, 3),
        layers.IAFSqueeze(batch_size=2, spike_threshold=torch.full((3,), 0.3), **single),
    )  # fmt: skip
    x = drive(6)
    graph = export.to_nir(net, x.transpose(0, 1).flatten(0, 1))
    for m in net:
        if hasattr(m, "reset_states"):
            m.reset_states()
    with torch.no_grad():
        theirs = net(x.transpose(0, 1).flatten(0, 1)).reshape(2, 40, 3).transpose(0, 1)
    # time constants in steps, exact decay, input weighed by 1 - decay
    ours = from_nir(graph, dt=1.0, reset="soft", method="zoh")
    assert 0.1 < theirs.mean() < 0.9
    assert torch.equal(ours(x), theirs)


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
        (ALIF(), "ALIF cannot be written"),
        (LI(decay=1.0), "infinite"),
        (nn.Flatten(0), "mixes samples"),
    ):
        with pytest.raises(ValueError, match=reason):
            to_nir(net, sample=x)
    with pytest.raises(ValueError, match="give sample="):
        to_nir(LIF())
