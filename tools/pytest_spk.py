"""Pytest plugin of the whole repository: real data, hypothesis profile, kernel cache.

Loaded by the root ``pyproject.toml`` (``-p pytest_spk``), so a new package's tests get it without an edit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Kernels compiled by one session serve the next one: without it every environment compiles again.
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".numba_cache"))


def pytest_configure(config: pytest.Config) -> None:
    from hypothesis import settings

    # Shared machines have slow moments: a deadline would turn them into failures.
    settings.register_profile("spk", deadline=None, print_blob=True)
    settings.load_profile("spk")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("SPK_DATA"):
        return
    skip = pytest.mark.skip(reason="SPK_DATA is not set: this test reads real data")
    for item in items:
        if "data" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def spk_data() -> Callable[[str], Path]:
    """Path of a file under ``SPK_DATA``; a missing file fails the test, it does not skip it."""

    def find(relative: str) -> Path:
        folder = os.environ.get("SPK_DATA")
        if not folder:
            pytest.skip("SPK_DATA is not set: this test reads real data")
        path = Path(folder) / relative
        if not path.exists():
            pytest.fail(f"SPK_DATA is set to {folder}, but {relative} is not there")
        return path

    return find
