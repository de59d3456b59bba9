"""Surrogates, encoders, decoders, layers, energy, recording, plots, command line."""

from __future__ import annotations

import itertools
import json
import math
import sys

import pytest
import torch
from torch import nn

from spk_neurons import (
    ALIF,
    IF,
    LIF,
    PSN,
    MaskedPSN,
    Recurrent,
    SlidingPSN,
    StatsRequest,
    TDBatchNorm,
    TimeDistributed,
    backend_report,
    cli,
    decode,
    encode,
    firing_rates,
    plot,
    record,
    surrogate,
    synops,
)
from spk_neurons.energy import fan_out

SHAPES = [cls() for cls in surrogate.KINDS.values()] + [
    surrogate.ATan(3.0),
    surrogate.Rectangle(0.4),
    surrogate.Sigmoid(25.0),
]


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_primitive_and_derivative_agree(shape: surrogate.Surrogate) -> None:
    u = torch.linspace(-1.37, 1.41, 97, dtype=torch.float64)
    step = 1e-6
    slope = (shape.primitive(u + step) - shape.primitive(u - step)) / (2 * step)
    torch.testing.assert_close(shape.derivative(u), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("mass", [0.3, 0.8, 0.95])
def test_gradient_range_by_mass_and_height(shape: surrogate.Surrogate, mass: float) -> None:
    lo, hi = shape.gradient_range(mass=mass)
    edge = shape.primitive(torch.tensor([-1e7, lo, hi, 1e7], dtype=torch.float64))
    assert float((edge[2] - edge[1]) / (edge[3] - edge[0])) == pytest.approx(mass, abs=1e-5)
    if not isinstance(shape, surrogate.Rectangle):
        lo, hi = shape.gradient_range(eps=mass * shape.peak)
        assert float(shape.derivative(torch.tensor(hi, dtype=torch.float64))) == pytest.approx(
            mass * shape.peak, rel=1e-6
        )
    assert lo == -hi


def test_gradient_range_default() -> None:
    assert surrogate.Triangle(0.7).gradient_range() == (-0.7, 0.7)
    assert surrogate.Rectangle(0.5).gradient_range() == (-0.25, 0.25)
    assert surrogate.ATan().gradient_range() == surrogate.ATan().gradient_range(mass=0.8)
    assert surrogate.ATan(2.0).gradient_range()[1] == pytest.approx(math.tan(0.4 * math.pi) / math.pi)


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_derivatives_are_finite_far_away_and_in_half(shape: surrogate.Surrogate) -> None:
    far = torch.tensor([-1e4, -4.0, 0.0, 4.0, 1e4])
    assert bool(torch.isfinite(shape.derivative(far)).all())
    assert shape.derivative(far.bfloat16()).dtype == torch.float32


def test_poisson_rates_and_gradient() -> None:
    x = torch.tensor([0.0, 0.2, 1.0], requires_grad=True)
    s = encode.poisson(x, 20_000, generator=torch.Generator().manual_seed(0), straight_through=True)
    torch.testing.assert_close(s.mean(0), x.detach(), atol=0.012, rtol=0)
    s.sum().backward()
    assert x.grad.tolist() == [20_000.0] * 3
    assert not encode.poisson(x, 3).requires_grad
    assert encode.constant(x, 4).stride(0) == 0


def test_latency_and_delta() -> None:
    x = torch.tensor([0.0, 0.5, 1.0])
    assert encode.latency(x, 5).argmax(0).tolist() == [4, 2, 0]
    assert encode.latency(x, 5, law="log").argmax(0).tolist() == [4, 1, 0]
    assert encode.latency(x, 2000, law="log").argmax(0).tolist() == [1999, 1, 0]
    assert encode.latency(x, 5, silent_zero=True).sum(0).tolist() == [0, 1, 1]
    signal = torch.tensor([0.0, 1.0, 1.1, 0.0])
    assert encode.delta(signal, 0.5).tolist() == [0, 1, 0, 0]
    assert encode.delta(signal, 0.5, off_spikes=True).tolist() == [0, 1, 0, -1]


def test_decoders() -> None:
    s = torch.tensor([[0.0, 0, 1], [1, 0, 1]])[:, None]
    assert decode.rate(s)[0].tolist() == [0.5, 0, 1]
    assert decode.first_spike(s)[0].tolist() == [1, 2, 0]
    assert decode.membrane(s, "max")[0].tolist() == [1, 0, 1]
    target = torch.tensor([2])
    assert decode.tet_loss(s, target, weight=0.0) == pytest.approx(
        torch.stack([nn.functional.cross_entropy(r, target) for r in s]).mean().item()
    )
    assert decode.rate_cross_entropy(s, target) == nn.functional.cross_entropy(s.mean(0), target)


def test_time_distributed_and_batch_norm() -> None:
    x = torch.randn(4, 3, 5, 6, 6) * 3 + 1
    y = TDBatchNorm(5, threshold=0.5)(x)
    assert y.mean().item() == pytest.approx(0, abs=1e-5)
    assert y.transpose(0, 2).flatten(1).std(1, correction=0).tolist() == pytest.approx([0.5] * 5, rel=1e-4)
    conv = nn.Conv2d(5, 2, 3)
    torch.testing.assert_close(TimeDistributed(conv)(x), torch.stack([conv(r) for r in x]))


def test_parallel_neurons() -> None:
    x = torch.randn(6, 2, 3)
    sliding = SlidingPSN(3)
    h = [sum(sliding.weight[2 - i] * x[t - i] for i in range(3) if t >= i) - 1 for t in range(6)]
    assert torch.equal(sliding(x), (torch.stack(h) >= 0).float())
    full = PSN(6)
    want = (torch.einsum("ts,sbc->tbc", full.weight, x) + full.bias[:, :, None] >= 0).float()
    assert torch.equal(full(x), want)
    masked = MaskedPSN(2, 6)
    later = x.clone()
    later[3] += 100
    assert torch.equal(masked(later)[:3], masked(x)[:3])
    assert torch.equal(masked(later)[5:], masked(x)[5:])


def test_recurrent_against_a_loop() -> None:
    torch.manual_seed(0)
    cell = Recurrent(LIF(3.0), nn.Conv2d(2, 2, 3, padding=1))
    x = torch.rand(5, 1, 2, 4, 4) * 3
    v, s, rows = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), []
    for xt in x:
        h = (1 - 1 / 3) * v + (1 / 3) * (xt + cell.feedback(s))
        s = (h >= 1).float()
        v = torch.where(s > 0, 0.0, h)
        rows.append(s)
    assert torch.equal(cell(x), torch.stack(rows))


