"""The estimator: parameters, budgets, orders, and what a fit leaves behind."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from baco import BACO
from baco._solver.merge import merge_clusters
from baco.datasets import make_coclusters

RNG = np.random.default_rng(7)
X = sp.random(120, 90, 0.06, "csr", random_state=RNG, data_rvs=np.ones)


def test_conventions_of_scikit_learn():
    model = BACO(ratio=0.3, n_jobs=1, random_state=4)
    assert BACO(**model.get_params()).get_params() == model.get_params()
    assert model.set_params(rows=20, ratio=None) is model
    assert model.rows == 20
    assert repr(model) == "BACO(rows=20, n_jobs=1, random_state=4)"
    with pytest.raises(ValueError, match="BACO has no parameter size; it has rows, ratio"):
        model.set_params(size=3)
    assert np.array_equal(model.fit_predict(X), model.fit(X).row_labels_)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.row_labels_, model.row_labels_)


def test_attributes_of_a_fit():
    model = BACO(ratio=0.4).fit(X)
    assert model.row_labels_.shape == (120,)
    assert model.column_labels_.shape == (90,)
    labels = np.union1d(model.row_labels_, model.column_labels_)
    assert np.array_equal(labels, np.arange(labels.size))
    assert model.n_user_rows_ == np.unique(model.row_labels_).size == model.codebook_.n_user_rows
    assert model.n_item_rows_ == np.unique(model.column_labels_).size
    assert model.n_user_rows_ + model.n_item_rows_ == int(0.4 * 210)
    assert model.search_path_[-1]["gamma"] == model.gamma_ or len(model.search_path_) > 1
    assert set(model.history_[0]) == {"sweep", "moves", "rows_u", "rows_i", "inside", "F", "gamma"}
    assert model.score(X) == pytest.approx(model.objective_ / X.nnz)
    users, items = model.biclusters_
    assert users.sum() == 120
    assert items.sum() == 90


def test_secondary_labels_name_rows_that_users_hold():
    model = BACO(ratio=0.4).fit(X)
    has = model.secondary_ >= 0
    assert has.any()
    assert np.isin(model.secondary_[has], model.row_labels_).all()
    assert (model.secondary_[has] != model.row_labels_[has]).all()
    codes = model.codebook_.user_codes
    assert np.array_equal(codes[:, 1] >= 0, has)
    rows = dict(zip(model.row_labels_, codes[:, 0], strict=True))
    assert [rows[label] for label in model.secondary_[has]] == codes[has, 1].tolist()
    assert model.codebook_.item_codes.shape == (90, 1)


@pytest.mark.parametrize(
    ("secondary", "n_codes", "shapes"),
    [(None, 2, (1, 1)), ("items", 2, (1, 2)), ("both", 3, (3, 3)), ("users", 1, (1, 1))],
)
def test_code_places(secondary, n_codes, shapes):
    codebook = BACO(ratio=0.4, secondary=secondary, n_codes=n_codes).fit(X).codebook_
    assert (codebook.user_codes.shape[1], codebook.item_codes.shape[1]) == shapes
    rows = np.asarray(codebook.to_csr("user").sum(1)).ravel()
    assert rows == pytest.approx(np.ones(120), abs=1e-6)


def test_megabytes_count_rows_and_codes():
    model = BACO(megabytes=0.012, embedding_dim=32).fit(X)
    assert model.codebook_.nbytes(32) <= 12_000
    assert model.codebook_.n_rows == (12_000 - 4 * (2 * 120 + 90)) // (4 * 32)


def test_without_coarsening_the_budget_is_kept_or_refused():
    model = BACO(ratio=0.6, coarsen=False, max_sweeps=30).fit(X)
    assert model.codebook_.n_rows <= 126
    with pytest.raises(ValueError, match=r"1 sweeps leave .* the budget allows 10: allow more sweeps .* coarsen=True"):
        BACO(rows=10, coarsen=False, max_sweeps=1).fit(sp.identity(30))


@pytest.mark.parametrize("rows", [2, 3, 4, 7, 59])
def test_components_merge_when_the_budget_asks_for_it(rows):
    """Thirty separate pairs: no sweep can join them, so whole clusters must."""
    codebook = BACO(rows=rows).fit(sp.identity(30)).codebook_
    assert codebook.n_rows == rows


def test_no_landslide_at_a_tight_budget():
    """Sweeps alone get there with one group of 70 % of the users; merged from a larger gamma, none is large."""
    graph = make_coclusters(2000, 1000, 60, mean_degree=10, mu=0.3, random_state=0).graph
    model = BACO(ratio=0.2).fit(graph)
    assert model.codebook_.n_rows == 600
    assert np.bincount(model.row_labels_).max() < 0.05 * graph.n_users
    assert model.gamma_ == max(trial["gamma"] for trial in model.search_path_)


@pytest.mark.data
@pytest.mark.parametrize("weights", ["paper", ("degree", "uniform")])
def test_no_landslide_on_a_sparse_log(weights, real_graph):
    graph = real_graph("beauty")
    model = BACO(ratio=0.1, weights=weights).fit(graph)
    assert np.bincount(model.row_labels_).max() < 0.15 * graph.n_users


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 9])
def test_tight_budgets_with_isolated_ids(rows):
    matrix = sp.block_diag([sp.csr_matrix(np.ones((3, 2)))] * 4).tolil()
    matrix.resize(15, 12)
    codebook = BACO(rows=rows).fit(matrix).codebook_
    assert codebook.n_rows <= rows
    if rows >= 4:
        assert np.unique(codebook.user_codes[12:, 0]).size == 1
        assert codebook.user_codes[12, 0] not in codebook.user_codes[:12, 0]


def test_merging_equals_the_greedy_order():
    """Rounds of mutual best pairs give what merging the single best pair again and again gives."""
    rng = np.random.default_rng(3)
    for _ in range(8):
        dense = (rng.random((14, 11)) < 0.25) * rng.uniform(0.5, 2, (14, 11))
        dense[0, 0] = 1
        matrix = sp.csr_matrix(dense)
        users, items = np.arange(14), 14 + np.arange(11)
        mass = (np.asarray(dense.sum(1)), np.asarray(dense.sum(0)))
        budget = int(rng.integers(4, 20))
        *got, _ = merge_clusters(
            matrix.indptr.astype(np.int64), matrix.indices, matrix.data, users, items, *mass, budget
        )
        expected = greedy(dense, budget)
        connected = np.concatenate([dense.any(1), dense.any(0)])
        labels = np.concatenate(got)[connected]
        pairs = set(zip(labels.tolist(), expected[connected].tolist(), strict=True))
        sides = np.arange(25)[connected] < 14
        rows = sum(np.unique(labels[side]).size for side in (sides, ~sides))
        assert rows == min(budget, connected.sum())
        if len(pairs) == len(set(expected[connected].tolist())):
            assert len(pairs) == len(set(labels.tolist()))
        else:  # the last merger joined one side alone, to meet the budget exactly
            assert len(pairs) == len(set(expected[connected].tolist())) + 1


def greedy(dense, budget):
    """Merge the pair of largest critical scale until the budget is met; plain loops."""
    n_users, n_items = dense.shape
    label = np.arange(n_users + n_items)
    connected = np.concatenate([dense.any(1), dense.any(0)])

    def rows():
        return sum(
            np.unique(part).size
            for part in (label[:n_users][connected[:n_users]], label[n_users:][connected[n_users:]])
        )

    while rows() > budget:
        best = (0.0, -1, -1)
        live = np.unique(label[connected])
        for i, a in enumerate(live):
            for b in live[i + 1 :]:
                au, ai, bu, bi = (side == one for one in (a, b) for side in (label[:n_users], label[n_users:]))
                links = dense[np.ix_(au, bi)].sum() + dense[np.ix_(bu, ai)].sum()
                cost = dense[au].sum() * dense[:, bi].sum() + dense[bu].sum() * dense[:, ai].sum()
                if links > 0 and links / cost > best[0]:
                    best = (links / cost, a, b)
        if best[1] < 0:
            share = {a: dense[label[:n_users] == a].sum() + dense[:, label[n_users:] == a].sum() for a in live}
            first, second = sorted(live, key=lambda one: share[one])[:2]
            best = (0.0, min(first, second), max(first, second))
        label[label == best[2]] = best[1]
    return label


@pytest.mark.parametrize("order", ["permutation", "degree"])
def test_sequential_orders(order):
    model = BACO(ratio=0.3, order=order, random_state=1).fit(X)
    assert model.codebook_.n_rows == 63
    again = BACO(ratio=0.3, order=order, random_state=1).fit(X)
    assert again.codebook_ == model.codebook_


def test_permutation_depends_on_the_seed_alone():
    labels = [BACO(gamma=3.0, order="permutation", random_state=seed).fit(X).row_labels_ for seed in (1, 1, 2)]
    assert np.array_equal(labels[0], labels[1])
    assert not np.array_equal(labels[0], labels[2])


def test_release_gives_isolated_ids_a_row_each():
    matrix = X.copy()
    matrix.resize(130, 95)
    matrix = matrix.tocsr()
    isolated = int((np.diff(matrix.indptr) == 0).sum()) + int((np.asarray(matrix.sum(0)) == 0).sum())
    ours = BACO(gamma=0.5, compat="release", random_state=0).fit(matrix)
    codebook = ours.codebook_
    sizes = np.bincount(codebook.user_codes[:, 0])
    assert (sizes[codebook.user_codes[120:, 0]] == 1).all()
    assert isolated >= 15


def test_one_user_one_item_and_a_star():
    assert BACO(ratio=1.0).fit(np.ones((1, 1))).codebook_.n_rows == 2
    star = BACO(rows=2).fit(np.ones((1, 5000)))
    assert star.codebook_.n_rows == 2
    assert (star.column_labels_ == star.row_labels_[0]).all()


def test_weights_given_as_arrays():
    masses = (np.asarray(X.sum(1)).ravel(), np.asarray(X.sum(0)).ravel())
    named = BACO(gamma=2.0, weights=("degree", "degree")).fit(X)
    given = BACO(gamma=2.0 / X.nnz, weights=masses).fit(X)
    assert np.array_equal(named.row_labels_, given.row_labels_)
    with pytest.raises(ValueError, match=r"user weights must be 120 numbers, got shape \(90,\)"):
        BACO(gamma=1, weights=masses[::-1]).fit(X)
    with pytest.raises(ValueError, match="finite and >= 0"):
        BACO(gamma=1, weights=(-masses[0], masses[1])).fit(X)
    with pytest.raises(ValueError, match='must be "paper" or a pair'):
        BACO(gamma=1, weights="degree").fit(X)
    with pytest.raises(
        ValueError, match="item weights must be one of degree, uniform, sqrt, log or an array, got 'CPM'"
    ):
        BACO(gamma=1, weights=("degree", "CPM")).fit(X)


BAD = [
    ({}, ValueError, "give exactly one of rows, ratio, megabytes, gamma; got none"),
    ({"rows": 9, "ratio": 0.2}, ValueError, "got rows=9 and ratio=0.2"),
    ({"rows": 9, "gamma": 0.2}, ValueError, "give exactly one of"),
    ({"rows": 1}, ValueError, "rows=1: a budget is a whole number of at least 2"),
    ({"rows": 2.5}, ValueError, "whole number"),
    ({"rows": "many"}, TypeError, "rows must be a number, got 'many'"),
    ({"rows": True}, TypeError, "rows must be a number"),
    ({"ratio": 0.0}, ValueError, r"must lie in \(0, 1\]"),
    ({"ratio": 1.2}, ValueError, r"must lie in \(0, 1\]"),
    ({"ratio": float("nan")}, TypeError, "ratio must be a number"),
    ({"ratio": 0.005}, ValueError, "ratio=0.005 of 210 ids is a budget of 1 rows; .* give ratio >= 0.00952"),
    ({"megabytes": 1e-4}, ValueError, "leaves no room for 2 rows .* give megabytes >= "),
    ({"gamma": -1}, ValueError, "finite number >= 0"),
    ({"gamma": 1, "order": "random"}, ValueError, "order must be one of 'alternating'"),
    ({"gamma": 1, "secondary": "user"}, ValueError, "secondary must be one of None"),
    ({"gamma": 1, "compat": "paper"}, ValueError, "compat must be one of None, 'release'"),
    ({"rows": 9, "compat": "release"}, ValueError, "give gamma instead"),
    ({"gamma": 1, "max_sweeps": 0}, ValueError, "max_sweeps must be an integer >= 1"),
    ({"gamma": 1, "n_codes": 0}, ValueError, "n_codes must be an integer >= 1"),
    ({"gamma": 1, "tol": 1}, ValueError, "tol must lie in"),
    ({"gamma": 1, "n_jobs": 0}, ValueError, "n_jobs must be a positive integer"),
]


@pytest.mark.parametrize(("params", "error", "message"), BAD, ids=[str(params) for params, _, _ in BAD])
def test_bad_parameters_are_one_clear_error(params, error, message):
    with pytest.raises(error, match=message):
        BACO(**params).fit(X)


def test_not_fitted():
    with pytest.raises(ValueError, match="not fitted yet; call fit first"):
        BACO(gamma=1).score(X)


def test_an_interrupted_fit_changes_nothing():
    model = BACO(gamma=1.0).fit(X)
    before = model.row_labels_

    def interrupt(record):
        raise KeyboardInterrupt

    model.set_params(gamma=20.0, callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.row_labels_ is before
    assert model.gamma_ == 1.0


def test_callbacks_see_every_sweep():
    seen = []
    model = BACO(gamma=1.0, callbacks=[seen.append]).fit(X)
    assert seen == model.history_
    assert [record["sweep"] for record in seen] == list(range(1, len(seen) + 1))


def test_tolerance_stops_early():
    whole = BACO(gamma=1.0, max_sweeps=50).fit(X)
    short = BACO(gamma=1.0, max_sweeps=50, tol=0.2).fit(X)
    assert len(short.history_) < len(whole.history_)
    assert short.history_[-1]["moves"] <= 0.2 * 210 < short.history_[-2]["moves"]


def test_fits_from_several_threads_at_once():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        codebooks = list(pool.map(lambda _: BACO(ratio=0.3, n_jobs=2).fit(X).codebook_, range(8)))
    assert all(one == codebooks[0] for one in codebooks)
