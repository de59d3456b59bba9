"""Unusual networks and inputs: one step, events, views, frozen layers, checkpointed layers, half precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spk_neurons import LIF, ATan, Triangle
from spk_regularize import (
    MPDSGR,
    PGD,
    MembraneMonitor,
    RobustTrainer,
    SpikingClassifier,
    TrainConfig,
    build_model,
    evaluate_robustness,
    overlap_of,
    swap_surrogate,
    synthetic_margin,
)


def neuron() -> LIF:
    return LIF(2.0, decay_input=False, surrogate=Triangle(1.0))


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2))


def test_one_time_step() -> None:
    model = build_model("cnn", steps=1, channels=(4, 4), seed=0)
    x, y = images(6, 1, 8, 8), torch.arange(6)
    with MembraneMonitor(model, reg := MPDSGR()) as monitor:
        model(x)
    assert 0 < reg(monitor).item() < 1
    assert PGD(model, 0.1, steps=2)(x, y).shape == x.shape


def test_views_are_taken_as_they_are() -> None:
    model = build_model("cnn", channels=(4, 4), seed=0)
    x, y = images(8, 8, 1, 6).permute(3, 2, 0, 1), torch.arange(6)
    assert not x.is_contiguous()
    assert torch.equal(PGD(model, 0.1, steps=2)(x, y), PGD(model, 0.1, steps=2)(x.contiguous(), y))
    u = images(3, 5, 4, 6).transpose(0, 1)
    assert torch.allclose(overlap_of(u, 0.5), overlap_of(u.contiguous(), 0.5))


def test_events_are_attacked_and_evaluated_like_images() -> None:
    class Events(nn.Module):
        """[B, T, N] events, time inside."""

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 8), neuron(), nn.Linear(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.net(x.transpose(0, 1)).mean(0)
            return out

    model = SpikingClassifier(Events(), time="inside")
    x, y = images(10, 5, 6).round(), torch.arange(10) % 3
    assert PGD(model, 0.2, steps=3)(x, y).shape == x.shape
    report = evaluate_robustness(model, (x, y), 0.2, battery="quick", masking=False)
    assert report.n == 10


def test_frozen_layers_stay_as_they_are() -> None:
    data = synthetic_margin(80, seed=0).data
    model = build_model("mlp", shape=data.shape, classes=2, hidden=(6, 6), seed=0)
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    before, last = frozen.clone(), [p.clone() for p in model.parameters()][-1]
    RobustTrainer(model, TrainConfig(epochs=1, regularizer="mpd-sgr:eta=1")).fit(data)
    assert torch.equal(frozen, before)
    assert not torch.equal([*model.parameters()][-1], last)


def test_checkpointed_layers_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    first, fire, second = nn.Linear(5, 6), neuron(), nn.Linear(6, 4)
    x = images(3, 7, 5)
    found = []
    for keep in (True, False):
        first.zero_grad()
        u = checkpoint(first, x, use_reentrant=False) if keep else first(x)
        (overlap_of(u, 1.0).mean() + second(fire(u)).sum()).backward()
        assert first.weight.grad is not None
        found.append(first.weight.grad.clone())
    assert torch.allclose(*found, atol=1e-7)


def test_half_precision_on_a_cpu() -> None:
    model = build_model("mlp", hidden=(8, 8), seed=0)
    x = images(16, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16), MembraneMonitor(model, reg := MPDSGR()) as monitor:
        model(x)
    value = reg(monitor)
    assert value.dtype == torch.float32
    value.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_an_exchanged_surrogate_is_put_back() -> None:
    model = build_model("mlp", hidden=(8,), seed=0)
    neurons = [m for m in model.modules() if isinstance(m, LIF)]
    x = images(4, 1, 8, 8)
    plain = model(x)

    def fail() -> None:
        with swap_surrogate(model, ATan(2.0)):
            assert torch.equal(model(x), plain)
            assert all(isinstance(m.surrogate, ATan) for m in neurons)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert all(isinstance(m.surrogate, Triangle) for m in neurons)
