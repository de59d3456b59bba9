"""Graphs that several test files read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from baco import BipartiteGraph

FindData = Callable[[str], Path]


def lightgcn_pairs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Edge list of "user item item ..." lines; the tests' own reader, apart from the package's."""
    users, items = [], []
    for line in path.read_text().splitlines():
        user, *rest = map(int, line.split())
        users += [user] * len(rest)
        items += rest
    return np.array(users), np.array(items)


@pytest.fixture(scope="session")
def real_graph(spk_data: FindData) -> Callable[[str], BipartiteGraph]:
    """Beauty's train split, or Gowalla's train and validation together."""
    made: dict[str, BipartiteGraph] = {}

    def load(name: str) -> BipartiteGraph:
        if name not in made:
            if name == "beauty":
                with np.load(spk_data("interactions/beauty/beauty.npz")) as stored:
                    users, items = stored["train"]
            else:
                parts = [lightgcn_pairs(spk_data(f"interactions/{name}/{part}.txt")) for part in ("train", "valid")]
                users, items = (np.concatenate(side) for side in zip(*parts, strict=True))
            made[name] = BipartiteGraph.from_arrays(
                users, items, n_users=int(users.max()) + 1, n_items=int(items.max()) + 1
            )
        return made[name]

    return load
