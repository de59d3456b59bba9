"""One objective, five methods: a test for each row of the page of that name."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baco import BACO, BipartiteGraph
from baco.metrics import objective

DEGREES = ("degree", "degree")


@st.composite
def partitions(draw):
    """A matrix without empty rows or columns, and labels of both sides."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    shape = (int(rng.integers(2, 7)), int(rng.integers(2, 7)))
    matrix = (rng.random(shape) < 0.4).astype(float)
    matrix[np.arange(max(shape)) % shape[0], np.arange(max(shape)) % shape[1]] = 1
    return matrix, (rng.integers(0, 3, shape[0]), rng.integers(0, 3, shape[1]))


def inside_of(matrix, labels):
    """Edge weight between users and items of one label, pair by pair."""
    pairs = itertools.product(*map(range, matrix.shape))
    return sum(matrix[u, v] for u, v in pairs if labels[0][u] == labels[1][v])


@given(partitions(), st.floats(0, 5))
@settings(max_examples=25)
def test_degree_weights_are_barber_modularity(drawn, gamma):
    """Against the formula; test_properties.py compares with networkx and scikit-network."""
    matrix, labels = drawn
    users, items = (np.bincount(own, matrix.sum(1 - side), minlength=3) for side, own in enumerate(labels))
    expected = inside_of(matrix, labels) / matrix.sum() - gamma * float(users @ items) / matrix.sum() ** 2
    assert objective(matrix, labels, gamma, DEGREES) / matrix.sum() == pytest.approx(expected, abs=1e-12)


@given(partitions(), st.floats(0.01, 3))
@settings(max_examples=25)
def test_weights_of_one_are_the_bipartite_potts_model_of_leidenalg(drawn, gamma):
    igraph, leidenalg = pytest.importorskip("igraph"), pytest.importorskip("leidenalg")
    matrix, labels = drawn
    users, items = np.nonzero(matrix)
    n_users, n_items = matrix.shape
    theirs = igraph.Graph(n=n_users + n_items, edges=np.column_stack([users, n_users + items]))
    theirs.vs["type"] = [0] * n_users + [1] * n_items
    layers = leidenalg.CPMVertexPartition.Bipartite(theirs, resolution_parameter_01=gamma, types="type")
    for layer in layers:
        layer.set_membership(np.concatenate(labels).tolist())
    quality = sum(sign * layer.quality() for sign, layer in zip((1, -1, -1), layers, strict=True))
    ours = objective(matrix, labels, gamma, (np.ones(n_users), np.ones(n_items)))
    # leidenalg counts an undirected edge, and a pair of nodes, once from each end
    assert 2 * ours == pytest.approx(quality, abs=1e-9)


@given(partitions())
@settings(max_examples=25)
def test_without_gamma_it_is_label_propagation(drawn):
    matrix, labels = drawn
    assert objective(matrix, labels, 0.0) == inside_of(matrix, labels)
    model = BACO(gamma=0, max_sweeps=1, secondary=None).fit(matrix)
    # one sweep from singletons: items take the label of most of their users, who took one of their items'
    for item in range(matrix.shape[1]):
        votes = np.bincount(model.row_labels_, matrix[:, item])
        own = model.column_labels_[item]
        assert own < votes.size
        assert votes[own] == votes.max()


def even_halves(n):
    """Labels 0/1 of n nodes, half of them each; node 0 is in 0, so that each split comes once a side."""
    for chosen in itertools.combinations(range(n), n // 2):
        labels = np.ones(n, int)
        labels[list(chosen)] = 0
        yield labels


@given(st.integers(0, 999), st.floats(0, 3))
@settings(max_examples=8)
def test_even_volumes_make_it_the_two_cuts(seed, gamma):
    """Over all even splits: F differs from either cut by a constant and a factor, so the best is the same."""
    networkx = pytest.importorskip("networkx")
    rng = np.random.default_rng(seed)
    # a regular graph: halves of equal size have equal degree sums, so both cuts ask for the same splits
    matrix = np.zeros((4, 4))
    for shift in rng.permutation(4)[:2]:
        matrix[np.arange(4), rng.permutation(4)[(np.arange(4) + shift) % 4]] = 1
    if not (np.all(matrix.sum(0) == 2) and np.all(matrix.sum(1) == 2)):
        matrix = np.eye(4) + np.roll(np.eye(4), 1, axis=1)
    E, K = matrix.sum(), 2
    graph = networkx.Graph([(int(u), 4 + int(v)) for u, v in zip(*np.nonzero(matrix), strict=True)])
    for users, items in itertools.product(even_halves(4), even_halves(4)):
        together = np.concatenate([users, items])
        side = set(np.flatnonzero(together == 0).tolist())
        cut = networkx.cut_size(graph, side)
        ratio_cut = cut / len(side) + cut / (8 - len(side))
        uniform = objective(matrix, (users, items), gamma, (np.ones(4), np.ones(4)))
        assert uniform == pytest.approx(E - 8 / (2 * K) * ratio_cut - gamma * 4 * 4 / K)
        normalised = networkx.normalized_cut_size(graph, side)
        degree = objective(matrix, (users, items), gamma, DEGREES)
        assert degree == pytest.approx(E - E / K * normalised - gamma * E / K)


@given(st.integers(0, 999), st.floats(0.05, 2), st.sampled_from([DEGREES, ("uniform", "uniform"), "paper"]))
@settings(max_examples=8)
def test_the_best_partition_has_most_inside_at_its_balance(seed, gamma, weights):
    """The Lagrangian view, over every partition of a tiny graph into at most three co-clusters."""
    rng = np.random.default_rng(seed)
    graph = BipartiteGraph.from_scipy(np.maximum(rng.random((3, 3)) < 0.4, np.eye(3)).astype(float))
    inside, balance = [], []
    for labels in itertools.product(range(3), repeat=6):
        split = np.array(labels[:3]), np.array(labels[3:])
        inside.append(objective(graph, split, 0.0, weights))
        balance.append(inside[-1] - objective(graph, split, 1.0, weights))
    values = np.array(inside) - gamma * np.array(balance)
    best = int(np.argmax(values))
    no_heavier = np.array(balance) <= balance[best] + 1e-12
    assert np.max(np.array(inside)[no_heavier]) == pytest.approx(inside[best])
