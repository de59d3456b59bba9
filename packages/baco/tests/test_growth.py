"""New ids and new interactions after the fit: codes for newcomers, and none changed without need."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baco import BACO, Codebook
from baco._solver import reference
from baco.datasets import make_coclusters
from baco.metrics import objective


@pytest.fixture(scope="module")
def planted():
    return make_coclusters(300, 200, 10, mean_degree=12, mu=0.9, random_state=0)


@pytest.fixture(scope="module")
def fitted(planted):
    """A fit on the first 250 users and 160 items."""
    return BACO(ratio=0.2, secondary="both").fit(planted.graph.to_scipy()[:250, :160])


def test_assign_equals_the_reference(planted, fitted):
    matrix = planted.graph.to_scipy()
    got = fitted.assign(matrix[250:, :160], matrix[:250, 160:])
    book, anchors = fitted.codebook_, fitted.codebook_.anchors
    assert got.user_ids.tolist() == list(range(250, 300))
    for side, edges, others, volume, row_labels in (
        ("user", matrix[250:, :160], fitted.column_labels_, anchors.item_volumes, anchors.user_labels),
        ("item", matrix[:250, 160:].T, fitted.row_labels_, anchors.user_volumes, anchors.item_labels),
    ):
        codes = getattr(got, f"{side}_codes")
        dense = edges.toarray()
        for node, line in enumerate(dense):
            neighbours = [(int(other), float(line[other])) for other in np.flatnonzero(line)]
            wanted = reference.further_labels(
                neighbours, -1, others, line.sum(), dict(enumerate(volume)), set(row_labels), anchors.scale, 2
            )
            if wanted:
                assert [row_labels[code] for code in codes[node] if code >= 0] == wanted
        assert codes.max() < getattr(book, f"n_{side}_rows")


def test_newcomers_join_the_co_cluster_they_were_planted_in():
    """Half of each block is fitted; the other half is placed into it by its interactions."""
    planted = make_coclusters(600, 400, 5, mean_degree=15, mu=0.95, max_weight=5, random_state=1)
    matrix = planted.graph.to_scipy()
    model = BACO(rows=10).fit(matrix[:300])
    codes = model.assign(matrix[300:]).user_codes[:, 0]
    placed = model.codebook_.anchors.user_labels[codes]
    right = 0
    for block in range(5):
        theirs = np.bincount(model.row_labels_[planted.user_labels[:300] == block]).argmax()
        right += (placed[planted.user_labels[300:] == block] == theirs).sum()
    assert right > 0.95 * 300


def test_a_codebook_is_extended_and_saved_with_its_codes_unchanged(planted, fitted, tmp_path):
    matrix = planted.graph.to_scipy()
    book = fitted.codebook_
    book.save(tmp_path / "map.npz")
    again = Codebook.load(tmp_path / "map.npz")
    grown = again.extend(again.assign(matrix[250:, :160], matrix[:250, 160:]))
    assert (grown.n_users, grown.n_items, grown.n_rows) == (300, 200, book.n_rows)
    assert np.array_equal(grown.user_codes[:250], book.user_codes)
    assert np.array_equal(grown.item_codes[:160], book.item_codes)
    expected = fitted.assign(matrix[250:, :160]).user_codes
    assert np.array_equal(grown.user_codes[250:], expected)
    assert np.allclose(grown.user_weights.sum(1), 1)


def test_assign_by_raw_ids():
    users, items = ["ann", "ann", "bob", "cy", "cy"], ["x", "y", "x", "z", "w"]
    model = BACO(gamma=0.1, max_sweeps=9).fit((users, items))
    with pytest.warns(UserWarning, match="1 of 3 interactions are with unknown items"):
        got = model.assign((["new", "new", "other"], ["x", "unheard", "z"]))
    assert got.user_ids.tolist() == ["new", "other"]
    book = model.codebook_.extend(got)
    assert book.lookup("new")[0][0, 0] == book.lookup("bob")[0][0, 0]
    assert book.lookup("other")[0][0, 0] == book.lookup("cy")[0][0, 0]
    with pytest.raises(ValueError, match="user 'ann' has codes already"):
        model.assign((["ann"], ["x"]))


def test_newcomers_without_a_known_neighbour_share_a_row():
    model = BACO(gamma=0.5).fit(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]))
    alone = model.codebook_.user_codes[2, 0]  # the row of users without interactions
    assert model.assign(np.zeros((2, 3))).user_codes[:, 0].tolist() == [alone, alone]
    with pytest.warns(UserWarning, match="1 of 1 interactions are with unknown items"):
        assert model.assign(([7], [99])).user_codes[0, 0] == alone


@st.composite
def two_logs(draw):
    """A log and a later one, with new users, new items and repeated pairs."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_users, n_items = int(rng.integers(3, 12)), int(rng.integers(3, 12))
    before = rng.random((n_users, n_items)) < 0.4
    before[0, 0] = True
    more = (n_users + int(rng.integers(0, 4)), n_items + int(rng.integers(0, 4)))
    after = rng.random(more) < 0.15
    after[-1, -1] = True
    weighted = draw(st.booleans())
    values = rng.integers(1, 4, more) if weighted else np.ones(more)
    return before * values[:n_users, :n_items], after * values


