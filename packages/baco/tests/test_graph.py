"""Every form of input becomes the same graph, and bad input one clear sentence."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from baco import BACO, BipartiteGraph
from baco.graph import as_graph

DENSE = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]])


def same(graph, dense):
    assert np.array_equal(graph.to_scipy().toarray(), dense)
    back = sp.csr_matrix(
        (graph.item_weights if graph.weighted else np.ones(graph.n_edges), graph.item_users, graph.item_ptr),
        shape=dense.shape[::-1],
    )
    assert np.array_equal(back.toarray(), dense.T)
    assert np.array_equal(graph.user_degrees, dense.sum(1))
    assert np.array_equal(graph.item_degrees, dense.sum(0))


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr", "dense", "csr_array"])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, bool, np.uint8])
def test_every_matrix_form(form, kind):
    dense = DENSE.astype(kind)
    X = (
        dense
        if form == "dense"
        else sp.csr_array(dense)
        if form == "csr_array"
        else sp.csr_matrix(dense).asformat(form)
    )
    graph = BipartiteGraph.from_scipy(X)
    same(graph, DENSE)
    assert not graph.weighted
    assert (graph.n_users, graph.n_items, graph.n_edges) == (3, 3, 4)


def test_canonical_csr_is_shared_not_copied():
    X = sp.csr_matrix(DENSE.astype(float))
    assert np.shares_memory(BipartiteGraph.from_scipy(X).user_items, X.indices)


def test_read_only_input_is_fine():
    X = sp.csr_matrix(DENSE.astype(float))
    for array in (X.data, X.indices, X.indptr):
        array.setflags(write=False)
    same(BipartiteGraph.from_scipy(X), DENSE)


def test_unsorted_rows_with_repeats_do_not_change_the_callers_matrix():
    indices = np.array([2, 0, 2, 1])
    X = sp.csr_matrix((np.ones(4), indices, [0, 3, 4]), shape=(2, 3))
    with pytest.warns(UserWarning, match=r"1 of 4 interactions repeat a \(user, item\) pair; each pair counts once"):
        graph = BipartiteGraph.from_scipy(X)
    same(graph, np.array([[1, 0, 1], [0, 1, 0]]))
    assert X.indices.tolist() == [2, 0, 2, 1]


def test_explicit_zeros_are_no_edges():
    X = sp.csr_matrix((np.array([0.0, 2.0, 0.0]), [0, 1, 1], [0, 2, 3]), shape=(2, 2))
    same(BipartiteGraph.from_scipy(X), np.array([[0, 2], [0, 0]]))


def test_repeated_weighted_interactions_are_summed():
    with pytest.warns(UserWarning, match="1 of 3 interactions repeat .* weights were summed"):
        graph = BipartiteGraph.from_arrays([5, 5, 9], ["a", "a", "b"], [1.5, 2, 4])
    same(graph, np.array([[3.5, 0], [0, 4]]))


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 9)), min_size=1, max_size=40))
def test_raw_ids_map_back(pairs):
    users, items = [pair[0] * 10**15 for pair in pairs], [f"item {pair[1]}" for pair in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = BipartiteGraph.from_arrays(users, items)
    matrix = graph.to_scipy().tocoo()
    back = set(zip(graph.user_ids[matrix.row].tolist(), graph.item_ids[matrix.col].tolist(), strict=True))
    assert back == set(zip(users, items, strict=True))


def test_raw_ids_reach_the_codebook():
    users = np.array(["ann", "bob", "ann", "cy"])
    items = np.array([2**40, 7, 7, 2**40])
    codebook = BACO(ratio=1.0).fit((users, items)).codebook_
    codes, weights = codebook.lookup(["cy", "ann"], "user")
    assert codes[:, 0].tolist() == [2, 0]
    assert weights.tolist() == [[1, 0], [1, 0]]
    assert codebook.lookup(2**40, "item")[0].tolist() == [[1]]


def test_tables():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "when": [1, 2, 3],
            "who": pandas.Categorical(["b", "a", "b"], categories=["c", "b", "a"]),
            "what": ["x", "x", "y"],
            "stars": [1.0, 2.0, 5.0],
        }
    )
    graph = BipartiteGraph.from_frame(frame, "who", "what", "stars")
    assert graph.user_ids.tolist() == ["b", "a"]
    same(graph, np.array([[1, 5], [2, 0]]))
    assert np.array_equal(as_graph(frame[["who", "what"]]).to_scipy().toarray(), [[1, 1], [1, 0]])
    with pytest.raises(ValueError, match="there is no column 'user'; the table has when, who, what, stars"):
        BipartiteGraph.from_frame(frame, "user", "what")
    with pytest.raises(ValueError, match="must have the columns user, item"):
        as_graph(frame)
    missing = frame.assign(who=pandas.Categorical(["b", None, "b"]))
    with pytest.raises(ValueError, match="user ids are missing at 1 entries"):
        BipartiteGraph.from_frame(missing, "who", "what")


def test_row_numbers_leave_isolated_rows():
    graph = BipartiteGraph.from_arrays([0, 2], [1, 1], n_users=4, n_items=3)
    assert np.diff(graph.user_ptr).tolist() == [1, 0, 1, 0]
    assert graph.user_ids is None


BAD = [
    (
        lambda: BipartiteGraph.from_scipy(np.array([[1.0, -1.0]])),
        ValueError,
        "weights must be >= 0, got -1.0 at entry 1",
    ),
    (lambda: BipartiteGraph.from_scipy(np.array([[1.0, np.nan]])), ValueError, "weights must be finite, got nan"),
    (lambda: BipartiteGraph.from_scipy(np.array([[np.inf]])), ValueError, "weights must be finite, got inf"),
    (lambda: BipartiteGraph.from_scipy(np.zeros((2, 3))), ValueError, "no interaction with positive weight"),
    (lambda: BipartiteGraph.from_scipy(np.zeros((0, 3))), ValueError, r"shape \(0, 3\)"),
    (lambda: BipartiteGraph.from_scipy(np.ones(3)), ValueError, r"2-D \(users × items\), got shape \(3,\)"),
    (lambda: BipartiteGraph.from_scipy(np.ones((2, 2, 2))), ValueError, "must be 2-D"),
    (lambda: BipartiteGraph.from_scipy("log.csv"), TypeError, "numeric users × items matrix, got str"),
    (lambda: BipartiteGraph.from_arrays([], []), ValueError, "the edge list is empty"),
    (lambda: BipartiteGraph.from_arrays([1, 2], [1]), ValueError, "equally long, got 2 and 1"),
    (lambda: BipartiteGraph.from_arrays([0, 5], [0, 1], n_users=3), ValueError, r"user id 5 is out of range \[0, 3\)"),
    (lambda: BipartiteGraph.from_arrays([0, -1], [0, 1], n_users=3), ValueError, "user id -1 is out of range"),
    (lambda: BipartiteGraph.from_arrays([0], [0], [1, 2]), ValueError, "one number per interaction: 1, got shape"),
    (lambda: BipartiteGraph.from_arrays([0], [0], [-2]), ValueError, "weights must be >= 0"),
    (lambda: BipartiteGraph.from_arrays([0], [0], ["x"]), ValueError, "weights must be numbers"),
    (lambda: BipartiteGraph.from_arrays([0.5], [0]), ValueError, "user ids are fractional"),
    (lambda: BipartiteGraph.from_arrays([0], [np.nan]), ValueError, "item ids hold NaN"),
    (lambda: BipartiteGraph.from_arrays(["a", None], [0, 1]), ValueError, "user ids are missing at 1 entries"),
    (
        lambda: BipartiteGraph.from_arrays(np.array(["a", 1], dtype=object), [0, 1]),
        ValueError,
        "user ids mix the types int, str",
    ),
    (lambda: BipartiteGraph.from_arrays([True, False], [0, 1]), ValueError, "user ids are booleans"),
    (lambda: BipartiteGraph.from_arrays(["a"], [0], n_users=1), ValueError, "row numbers, but they are strings"),
    (lambda: BipartiteGraph.from_arrays([[0]], [0]), ValueError, "user ids must be 1-D"),
    (lambda: as_graph(([0], [0], [1]), [1]), ValueError, "weights were given twice"),
    (lambda: as_graph(np.eye(2), [1]), ValueError, "sample_weight goes with"),
    (
        lambda: BipartiteGraph.from_arrays([0], [0], n_users=2, n_items=1, user_ids=np.array(["a", "a"])),
        ValueError,
        "user_ids repeat",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message[:40] for _, _, message in BAD])
def test_bad_input_is_one_clear_error(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_damaged_matrix_is_refused_before_a_kernel_reads_it():
    X = sp.csr_matrix(DENSE.astype(float))
    X.indices[1] = 99
    with pytest.raises(ValueError, match=r"X holds the column 99, outside \[0, 3\)"):
        BipartiteGraph.from_scipy(X)
    X = sp.csr_matrix(DENSE.astype(float))
    X.indptr[1] = 77
    with pytest.raises(ValueError, match="not a valid CSR matrix"):
        BipartiteGraph.from_scipy(X)
