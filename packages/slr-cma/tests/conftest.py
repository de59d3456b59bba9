"""Shared by the tests: a small DVS-SLR tree, seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slr_cma.data import Key, split_keys
from slr_cma.synth.layout import write_layout

SIZE = (60, 80)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def keys() -> list[Key]:
    """Two users of the training part, one each of validation and test; two labels, one light, two positions."""
    users = {"user0", "user1", "user30", "user40"}
    return [k for k in split_keys("all") if k.user in users and k.label in ("at", "home") and k.light == "dimLED"]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, keys: list[Key]) -> Path:
    root = tmp_path_factory.mktemp("dvsslr")
    write_layout(root, keys, seconds=1.6, rate=2000, size=SIZE)
    return root
