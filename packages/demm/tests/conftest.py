"""Shared by demm's tests: known answers, small graphs, hypothesis strategies for graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def known() -> dict[str, Any]:
    return json.loads((HERE / "data" / "known_answers.json").read_text(encoding="utf-8"))


def _from_edges(n: int, edges: list[tuple[int, int]]) -> sp.csr_array:
    dense = np.zeros((n, n))
    for i, j in edges:
        dense[i, j] = dense[j, i] = 1
    return sp.csr_array(dense)


@pytest.fixture(scope="session")
def from_edges() -> Any:
    """(n, list of pairs) -> symmetric adjacency."""
    return _from_edges


@pytest.fixture(scope="session")
def random_graph() -> Any:
    """(n, density, seed, weighted, loops) -> symmetric adjacency with some isolated nodes."""

    def make(
        n: int, density: float, seed: int, *, weighted: bool = False, loops: bool = False, isolated: int = 0
    ) -> sp.csr_array:
        rng = np.random.default_rng(seed)
        upper = np.triu(rng.random((n, n)) < density, 0 if loops else 1).astype(float)
        if weighted:
            upper *= rng.uniform(0.1, 5.0, (n, n))
        dense = np.maximum(upper, upper.T)
        lonely = rng.choice(n, isolated, replace=False)
        dense[lonely] = 0
        dense[:, lonely] = 0
        return sp.csr_array(dense)

    return make


@pytest.fixture(scope="session")
def easy() -> Any:
    """A graph whose clusters can be found: 240 nodes, 3 clusters, two informative relations."""
    from demm.datasets import make_multirelational

    return make_multirelational(240, 3, degrees=(8.0, 12.0), mixing=(0.1, 0.2), signal=1.0, random_state=3)
