"""Scores against hand-counted cases, scikit-learn and networkx."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from demm import Metapath, metrics

labelings = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@given(labelings)
def test_renaming_clusters_changes_no_score(labels):
    labels = np.array(labels)
    renamed = (labels * 7 + 3) % 11
    assert metrics.accuracy(labels, renamed) == 1.0
    assert metrics.ari(labels, renamed) == pytest.approx(1.0)
    assert metrics.macro_f1(labels, renamed) == pytest.approx(1.0)


def test_hand_counted_scores():
    labels, predicted = [0, 0, 0, 1, 1, 2], [1, 1, 0, 0, 0, 2]
    assert metrics.accuracy(labels, predicted) == pytest.approx(5 / 6)
    np.testing.assert_array_equal(metrics.match_labels(labels, predicted), [0, 0, 1, 1, 1, 2])
    assert metrics.macro_f1(labels, predicted) == pytest.approx((0.8 + 0.8 + 1.0) / 3)


def test_nmi_takes_the_geometric_mean():
    labels, predicted = [0, 0, 1, 1], [0, 1, 2, 3]  # I = ln 2, entropies ln 2 and ln 4
    assert metrics.nmi(labels, predicted) == pytest.approx(np.log(2) / np.sqrt(np.log(2) * np.log(4)))


def test_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"labels has shape \(2,\) and predicted \(3,\)"):
        metrics.accuracy([0, 1], [0, 1, 2])


@pytest.mark.parametrize("weighted", [False, True])
def test_modularity_is_networkx(random_graph, weighted):
    networkx = pytest.importorskip("networkx", reason="oracle networkx is not installed")
    from demm import as_graph
    from demm._modularity import relation_modularity

    a = random_graph(50, 0.15, 0, weighted=weighted, loops=True)
    labels = np.arange(50) % 4
    plain = a.toarray()
    np.fill_diagonal(plain, 0)
    graph = networkx.from_numpy_array(plain)
    expected = networkx.community.modularity(graph, [set(np.flatnonzero(labels == k)) for k in range(4)])
    relation = as_graph([a], binarize=not weighted)[0]
    assert relation_modularity(relation, labels) == pytest.approx(expected)
    if not weighted:
        assert metrics.modularity([a], labels)[0] == pytest.approx(expected)


def test_modularity_of_an_implicit_metapath_is_that_of_the_product():
    rng = np.random.default_rng(0)
    b = (rng.random((30, 6)) < 0.3).astype(float)
    from demm import as_graph
    from demm._modularity import relation_modularity

    labels = np.arange(30) % 3
    implicit = as_graph([Metapath(sp.csr_array(b), weighted=True)])[0]
    explicit = as_graph([sp.csr_array(b @ b.T)], binarize=False)[0]
    assert relation_modularity(implicit, labels) == pytest.approx(relation_modularity(explicit, labels))


def test_mrde_wants_one_weight_per_relation(random_graph):
    a = random_graph(20, 0.3, 0)
    with pytest.raises(ValueError, match="one per relation"):
        metrics.mrde(np.ones((20, 2)), [a, a], [1.0])
