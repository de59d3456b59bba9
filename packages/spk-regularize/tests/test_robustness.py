"""Evaluation: worst case, intervals, resume, determinism, state leaks, the masking verdict."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spk_neurons import LIF, Stateful, TDBatchNorm, Triangle
from spk_regularize import (
    Attack,
    AttackSpec,
    ImageSet,
    RobustnessReport,
    SpikingClassifier,
    StateLeakError,
    evaluate_robustness,
    masking_verdict,
    summarise_layers,
    synthetic_margin,
    wilson,
)
from spk_regularize.robustness import BATTERIES, make_battery
from spk_regularize.robustness.interval import paired_lower

SMALL = [
    AttackSpec("FGSM", "fgsm"),
    AttackSpec("PGD", "pgd", {"steps": 4}),
    AttackSpec("noise", "noise"),
    AttackSpec("targeted", "pgd", {"steps": 3, "grad": "assg"}, target=1),
]
EPS = [0.05, 0.1, 0.2]


def evaluate(model: nn.Module, data: Any, **options: Any) -> RobustnessReport:
    return evaluate_robustness(model, data, EPS, **{"battery": SMALL, "masking": False, **options})


def test_wilson(known: dict[str, Any]) -> None:
    assert wilson(66, 200) == pytest.approx(known["wilson"]["interval"], abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == pytest.approx(1)
    scipy = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    for right, n in ((1, 7), (3, 500), (499, 500)):
        theirs = scipy.binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    with pytest.raises(ValueError, match="right=3 of n=2"):
        wilson(3, 2)


def test_paired_difference() -> None:
    a, b = torch.tensor([True, True, False, True]), torch.tensor([False, True, False, False])
    mean, low = paired_lower(a, b)
    assert mean == 0.5
    assert low == pytest.approx(0.5 - 1.959964 * 0.5 / 2)


def test_the_worst_case_is_the_worst(trained: SpikingClassifier, few: ImageSet) -> None:
    report = evaluate(trained, few)
    worst = report.worst_case
    for size in EPS:
        assert all(worst[size] <= report.accuracy(name, size) for name in report.names)
        assert worst[size] <= report.clean_accuracy
    assert worst[0.05] >= worst[0.1] >= worst[0.2]
    rows = {(row["attack"], row["eps"]): row for row in report.rows()}
    assert rows["clean", 0.0]["accuracy"] == report.clean_accuracy
    for row in rows.values():
        assert row["low"] <= row["accuracy"] <= row["high"]
    assert "worst case per sample" in report.table()
    with torch.no_grad():
        assert report.clean_accuracy == float((trained(few.x()).argmax(1) == few.labels).double().mean())


def test_report_round_trip(trained: SpikingClassifier, few: ImageSet, tmp_path: Path) -> None:
    report = evaluate(trained, few)
    again = RobustnessReport.from_json(report.to_json(tmp_path / "r.json"))
    assert again.to_dict() == report.to_dict()
    (tmp_path / "bad.json").write_text('{"schema": 1}')
    with pytest.raises(ValueError, match=r"bad.json is no robustness report"):
        RobustnessReport.from_json(tmp_path / "bad.json")


def test_killed_evaluation_resumes_to_the_same_report(
    trained: SpikingClassifier, few: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = few.take(slice(0, 16))
    whole = evaluate(trained, few, masking=True, battery=SMALL[:2])
    calls = 0
    original = Attack.__call__

    def interrupted(self: Attack, x: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return original(self, x, y)

    monkeypatch.setattr(Attack, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(trained, few, masking=True, battery=SMALL[:2], folder=tmp_path / "e")
    monkeypatch.setattr(Attack, "__call__", original)
    assert len(list((tmp_path / "e" / "cells").glob("*.json"))) == 3
    done = evaluate(trained, few, masking=True, battery=SMALL[:2], folder=tmp_path / "e")
    assert done.to_dict() == whole.to_dict()
    with torch.no_grad():
        next(trained.parameters()).add_(0.01)
    with pytest.raises(ValueError, match="holds another evaluation"):
        evaluate(trained, few, masking=True, battery=SMALL[:2], folder=tmp_path / "e")


def test_data_may_be_batches(trained: SpikingClassifier, few: ImageSet) -> None:
    x, y = few.x(), few.labels
    batches = list(zip(x.split(25), y.split(25), strict=True))
    a, b = (evaluate(trained, d, battery=SMALL[:1]) for d in (few, batches))
    assert a.to_dict() == b.to_dict()
    assert evaluate(trained, (x, y), battery=SMALL[:1], n=10).n == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"battery": "hard"}, "battery='hard' is not known"),
        ({"battery": [SMALL[0], SMALL[0]]}, "twice"),
        ({"battery": []}, "no attack that can run"),
        ({"n": 0}, "n=0 given"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str, trained: SpikingClassifier, few: ImageSet) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(trained, few, **options)


def test_bad_data(trained: SpikingClassifier, few: ImageSet) -> None:
    x, y = few.x(), few.labels
    with pytest.raises(ValueError, match="no batch"):
        evaluate(trained, [])
    with pytest.raises(ValueError, match="values in"):
        evaluate(trained, (x * 2, y))
    with pytest.raises(ValueError, match="10 classes"):
        evaluate(trained, (x, y + 5))
    with pytest.raises(ValueError, match="sizes in"):
        evaluate_robustness(trained, few, -0.1)
    with pytest.raises(ValueError, match="at least one size > 0"):
        evaluate_robustness(trained, few, [0.0])


def test_batteries_are_complete() -> None:
    names = {name: [s.name for s in make_battery(name, sources=True, classes=10)] for name in BATTERIES}
    assert names["quick"] == ["FGSM", "PGD-20 native", "PGD-20 assg"]
    for wanted in (
        "noise gaussian",
        "PGD-50 wide4",
        "PGD-50 assg90",
        "APGD-DLR assg",
        "SA-PGD assg",
        "Square",
        "transfer",
    ):
        assert wanted in names["standard"]
    assert "APGD-T9 assg" in names["full"]
    assert "transfer" not in [s.name for s in make_battery("standard", sources=False, classes=10)]
    assert "APGD-T9 assg" not in [s.name for s in make_battery("full", sources=True, classes=3)]
    with pytest.raises(ValueError, match="'pdg' is not known"):
        AttackSpec("x", "pdg")


def test_synthetic_robust_accuracy_is_met_within_the_interval() -> None:
    made = synthetic_margin(400, size=6, margin=0.05, spread=0.1, seed=3)
    report = evaluate_robustness(
        made.ideal(), made.data, [0.03, 0.1], battery=[AttackSpec("PGD", "pgd", {"steps": 10, "loss": "margin"})],
        masking=False, n=None,
    )  # fmt: skip
    for size in (0.03, 0.1):
        low, high = report.interval(report.worst(size))
        assert low <= made.robust_accuracy(size) <= high
        assert report.worst_case[size] == pytest.approx(made.robust_accuracy(size), abs=0.0026)
    assert made.robust_accuracy(0.03) == 1.0
    assert made.robust_accuracy(0.1) == pytest.approx(0.5, abs=0.1)


def test_state_leaks_are_named() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0.0
            self.lin = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.lin(x.flatten(1)) + self._drift()

        def _drift(self) -> float:
            self.calls += 1
            return self.calls

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.leak = nn.Flatten(), Remember()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.leak(self.flat(x)[:, :3])
            return out

    class Remember(nn.Module):
        last: Tensor | float = 0.0

        def forward(self, x: Tensor) -> Tensor:
            self.last = x + self.last
            return self.last

    x, y = torch.rand(6, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    with pytest.raises(StateLeakError, match=r"'leak' \(Remember\)"):
        evaluate(Outer(), (x, y))
    with pytest.raises(StateLeakError, match=r"Counting"):
        evaluate(Counting(), (x, y))
    leaky = SpikingClassifier(Stateful(nn.Sequential(nn.Flatten(2), nn.Linear(4, 3), LIF())), steps=3)
    # Stateful has reset_state(), so the classifier makes it forget
    assert evaluate(leaky, (x, y), battery=SMALL[:1]).n == 6


def untouched(model: SpikingClassifier) -> SpikingClassifier:
    return model


def tiny_window(model: SpikingClassifier) -> SpikingClassifier:
    for module in model.modules():
        if isinstance(module, LIF):
            module.surrogate = Triangle(0.02)
    return model


def rescaled(model: SpikingClassifier) -> SpikingClassifier:
    """Threshold and input times 40: the same spikes, potentials far outside of the window."""
    for module in model.modules():
        if isinstance(module, TDBatchNorm):
            module.scale *= 40
        if isinstance(module, LIF):
            module._threshold = 40.0
    return model


@pytest.mark.parametrize("change", [untouched, tiny_window, rescaled])
def test_masking_verdict(change: Any, trained: SpikingClassifier, few: ImageSet) -> None:
    x = few.x()
    with torch.no_grad():
        before = trained(x).argmax(1)
        model = change(copy.deepcopy(trained))
        assert (model(x).argmax(1) == before).double().mean() > 0.98
    verdict = masking_verdict(model, x, few.labels, 0.1, steps=8, long=30, queries=60)
    assert len(verdict.items) == 11
    assert [item.number for item in verdict.items] == list(range(1, 12))
    if change is untouched:
        assert not verdict.suspected, str(verdict)
        assert "suspected: no" in str(verdict)
    else:
        triggered = {item.number for item in verdict.items if item.triggered}
        # the adaptive gradient beats the native one, and the neurons lie outside of its window
        assert {7, 11} <= triggered
        assert "suspected: yes" in str(verdict)
        assert len(verdict.reasons) == len(triggered)


def test_a_stochastic_model_wants_draws(trained: SpikingClassifier, few: ImageSet) -> None:
    from spk_regularize import Poisson

    model = SpikingClassifier(trained.net, Poisson(4))
    verdict = masking_verdict(model, few.x()[:20], few.labels[:20], 0.1, steps=2, long=3, queries=5)
    assert verdict.items[9].triggered
    assert evaluate(model, (few.x()[:10], few.labels[:10]), battery=SMALL[:1]).settings["eot"] == 10


def test_layers_are_summarised(trained: SpikingClassifier, few: ImageSet) -> None:
    rows = summarise_layers(trained, few.x())
    assert len(rows) == 2
    for row in rows:
        assert row.gamma == 1.0
        assert 0 < row.rate < 1
        assert row.overlap == pytest.approx(row.inside, abs=0.25)
