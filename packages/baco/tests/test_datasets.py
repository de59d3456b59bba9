"""The generator: what it promises about degrees, blocks and repeatability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baco import BACO
from baco.datasets import GENERATOR_VERSION, make_coclusters


def test_the_same_seed_gives_the_same_interactions() -> None:
    first, second = (make_coclusters(300, 200, 7, random_state=5) for _ in range(2))
    assert first.digest == second.digest
    assert make_coclusters(300, 200, 7, random_state=6).digest != first.digest


def test_the_generator_version_belongs_to_these_interactions() -> None:
    # origin: this generator; whoever changes its output raises GENERATOR_VERSION with the digest
    assert (GENERATOR_VERSION, make_coclusters(1000, 800, 10, random_state=0).digest) == (1, "2918f4643f2d16d3")


def test_the_share_within_blocks_and_the_mean_degree_are_those_asked_for() -> None:
    graph, users, items = make_coclusters(4000, 3000, 5, mean_degree=12, mu=0.7, random_state=0)
    edges = graph.to_scipy().tocoo()
    within = np.mean(users[edges.row] == items[edges.col])
    # 5e4 interactions: three standard errors are 0.006, the rest is pairs that were given up
    assert within == pytest.approx(0.7, abs=0.03)
    assert graph.n_edges / graph.n_users == pytest.approx(12, rel=0.25)


def test_degrees_are_heavy_tailed() -> None:
    graph, *_ = make_coclusters(20_000, 5_000, 10, mean_degree=10, random_state=1)
    for degrees in (graph.user_degrees, graph.item_degrees):
        assert degrees.max() > 20 * np.median(degrees)


@settings(max_examples=15)
@given(st.integers(1, 60), st.integers(1, 60), st.data(), st.floats(1, 30), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_every_id_interacts_and_blocks_are_even(
    n_users: int, n_items: int, data: st.DataObject, mean_degree: float, mu: float, seed: int
) -> None:
    n_clusters = data.draw(st.integers(1, min(n_users, n_items)))
    graph, users, items = make_coclusters(
        n_users, n_items, n_clusters, mean_degree=mean_degree, mu=mu, random_state=seed
    )
    assert graph.user_degrees.min() >= 1
    assert graph.item_degrees.min() >= 1
    for labels, size in ((users, n_users), (items, n_items)):
        counts = np.bincount(labels, minlength=n_clusters)
        assert counts.size == n_clusters
        assert counts.max() - counts.min() <= 1
        assert counts.sum() == size


def test_full_separation_keeps_every_interaction_within_its_block() -> None:
    graph, users, items = make_coclusters(200, 100, 4, mu=1.0, random_state=0)
    edges = graph.to_scipy().tocoo()
    assert (users[edges.row] == items[edges.col]).all()
    graph, users, items = make_coclusters(200, 100, 4, mu=0.0, max_weight=1, random_state=0)
    edges = graph.to_scipy().tocoo()
    # only items that nobody drew are given a partner of their own block
    assert (users[edges.row] == items[edges.col]).sum() <= 5


def test_planted_blocks_are_found_again() -> None:
    graph, users, items = make_coclusters(600, 400, 8, mean_degree=40, mu=0.95, random_state=3)
    model = BACO(gamma=1.0, weights=("degree", "degree"), max_sweeps=30).fit(graph)
    for labels, truth in ((model.row_labels_, users), (model.column_labels_, items)):
        table = np.zeros((labels.max() + 1, 8))
        np.add.at(table, (labels, truth), 1)
        assert table.max(1).sum() / truth.size > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_users": 0}, "n_users must be an integer >= 1"),
        ({"n_clusters": 11}, "n_clusters=11 exceeds a side: 20 users, 10 items"),
        ({"mean_degree": 0.5}, "mean_degree must be"),
        ({"mu": 1.5}, r"mu must lie in \[0, 1\]"),
        ({"exponent": 1.0}, "exponent must be a finite number > 1"),
        ({"max_weight": 0}, "max_weight must be"),
    ],
)
def test_bad_arguments(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_coclusters(**{"n_users": 20, "n_items": 10, "n_clusters": 3, **change})  # type: ignore[arg-type]