CONVS = [
    nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(3, 6, 2, groups=3, dilation=2),
    nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1), nn.Conv2d(3, 2, (1, 3), padding=(2, 0)),
]  # fmt: skip


@pytest.mark.parametrize("conv", CONVS, ids=repr)
def test_fan_out_by_brute_force(conv: nn.Module) -> None:
    """Switch each input on alone: the outputs it changes are its connections."""
    edges = fan_out(conv, (3, 5, 5))
    nn.init.constant_(conv.weight, 1.0)
    for index in itertools.product(range(3), range(5), range(5)):
        x = torch.zeros(1, 3, 5, 5)
        x[(0, *index)] = 1.0
        with torch.no_grad():
            reached = conv(x) - conv(torch.zeros_like(x))
        assert int(reached.sum().round()) == int(edges[index])


def test_synops_count_spikes_times_fan_out() -> None:
    net = nn.Sequential(nn.Linear(4, 6), IF(), nn.Linear(6, 3))
    x = torch.rand(5, 2, 4) * 4
    table = synops(net, x)
    spikes = net[:2](x)
    assert table["0"].kind == "MAC"
    assert table["0"].operations == 5 * 4 * 6
    assert table["2"].kind == "AC"
    assert table["2"].operations == pytest.approx(spikes.sum().item() * 3 / 2)
    assert table.energy == pytest.approx(120 * 4.6e-12 + table.total("AC") * 0.9e-12)
    assert "total" in str(table)
    assert firing_rates(net, x)["1"] == pytest.approx(spikes.mean().item())


