"""The example learns: at least 95 % on the digits, the same spikes for the same seed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

PATH = Path(__file__).parents[1] / "examples" / "quickstart.py"
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def quickstart() -> Any:
    if not PATH.exists():
        pytest.skip("the examples are not part of this checkout")
    spec = importlib.util.spec_from_file_location("spk_neurons_quickstart", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_what_it_learned(quickstart: Any, tmp_path: Path) -> None:
    data = quickstart.read()
    trained = quickstart.train(data, "hard", "auto")
    assert trained.accuracy >= 0.95
    quickstart.inside(trained, data, tmp_path / "inside.png")
    quickstart.learning({"hard": trained.losses}, {"hard": trained.accuracy}, tmp_path / "learning.png")
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("inside.png", "learning.png"))


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
def test_three_resets_and_two_backends(quickstart: Any, reset: str) -> None:
    data = quickstart.read()
    first, again, other, once_more = (quickstart.train(data, reset, b) for b in ("numba", "numba", "torch", "torch"))
    assert min(first.accuracy, other.accuracy) >= 0.95
    assert torch.equal(first.spikes, again.spikes)
    # equal seeds, equal spikes on each backend; across them training adds in another order (tests of the harness hold
    # the spikes of equal weights equal)
    assert torch.equal(other.spikes, once_more.spikes)
