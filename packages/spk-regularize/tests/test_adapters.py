"""Other libraries: the same potentials, the same windows, attacks that leave them as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spk_neurons import LIF, ATan, from_convention, record
from spk_regularize import (
    FGSM,
    MPDSGR,
    PGD,
    HandWritten,
    MembraneMonitor,
    SpikingClassifier,
    check_stateless,
    find_layers,
)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


class Zif(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (1 - x.abs()).clamp_min(0)


class Own(nn.Module):
    """A hand-written LIF: decay 0.5, hard reset, one step a call, state kept in v."""

    v: Tensor | float

    def __init__(self) -> None:
        super().__init__()
        self.v, self.v_th, self.fire = 0.0, 1.0, Zif.apply

    def forget(self) -> None:
        self.v = 0.0

    def forward(self, current: Tensor) -> Tensor:
        u = 0.5 * self.v + current
        s: Tensor = self.fire(u - self.v_th)
        self.v = u * (1 - s)
        return s


def own_model() -> SpikingClassifier:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), Own(), nn.Linear(12, 3))
    return SpikingClassifier(
        net, steps=4, time="loop", adapters=[HandWritten(Own, "fire", threshold="v_th", reset="forget", state=("v",))]
    )


def test_hand_written_neurons_equal_native_ones() -> None:
    model, x = own_model(), 2 * images(6, 1, 4, 4).clamp(0, 0.5)
    with MembraneMonitor(model, ("moments", "spikes")) as monitor:
        z = model(x)
    (trace,) = monitor.layers
    assert trace.gamma == pytest.approx(1.0, rel=1e-3)
    from spk_neurons import Triangle

    lin = model.net[1]
    twin = nn.Sequential(lin, LIF(2.0, decay_input=False, surrogate=Triangle(1.0)))
    with record(twin, "h", "s") as rec:
        twin(x.flatten(1).expand(4, 6, 16))
    assert torch.allclose(trace.potentials, rec["1"].h - 1, atol=1e-6)
    assert torch.equal(trace.fired, rec["1"].s)
    value = MPDSGR(gamma=1.0)(monitor)
    (own,) = torch.autograd.grad(value, lin.weight, retain_graph=True)
    with MembraneMonitor(twin) as other:
        twin(x.flatten(1).expand(4, 6, 16))
    (native,) = torch.autograd.grad(MPDSGR()(other), lin.weight)
    assert torch.allclose(own, native, atol=1e-6)
    assert z.shape == (6, 3)


def _check(model: SpikingClassifier, x: Tensor, y: Tensor) -> None:
    """What every library must keep: no leak, bit-equal answers, gradients to be exchanged, all put back."""
    model.eval()
    with torch.no_grad():
        z = model(x)
        assert torch.equal(model(x), z)
    check_stateless(model, x)
    with MembraneMonitor(model, ("potentials", "spikes")) as monitor:
        assert torch.equal(model(x).detach(), z)
    assert all(((t.potentials >= 0) == (t.fired > 0)).double().mean() > 0.999 for t in monitor.layers)
    value = MPDSGR()(monitor)
    assert 0 < value.item() <= 1
    grads = {}
    for grad in ("native", "wide2", "assg", "pdsg"):
        attack = PGD(model, 0.2, steps=3, grad=grad, random_start=False, keep="last")
        adv = attack(x, y)
        assert (adv - x).abs().max() <= 0.2 + 1e-6
        assert torch.equal(model(x).detach(), z)
        grads[grad] = adv
    assert not torch.equal(grads["native"], grads["wide2"]) or not torch.equal(grads["native"], grads["assg"])
    native = [layer.adapter.half_width(layer.module) for layer in find_layers(model)]
    assert all(width > 0 for width in native)


def test_hand_written_contract() -> None:
    model = own_model()
    x, y = images(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    _check(model, x, y)
    neuron = model.net[2]
    state = neuron.v
    FGSM(model, 0.1)(x, y)
    assert neuron.v is state
    with pytest.raises(ValueError, match="called step by step"):
        PGD(model, 0.1, grad="bptr")(x, y)
    with pytest.raises(ValueError, match="no spiking layer found"):
        MembraneMonitor(nn.Sequential(Own()))
    with pytest.raises(TypeError, match="expected a class"):
        HandWritten("Own")  # type: ignore[arg-type]


def test_spike_function_as_a_module() -> None:
    class Fire(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = Zif.apply(x)
            return out

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.fire = nn.Linear(4, 5), Fire()

        def forward(self, x: Tensor) -> Tensor:
            v, total = torch.zeros(len(x), 5), torch.zeros(len(x), 5)
            for _ in range(3):
                u = 0.5 * v + self.lin(x.flatten(1))
                s = self.fire(u - 0.2)
                v, total = u * (1 - s), total + s
            return total / 3

    torch.manual_seed(1)
    model = SpikingClassifier(Net(), time="inside", adapters=[HandWritten(Fire)])
    _check(model, images(6, 1, 2, 2), torch.arange(6) % 5)


def test_snntorch() -> None:
    snntorch = pytest.importorskip("snntorch", reason="snntorch is not installed")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12), snntorch.Leaky(beta=0.9, init_hidden=True, threshold=0.5), nn.Linear(12, 3)
    )
    model = SpikingClassifier(net, steps=5, time="loop")
    x, y = images(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    _check(model, x, y)
    with MembraneMonitor(model, ("potentials",)) as monitor:
        model(x)
    twin = nn.Sequential(net[1], from_convention("snntorch", beta=0.9, threshold=0.5))
    with record(twin, "h") as rec:
        twin(x.flatten(1).expand(5, 6, 16))
    (trace,) = monitor.layers
    # its spikes subtract the threshold one step late: potentials agree up to the first spike
    assert torch.allclose(trace.potentials[0], rec["1"].h[0] - 0.5, atol=1e-6)
    assert trace.gamma == pytest.approx(ATan(2.0).gradient_range()[1], rel=1e-2)
    mem = net[2].mem
    FGSM(model, 0.1)(x, y)
    assert torch.equal(net[2].mem, mem)


@pytest.mark.parametrize("mode", ["s", "m"])
def test_spikingjelly(mode: str) -> None:
    pytest.importorskip("spikingjelly", reason="spikingjelly is not installed")
    from spikingjelly.activation_based import layer, neuron, surrogate

    torch.manual_seed(0)
    node = neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(), step_mode=mode, detach_reset=False)
    net = nn.Sequential(layer.Flatten(step_mode=mode), nn.Linear(16, 12), node, nn.Linear(12, 3))
    with torch.no_grad():
        net[1].weight.mul_(4)
    model = SpikingClassifier(net, steps=4, time="loop" if mode == "s" else "sequence")
    x, y = images(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    _check(model, x, y)
    with MembraneMonitor(model, ("potentials",)) as monitor:
        model(x)
    twin = nn.Sequential(net[1], from_convention("spikingjelly", tau=2.0))
    with record(twin, "h") as rec:
        twin(x.flatten(1).expand(4, 6, 16))
    (trace,) = monitor.layers
    assert torch.allclose(trace.potentials, rec["1"].h - 1, atol=1e-5)
    assert trace.gamma == pytest.approx(ATan(2.0).gradient_range()[1], rel=1e-2)
    assert isinstance(node.surrogate_function, surrogate.ATan)
    if mode == "m":
        adv = PGD(model, 0.2, steps=2, grad="bptr")(x, y)
        assert not torch.equal(adv, x)