def test_record_with_graph_and_streaming() -> None:
    net = nn.Sequential(nn.Linear(4, 6), LIF(), nn.Linear(6, 3), LIF(reset="soft"))
    x = torch.rand(5, 2, 4) * 4
    with record(net, "s", "h", "v") as rec:
        out = net(x)
    assert rec.keys() == ["1", "3"]
    assert torch.equal(rec["3"].s, out)
    assert torch.equal((rec["1"].h >= 1).float(), rec["1"].s)
    rec["1"].h.mean().backward()
    with record(net, "h", stats=True, layers=["1"]) as streamed:
        net(x)
    assert streamed["1"].h is None
    torch.testing.assert_close(streamed["1"].stats.mean, rec["1"].h.mean(1))
    stored = [p.grad.clone() for p in net[0].parameters()]
    net.zero_grad()
    streamed["1"].stats.mean.mean().backward()
    for p, g in zip(net[0].parameters(), stored, strict=True):
        torch.testing.assert_close(p.grad, g)
    with pytest.raises(KeyError, match="recorded: 1"):
        streamed["3"]
    with record(net, stats=StatsRequest(bins=10, window=(0.5, 1.5)), detach=True) as counted:
        net(x)
    assert int(counted["3"].stats.histogram.sum()) == out.numel()


def test_pictures() -> None:
    pytest.importorskip("matplotlib")
    s = (torch.rand(20, 5) > 0.7).float()
    h = torch.randn(20, 5)
    assert plot.raster(s).get_ylabel() == "neuron"
    ax = plot.membrane(h, surrogate=surrogate.Triangle(), spikes=s)
    assert len(ax.patches) == 1
    assert plot.potential_histogram(h).get_xlabel().startswith("membrane")
    with record(LIF(), stats=StatsRequest(bins=8)) as rec:
        net = LIF()
    del net, rec


def command(
    arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line."""
    monkeypatch.setattr(sys, "argv", ["spk-neurons", *arguments.split()])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = command("info --json", capsys, monkeypatch)
    report = json.loads(out)
    assert code == 0
    assert report["versions"]["spk-neurons"]
    assert any(line.startswith("numba") for line in report["backends"])
    assert command("check spk_neurons:PLIF", capsys, monkeypatch)[:2] == (0, "spk_neurons:PLIF: ok\n")
    for wrong, message in (
        ("check nowhere:Nothing", "cannot find 'nowhere:Nothing'"),
        ("check spk_neurons:nowhere", "cannot find 'spk_neurons:nowhere'"),
        ("bench --steps 0", "steps=0"),
    ):
        code, out, err = command(wrong, capsys, monkeypatch)
        assert (code, out) == (2, "")
        assert err.startswith(f"spk-neurons: {message}")
        assert err.count("\n") == 1


@pytest.mark.filterwarnings("ignore")  # the peers' imports
def test_bench_command_shows_floor_and_backends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = command("bench --steps 4 --neurons 64 --rounds 1 --json", capsys, monkeypatch)
    rows = json.loads(out)
    assert rows[0]["name"] == "bandwidth floor"
    assert {"spk-neurons torch", "spk-neurons reference"} <= {r["name"] for r in rows}


def test_without_numba_the_torch_backend_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    x = torch.rand(4, 3, requires_grad=True)
    (LIF()(x).sum() + ALIF()(x).sum()).backward()
    assert x.grad is not None
    assert "uses torch" in backend_report()
    for neuron in (LIF, ALIF):
        with pytest.raises(ValueError, match=r"numba is not importable; install it with `pip install numba`"):
            neuron(backend="numba")(x)
