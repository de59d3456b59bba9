"""Attacks: exact bounds on a linear model, invariants, gradients that change nothing but the backward pass, oracles."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spk_neurons import LIF, Sigmoid, Triangle
from spk_regularize import (
    APGD,
    ASSG,
    BIM,
    FGSM,
    MIFGSM,
    PGD,
    RFGSM,
    SAPGD,
    Attack,
    ImageSet,
    Noise,
    Poisson,
    SpikingClassifier,
    Square,
    Transfer,
    build_model,
    synthetic_margin,
)
from spk_regularize.attacks import GRADIENTS, AttackGradient, make_gradient, swap_surrogate
from spk_regularize.attacks.losses import dlr, margin

GRADIENT_ATTACKS: dict[str, Callable[..., Attack]] = {
    "FGSM": FGSM,
    "RFGSM": RFGSM,
    "PGD": lambda m, e, **k: PGD(m, e, steps=4, **k),
    "BIM": lambda m, e, **k: BIM(m, e, steps=4, **k),
    "MIFGSM": lambda m, e, **k: MIFGSM(m, e, steps=4, **k),
    "APGD": lambda m, e, **k: APGD(m, e, steps=6, **k),
    "APGD-DLR": lambda m, e, **k: APGD(m, e, steps=6, loss="dlr", grad="assg", **k),
    "SA-PGD": lambda m, e, **k: SAPGD(m, e, steps=6, grad="assg", **k),
    "PGD l2": lambda m, e, **k: PGD(m, e, steps=4, norm="l2", **k),
}
ATTACKS = {
    **GRADIENT_ATTACKS,
    "Square": lambda m, e, **k: Square(m, e, queries=20, **k),
    "uniform": Noise,
    "gaussian": lambda m, e, **k: Noise(m, e, kind="gaussian", draws=2, **k),
}


def linear() -> nn.Module:
    """Logits (0, w x + b): the margin of class 1 is linear."""
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [1.0, -2.0, 0.5, 0.0]]))
        model.bias.copy_(torch.tensor([0.0, 3.0]))
    return model


@pytest.mark.parametrize("name", ["FGSM", "PGD", "BIM", "MIFGSM", "SA-PGD", "APGD"])
def test_linear_margin_is_reached_exactly(name: str) -> None:
    model = linear()
    x = torch.full((3, 4), 0.5) + torch.linspace(-0.1, 0.1, 12).reshape(3, 4)
    y = torch.ones(3, dtype=torch.long)
    eps = 0.02
    make = {
        "FGSM": lambda: FGSM(model, eps, loss="margin"),
        "PGD": lambda: PGD(model, eps, steps=20, loss="margin"),
        "BIM": lambda: BIM(model, eps, steps=10, loss="margin"),
        "MIFGSM": lambda: MIFGSM(model, eps, steps=10, loss="margin"),
        "SA-PGD": lambda: SAPGD(model, eps, steps=30, loss="margin"),
        "APGD": lambda: APGD(model, eps, steps=30, loss="margin"),
    }[name]
    adv = make()(x, y)
    # ||w||_1 = 3.5
    bound = -margin(model(x), y) - eps * 3.5
    assert torch.allclose(-margin(model(adv), y), bound, atol=1e-6)


@pytest.mark.parametrize("name", list(ATTACKS))
def test_invariants(name: str, trained: SpikingClassifier, few: ImageSet) -> None:
    x, y = few.x(slice(0, 20)), few.labels[:20]
    labels = y.clone()
    trained.train()
    trained.net[0].norm.eval()
    trained.net[0].weights.module.weight.requires_grad_(False)
    modes = [m.training for m in trained.modules()]
    wants = [p.requires_grad for p in trained.parameters()]
    state = copy.deepcopy(trained.state_dict())
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    attack = ATTACKS[name](trained, 0.1)
    adv = attack(x, y)
    size = (adv - x).flatten(1).norm(dim=1).max() if "l2" in name else (adv - x).abs().max()
    assert size <= 0.1 + 1e-6
    assert adv.min() >= 0
    assert adv.max() <= 1
    assert adv.shape == x.shape
    assert not torch.equal(adv, x)
    assert torch.equal(y, labels)
    assert [m.training for m in trained.modules()] == modes
    assert [p.requires_grad for p in trained.parameters()] == wants
    assert all(torch.equal(v, state[k]) for k, v in trained.state_dict().items())
    assert all(p.grad is None for p in trained.parameters())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(ATTACKS[name](trained, 0.1)(x, y), adv)
    assert torch.equal(ATTACKS[name](trained, 0.0)(x, y), x)
    assert ATTACKS[name](trained, 0.1)(x[:0], y[:0]).shape == x[:0].shape


@pytest.mark.parametrize("name", list(GRADIENT_ATTACKS))
def test_batches_change_nothing(name: str, trained: SpikingClassifier, few: ImageSet) -> None:
    x, y = few.x(slice(0, 9)), few.labels[:9]
    whole = ATTACKS[name](trained, 0.1)(x, y)
    parts = ATTACKS[name](trained, 0.1, batch_size=4)(x, y)
    assert torch.allclose(whole, parts, atol=1e-6)


@pytest.mark.parametrize("grad", list(GRADIENTS))
def test_attack_gradients_leave_the_answers_bit_for_bit(grad: str, trained: SpikingClassifier, few: ImageSet) -> None:
    x, y = few.x(slice(0, 8)), few.labels[:8]
    attack = PGD(trained, 0.1, steps=2, grad=grad)
    with torch.no_grad():
        plain = trained(x)
    surrogates = [repr(m.surrogate) for m in trained.modules() if hasattr(m, "surrogate")]
    with attack.grad.applied(trained):
        attack.grad.begin(trained, x)
        inner = x.clone().requires_grad_()
        z = trained(inner)
        (g,) = torch.autograd.grad(z.gather(1, y[:, None]).sum(), inner)
        assert torch.equal(z.detach(), plain)
        with torch.no_grad():
            assert torch.equal(trained(x), plain)
    assert torch.isfinite(g).all()
    assert bool(g.any())
    assert torch.equal(trained(x).detach(), plain)
    assert [repr(m.surrogate) for m in trained.modules() if hasattr(m, "surrogate")] == surrogates
    assert make_gradient(grad).batch_invariant == (grad != "pdsg")


def test_an_exception_restores_the_surrogate(trained: SpikingClassifier, few: ImageSet) -> None:
    class Broken(AttackGradient):
        def derivative(self, layer: Any, slot: int, x: Tensor) -> Tensor:
            raise RuntimeError("on purpose")

    before = [m.surrogate for m in trained.modules() if hasattr(m, "surrogate")]
    with pytest.raises(RuntimeError, match="on purpose"):
        FGSM(trained, 0.1, grad=Broken())(few.x(), few.labels)
    assert [m.surrogate for m in trained.modules() if hasattr(m, "surrogate")] == before
    assert FGSM(trained, 0.1)(few.x(), few.labels).shape == few.x().shape


def test_assg_constants(known: dict[str, Any]) -> None:
    for vanishing, a in known["assg"]["rows"]:
        assert ASSG(vanishing).a == pytest.approx(a, rel=1e-6)


def test_assg_by_hand(trained: SpikingClassifier) -> None:
    grad, layer = ASSG(0.4), type("Layer", (), {"name": "a"})()
    x = torch.tensor([[2.0]])
    m = 0.9 * 1 + 0.1 * 2
    d = 0.1 * abs(2 - m)
    slope = grad.a / (m + 1.5 * d + 1e-4)
    expected = (slope / 2) / (1 + (math.pi / 2 * slope * 2) ** 2)
    assert grad.derivative(layer, 0, x).item() == pytest.approx(expected, rel=1e-6)
    grad.frozen = True
    assert grad.derivative(layer, 0, x).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("grad", ["assg", "pdsg"])
def test_written_out_adjoint_equals_the_reference_loop(
    reset: Any, detach: bool, grad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    neurons = [LIF(decay=0.7, gain=0.8, reset=reset, v_reset=0.1, detach_reset=detach) for _ in range(2)]
    net = torch.nn.Sequential(neurons[0], torch.nn.Linear(6, 6), neurons[1])
    x = torch.randn(5, 4, 6) + 1

    def gradients() -> Tensor:
        with swap_surrogate(net, grad) as gradient:
            rows = []
            for k in range(3):
                gradient.begin(net, x)
                inner = (x + 0.1 * k).requires_grad_()
                rows.append(torch.autograd.grad(net(inner).square().sum(), inner)[0])
        return torch.stack(rows)

    quick = gradients()
    monkeypatch.setattr("spk_regularize.attacks.gradients.plain_numbers", lambda module: None)
    assert quick.abs().max() > 0
    torch.testing.assert_close(quick, gradients())


def test_family_equals_training_with_that_surrogate(trained: SpikingClassifier, few: ImageSet) -> None:
    other = copy.deepcopy(trained)
    for module in other.modules():
        if hasattr(module, "surrogate"):
            module.surrogate = Sigmoid(4.0)
    x, y = few.x(), few.labels
    assert torch.equal(FGSM(trained, 0.1, grad=Sigmoid(4.0))(x, y), FGSM(other, 0.1)(x, y))
    assert torch.equal(FGSM(trained, 0.1, grad=Triangle(1.0))(x, y), FGSM(trained, 0.1)(x, y))


def test_more_steps_never_lower_the_best_loss(trained: SpikingClassifier, few: ImageSet) -> None:
    x, y = few.x(slice(0, 20)), few.labels[:20]

    def best(steps: int) -> Tensor:
        adv = PGD(trained, 0.05, steps=steps, alpha=0.01, random_start=False, early_stop=False)(x, y)
        with torch.no_grad():
            z = trained(adv)
        loss = nn.functional.cross_entropy(z, y, reduction="none")
        return torch.where(z.argmax(1) != y, torch.inf, loss)

    losses = [best(k) for k in (1, 3, 6)]
    assert bool((losses[1] >= losses[0] - 1e-6).all())
    assert bool((losses[2] >= losses[1] - 1e-6).all())


def test_restarts_break_no_less(trained: SpikingClassifier, few: ImageSet) -> None:
    def right(restarts: int) -> int:
        adv = PGD(trained, 0.08, steps=3, restarts=restarts)(few.x(), few.labels)
        with torch.no_grad():
            return int((trained(adv).argmax(1) == few.labels).sum())

    assert right(4) <= right(1)


def test_targeted(trained: SpikingClassifier, few: ImageSet) -> None:
    x, y = few.x(slice(0, 20)), few.labels[:20]
    target = (y + 1) % 10
    for loss in ("ce", "dlr"):
        adv = PGD(trained, 0.3, steps=20, grad="assg", loss=loss).targeted(target)(x, y)
        with torch.no_grad():
            hits = (trained(adv).argmax(1) == target).double().mean()
            assert hits > (trained(x).argmax(1) == target).double().mean() + 0.3


def test_tet_reads_every_step(trained: SpikingClassifier, few: ImageSet) -> None:
    adv = PGD(trained, 0.1, steps=3, loss="tet")(few.x(), few.labels)
    with torch.no_grad():
        assert (trained(adv).argmax(1) == few.labels).sum() < (trained(few.x()).argmax(1) == few.labels).sum()
    with pytest.raises(ValueError, match="wrap the network in SpikingClassifier"):
        PGD(linear(), 0.1, loss="tet")


def test_transfer_keeps_the_first_that_breaks(trained: SpikingClassifier, few: ImageSet) -> None:
    other = build_model("cnn", channels=(8, 12), seed=9)
    adv = Transfer(trained, 0.1, sources=[other, trained])(few.x(), few.labels)
    assert (adv - few.x()).abs().max() <= 0.1 + 1e-6
    with torch.no_grad():
        assert (trained(adv).argmax(1) == few.labels).sum() < (trained(few.x()).argmax(1) == few.labels).sum()
    with pytest.raises(ValueError, match="at least one source"):
        Transfer(trained, 0.1, sources=[])


def test_expectation_over_draws_tends_to_the_mean(trained: SpikingClassifier, few: ImageSet) -> None:
    model = SpikingClassifier(trained.net, Poisson(4))
    x, y = few.x(slice(0, 4)), few.labels[:4]

    def spread(eot: int) -> float:
        grads = []
        for seed in range(12):
            attack = PGD(model, 0.1, eot=eot)
            from spk_regularize.attacks.base import prepared

            with prepared(model, seed):
                grads.append(attack.query(x, y).grad)
        return float(torch.stack(grads).var(0).mean())

    one, eight = spread(1), spread(8)
    # the variance falls like 1 / draws
    assert 3.5 < one / eight < 18
    assert torch.equal(FGSM(model, 0.1, eot=3)(x, y), FGSM(model, 0.1, eot=3)(x, y))


def test_two_classes_take_the_margin() -> None:
    z, y = torch.tensor([[1.0, 3.0], [2.0, 0.0]]), torch.tensor([0, 0])
    assert torch.equal(dlr(z, y), margin(z, y))
    assert margin(z, y).tolist() == [2.0, -2.0]


@settings(max_examples=15)
@given(eps=st.floats(0.001, 0.3), seed=st.integers(0, 1000))
def test_ideal_classifier_keeps_exactly_its_margins(eps: float, seed: int) -> None:
    made = synthetic_margin(40, size=4, seed=seed)
    model, x, y = made.ideal(), made.data.x(), made.data.labels
    adv = PGD(model, eps, steps=10, loss="margin")(x, y)
    with torch.no_grad():
        right = model(adv).argmax(1) == y
    # rounding decides within 1e-5 of the plane
    clear = (made.margins - eps).abs() > 1e-5
    inside = (x.amin((1, 2, 3)) >= eps) & (x.amax((1, 2, 3)) <= 1 - eps)
    assert torch.equal(right[clear & inside], (made.margins > eps)[clear & inside])


@pytest.mark.parametrize(
    ("x", "y", "kind", "message"),
    [
        (torch.full((2, 4), 1.5), torch.tensor([0, 1]), ValueError, r"values in \[1.5, 1.5\].*put Normalize inside"),
        (torch.full((2, 4), math.nan), torch.tensor([0, 1]), ValueError, "nan or inf"),
        (torch.zeros(2, 4, dtype=torch.uint8), torch.tensor([0, 1]), TypeError, r"x.float\(\) / 255"),
        (torch.zeros(2, 4), torch.tensor([0.0, 1.0]), TypeError, "labels are torch.float32"),
        (torch.zeros(2, 4), torch.tensor([0, 2]), ValueError, "model has 2 classes"),
        (torch.zeros(2, 4), torch.tensor([0]), ValueError, r"expected \(2,\)"),
        (torch.zeros(2, 4), torch.tensor([-1, 0]), ValueError, "labels lie in"),
    ],
)
def test_bad_input(x: Tensor, y: Tensor, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        FGSM(linear(), 0.1)(x, y)


def test_bad_models_and_options(trained: SpikingClassifier) -> None:
    x, y = torch.zeros(2, 4), torch.tensor([0, 1])

    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(3, len(x), 2)

    class Nan(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), torch.nan)

    with pytest.raises(ValueError, match=r"looks like \[T, B, K\]"):
        FGSM(Steps(), 0.1)(x, y)
    with pytest.raises(ValueError, match="nan or inf"):
        FGSM(Nan(), 0.1)(x, y)
    for build, message in (
        (lambda: FGSM(linear(), -0.1), "expected a finite size >= 0"),
        (lambda: PGD(linear(), 0.1, steps=0), "whole number"),
        (lambda: PGD(linear(), 0.1, loss="mse"), "loss='mse' is not known"),
        (lambda: PGD(linear(), 0.1, grad="nativ"), "grad='nativ' is not known"),
        (lambda: PGD(linear(), 0.1, norm="l1"), "norm='l1' is not known"),
        (lambda: PGD(linear(), 0.1, restarts=2, random_start=False), "random_start=True"),
        (lambda: SAPGD(linear(), 0.1, norm="l2"), "defined for 'linf'"),
        (lambda: Square(linear(), 0.1, queries=0), "whole number"),
        (lambda: ASSG(0.6), "A / 2 in"),
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_art_gives_the_same_pixels(trained: SpikingClassifier, few: ImageSet) -> None:
    pytest.importorskip("art", reason="adversarial-robustness-toolbox is not installed")
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    x, y = few.x(), few.labels
    wrapped = PyTorchClassifier(
        trained, nn.CrossEntropyLoss(), input_shape=(1, 8, 8), nb_classes=10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    theirs = ProjectedGradientDescentPyTorch(
        wrapped, norm=np.inf, eps=0.1, eps_step=0.025, max_iter=7, num_random_init=0, batch_size=60, verbose=False
    ).generate(x.numpy(), np.eye(10)[y.numpy()])
    ours = PGD(trained, 0.1, steps=7, alpha=0.025, random_start=False, keep="last")(x, y)
    assert torch.allclose(ours, torch.from_numpy(theirs), atol=1e-6)
    assert not torch.equal(ours, x)


def test_foolbox_gives_the_same_pixels(trained: SpikingClassifier, few: ImageSet) -> None:
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    x, y = few.x(), few.labels
    wrapped = foolbox.PyTorchModel(trained.eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=0.025, steps=7, random_start=False)
    _, theirs, _ = attack(wrapped, x, y, epsilons=0.1)
    ours = PGD(trained, 0.1, steps=7, alpha=0.025, random_start=False, keep="last")(x, y)
    assert torch.allclose(ours, theirs, atol=1e-6)
