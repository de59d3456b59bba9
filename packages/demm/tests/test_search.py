"""Choosing settings without labels."""

from __future__ import annotations

import numpy as np
import pytest

import demm
from demm import DEMMPlus, as_graph
from demm._graph import build_operators
from demm._search import ALPHAS, HOPS, Search, pool_features
from demm._stage1 import neumann
from demm.metrics import accuracy
from demm.operators import NumbaBackend, RowPool


@pytest.fixture(scope="module")
def noisy():
    return demm.datasets.make_multirelational(
        500, 4, degrees=(8.0, 12.0), mixing=(0.3, 0.4), n_noise=1, signal=0.5, random_state=1
    )


def search_quietly(*arguments, **options):
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return demm.search(*arguments, **options), [str(w.message) for w in caught]


def test_shared_powers_give_the_series_of_every_setting(easy):
    graph = as_graph(easy.graph)
    operators = build_operators(graph, dtype=np.float64, compress="auto", pool=RowPool(1))
    backend = NumbaBackend(operators, RowPool(1))
    X = easy.X.astype(np.float64)
    seen = set()
    for alpha, hops, H in pool_features(backend, [0.5, 0.5], X, ALPHAS, HOPS):
        expected = neumann(backend, [0.5, 0.5], X, alpha=alpha, n_hops=hops)
        np.testing.assert_allclose(H / (1 + alpha), expected, atol=1e-10)
        seen.add((alpha, hops))
    assert len(seen) == len(ALPHAS) * len(HOPS)


def test_search_beats_plain_defaults_and_drops_the_noise(noisy):
    result, said = search_quietly(noisy.graph, noisy.X, 4, n_trials=24, random_state=0)
    assert len(result.trials) == 24
    assert result.uninformative == ["noise_0"]
    assert any("noise_0" in message for message in said)
    assert result.best_params["relation_weights"]["noise_0"] == 0
    plain = DEMMPlus(4, random_state=0).fit(noisy.graph, noisy.X)
    assert accuracy(noisy.labels, result.labels_) > accuracy(noisy.labels, plain.labels_)
    assert result.best_trial["score"] == max(trial["score"] for trial in result.trials)
    assert "modularity x stability" in result.summary()
    np.testing.assert_array_equal(
        result.labels_, DEMMPlus(random_state=0, **result.best_params).fit(noisy.graph, noisy.X).labels_
    )


def test_the_guard_can_be_switched_off(noisy):
    result, _ = search_quietly(noisy.graph, noisy.X, 4, n_trials=2, random_state=0, relation_guard=False)
    assert result.uninformative == []
    assert set(result.best_params["relation_weights"].values()) == {1 / 3}


def test_the_number_of_clusters_is_found_on_clear_clusters(easy):
    result, _ = search_quietly(easy.graph, easy.X, [2, 3, 4, 5], n_trials=40, random_state=0)
    assert result.best_params["n_clusters"] == 3


def test_pure_noise_is_called_noise():
    rng = np.random.default_rng(0)
    data = demm.datasets.make_multirelational(400, 3, mixing=(1.0, 1.0), signal=0.0, random_state=2)
    _, said = search_quietly(data.graph, rng.standard_normal((400, 8)), 3, n_trials=4, random_state=0)
    assert any("not to be trusted" in message for message in said)


def test_conflicting_attributes_and_relations_are_reported():
    data = demm.datasets.make_multirelational(400, 4, degrees=(15.0,), mixing=(0.1,), random_state=0)
    other = np.random.default_rng(1).integers(0, 4, 400)
    X = 5 * np.eye(4, 8)[other] + np.random.default_rng(2).standard_normal((400, 8))
    result, said = search_quietly(data.graph, X, 4, n_trials=6, random_state=0)
    assert any("agrees with the attributes" in note for note in result.warnings)
    assert accuracy(other, result.attribute_labels) > 0.9
    assert said == result.warnings


def test_partitions_of_equal_score_that_disagree_are_reported():
    one, other = np.repeat([0, 1], 20), np.tile([0, 1], 20)
    run = Search(DEMMPlus(2, random_state=0), [2], "auto", True, 0)
    assert run._agreement([{"score": 0.50}, {"score": 0.30}], [one, other], 0) == 1.0  # the second is no rival
    assert run.notes == []
    assert run._agreement([{"score": 0.50}, {"score": 0.49}], [one, other], 0) < 0.1
    assert "disagree with it" in run.notes[0]


def test_n_trials_auto_of_the_estimator_is_the_search(noisy, tmp_path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = DEMMPlus(4, n_trials="auto", n_init=2, random_state=0).fit(noisy.graph, noisy.X)
    assert accuracy(noisy.labels, model.labels_) > 0.8
    assert len(model.search_.trials) == 72
    assert model.search_.best_params["alpha"] in ALPHAS
    links = [a[:5] for a in noisy.graph.values()]
    np.testing.assert_array_equal(model.predict(links, noisy.X[:5]), model.best_estimator_.predict(links, noisy.X[:5]))
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(demm.load(tmp_path / "m").labels_, model.labels_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 3.0}, "alpha: chosen by the search"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"n_clusters": [0]}, "n_clusters=0"),
        ({"solver": "cg"}, "Neumann"),
    ],
)
def test_wrong_options_are_refused(easy, options, message):
    with pytest.raises(ValueError, match=message):
        demm.search(easy.graph, easy.X, **{"n_clusters": 3, **options})


def test_search_needs_attributes(easy):
    with pytest.raises(ValueError, match="DEMMNA"):
        demm.search(easy.graph, None, 3)


@pytest.mark.data
def test_a_part_of_the_pool_reaches_the_tuned_level_on_acm(spk_data):
    acm = demm.datasets.load_acm(spk_data("graphs/acm3025"))
    result, _ = search_quietly(acm.graph, acm.X, 3, n_trials=6, random_state=0)
    assert accuracy(acm.labels, result.labels_) > 0.91
