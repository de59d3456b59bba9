"""The methods BACO is compared with, and the comparison itself."""

from __future__ import annotations

import numpy as np
import pytest

from baco import BACO, BipartiteGraph
from baco.baselines import (
    METHODS,
    NOT_RUN,
    TABLE_8,
    double,
    frequency,
    hybrid,
    label_propagation,
    lsh,
    modulo,
    quotient_remainder,
)
from baco.baselines.table8 import make
from baco.compare import compare, comparison_table, method_names
from baco.datasets import make_coclusters
from baco.metrics import barber_modularity, joint_labels

LIBRARIES = {
    "graphhash": "sknetwork",
    "double_graphhash": "sknetwork",
    "leiden": "igraph",
    "infomap": "igraph",
    "scc": "sklearn",
    "sbc": "sklearn",
}


@pytest.fixture(scope="module")
def planted():
    """Eight co-clusters, an isolated user and an isolated item."""
    graph = make_coclusters(160, 120, 8, mean_degree=10, mu=0.9, random_state=0).graph
    coo = graph.to_scipy().tocoo()
    return BipartiteGraph.from_arrays(coo.row, coo.col, n_users=161, n_items=121)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about k-means on so few points
def test_every_method_keeps_to_its_budget_and_repeats_itself(planted, name):
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    book = make(name, planted, 60, seed=3)
    assert (book.n_users, book.n_items) == (161, 121)
    assert 2 <= book.n_rows <= 60
    for codes, rows in ((book.user_codes, book.n_user_rows), (book.item_codes, book.n_item_rows)):
        assert codes.max() < rows
    assert book == make(name, planted, 60, seed=3)


def test_hashing_by_hand():
    graph = BipartiteGraph.from_arrays([0, 1, 1, 2, 3, 3, 3, 4, 5], [0, 0, 1, 0, 0, 1, 2, 0, 0])
    book = modulo(graph, 6)  # 4 rows to the 6 users, 2 to the 3 items
    assert (book.n_user_rows, book.n_item_rows) == (4, 2)
    assert book.user_codes[:, 0].tolist() == [0, 1, 2, 3, 0, 1]
    assert book.item_codes[:, 0].tolist() == [0, 1, 0]
    book = frequency(graph, 6)  # users 3 and 1 take most: rows 0 and 1 are theirs, the rest share 2 and 3
    assert book.user_codes[:, 0].tolist() == [2, 1, 2, 0, 2, 3]
    book = hybrid(graph, 6)
    assert book.user_codes[3].tolist() == [0, -1]
    assert set(book.user_codes[[0, 2, 4, 5]].ravel().tolist()) <= {2, 3}
    book = double(graph, 6)
    assert (book.user_codes[:, 0] != book.user_codes[:, 1]).all()
    assert book.user_weights.tolist() == [[1, 1]] * 6


@pytest.mark.parametrize(("n", "rows"), [(100, 40), (9, 6), (50, 10), (4, 4)])
def test_quotient_and_remainder_tell_every_id_apart_where_they_can(n, rows):
    book = quotient_remainder(np.eye(n), 2 * rows)
    assert book.n_rows <= 2 * rows
    pairs = {tuple(sorted(line)) for line in book.user_codes.tolist()}
    if rows >= 2 * np.ceil(np.sqrt(n)):
        assert len(pairs) == n


def test_ids_with_equal_interactions_share_their_lsh_row(planted):
    matrix = np.repeat(np.random.default_rng(0).integers(0, 2, (20, 30)), 2, axis=0)
    matrix[:, 0] = 1
    codes = lsh(matrix, 40).user_codes[:, 0]
    assert np.array_equal(codes[::2], codes[1::2])
    assert np.unique(codes).size > 5


def test_label_propagation_stops_on_the_budget_and_says_when_it_cannot(planted):
    assert label_propagation(planted, 50).n_rows == 50
    with pytest.raises(ValueError, match="label propagation ends with"):
        label_propagation(np.kron(np.eye(8), np.ones((3, 3))), 4)


@pytest.mark.parametrize("name", ["graphhash", "leiden"])
def test_clusterings_find_what_was_planted(planted, name):
    pytest.importorskip(LIBRARIES[name])
    book = make(name, planted, 24)
    hashed = modulo(planted, 24)
    found, chance = (barber_modularity(planted, joint_labels(planted, one)) for one in (book, hashed))
    assert found > 0.5 > 2 * chance


def test_the_eighteen_lines_of_table_8_are_all_accounted_for():
    assert len(TABLE_8) == len(set(TABLE_8)) == 18
    assert set(TABLE_8) == (set(METHODS) - {"quotient_remainder"}) | set(NOT_RUN)
    assert len(method_names()) == 18 + 4


def test_the_comparison_lists_every_method(planted):
    records = compare(planted, 60, methods=["full", "modulo", "label_propagation", "baco", "baco_one_code"])
    assert [one["method"] for one in records] == list(method_names())
    by_name = {one["method"]: one for one in records}
    assert by_name["CCE"]["status"] == "not run"
    assert by_name["leiden"]["status"] == "not asked for"
    assert by_name["full"]["rows"] == 282
    ours, hashed = by_name["baco_one_code"], by_name["modulo"]
    assert ours["objective"] > hashed["objective"]
    assert ours["rows"] == 60
    # a user's second code is charged one parameter
    assert by_name["baco"]["parameters"] <= 60 * 64
    lines = comparison_table(records)
    assert len(lines) == 23
    assert ("CCE", f"not run: {NOT_RUN['CCE']}") in lines


def test_the_comparison_trains(planted):
    pytest.importorskip("torch_geometric")
    coo = planted.to_scipy().tocoo()
    held = np.arange(coo.nnz) % 5 == 0
    train, test = (
        BipartiteGraph.from_arrays(coo.row[part], coo.col[part], n_users=161, n_items=121) for part in (~held, held)
    )
    records = compare(train, 60, test=test, methods=["full", "baco"], epochs=3, lr=0.05, batch_size=256)
    trained = {one["method"]: one for one in records if one["status"] == "run"}
    assert set(trained) == {"full", "baco"}
    assert all(0.2 < one["recall@20"] <= 1 for one in trained.values())
    assert comparison_table(records)[0][-2:] == ("Recall@20", "NDCG@20")


def test_bad_input(planted):
    with pytest.raises(ValueError, match="rows=1: a budget is a whole number"):
        modulo(planted, 1)
    with pytest.raises(ValueError, match="method must be one of full, modulo"):
        compare(planted, 60, methods=["magic"])
    with pytest.raises(ValueError, match="needs test interactions"):
        compare(planted, 60, epochs=1)
    with pytest.raises(ValueError, match="method must be one of modulo"):
        make("magic", planted, 60)


def test_labels_from_codes_are_those_of_the_fit():
    graph = BipartiteGraph.from_scipy(np.kron(np.eye(4), np.ones((5, 6))))
    model = BACO(rows=8, secondary=None).fit(graph)
    assert barber_modularity(graph, joint_labels(graph, model.codebook_)) == pytest.approx(0.75)
