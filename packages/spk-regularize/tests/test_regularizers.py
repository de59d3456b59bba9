"""Regularisers: what they measure, that zero weight changes nothing, that each moves what it should."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spk_neurons import ALIF, LIF, CuBaLIF, Recurrent, Surrogate, TDBatchNorm, TimeDistributed, Triangle
from spk_regularize import (
    MPDSGR,
    Compose,
    ExpectedSG,
    InputGradient,
    MembraneMonitor,
    RateFloor,
    RobustTrainer,
    Schedule,
    SpikingClassifier,
    Split,
    TrainConfig,
    _reference,
    build_model,
    from_text,
)
from spk_regularize.regularizers.gradient import frozen_norms
from spk_regularize.regularizers.presets import NAMES


def neuron(**options: Any) -> LIF:
    return LIF(2.0, decay_input=False, surrogate=Triangle(1.0), **options)


def network(backend: str = "auto") -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i, o in ((1, 4), (4, 6)):
        conv = TimeDistributed(nn.Conv2d(i, o, 3, padding=1))
        layers += [conv, TDBatchNorm(o), neuron(backend=backend)]
    return nn.Sequential(*layers)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backend", ["reference", "torch", "numba"])
def test_streaming_statistics_equal_the_slow_reference(backend: str) -> None:
    net, x = network(backend), images(4, 5, 1, 6, 6)
    results = []
    for keep in (("moments",), ("potentials",)):
        net.zero_grad()
        with MembraneMonitor(net, keep) as monitor:
            net(x)
        value = MPDSGR(1.0)(monitor)
        value.backward()
        results.append((value.detach(), [p.grad.clone() for p in net.parameters() if p.grad is not None]))
    net.zero_grad()
    with MembraneMonitor(net, ("potentials",)) as monitor:
        net(x)
    slow = _reference.mpd_sgr([trace.potentials for trace in monitor.layers], 1.0)
    slow.backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(grads) == 8
    for value, found in results:
        assert value.item() == pytest.approx(slow.item(), abs=1e-6)
        for a, b in zip(found, grads, strict=True):
            assert b is not None
            assert torch.allclose(a, b, atol=2e-6)


def test_current_based_neurons_are_watched_and_moving_thresholds_are_not() -> None:
    net, x = network(), images(4, 5, 1, 6, 6)
    net[2] = CuBaLIF(tau=2.0, tau_syn=2.0)
    values = []
    for keep in ("stats", "traces"):
        with MembraneMonitor(net, keep) as monitor:
            net(x)
        values.append(MPDSGR(1.0)(monitor).item())
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    first = monitor.layers[0]
    assert torch.equal((first.u >= first.threshold).float(), first.fired)
    net[2] = ALIF(tau=2.0)
    with pytest.raises(ValueError, match="ALIF has no potentials, or a threshold that moves"):
        MembraneMonitor(net)


def test_streaming_keeps_no_potentials() -> None:
    net = network()
    with MembraneMonitor(net, MPDSGR()) as monitor:
        net(images(4, 5, 1, 6, 6))
    assert all(trace.x is None for trace in monitor.layers)
    # nor the neurons' last ones, which would live through the backward pass
    assert all(call.state is None for calls in monitor._recording.calls.values() for call in calls)
    with pytest.raises(ValueError, match="kept no potentials"):
        _ = monitor.layers[0].potentials


def test_tdbn_statistics_reach_the_norm_alone() -> None:
    net = network()
    with MembraneMonitor(net, MPDSGR(stats="tdbn")) as monitor:
        net(images(4, 5, 1, 6, 6))
    traces = monitor.layers
    value = MPDSGR(stats="tdbn")(monitor)
    value.backward()
    norms = {id(p) for m in net.modules() if isinstance(m, nn.BatchNorm1d) for p in m.parameters()}
    reached = {id(p) for p in net.parameters() if p.grad is not None and bool(p.grad.any())}
    assert reached == norms
    # the mean is the measured one: theorem 1 minus the reset's share
    mu, _ = MPDSGR(stats="tdbn")._analytic(traces[0])
    assert torch.allclose(mu, traces[0].mean, atol=1e-6)
    plain = nn.Sequential(nn.Linear(3, 4), neuron())
    with MembraneMonitor(plain) as monitor:
        plain(images(2, 5, 3))
    with pytest.raises(ValueError, match="fed by no TDBatchNorm"):
        MPDSGR(stats="tdbn")(monitor)


def test_reductions_agree_only_where_layers_are_equally_wide() -> None:
    net = network()
    with MembraneMonitor(net) as monitor:
        net(images(4, 5, 1, 6, 6))
    rows = [MPDSGR().overlaps(trace) for trace in monitor.layers]
    pooled = torch.cat([row.flatten() for row in rows]).mean()
    assert torch.allclose(MPDSGR(reduction="channel")(monitor), pooled)
    assert torch.allclose(MPDSGR()(monitor), torch.stack([row.mean() for row in rows]).mean())
    assert not torch.allclose(MPDSGR()(monitor), pooled)


def test_target_leaves_a_small_overlap_alone() -> None:
    net = network()
    with MembraneMonitor(net) as monitor:
        net(images(4, 5, 1, 6, 6))
    assert MPDSGR(target=1.0)(monitor).item() == 0
    assert 0 < MPDSGR(target=0.2)(monitor).item() < MPDSGR()(monitor).item()


def test_gamma_comes_from_the_surrogate() -> None:
    wide = nn.Sequential(nn.Linear(3, 4), LIF(surrogate=Triangle(2.5)))
    with MembraneMonitor(wide) as monitor:
        wide(images(2, 5, 3))
    assert monitor.layers[0].gamma == 2.5
    assert torch.equal(MPDSGR()(monitor), MPDSGR(gamma=2.5)(monitor))

    class Odd(Surrogate):
        def derivative(self, u: Tensor) -> Tensor:
            return torch.ones_like(u)

    odd = nn.Sequential(nn.Linear(3, 4), LIF(surrogate=Odd()))
    with MembraneMonitor(odd) as monitor:
        odd(images(2, 5, 3))
    with pytest.raises(ValueError, match="surrogate without a known range"):
        MPDSGR()(monitor)
    assert MPDSGR(gamma=1.0)(monitor).item() > 0


def test_one_sample_per_channel_is_an_error() -> None:
    net = nn.Sequential(nn.Linear(3, 4), neuron())
    with MembraneMonitor(net, ("potentials",)) as monitor:
        net(images(2, 1, 3))
    with pytest.raises(ValueError, match="at least 2 samples"):
        MPDSGR()(monitor)


def test_large_mean_gives_zero_and_not_nan() -> None:
    net = nn.Sequential(nn.Linear(3, 4), neuron())
    with torch.no_grad():
        net[0].bias.fill_(-1e4)
    with MembraneMonitor(net) as monitor:
        net(images(2, 5, 3))
    value = MPDSGR()(monitor)
    value.backward()
    assert value.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_autocast_is_close() -> None:
    net, x = network(), images(4, 5, 1, 6, 6)
    with MembraneMonitor(net) as monitor:
        net(x)
    exact = MPDSGR()(monitor).item()
    with torch.autocast("cpu", torch.bfloat16), MembraneMonitor(net) as monitor:
        net(x)
    assert MPDSGR()(monitor).item() == pytest.approx(exact, abs=1e-2)


def test_recurrent_layer_is_one_trace() -> None:
    net = nn.Sequential(nn.Linear(3, 4), Recurrent(neuron(), nn.Linear(4, 4)))
    with MembraneMonitor(net) as monitor:
        net(images(6, 5, 3))
    assert [tuple(trace.mean.shape) for trace in monitor.layers] == [(6, 4)]


def test_layer_used_twice_gives_two_traces() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.fire = nn.Linear(4, 4), neuron()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.fire(self.lin(self.fire(self.lin(x))))
            return out

    net = Twice()
    with MembraneMonitor(net) as monitor:
        net(images(3, 5, 4))
    assert len(monitor.layers) == 2


def test_per_channel_thresholds_centre_the_potential() -> None:
    net = nn.Sequential(nn.Linear(3, 4), LIF(threshold=torch.tensor([0.5, 1.0, 2.0, 3.0]), surrogate=Triangle(1.0)))
    x = images(3, 5, 3)
    with MembraneMonitor(net) as a:
        net(x)
    with MembraneMonitor(net, ("potentials",)) as b:
        net(x)
    assert torch.allclose(a.layers[0].mean, b.layers[0].mean, atol=1e-6)


def _weights(split: Split, regularizer: str) -> list[Tensor]:
    model = build_model("cnn", channels=(4, 4), seed=3)
    RobustTrainer(model, TrainConfig(epochs=1, regularizer=regularizer)).fit(split.train.take(slice(0, 150)))
    return [p.detach().clone() for p in model.state_dict().values()]


def test_zero_weight_trains_bit_for_bit_as_without(split: Split) -> None:
    plain = _weights(split, "")
    for text in ("mpd-sgr:eta=0", "rate-floor:weight=0 + mean-sg:eta=0"):
        assert all(torch.equal(a, b) for a, b in zip(plain, _weights(split, text), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(plain, _weights(split, "mpd-sgr:eta=1"), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "mpd-sgr", "mpd-sgr:stats=tdbn", "mpd-sgr:window=soft", "expected-sg", "mean-sg", "threshold-guard:delta=1",
        "im", "rmp", "rmp:form=product", "spike-rate:target=0.5", "spike-rate:lower=0.3,upper=0.1",
        "rate-floor:floor=0.9", "synops", "lipschitz", "input-gradient", "input-gradient:norm=l2", "mppd",
        "mppd:norm=l1",
    ],
)  # fmt: skip
def test_every_penalty_goes_down_when_followed(text: str) -> None:
    """Plain gradient descent on the penalty alone, with halving steps, reaches a smaller one."""
    torch.manual_seed(0)
    model = build_model("cnn", channels=(4, 4), seed=1).eval()
    x, y = images(16, 1, 8, 8), torch.arange(16) % 10
    reg = from_text(text)
    if "mppd" in text:
        reg.terms().__next__().generator = torch.Generator().manual_seed(0)  # type: ignore[assignment]

    def value() -> Tensor:
        if "mppd" in text:
            next(iter(reg.terms())).generator.manual_seed(0)  # type: ignore[union-attr, operator]
        if not reg.needs:
            return reg(None, model=model, x=x, y=y)
        with MembraneMonitor(model, reg) as monitor:
            model(x)
        return reg(monitor, model=model, x=x, y=y)

    first = value()
    grads = torch.autograd.grad(first, list(model.parameters()), allow_unused=True)
    assert any(g is not None and bool(g.any()) for g in grads)
    before = copy.deepcopy(model.state_dict())
    size = torch.stack([g.norm() for g in grads if g is not None]).norm()
    for k in range(12):
        model.load_state_dict(before)
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads, strict=True):
                if g is not None:
                    p -= 0.5**k * g / size
        if value() < first:
            return
    pytest.fail(f"{text} did not go down from {first.item()}")


def test_parseval_steps_make_rows_more_orthogonal() -> None:
    net = nn.Sequential(nn.Linear(20, 8))
    reg = from_text("parseval:beta=0.1")

    def distance() -> float:
        w = net[0].weight.detach()
        return float((w @ w.T - torch.eye(8)).norm())

    before = distance()
    for _ in range(50):
        reg.post_step(net)
    assert distance() < 0.2 * before


def test_lipschitz_rows_by_hand() -> None:
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, -3.0], [2.0, 0.5]]))
    # largest positive row sum 2.5, largest negative one 3
    assert from_text("lipschitz:weight=1")(None, model=net).item() == pytest.approx(5.5)


def test_input_gradient_of_a_linear_model_is_exact() -> None:
    linear = nn.Linear(3, 2)
    x, y = images(4, 3), torch.tensor([0, 1, 0, 1])
    reg = InputGradient(1.0, warmup=0.0)
    p = linear(x).softmax(1)
    error = p - nn.functional.one_hot(y, 2)
    exact = (error @ linear.weight).abs().sum(1).mean()
    assert reg(None, model=linear, x=x, y=y).item() == pytest.approx(exact.item(), rel=1e-5)


def test_sr_of_a_linear_model_is_its_squared_gradient_norm() -> None:
    linear = nn.Linear(3, 2).double()
    x, y = images(4, 3).double(), torch.tensor([0, 1, 0, 1])
    own = torch.sigmoid((linear(x) * torch.tensor([[1, -1], [-1, 1], [1, -1], [-1, 1]])).sum(1))
    exact = ((own * (1 - own))[:, None] * (linear.weight[0] - linear.weight[1])).abs().sum(1).square().mean()
    value = from_text("sr:weight=1,h=1e-5")(None, model=linear, x=x, y=y)
    assert value.item() == pytest.approx(exact.item(), rel=1e-3)


def test_schedules_and_composition() -> None:
    assert Schedule("linear", 0.5)(0.25) == 0.5
    assert Schedule("cosine", 1.0)(0.0) == 0
    both = from_text("mpd-sgr:eta=2,warmup=0.5 + rate-floor:weight=3")
    both.at(0.25)
    assert [part.active_weight for part in both.terms()] == [1.0, 3.0]
    assert both.needs == ("moments", "potentials")
    assert Compose()(None).item() == 0


def test_frozen_norms_leave_running_statistics() -> None:
    model = build_model("cnn", channels=(4,), seed=0).train()
    before = copy.deepcopy(model.state_dict())
    with frozen_norms(model):
        model(images(8, 1, 8, 8))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model(images(8, 1, 8, 8))
    assert not all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_rate_floor_counts_silence() -> None:
    net = nn.Sequential(nn.Linear(3, 4), neuron())
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.fill_(-10)
    reg = RateFloor(0.24, 30.0)
    with MembraneMonitor(net, reg) as monitor:
        net(images(2, 5, 3))
    assert reg(monitor).item() == pytest.approx(30 * 0.24**2, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mpd", "'mpd' is not known"),
        ("mpd-sgr:foo=1", "unexpected keyword"),
        ("mpd-sgr:eta", "no name=value"),
        ("mpd-sgr:gamma=-1", "half width > 0"),
        ("mpd-sgr:target=2", "overlap lies in"),
        ("spike-rate", "expected a target, or bounds"),
        ("threshold-guard:delta=0", "distance > 0"),
        ("expected-sg:window=soft", "closed form"),
    ],
)
def test_bad_options_are_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_text(text)


def test_every_name_builds() -> None:
    for name in NAMES:
        assert from_text(f"{name}:target=0.1" if name == "spike-rate" else name) is not None


def test_expected_sg_is_below_its_bound() -> None:
    net = network()
    with MembraneMonitor(net) as monitor:
        net(images(4, 5, 1, 6, 6))
    assert ExpectedSG()(monitor).item() <= MPDSGR()(monitor).item()


def test_no_spiking_layer_lists_what_was_seen() -> None:
    with pytest.raises(ValueError, match=r"no spiking layer found; modules seen: 1 x Linear, 1 x ReLU, 1 x Sequential"):
        MembraneMonitor(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


def test_monitor_errors() -> None:
    net = network()
    with pytest.raises(ValueError, match="keep="):
        MembraneMonitor(net, ("voltage",))
    with pytest.raises(ValueError, match="no spiking layer"):
        MembraneMonitor(net, layers=["7"])
    monitor = MembraneMonitor(net)
    with pytest.raises(ValueError, match="no forward pass yet"):
        _ = monitor.layers
    with monitor, pytest.raises(ValueError, match="runs already"), monitor:
        pass
    assert isinstance(build_model("cnn"), SpikingClassifier)
