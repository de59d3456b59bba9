"""Bad input: one clear message, before anything is computed; and the odd cases that are not errors."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

import demm
from demm import DEMM, DEMMNA, DEMMPlus, Metapath


def ring(n):
    i = np.arange(n)
    return sp.csr_array((np.ones(2 * n), (np.r_[i, (i + 1) % n], np.r_[(i + 1) % n, i])), shape=(n, n))


X10 = np.random.default_rng(0).standard_normal((10, 4))


def with_value(value):
    a = ring(10).astype(float)
    a.data[3] = value
    return a


@pytest.mark.parametrize(
    ("graph", "X", "message"),
    [
        ({"good": ring(10), "bad": sp.csr_array((10, 9))}, X10, "'bad' has shape (10, 9); expected a square"),
        ({"a": ring(10), "b": ring(11)}, X10, "'b' has 11 nodes, expected 10"),
        ({"a": ring(11)}, X10, "'a' has 11 nodes, expected 10"),
        ({"a": with_value(np.nan)}, X10, "'a' holds NaN"),
        ({"a": with_value(np.inf)}, X10, "'a' holds NaN or infinite"),
        ({"a": with_value(-1.0)}, X10, "'a' holds negative weights (lowest -1)"),
        ([np.array([[0, 1, 12], [1, 2, 3]])], X10, "edge_index holds node 12, expected 0 to 9"),
        ([np.array([[0, -1, 2], [1, 2, 3]])], X10, "edge_index holds node -1"),
        ([], X10, "got no relation"),
        ([sp.csr_array((10, 10))], X10, "no relation has an edge"),
        ([Metapath(sp.csr_array((9, 3)))], X10, "Metapath incidence has shape (9, 3)"),
        ([ring(10)], X10[:, 0], "X has shape (10,), expected [nodes, features]"),
        ([ring(10)], X10[:9], "'relation_0' has 10 nodes, expected 9"),
        ([ring(10)], np.where(X10 > 1, np.nan, X10), "X holds NaN"),
        ([ring(10)], np.zeros((10, 0)), "X has no features"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_wrong_input_is_one_clear_valueerror(graph, X, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DEMMPlus(2).fit(graph, X)


@pytest.mark.parametrize(
    ("graph", "X", "message"),
    [
        ("graph", None, "is not there"),
        (3, X10, "got a graph of type int"),
        ([ring(10).astype(complex)], X10, "has dtype complex128"),
        ([np.full((10, 10), "a")], X10, "has dtype"),
        ([ring(10)], np.full((10, 2), "a"), "X has dtype"),
    ],
)
def test_wrong_types_are_named(graph, X, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, FileNotFoundError), match=message):
        DEMMPlus(2).fit(graph, X)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_clusters": 0}, ValueError, "n_clusters=0: expected a whole number >= 1"),
        ({"n_clusters": 2.5}, TypeError, "n_clusters=2.5"),
        ({"n_clusters": 11}, ValueError, "n_clusters=11 but the graph has 10 nodes"),
        ({"alpha": -1.0}, ValueError, "alpha=-1.0"),
        ({"beta": -1.0}, ValueError, "beta=-1.0"),
        ({"alpha": float("nan")}, ValueError, "alpha=nan"),
        ({"n_hops": -1}, ValueError, "n_hops=-1"),
        ({"max_iter": 0}, ValueError, "max_iter=0"),
        ({"solver": "magic"}, ValueError, "solver='magic': expected one of 'neumann'"),
        ({"energy": "sketch"}, ValueError, "energy='sketch'"),
        ({"features": "bm25"}, ValueError, "features='bm25'"),
        ({"self_loops": "yes"}, ValueError, "self_loops='yes'"),
        ({"sinkhorn": True}, ValueError, "sinkhorn=True"),
        ({"n_jobs": 0}, ValueError, "n_jobs=0"),
        ({"relation_weights": "equal"}, ValueError, "relation_weights='equal'"),
        ({"relation_weights": [0.5, 0.5]}, ValueError, "relation_weights has shape (2,), expected (1,)"),
        ({"relation_weights": [-1.0]}, ValueError, "expected weights >= 0"),
        ({"relation_weights": {"b": 1.0}}, ValueError, "relation_weights names ['b']"),
        ({"memory_limit": "4 parsecs"}, ValueError, "memory_limit='4 parsecs'"),
        ({"features": "tfidf"}, ValueError, "non-negative counts"),
    ],
)
def test_wrong_parameters_name_what_was_expected(parameters, error, message):
    with pytest.raises(error, match=re.escape(message)):
        DEMMPlus(**{"n_clusters": 2, **parameters}).fit([ring(10)], X10)


def test_demm_refuses_large_graphs_and_names_the_way_out():
    with pytest.raises(ValueError, match=r"max_nodes=5 allows; use DEMMPlus"):
        DEMM(2, max_nodes=5).fit([ring(10)], X10)


def test_demm_needs_attributes_and_demmna_takes_none():
    with pytest.raises(ValueError, match="DEMMNA"):
        DEMM(2).fit([ring(10)])
    with pytest.raises(ValueError, match="DEMMPlus"):
        DEMMNA(2).fit([ring(10)], X10)


def test_an_unfitted_model_says_so(tmp_path):
    from sklearn.exceptions import NotFittedError

    for call in (lambda m: m.predict([ring(10)]), lambda m: m.score(), lambda m: m.save(tmp_path / "m")):
        with pytest.raises(NotFittedError, match="call fit"):
            call(DEMMPlus(2))


def test_directed_relations_are_symmetrised_with_a_warning_or_refused():
    one_way = sp.csr_array((np.ones(9), (np.arange(9), np.arange(1, 10))), shape=(10, 10))
    with pytest.warns(UserWarning, match="'relation_0' is directed"):
        first = DEMMPlus(2, random_state=0).fit([one_way], X10)
    second = DEMMPlus(2, random_state=0).fit([one_way.maximum(one_way.T)], X10)
    np.testing.assert_array_equal(first.features_, second.features_)
    with pytest.raises(ValueError, match="not symmetric"):
        DEMMPlus(2, directed="error").fit([one_way], X10)


def test_an_empty_relation_warns_and_weighs_nothing():
    with pytest.warns(UserWarning, match="'empty' has no edges"):
        model = DEMMPlus(2, random_state=0).fit({"ring": ring(10), "empty": sp.csr_array((10, 10))}, X10)
    np.testing.assert_array_equal(model.relation_weights_, [1.0, 0.0])
    alone = DEMMPlus(2, random_state=0).fit({"ring": ring(10)}, X10)
    np.testing.assert_allclose(model.features_, alone.features_, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 4.0])
def test_a_relation_of_self_loops_never_wins(beta):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = DEMMPlus(2, beta=beta, random_state=0).fit({"ring": ring(10), "self": sp.eye_array(10)}, X10)
    said = " ".join(str(w.message) for w in caught)
    assert "self-loops only" in said
    assert ("cost nothing" in said) == (beta == 0)
    assert np.isfinite(model.relation_weights_).all()
    assert model.relation_weights_[1] < 0.5


def test_a_tail_after_one_or_two_hops_warns():
    with pytest.warns(UserWarning, match="n_hops=1 with tail=True"):
        DEMMPlus(2, n_hops=1, random_state=0).fit([ring(10)], X10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DEMMPlus(2, n_hops=1, tail=False, random_state=0).fit([ring(10)], X10)
        DEMMPlus(2, n_hops=3, random_state=0).fit([ring(10)], X10)


def test_isolated_nodes_keep_their_own_attributes():
    a = sp.block_diag([ring(8), sp.csr_array((2, 2))], format="csr")
    model = DEMMPlus(2, features="precomputed", dtype="float64", random_state=0).fit([a], X10)
    own = X10[8:] / np.linalg.norm(X10[8:], axis=1, keepdims=True)
    np.testing.assert_allclose(model.features_[8:], own, atol=1e-12)


def test_zero_attribute_rows_are_placed_at_the_uniform_vector():
    a = sp.block_diag([ring(8), sp.csr_array((2, 2))], format="csr")
    X = X10.copy()
    X[9] = 0
    with pytest.warns(UserWarning, match=r"1 node\(s\) have no attributes left"):
        model = DEMMPlus(2, features="precomputed", random_state=0).fit([a], X)
    np.testing.assert_allclose(model.features_[9], 0.5)


@pytest.mark.parametrize("value", [0.0, 3.25])
def test_constant_attributes_warn_and_end_in_labels(value):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = DEMMPlus(2, random_state=0).fit([ring(10)], np.full((10, 3), value))
    assert any("X is constant" in str(w.message) for w in caught)
    assert model.labels_.shape == (10,)
    assert np.isfinite(model.features_).all()


@pytest.mark.parametrize("n", range(2, 11))
@pytest.mark.filterwarnings("ignore:only .* clusters hold a node")
@pytest.mark.filterwarnings("ignore:.*row sum.*were clipped")
@pytest.mark.filterwarnings("ignore:.*learned weights collapsed")
@pytest.mark.filterwarnings("ignore:.*no attributes left")
def test_tiny_graphs_work_for_every_number_of_clusters(n):
    a = sp.csr_array(np.ones((n, n)) - np.eye(n))
    X = np.random.default_rng(n).standard_normal((n, 3))
    for k in {1, 2, n}:
        for model in (DEMMPlus(k, random_state=0).fit([a], X), DEMMNA(k, random_state=0).fit([a])):
            assert model.labels_.shape == (n,)
            assert model.labels_.min() >= 0
            assert model.labels_.max() < k
            assert np.isfinite(model.embedding_).all()
    assert np.unique(DEMMPlus(n, random_state=0).fit([a], X).labels_).shape[0] <= n


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_node_is_one_cluster():
    model = DEMMPlus(1, random_state=0).fit([np.ones((1, 1))], np.ones((1, 2)))
    assert model.labels_.tolist() == [0]


def test_one_cluster_is_one_cluster(easy):
    assert set(DEMMPlus(1, random_state=0).fit_predict(easy.graph, easy.X)) == {0}


def test_more_components_than_rank_are_capped(easy):
    model = DEMMPlus(3, n_components=1000, random_state=0).fit(easy.graph, easy.X)
    assert model.features_.shape == (240, 32)


def test_disconnected_and_bipartite_relations_give_finite_results():
    pieces = sp.block_diag([ring(10)] * 3, format="csr")
    bipartite = sp.csr_array(np.kron([[0, 1], [1, 0]], np.ones((15, 15))))
    X = np.random.default_rng(0).standard_normal((30, 4))
    for solver in ("neumann", "chebyshev", "cg", "direct"):
        model = DEMMPlus(3, solver=solver, random_state=0).fit([pieces, bipartite], X)
        assert np.isfinite(model.features_).all()
    assert DEMMNA(3, relation_weights=[1.0, 0.0], random_state=0).fit([pieces, bipartite]).labels_.shape == (30,)


def test_weights_over_sixty_orders_of_magnitude_stay_finite():
    rng = np.random.default_rng(0)
    a = sp.triu(ring(40), 1).tocsr()
    a.data = 10.0 ** rng.uniform(-30, 30, a.nnz)
    a = sp.csr_array(a + a.T)
    X = rng.standard_normal((40, 4))
    single = DEMMPlus(2, binarize=False, random_state=0).fit([a], X)
    double = DEMMPlus(2, binarize=False, dtype="float64", random_state=0).fit([a], X)
    assert np.isfinite(single.features_).all()
    np.testing.assert_allclose(single.features_, double.features_, atol=1e-4)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float16, np.float32])
def test_every_real_dtype_is_taken(dtype):
    a = ring(10).toarray().astype(dtype)
    model = DEMMPlus(2, random_state=0).fit([a], X10)
    np.testing.assert_array_equal(model.features_, DEMMPlus(2, random_state=0).fit([ring(10)], X10).features_)


def test_repeated_entries_are_summed_then_binarised():
    i = np.r_[np.arange(10), np.arange(10)]
    j = (i + 1) % 10
    doubled = sp.coo_array((np.ones(40), (np.r_[i, j], np.r_[j, i])), shape=(10, 10))
    model = DEMMPlus(2, random_state=0).fit([doubled], X10)
    np.testing.assert_array_equal(model.features_, DEMMPlus(2, random_state=0).fit([ring(10)], X10).features_)


def test_the_callers_matrices_are_left_alone():
    a = sp.csr_array(ring(10).toarray()[:, ::-1][:, ::-1])
    a.data[:] = 2.0
    before = a.copy()
    X = X10.copy()
    DEMMPlus(2, self_loops="remove", random_state=0).fit([a], X)
    assert (a != before).nnz == 0
    np.testing.assert_array_equal(X, X10)


def test_more_than_two_billion_entries_fit_the_row_pointers():
    # int32 would overflow: a row pointer past 2^31, reached without storing that many entries
    from demm.operators._threads import row_blocks

    indptr = np.array([0, 2**31 + 10, 2**32], dtype=np.int64)
    assert row_blocks(2, indptr)[-1] == 2
    read = demm.as_graph([ring(10)])
    assert read[0].indptr.dtype == np.int64
