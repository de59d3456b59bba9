"""Bad input gets one clear error; harmless input is accepted."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from spk_neurons import (
    ALIF,
    IF,
    LI,
    LIF,
    PLIF,
    PSN,
    CuBaLIF,
    MaskedPSN,
    NoisyLIF,
    Recurrent,
    SlidingPSN,
    Stateful,
    backend_report,
    carry_state,
    check_neuron,
    encode,
    noise,
    record,
    scan,
    set_backend,
    surrogate,
    use_backend,
)
from spk_neurons import functional as F

X = torch.rand(5, 3, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LIF()(X > 0.5), TypeError, r"spikes as bool: call \.float\(\)"),
        (lambda: LIF()(X.long()), TypeError, "dtype torch.int64"),
        (lambda: LIF()([1.0]), TypeError, "got list"),
        (lambda: LIF()(torch.tensor(1.0)), ValueError, "time first"),
        (lambda: LIF(tau=0.5), ValueError, "tau=0.5 given; tau must be >= 1: the leak is 1 - 1/tau"),
        (lambda: LIF(tau=math.inf), ValueError, "finite"),
        (lambda: LIF(tau=torch.tensor([2.0, 0.5])), ValueError, r"values in \[0.5, 2\]"),
        (lambda: LIF(tau="2"), TypeError, "must be a number"),
        (lambda: LIF(tau=2.0, decay=0.5), ValueError, "not both"),
        (lambda: LIF(decay=1.5), ValueError, "<= 1"),
        (lambda: LIF(threshold=0), ValueError, "threshold=0 given"),
        (lambda: LIF(v_reset=1.0), ValueError, "fire forever"),
        (lambda: LIF(reset="subtract"), ValueError, "choose 'hard', 'soft' or 'none'"),
        (lambda: LIF(fire="above"), ValueError, "choose 'ge'"),
        (lambda: LIF(amount=0.5), ValueError, "the soft reset's"),
        (lambda: LIF(backend="cuda"), ValueError, "choose one of"),
        (lambda: LIF(learn_tau=True, tau=1.0), ValueError, "no finite w"),
        (lambda: IF(tau=2.0), TypeError, "no leak"),
        (lambda: LIF()(X, torch.zeros(8, 4)), ValueError, r"shape \(8, 4\) but x wants \(3, 4\).*state\[:3\]"),
        (lambda: LIF()(X, torch.zeros(3, 4).double()), TypeError, "use state.to"),
        (lambda: LIF()(X, 0.0), TypeError, "got float"),
        (lambda: LIF()(X, torch.zeros(3, 4, device="meta")), ValueError, "is on meta but x is on cpu"),
        (lambda: CuBaLIF()(X, CuBaLIF().initial_state((2, 4))), ValueError, r"state 'i' has shape \(2, 4\)"),
        (lambda: ALIF()(X, ALIF().initial_state((3, 4), torch.float64)), TypeError, "state 'b' has dtype"),
        (lambda: LI()(X, torch.zeros(4)), ValueError, "state 'v'"),
        (lambda: CuBaLIF(taus=3.0), TypeError, "takes no taus; it knows tau, tau_syn"),
        (lambda: NoisyLIF(check_finite=True)(X * math.nan), ValueError, "nan or inf"),
        (lambda: CuBaLIF(check_finite=True)(X / 0), ValueError, "nan or inf"),
        (lambda: NoisyLIF(v_reset=2.0), ValueError, "fire forever"),
        (lambda: ALIF(threshold=-1), ValueError, "threshold=-1"),
        (lambda: ALIF(tau_adapt=0), ValueError, "tau_adapt"),
        (lambda: surrogate.ATan(math.nan), ValueError, "finite"),
        (lambda: F.lif_step(X[0].long()), TypeError, "float"),
        (lambda: F.lif(X, decay=torch.rand(7)), ValueError, "does not broadcast"),
        (lambda: F.lif(X, record=("u",)), ValueError, "'h' .before reset."),
        (lambda: F.lif(X, decay=0.5, tau=2.0), ValueError, "not both"),
        (lambda: NoisyLIF(noise=0.3), TypeError, "noise.Gaussian"),
        (lambda: NoisyLIF(mode="both"), ValueError, "'escape', 'diffusive' or 'official'"),
        (lambda: noise.Gaussian(-1), ValueError, "sigma > 0"),
        (lambda: surrogate.ATan(0), ValueError, "alpha > 0"),
        (lambda: surrogate.ATan("a"), TypeError, "must be a number"),
        (lambda: surrogate.ATan().gradient_range(eps=0.1, mass=0.5), ValueError, "not both"),
        (lambda: surrogate.ATan().gradient_range(mass=1.0), ValueError, r"in \(0, 1\)"),
        (lambda: surrogate.ATan().gradient_range(eps=2.0), ValueError, "above the peak"),
        (lambda: encode.poisson(2 * X + 1, 4), ValueError, r"probabilities in \[0, 1\]"),
        (lambda: encode.poisson(X * math.nan, 4), ValueError, "probabilities"),
        (lambda: encode.latency(X - 1, 4), ValueError, "probabilities"),
        (lambda: encode.constant(X, 0), ValueError, "T=0"),
        (lambda: encode.delta(X, 0.0), ValueError, "threshold > 0"),
        (lambda: PSN(4)(X), ValueError, "made for T=4"),
        (lambda: PSN(5).step(X[0]), ValueError, "SlidingPSN"),
        (lambda: MaskedPSN(9, 5), ValueError, "1 <= order <= T"),
        (lambda: SlidingPSN(3)(X, SlidingPSN(3).initial_state((9, 4))), ValueError, "start fresh"),
        (lambda: Recurrent(LIF(), nn.Linear(4, 5))(X), ValueError, "keeps the shape"),
        (lambda: Recurrent(nn.ReLU(), nn.Linear(4, 4)), TypeError, "spk_neurons neuron"),
        (lambda: CuBaLIF(tau_syn=0.5), ValueError, "tau_syn"),
        (lambda: ALIF(beta=-1), ValueError, "beta"),
        (lambda: ALIF(surrogate=Bump())(X), ValueError, "spk_neurons.scan"),
        (lambda: LI(tau=0.5), ValueError, "tau=0.5"),
        (lambda: set_backend("cuda"), ValueError, "choose one of"),
        (lambda: Stateful(nn.Linear(2, 2)), ValueError, "no neuron"),
        (lambda: record(LIF(), "u").__enter__(), ValueError, "cannot record"),
        (lambda: record(nn.ReLU(), "s").__enter__(), ValueError, "no neuron"),
        (lambda: (LI(), scan.Cell("spk_neurons.li", forward=abs, backward=abs)), ValueError, "exists already"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


class Bump(surrogate.Surrogate):
    """A surrogate only Python knows."""

    def derivative(self, u: torch.Tensor) -> torch.Tensor:
        return torch.exp(-(u**2))


def test_every_neuron_can_be_shown() -> None:
    assert repr(IF()) == "IF(tau=inf, reset=hard, surrogate=ATan(2), backend=auto)"
    assert repr(CuBaLIF(threshold=torch.ones(3))).startswith("CuBaLIF(tau_syn=2.0, threshold=tensor, reset=hard")
    assert repr(PLIF()).startswith("PLIF(tau=learned")


@pytest.mark.parametrize("make", [LIF, CuBaLIF, ALIF])
def test_tensors_move_with_the_module_and_parameters_learn(make: Any) -> None:
    net = make(threshold=nn.Parameter(torch.full((4,), 0.5))).double()
    net(X.double() * 2).sum().backward()
    (p,) = net.parameters()
    assert p.dtype == torch.float64
    assert bool((p.grad != 0).any())
    assert make(threshold=torch.full((4,), 0.5)).double().threshold.dtype == torch.float64


def test_ints_are_numbers() -> None:
    x = torch.rand(5, 3) * 3
    assert torch.equal(LIF(2, 1, v_reset=0)(x), LIF(2.0, 1.0)(x))
    assert torch.equal(LIF(tau=1)(x), (x >= 1).float())


def test_a_surrogate_of_ones_own() -> None:
    x = torch.rand(6, 4, dtype=torch.float64)
    grads = []
    for backend in ("reference", "torch", "auto"):
        a = x.clone().requires_grad_()
        (F.lif(3 * a, surrogate=Bump(), backend=backend) * torch.arange(4.0)).sum().backward()
        grads.append(a.grad)
    assert torch.equal(grads[1], grads[2])
    torch.testing.assert_close(grads[0], grads[1])
    with pytest.raises(ValueError, match=r"surrogates of spk_neurons\.surrogate only"):
        LIF(surrogate=Bump(), backend="numba")(x)


def test_an_explicit_backend_never_falls_back() -> None:
    with pytest.raises(ValueError, match="backend='triton' was asked for, but"):
        LIF(backend="triton")(X)


def test_choosing_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("reference"):
        assert "uses reference" in backend_report()
        assert "StackBackward" in LIF()(X.clone().requires_grad_()).grad_fn.name()
    assert "uses reference" not in backend_report()
    monkeypatch.setenv("SPK_BACKEND", "torch")
    assert "uses torch (chosen by SPK_BACKEND)" in backend_report()


def test_carried_state_raises_on_another_shape() -> None:
    net = Stateful(nn.Sequential(nn.Linear(4, 3), LIF(8.0)))
    net(X)
    with pytest.raises(ValueError, match=r"state 'v' has shape \(3, 3\) but x wants \(2, 3\)"):
        net(X[:, :2])
    net.reset_state()
    net(X[:, :2])


def test_carrying_equals_one_long_sequence() -> None:
    torch.manual_seed(0)
    x = torch.rand(10, 3, 4) * 3
    net = nn.Sequential(nn.Linear(4, 4), LIF(8.0), Recurrent(PLIF(), nn.Linear(4, 4)), CuBaLIF())
    want = net(x)
    with carry_state(net):
        got = torch.cat([net(x[:4]), net(x[4:5]), net(x[5:])])
    assert torch.equal(got, want)
    assert torch.equal(net(x), want)
    wrapped = Stateful(net)
    assert torch.equal(torch.cat([wrapped(x[:6]), wrapped(x[6:])]), want)
    assert not any("state" in k or k.endswith("v") for k in wrapped.state_dict())
    assert wrapped.double().states()["1"].v.dtype == torch.float64
    wrapped.unwrap()


@pytest.mark.parametrize(
    "make",
    [
        LIF, PLIF, IF, LI, CuBaLIF, ALIF, NoisyLIF, lambda: SlidingPSN(3), lambda: PSN(6), lambda: MaskedPSN(2, 6),
        lambda: Recurrent(LIF(), nn.Linear(4, 4)), lambda: LIF(reset="soft", learn_tau=True, learn_threshold=True),
        lambda: LIF(shape=(4,), learn_tau=True),
    ],
)  # fmt: skip
def test_every_neuron_keeps_the_contract(make: Any) -> None:
    check_neuron(make(), (3, 4))


def test_the_checker_catches_a_leaking_neuron() -> None:
    class Leaky(LIF):
        kept = None

        def _run(self, x: torch.Tensor, state: Any) -> Any:
            s, self.kept = super()._run(x, state if state is not None else self.kept)
            return s, self.kept

    with pytest.raises(AssertionError, match=r"state leaks|after a split|differs from (one call|state=None)"):
        check_neuron(Leaky(8.0), (3, 4))
