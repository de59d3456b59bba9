"""Laws of the method, on graphs that hypothesis draws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from baco import BACO, BipartiteGraph, Codebook
from baco._solver import reference
from baco.metrics import barber_modularity, objective

SCHEMES = ("degree", "uniform", "sqrt", "log")


@st.composite
def graphs(draw, *, weighted=None, most=12, isolated=True):
    """Small bipartite graphs, among them stars, disconnected ones and ones with isolated ids."""
    n_users, n_items = draw(st.integers(1, most)), draw(st.integers(1, most))
    pairs = draw(
        st.lists(
            st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1)), min_size=1, max_size=50, unique=True
        )
    )
    users, items = map(np.array, zip(*pairs, strict=True))
    weights = None
    if weighted if weighted is not None else draw(st.booleans()):
        weights = np.array(draw(st.lists(st.integers(1, 9), min_size=len(pairs), max_size=len(pairs))), float)
    if not isolated:
        _, users = np.unique(users, return_inverse=True)
        _, items = np.unique(items, return_inverse=True)
        n_users, n_items = users.max() + 1, items.max() + 1
    return BipartiteGraph.from_arrays(users, items, weights, n_users=n_users, n_items=n_items)


def edges_of(graph):
    matrix = graph.to_scipy().tocoo()
    return list(zip(matrix.row.tolist(), matrix.col.tolist(), matrix.data.tolist(), strict=True))


@given(graphs(), st.floats(0, 50), st.integers(1, 6), st.booleans(), st.sampled_from([1, 3]))
@settings(max_examples=40)
def test_kernels_equal_the_reference(graph, resolution, sweeps, stay, n_jobs):
    scale = resolution / graph.total_weight
    users, items, history = reference.alternating_sweeps(
        edges_of(graph), graph.user_degrees.tolist(), graph.item_degrees.tolist(), scale, sweeps, stay=stay
    )
    from baco._solver.sweeps import Alternating

    norm = graph.total_weight
    engine = Alternating(graph, graph.user_degrees, graph.item_degrees, norm, stay=stay, n_jobs=n_jobs)
    engine.start()
    for moves, _, _, inside, balance in history:
        sweep = engine.sweep(resolution)
        assert (sweep.moves, sweep.inside, sweep.balance) == (moves, inside, balance / norm)
    fast_users, fast_items = engine.labels()
    assert (users, items) == (fast_users.tolist(), fast_items.tolist())


@given(graphs(), st.floats(0, 30), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=40)
def test_further_labels_equal_the_reference(graph, resolution, sweeps, count):
    from baco._solver.problem import Problem

    problem = Problem(graph, ("degree", "degree"))
    scale = resolution / problem.norm
    users, items, _ = reference.alternating_sweeps(
        edges_of(graph), graph.user_degrees.tolist(), graph.item_degrees.tolist(), scale, sweeps
    )
    volume = np.bincount(items, graph.item_degrees, minlength=graph.n_users + graph.n_items)
    found = problem.further("user", np.array(users), np.array(items), resolution, count, 1)
    for user in range(graph.n_users):
        part = slice(graph.user_ptr[user], graph.user_ptr[user + 1])
        values = graph.user_weights[part] if graph.weighted else np.ones(part.stop - part.start)
        neighbours = list(zip(graph.user_items[part].tolist(), values.tolist(), strict=True))
        expected = reference.further_labels(
            neighbours, users[user], items, graph.user_degrees[user], dict(enumerate(volume)), set(users), scale, count
        )
        assert [label for label in found[user] if label >= 0] == expected


@given(graphs())
@settings(max_examples=40)
def test_singletons_score_exactly_zero(graph):
    labels = (np.arange(graph.n_users), graph.n_users + np.arange(graph.n_items))
    for weights in ("paper", ("degree", "degree"), ("uniform", "sqrt")):
        assert objective(graph, labels, 3.7, weights) == 0.0


@given(graphs(), st.floats(0, 50), st.sampled_from(SCHEMES), st.sampled_from(SCHEMES))
@settings(max_examples=40)
def test_objective_never_falls_and_is_that_of_the_labels(graph, gamma, of_users, of_items):
    weights = (of_users, of_items)
    model = BACO(gamma=gamma, weights=weights, max_sweeps=20, secondary=None).fit(graph)
    values = [0.0] + [record["F"] for record in model.history_]
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert all(later >= earlier - slack for earlier, later in itertools.pairwise(values))
    assert model.objective_ == pytest.approx(values[-1], abs=slack)
    labels = (model.row_labels_, model.column_labels_)
    assert objective(graph, labels, gamma, weights) == pytest.approx(model.objective_, abs=slack)


@given(graphs(), st.floats(0, 20))
@settings(max_examples=40)
def test_sweeps_end_when_nothing_moves(graph, resolution):
    model = BACO(gamma=resolution, weights=("degree", "degree"), max_sweeps=500).fit(graph)
    assert model.history_[-1]["moves"] == 0
    assert len(model.history_) < 500


@given(graphs(), st.floats(0, 50), st.sampled_from(["paper", ("sqrt", "log")]))
@settings(max_examples=40)
def test_labels_do_not_depend_on_threads(graph, gamma, weights):
    from baco._solver import blocks

    before = blocks.EDGES_PER_BLOCK
    blocks.EDGES_PER_BLOCK = 4  # several blocks even on a small graph
    try:
        models = [BACO(gamma=gamma, weights=weights, n_jobs=n).fit(graph) for n in (1, 2, 4, 8)]
    finally:
        blocks.EDGES_PER_BLOCK = before
    for model in models[1:]:
        assert np.array_equal(model.row_labels_, models[0].row_labels_)
        assert np.array_equal(model.column_labels_, models[0].column_labels_)
        assert model.codebook_ == models[0].codebook_
        assert model.history_ == models[0].history_


@given(graphs(isolated=False), st.randoms(use_true_random=False), st.floats(0.1, 20))
@settings(max_examples=40)
def test_renaming_nodes_gives_the_same_partition(graph, random, resolution):
    """Without ties: random real weights make those improbable, but at 1 every node is indifferent to a label
    that holds the whole other side (its weight there equals what it must pay)."""
    assume(abs(resolution - 1) > 1e-6)
    rng = np.random.default_rng(random.getrandbits(32))
    matrix = graph.to_scipy().toarray()
    matrix[matrix > 0] = rng.uniform(0.5, 2, int((matrix > 0).sum()))
    rows, columns = rng.permutation(matrix.shape[0]), rng.permutation(matrix.shape[1])
    make = BACO(gamma=resolution, weights=("degree", "degree"), max_sweeps=1, secondary=None)
    model = make.fit(sp.csr_matrix(matrix))
    plain = np.concatenate([model.row_labels_[rows], model.column_labels_[columns]])
    model = make.fit(sp.csr_matrix(matrix[rows][:, columns]))
    renamed = np.concatenate([model.row_labels_, model.column_labels_])
    pairs = len(set(zip(plain.tolist(), renamed.tolist(), strict=True)))
    assert pairs == len(set(plain.tolist())) == len(set(renamed.tolist()))


@given(graphs(), st.floats(0, 10), st.sampled_from([2.0, 0.5, 8.0]))
@settings(max_examples=40)
def test_scaling_the_weights_scales_the_objective(graph, resolution, factor):
    matrix = graph.to_scipy()
    weights = ("degree", "degree")
    one = BACO(gamma=resolution, weights=weights).fit(matrix)
    other = BACO(gamma=resolution, weights=weights).fit(matrix * factor)
    assert np.array_equal(one.row_labels_, other.row_labels_)
    assert np.array_equal(one.column_labels_, other.column_labels_)
    assert other.objective_ == pytest.approx(factor * one.objective_, rel=1e-9, abs=1e-9)


@given(graphs(isolated=False), st.floats(0, 5))
@settings(max_examples=40)
def test_no_cluster_spans_components(graph, resolution):
    model = BACO(gamma=resolution, weights=("degree", "degree"), max_sweeps=50, secondary=None).fit(graph)
    matrix = graph.to_scipy()
    joint = sp.block_array([[None, matrix], [matrix.T, None]])
    _, component = sp.csgraph.connected_components(joint, directed=False)
    labels = np.concatenate([model.row_labels_, model.column_labels_])
    assert len(set(zip(labels.tolist(), component.tolist(), strict=True))) == len(set(labels.tolist()))


@given(graphs(isolated=False))
@settings(max_examples=40)
def test_without_the_volume_term_labels_spread_until_nothing_gains(graph):
    """gamma = 0 is plain label propagation: at the fixed point no node has more edges into another label."""
    model = BACO(gamma=0, max_sweeps=500, secondary=None).fit(graph)
    assert model.history_[-1]["moves"] == 0
    matrix = graph.to_scipy().toarray()
    for user in range(graph.n_users):
        votes = np.bincount(model.column_labels_, matrix[user], minlength=model.row_labels_[user] + 1)
        assert votes[model.row_labels_[user]] == votes.max()


@given(
    graphs(),
    st.integers(2, 26),
    st.sampled_from(["alternating", "permutation", "degree"]),
    st.sampled_from(["paper", ("degree", "uniform")]),
)
@settings(max_examples=80)
def test_a_budget_is_never_exceeded_and_used_up(graph, rows, order, weights):
    model = BACO(rows=rows, order=order, weights=weights, random_state=0).fit(graph)
    codebook = model.codebook_
    assert codebook.n_rows <= rows
    connected = int((np.diff(graph.user_ptr) > 0).sum() + (np.diff(graph.item_ptr) > 0).sum())
    isolated = sum(int((np.diff(pointer) == 0).any()) for pointer in (graph.user_ptr, graph.item_ptr))
    if connected > rows:
        assert codebook.n_rows >= 0.97 * rows
    else:
        assert codebook.n_rows == min(connected + isolated, max(rows, connected))
    for codes, n_rows in ((codebook.user_codes, codebook.n_user_rows), (codebook.item_codes, codebook.n_item_rows)):
        assert np.array_equal(np.unique(codes[:, 0]), np.arange(n_rows)), "a row that no id uses"
        assert codes.max() < n_rows
        if codes.shape[1] > 1:
            assert (codes[:, 0] != codes[:, 1]).all()


@given(graphs(isolated=False))
@settings(max_examples=40)
def test_ratio_one_is_the_identity(graph):
    codebook = BACO(ratio=1.0).fit(graph).codebook_
    assert np.array_equal(codebook.user_codes[:, 0], np.arange(graph.n_users))
    assert np.array_equal(codebook.item_codes[:, 0], np.arange(graph.n_items))
    assert (codebook.user_codes[:, 1] == -1).all()


@given(graphs(), st.floats(0, 30))
@settings(max_examples=40)
def test_isolated_ids_share_one_row_a_side(graph, gamma):
    model = BACO(gamma=gamma).fit(graph)
    for labels, other, pointer in (
        (model.row_labels_, model.column_labels_, graph.user_ptr),
        (model.column_labels_, model.row_labels_, graph.item_ptr),
    ):
        isolated = np.diff(pointer) == 0
        if isolated.any():
            shared = set(labels[isolated].tolist())
            assert len(shared) == 1
            assert not shared & set(labels[~isolated].tolist())
            assert not shared & set(other.tolist())


@given(graphs(), st.floats(0, 30), st.booleans())
@settings(max_examples=40)
def test_codebook_survives_the_disk(graph, gamma, named):
    import tempfile
    from pathlib import Path

    if named:
        graph = BipartiteGraph.from_arrays(
            *np.divmod(np.flatnonzero(graph.to_scipy().toarray().ravel()), graph.n_items),
            n_users=graph.n_users,
            n_items=graph.n_items,
            user_ids=np.array([f"user-{one}" for one in range(graph.n_users)]),
            item_ids=np.arange(graph.n_items) * 2**40 - 7,
        )
    codebook = BACO(gamma=gamma).fit(graph).codebook_
    with tempfile.TemporaryDirectory() as folder:
        path = codebook.save(Path(folder) / "map.npz")
        again = Codebook.load(path)
        assert [one.name for one in Path(folder).iterdir()] == ["map.npz"]
    assert again == codebook
    if named:
        codes, _ = again.lookup(again.user_ids, "user")
        assert np.array_equal(codes, codebook.user_codes)


@given(graphs(most=8), st.floats(0, 3))
@settings(max_examples=40)
def test_modularity_equals_networkx(graph, resolution):
    """Edges directed from users to items make the directed modularity Barber's: out-degrees times in-degrees."""
    networkx = pytest.importorskip("networkx")
    model = BACO(gamma=1.0, weights=("degree", "degree"), max_sweeps=2).fit(graph)
    labels = np.concatenate([model.row_labels_, model.column_labels_])
    theirs = networkx.DiGraph()
    theirs.add_nodes_from(range(labels.size))
    theirs.add_weighted_edges_from((user, graph.n_users + item, weight) for user, item, weight in edges_of(graph))
    communities = [set(np.flatnonzero(labels == one).tolist()) for one in np.unique(labels)]
    expected = networkx.community.modularity(theirs, communities, resolution=resolution)
    ours = barber_modularity(graph, (model.row_labels_, model.column_labels_), resolution)
    assert ours == pytest.approx(expected, abs=1e-12)


@given(graphs(), st.floats(0, 3))
@settings(max_examples=40)
def test_modularity_equals_scikit_network(graph, resolution):
    clustering = pytest.importorskip("sknetwork.clustering")
    model = BACO(gamma=1.0, weights=("degree", "degree")).fit(graph)
    labels = (model.row_labels_, model.column_labels_)
    # square as a directed graph: given the rectangle alone, it takes as many users as items for a plain graph
    directed = sp.csr_matrix(
        sp.block_array([[None, graph.to_scipy()], [sp.csr_matrix(graph.to_scipy().T.shape), None]])
    )
    expected = clustering.get_modularity(directed, np.concatenate(labels), weights="degree", resolution=resolution)
    assert barber_modularity(graph, labels, resolution) == pytest.approx(expected, abs=1e-12)
