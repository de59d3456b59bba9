"""Each row of the conventions table: our neuron fires exactly when the other library's does."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from spk_neurons import IF, LIF, from_convention, from_nir

pytestmark = pytest.mark.filterwarnings("ignore")


def oracle(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, exc_type=ImportError)


def drive() -> Tensor:
    return torch.rand((200, 3, 20), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 0.2


def same(ours: Tensor, theirs: Tensor) -> None:
    assert 0.01 < float(theirs.mean()) < 0.99
    assert torch.equal(ours, theirs.to(ours.dtype))


@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
@pytest.mark.parametrize("tau", [2.0, 3.5])
def test_spikingjelly(decay_input: bool, v_reset: float | None, tau: float) -> None:
    neuron = oracle("spikingjelly.activation_based.neuron")
    options = {"tau": tau, "decay_input": decay_input, "v_reset": v_reset}
    node = neuron.LIFNode(**options, step_mode="m")
    x = drive() * (2 if decay_input else 0.7)
    same(from_convention("spikingjelly", **options)(x), node(x))


@pytest.mark.parametrize("v_reset", [0.0, None])
def test_spikingjelly_integrator(v_reset: float | None) -> None:
    neuron = oracle("spikingjelly.activation_based.neuron")
    x = drive() * 0.3
    same(IF(v_reset=v_reset)(x), neuron.IFNode(v_reset=v_reset, step_mode="m")(x))


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_snntorch(reset: str, delay: bool, beta: float) -> None:
    snn = oracle("snntorch")
    leaky = snn.Leaky(beta=beta, reset_mechanism=reset, reset_delay=delay)
    x = drive() * 0.6
    mem, rows = leaky.init_leaky(), []
    for xt in x.float():
        s, mem = leaky(xt, mem)
        rows.append(s)
    ours = from_convention("snntorch", beta=beta, reset_mechanism=reset, reset_delay=delay)
    same(ours(x.float()), torch.stack(rows))


@pytest.mark.parametrize("v_leak", [0.0, 0.2])
def test_norse_box(v_leak: float) -> None:
    box = oracle("norse.torch.functional.lif_box")
    p = box.LIFBoxParameters(
        tau_mem_inv=torch.tensor(300.0), v_leak=torch.tensor(v_leak), v_th=torch.tensor(0.6), v_reset=torch.tensor(0.1)
    )
    x = drive() * 1.5
    state, rows = box.LIFBoxFeedForwardState(v=torch.full_like(x[0], 0.1)), []
    for xt in x:
        s, state = box.lif_box_feed_forward_step(xt, state, p, dt=0.001)
        rows.append(s)
    ours = from_convention("norse", tau_mem_inv=300.0, v_leak=v_leak, v_th=0.6, v_reset=0.1)
    same(ours(x), torch.stack(rows))


@pytest.mark.parametrize("v_reset", [0.0, 0.1])
def test_norse_lif(v_reset: float) -> None:
    lif = oracle("norse.torch.functional.lif")
    p = lif.LIFParameters(
        tau_mem_inv=torch.tensor(300.0), tau_syn_inv=torch.tensor(150.0), v_th=torch.tensor(0.6),
        v_reset=torch.tensor(v_reset),
    )  # fmt: skip
    x = drive() * 0.5
    state, rows = lif.LIFFeedForwardState(v=torch.full_like(x[0], v_reset), i=torch.zeros_like(x[0])), []
    for xt in x:
        s, state = lif.lif_feed_forward_step(xt, state, p, dt=0.001)
        rows.append(s)
    ours = from_convention("norse", neuron="lif", tau_mem_inv=300.0, tau_syn_inv=150.0, v_th=0.6, v_reset=v_reset)
    same(ours(x), torch.stack(rows))


@pytest.mark.parametrize("norm_input", [True, False])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_sinabs(norm_input: bool, reset: str) -> None:
    layers, activation = oracle("sinabs.layers"), oracle("sinabs.activation")
    node = layers.LIF(
        tau_mem=4.0,
        spike_fn=activation.SingleSpike,
        reset_fn=activation.MembraneSubtract() if reset == "subtract" else activation.MembraneReset(),
        norm_input=norm_input,
    ).double()
    x = drive() * (3 if norm_input else 0.5)
    theirs = node(x.transpose(0, 1).contiguous()).transpose(0, 1)
    same(from_convention("sinabs", tau_mem=4.0, norm_input=norm_input, reset_fn=reset)(x), theirs)


@pytest.mark.parametrize("method", ["euler", "zoh"])
def test_nir(method: str) -> None:
    """tau dv/dt = (v_leak - v) + r x, one step of dt: Euler, or exact for an input held during the step."""
    nir = oracle("nir")
    tau, r, v_leak, v_th, dt = 5e-3, 1.5, 0.1, 0.4, 1e-3
    neuron = nir.LIF(*(torch.full((20,), value).double().numpy() for value in (tau, r, v_leak, v_th)))
    graph = nir.NIRGraph.from_list(neuron)
    x = drive()
    v, rows = torch.zeros_like(x[0]), []
    for xt in x:
        target = v_leak + r * xt
        v = v + dt / tau * (target - v) if method == "euler" else target + (v - target) * math.exp(-dt / tau)
        rows.append((v > v_th).double())
        v = torch.where(v > v_th, 0.0, v)
    same(from_nir(graph, dt=dt, reset="hard", method=method)(x), torch.stack(rows))


@pytest.mark.parametrize("tau", [2.0, 4.0])
def test_code_that_multiplies_by_the_inverse(tau: float) -> None:
    """Some research code keeps 1/tau of the potential, adds x unscaled and fires strictly above the threshold."""
    x = drive()
    v, rows = torch.zeros_like(x[0]), []
    for xt in x:
        v = v / tau + xt
        rows.append((v > 1).double())
        v = v * (1 - rows[-1])
    same(LIF(decay=1 / tau, gain=1.0, fire="gt")(x), torch.stack(rows))


@pytest.mark.parametrize(
    ("library", "arguments", "reason"),
    [
        ("sinabs", {"tau_mem": 4.0, "spike_fn": "MultiSpike"}, "several spikes per step"),
        ("sinabs", {"tau_mem": 4.0, "min_v_mem": -1.0}, "no clipping"),
        ("snntorch", {"beta": 0.0}, "beta=0 with the delayed subtract reset"),
        ("snntorch", {"beta": 1.5}, "clamps beta"),
        ("snntorch", {"beta": 0.5, "reset_mechanism": "other"}, "'subtract', 'zero' and 'none'"),
        ("norse", {"tau_mem_inv": 2000.0}, "Euler step"),
        ("norse", {"neuron": "lif", "v_leak": 0.1}, "leaks towards 0"),
        ("norse", {"tau_syn_inv": 100.0}, "no synaptic current"),
        ("norse", {"neuron": "izhikevich"}, "'box' .* or 'lif'"),
        ("brian", {}, "choose one of spikingjelly"),
    ],
)
def test_what_cannot_be_mapped_says_why(library: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_convention(library, **arguments)


def test_tau_means_the_opposite_elsewhere() -> None:
    """Where 1/tau multiplies v, tau = 2 agrees with ours by accident and tau = 4 does not."""
    assert from_convention("spikingjelly", tau=2.0).numbers()["decay"] == 1 / 2.0
    assert from_convention("spikingjelly", tau=4.0).numbers()["decay"] != 1 / 4.0
