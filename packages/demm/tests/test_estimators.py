"""scikit-learn conventions, clustering quality on graphs with known clusters, and predict."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils.estimator_checks import (
    check_estimator_cloneable,
    check_estimator_repr,
    check_get_params_invariance,
    check_mixin_order,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

import demm
from demm import DEMM, DEMMNA, DEMMPlus, as_graph
from demm.metrics import accuracy, ari

ESTIMATORS = [DEMMPlus, DEMM, DEMMNA]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "check",
    [
        check_estimator_cloneable,
        check_estimator_repr,
        check_get_params_invariance,
        check_mixin_order,
        check_no_attributes_set_in_init,
        check_parameters_default_constructible,
        check_set_params,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learns_checks_of_parameters(estimator, check):
    check(estimator.__name__, estimator())


def fitted(estimator, data, **options):
    model = estimator(data.n_clusters, random_state=0, **options)
    return model.fit(data.graph) if estimator is DEMMNA else model.fit(data.graph, data.X)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_results_have_their_shapes(estimator, easy):
    model = fitted(estimator, easy)
    n, r = easy.labels.shape[0], len(easy.graph)
    assert model.labels_.shape == (n,)
    assert model.labels_.dtype == np.int32
    assert set(model.labels_) == set(range(easy.n_clusters))
    assert model.relation_names_ == list(easy.graph)
    assert model.relation_weights_.shape == (r,)
    assert model.relation_weights_history_.shape == (model.n_iter_, r)
    assert model.energies_history_.shape == (model.n_iter_, r)
    assert model.energy_history_.shape == (model.n_iter_,)
    assert model.energy_per_relation_.shape == (r,)
    assert model.energy_ == pytest.approx(model.relation_weights_ @ model.energy_per_relation_)
    assert model.score() == -model.energy_
    np.testing.assert_allclose(np.linalg.norm(model.features_, axis=1), 1.0, atol=1e-5)
    assert model.embedding_.shape[0] == n
    assert model.cluster_centers_.shape == (easy.n_clusters, model.embedding_.shape[1])
    assert {"graph", "stage1", "embedding", "kmeans", "total"} <= set(model.timings_)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_planted_clusters_are_found(estimator, easy):
    assert accuracy(easy.labels, fitted(estimator, easy).labels_) > 0.95


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_same_seed_gives_the_same_bits(estimator, easy):
    first, second = fitted(estimator, easy), clone(fitted(estimator, easy))
    second = fitted(estimator, easy)
    assert first.features_.tobytes() == second.features_.tobytes()
    assert first.labels_.tobytes() == second.labels_.tobytes()


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_labels_do_not_depend_on_threads(easy, n_jobs):
    reference = fitted(DEMMPlus, easy, n_jobs=2)
    model = fitted(DEMMPlus, easy, n_jobs=n_jobs)
    assert model.features_.tobytes() == reference.features_.tobytes()
    np.testing.assert_array_equal(model.labels_, reference.labels_)


def test_demm_and_demmplus_agree_on_the_features_they_share(easy):
    exact = fitted(DEMM, easy, max_iter=3, tol=0)
    solved = fitted(DEMMPlus, easy, max_iter=3, tol=0, solver="direct", dtype="float64")
    np.testing.assert_allclose(solved.features_, exact.features_, atol=1e-10)
    np.testing.assert_allclose(solved.relation_weights_, exact.relation_weights_, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "chebyshev"},
        {"solver": "cg"},
        {"solver": "direct"},
        {"energy": "countsketch"},
        {"sinkhorn": None},
        {"sinkhorn": "paper", "sinkhorn_iter": 2},
        {"embedding": "features"},
        {"assign": "minibatch"},
        {"n_random_features": 3},
        {"relation_weights": "uniform"},
        {"relation_weights": {"informative_0": 3.0, "informative_1": 1.0}},
        {"self_loops": "add"},
        {"compress": False},
        {"backend": "scipy"},
        {"dtype": "float64"},
        {"features": "l2"},
        {"features": "none"},
    ],
    ids=str,
)
def test_every_option_finds_the_planted_clusters(easy, options):
    assert accuracy(easy.labels, fitted(DEMMPlus, easy, **options).labels_) > 0.9


def test_fixed_weights_are_used_and_need_one_round(easy):
    model = fitted(DEMMPlus, easy, relation_weights=[3.0, 1.0])
    np.testing.assert_allclose(model.relation_weights_, [0.75, 0.25])
    assert model.n_iter_ == 1
    assert model.converged_


def test_a_fit_stops_when_the_weights_stand_still(easy):
    model = fitted(DEMMPlus, easy, max_iter=50, tol=1e-3)
    assert model.converged_
    assert model.n_iter_ < 50
    assert np.abs(np.diff(model.relation_weights_history_[-2:], axis=0)).max() < 1e-3


def test_without_attributes_demmplus_is_demmna(easy):
    plus = DEMMPlus(3, random_state=0).fit(easy.graph)
    na = DEMMNA(3, random_state=0).fit(easy.graph)
    np.testing.assert_array_equal(plus.labels_, na.labels_)


def test_the_eigenvectors_are_those_of_a_dense_solver(random_graph):
    from demm._base import Prepared
    from demm._graph import build_operators
    from demm._spectral import top_eigenpairs
    from demm.operators import NumbaBackend, RowPool

    graph = as_graph([random_graph(260, 0.05, 0), random_graph(260, 0.1, 1)])
    operators = build_operators(graph, dtype=np.float64, compress="auto", pool=RowPool(1))
    prepared = Prepared(graph, operators, NumbaBackend(operators, RowPool(1)), RowPool(1))
    start = np.random.default_rng(0).standard_normal(260)
    values, vectors = top_eigenpairs(prepared, np.array([0.3, 0.7]), 4, start)
    mixed = sum(w * m.toarray() for w, m in zip([0.3, 0.7], prepared.matrices(), strict=True))
    expected = np.linalg.eigvalsh(mixed)[::-1][:4]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    np.testing.assert_allclose(mixed @ vectors, vectors * values, atol=1e-3)


def test_memory_limit_works_on_blocks_of_columns_with_the_same_result(easy, tmp_path):
    whole = fitted(DEMMPlus, easy)
    blocks = fitted(DEMMPlus, easy, memory_limit=240 * 4 * 4 * 5, workdir=str(tmp_path))
    np.testing.assert_allclose(blocks.features_, whole.features_, atol=1e-5)
    assert ari(whole.labels_, blocks.labels_) == 1.0
    assert list(tmp_path.iterdir()) == []  # nothing stays behind


def test_predict_gives_fitted_nodes_their_own_labels(easy):
    model = fitted(DEMMPlus, easy, solver="cg", n_hops=60)
    links = [sp.csr_array(a) for a in easy.graph.values()]
    predicted = model.predict(links, easy.X)
    # a converged fit is a fixed point of the prediction step
    assert np.mean(predicted == model.labels_) > 0.99


def test_predict_on_nodes_held_out():
    data = demm.datasets.make_multirelational(
        600, 3, degrees=(10.0, 14.0), mixing=(0.2, 0.2), signal=0.8, random_state=5
    )
    old, new = np.arange(500), np.arange(500, 600)
    inside = {name: sp.csr_array(a[old][:, old]) for name, a in data.graph.items()}
    across = {name: sp.csr_array(a[new][:, old]) for name, a in data.graph.items()}
    for options in ({}, {"embedding": "features"}, {"sinkhorn": None}):
        model = DEMMPlus(3, random_state=0, **options).fit(inside, data.X[old])
        together = np.concatenate([model.labels_, model.predict(across, data.X[new])])
        assert accuracy(data.labels, together) > 0.95
    spectral = DEMMNA(3, relation_weights="uniform", random_state=0).fit(inside)
    predicted = spectral.predict(list(across.values()))
    assert accuracy(data.labels, np.concatenate([spectral.labels_, predicted])) > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda links, X: (links[:1], X), "got 1 relations, expected 2"),
        (lambda links, X: ([a[:, :100] for a in links], X), "fitted nodes"),
        (lambda links, X: (links, None), "pass X for the new nodes"),
        (lambda links, X: (links, X[:, :3]), "X has 3 features, expected 32"),
        (lambda links, X: (links, X[:2]), "X has 2 rows"),
    ],
)
def test_predict_refuses_what_does_not_fit(easy, change, message):
    model = fitted(DEMMPlus, easy)
    links, X = change([a[:4] for a in easy.graph.values()], easy.X[:4])
    with pytest.raises(ValueError, match=message):
        model.predict(links, X)


def test_large_graphs_get_k_means_of_the_same_quality(easy, monkeypatch):
    from demm import _stage2

    Z = fitted(DEMMPlus, easy).embedding_
    before = Z.copy()
    whole = _stage2.assign_clusters(Z, 3, n_init=10, rng=np.random.RandomState(0))
    monkeypatch.setattr(_stage2, "LARGE", 100)
    monkeypatch.setattr(_stage2, "SAMPLE", 120)
    monkeypatch.setattr(_stage2, "BLOCK_ROWS", 64)
    sampled = _stage2.assign_clusters(Z, 3, n_init=10, rng=np.random.RandomState(0))
    assert ari(whole[0], sampled[0]) == 1.0
    assert sampled[2] == pytest.approx(whole[2], rel=1e-4)
    np.testing.assert_allclose(np.sort(sampled[1], axis=0), np.sort(whole[1], axis=0), atol=1e-4)
    np.testing.assert_allclose(Z, before, atol=1e-6)  # centred in place and moved back


def test_pickle_works_too(easy):
    model = fitted(DEMMPlus, easy)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.labels_, model.labels_)


def test_every_parameter_is_documented():
    for estimator in ESTIMATORS:
        text = inspect.getdoc(DEMMPlus) + inspect.getdoc(estimator)
        for name in inspect.signature(estimator).parameters:
            assert name in text, f"{estimator.__name__}: {name}"


@pytest.mark.data
def test_public_graphs_reach_the_level_of_the_paper(spk_data):
    acm = demm.datasets.load_acm(spk_data("graphs/acm3025"))
    model = DEMMPlus(3, alpha=4, beta=2.5, n_hops=5, random_state=0).fit(acm.graph, acm.X)
    assert accuracy(acm.labels, model.labels_) > 0.915
    yelp = demm.datasets.load_yelp(spk_data("graphs/yelp2614"))
    model = DEMMPlus(3, alpha=32, beta=3, n_hops=16, n_components=32, random_state=0).fit(yelp.graph, yelp.X)
    assert accuracy(yelp.labels, model.labels_) > 0.91


@pytest.mark.data
def test_twins_do_not_change_the_result_on_a_public_graph(spk_data):
    acm = demm.datasets.load_acm(spk_data("graphs/acm3025"))
    models = [
        DEMMPlus(3, n_components=16, max_iter=2, n_init=1, compress=compress, random_state=0).fit(acm.graph, acm.X)
        for compress in ("auto", False)
    ]
    np.testing.assert_allclose(models[0].features_, models[1].features_, atol=1e-5)