@given(two_logs(), st.sampled_from(["paper", ("degree", "uniform")]), st.floats(0.2, 5))
@settings(max_examples=40)
def test_growth_keeps_rows_and_untouched_codes_and_never_lowers_the_objective(logs, weights, gamma):
    before, after = logs
    model = BACO(gamma=gamma, weights=weights, max_sweeps=8).fit(before)
    book = model.codebook_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newcomers may touch nothing known
        model.partial_fit(after)
    grown = model.codebook_
    whole = np.zeros(after.shape)
    whole[: before.shape[0], : before.shape[1]] = before
    whole = whole + after if (before > 1).any() or (after > 1).any() else np.maximum(whole, after)
    assert np.array_equal(model.graph_.to_scipy().toarray(), whole)
    assert (grown.n_user_rows, grown.n_item_rows) == (book.n_user_rows, book.n_item_rows)
    for codes, rows in ((grown.user_codes, grown.n_user_rows), (grown.item_codes, grown.n_item_rows)):
        assert np.array_equal(np.unique(codes[:, 0]), np.arange(rows))
    values = [record["F"] for record in model.history_]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(values))
    labels = (model.row_labels_, model.column_labels_)
    assert objective(model.graph_, labels, gamma, weights) == pytest.approx(model.objective_, abs=1e-9)
    # labels and codes tell the same story
    assert np.array_equal(grown.anchors.user_labels[grown.user_codes[:, 0]], model.row_labels_)
    assert np.array_equal(grown.anchors.item_labels[grown.item_codes[:, 0]], model.column_labels_)


def test_only_what_changed_is_swept():
    """Two components: new interactions in one leave every code of the other alone."""
    blocks = np.kron(np.eye(2), np.ones((6, 5)))
    model = BACO(gamma=0.3, max_sweeps=9).fit(blocks)
    before = model.codebook_.user_codes.copy()
    new = np.zeros((14, 10))
    new[12:, :3] = 1  # two new users of the first component
    model.partial_fit(new)
    assert np.array_equal(model.codebook_.user_codes[6:12], before[6:12])
    assert set(model.row_labels_[12:]) <= set(model.row_labels_[:6])


def test_growth_comes_close_to_a_fit_on_everything(planted):
    matrix = planted.graph.to_scipy()
    model = BACO(ratio=0.2).fit(matrix[:270])
    model.partial_fit((270 + matrix[270:].tocoo().row, matrix[270:].tocoo().col))
    whole = BACO(gamma=model.gamma_).fit(matrix)
    assert model.graph_.n_edges == planted.graph.n_edges
    assert model.objective_ > 0.6 * whole.objective_


def test_partial_fit_before_a_fit_is_a_fit_and_strings_are_kept():
    model = BACO(gamma=0.1, max_sweeps=9).partial_fit((["a", "a", "b"], ["x", "y", "x"]))
    first = model.codebook_.lookup("b")[0][0, 0]
    model.partial_fit((["cee", "b"], ["x", "zed"]))
    assert model.codebook_.user_ids.tolist() == ["a", "b", "cee"]
    assert model.codebook_.item_ids.tolist() == ["x", "y", "zed"]
    assert model.codebook_.lookup("cee")[0][0, 0] == first


def test_bad_input(fitted):
    with pytest.raises(ValueError, match=r"a matrix of new users must be \(new users, 160\), got \(2, 3\)"):
        fitted.assign(np.ones((2, 3)))
    with pytest.raises(ValueError, match="give interactions of new users"):
        fitted.assign()
    with pytest.raises(ValueError, match="does not know its co-clusters"):
        Codebook(np.zeros(2, int), np.zeros(2, int), 1, 1).assign(np.ones((1, 2)))
    with pytest.raises(ValueError, match="without a gap"):
        fitted.codebook_.extend(fitted.assign(([900], [3])))
    with pytest.raises(ValueError, match="not fitted yet"):
        BACO(rows=3).assign(np.ones((1, 2)))
    weighed = BACO(gamma=1.0, weights=(np.ones(3), "uniform")).fit(np.eye(3))
    with pytest.raises(ValueError, match="the user weights were given as numbers"):
        weighed.assign(np.ones((1, 3)))
    with pytest.raises(ValueError, match="given as arrays, which new ids do not have"):
        weighed.partial_fit(np.eye(4))
    with pytest.raises(ValueError, match='compat="release" repeats'):
        BACO(gamma=1.0, compat="release").fit(np.eye(3)).partial_fit(np.eye(3))
    with pytest.raises(ValueError, match="user ids are row numbers here"):
        fitted.partial_fit((["a"], ["b"]))
