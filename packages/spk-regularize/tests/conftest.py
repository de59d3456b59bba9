"""Networks and data that several test files share: small, trained once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spk_regularize import ImageSet, RobustTrainer, SpikingClassifier, Split, TrainConfig, build_model, load


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def known() -> dict[str, Any]:
    """Numbers with their origin."""
    return dict(json.loads((Path(__file__).parent / "known_answers.json").read_text()))


@pytest.fixture(scope="session")
def split() -> Split:
    """The digits."""
    return load("digits", validation=0.18)


@pytest.fixture(scope="session")
def _trained(split: Split) -> SpikingClassifier:
    model = build_model("cnn", channels=(8, 12), seed=0)
    RobustTrainer(model, TrainConfig(epochs=4, eps=0.1)).fit(split.train)
    return model.eval()


@pytest.fixture
def trained(_trained: SpikingClassifier) -> SpikingClassifier:
    """A small spiking network that knows the digits: about 95 % right. A copy, so that tests may change it."""
    import copy

    return copy.deepcopy(_trained)


@pytest.fixture(scope="session")
def few(split: Split) -> ImageSet:
    """Sixty test images."""
    return split.test.take(slice(0, 60))
