"""Recall and NDCG against a loop that follows their definitions, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baco import BipartiteGraph
from baco.ranking import ranking_metrics, top_items


def slow_metrics(lists, test, k):
    """One user after the other, as the formulas stand."""
    capped, usual, ndcg = [], [], []
    for ranked, wanted in zip(lists, test, strict=True):
        if not wanted:
            continue
        hits = [item in wanted for item in ranked[:k]]
        capped.append(sum(hits) / min(k, len(wanted)))
        usual.append(sum(hits) / len(wanted))
        best = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
        ndcg.append(sum(hit / math.log2(place + 2) for place, hit in enumerate(hits)) / best)
    return {f"recall@{k}": np.mean(capped), f"recall_all@{k}": np.mean(usual), f"ndcg@{k}": np.mean(ndcg)}


def graph_of(test, n_items):
    users = [user for user, wanted in enumerate(test) for _ in wanted]
    items = [item for wanted in test for item in sorted(wanted)]
    return BipartiteGraph.from_arrays(users, items, n_users=len(test), n_items=n_items)


@given(st.integers(0, 10_000), st.integers(1, 8))
@settings(max_examples=50)
def test_metrics_equal_the_slow_ones(seed, k):
    rng = np.random.default_rng(seed)
    n_users, n_items = rng.integers(1, 7), 10
    test = [set(rng.choice(n_items, rng.integers(0, 6), replace=False).tolist()) for _ in range(n_users)]
    test[0].add(3)
    lists = np.array([rng.permutation(n_items)[:8] for _ in range(n_users)])
    assert ranking_metrics(lists, graph_of(test, n_items), ks=(k,)) == pytest.approx(slow_metrics(lists, test, k))


def test_by_hand():
    # user 0 wants 4 and 5, its list finds 4 in second place; user 1 wants 0, 1, 2 and finds none in two places
    found = ranking_metrics([[9, 4], [8, 9]], graph_of([{4, 5}, {0, 1, 2}], 10), ks=(2,))
    ideal = 1 + 1 / math.log2(3)
    assert found == pytest.approx({"recall@2": 0.25, "recall_all@2": 0.25, "ndcg@2": 1 / math.log2(3) / ideal / 2})
    found = ranking_metrics([[0, 1]], graph_of([{0, 1, 2}], 10), ks=(2,))
    assert found["recall@2"] == 1.0
    assert found["recall_all@2"] == pytest.approx(2 / 3)


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=30)
def test_top_items_are_those_of_a_full_sort(seed, k, chunk):
    rng = np.random.default_rng(seed)
    users, items = rng.normal(size=(5, 3)), rng.normal(size=(6, 3))
    seen = BipartiteGraph.from_arrays([0, 0, 4], [1, 2, 0], n_users=5, n_items=6)
    scores = users @ items.T
    scores[[0, 0, 4], [1, 2, 0]] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert np.array_equal(top_items(users, items, k, seen=seen, chunk=chunk), expected)


def test_bad_input():
    test = graph_of([{1}, set()], 5)
    with pytest.raises(ValueError, match="top lists 2 items, k=3 asks for more"):
        ranking_metrics([[0, 1], [1, 2]], test, ks=(3,))
    with pytest.raises(ValueError, match="no user has test items"):
        ranking_metrics([[0, 1]], test, users=[1], ks=(2,))
    with pytest.raises(ValueError, match="each k must be >= 1"):
        ranking_metrics([[0], [1]], test, ks=(0,))
    with pytest.raises(ValueError, match=r"k must lie in \[1, 4\]"):
        top_items(np.ones((2, 3)), np.ones((4, 3)), 5)
    with pytest.raises(ValueError, match="vectors must be"):
        top_items(np.ones((2, 3)), np.ones((4, 2)), 1)
