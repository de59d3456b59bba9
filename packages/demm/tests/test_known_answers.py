"""The known answers: hand-sized cases with their origin, and two facts about public files."""

from __future__ import annotations

import numpy as np
import pytest

import demm
from demm import as_graph
from demm._graph import build_operators
from demm._stage1 import chebyshev, conjugate_gradient, direct, neumann
from demm._stage2 import sinkhorn_paper, sinkhorn_symmetric
from demm.operators import NumbaBackend, RowPool

LOADERS = {
    "ACM": (demm.datasets.load_acm, "graphs/acm3025/ACM3025.mat"),
    "Yelp": (demm.datasets.load_yelp, "graphs/yelp2614/yelp2614_bipartite.npz"),
    "DBLP": (demm.datasets.load_dblp, "graphs/dblp4057"),
}


@pytest.fixture(scope="module")
def small(known, from_edges):
    case = known["stage1"]
    return case, [from_edges(case["n"], edges) for edges in case["relations"]], np.array(case["X"], float)


def test_energies_add_up_by_weight(known):
    case = known["energies"]
    assert np.dot(case["energies"], case["weights"]) == pytest.approx(case["mrde"])


def test_mrde_of_two_relations_is_their_weighted_sum(small):
    _, relations, X = small
    parts = [demm.metrics.dirichlet_energy(X, relation) for relation in relations]
    assert demm.metrics.mrde(X, relations, [0.8, 0.2]) == pytest.approx(0.8 * parts[0] + 0.2 * parts[1])


def test_frobenius_norms_of_the_small_case(small):
    case, relations, _ = small
    graph = as_graph(relations)
    operators = build_operators(graph, dtype=np.float64, compress="auto", pool=RowPool(1))
    np.testing.assert_allclose([op.frobenius for op in operators], case["frobenius"], atol=1e-6)


def test_first_round_before_row_scaling(small):
    case, relations, X = small
    graph = as_graph(relations)
    backend = NumbaBackend(build_operators(graph, dtype=np.float64, compress=False, pool=RowPool(1)), RowPool(1))
    series = neumann(backend, [0.5, 0.5], X, alpha=case["alpha"], n_hops=case["n_hops"], tail=True)
    np.testing.assert_allclose(series, case["H_first_unscaled"], atol=1e-6)
    for solver in (chebyshev, conjugate_gradient):
        exact = solver(backend, [0.5, 0.5], X, alpha=case["alpha"], n_hops=40)
        np.testing.assert_allclose(exact, case["H_first_exact"], atol=1e-6)
    matrices = [demm._graph.normalised_adjacency(relation) for relation in graph]
    exact = direct(matrices, [0.5, 0.5], X, alpha=case["alpha"])
    np.testing.assert_allclose(exact, case["H_first_exact"], atol=1e-6)


@pytest.mark.parametrize("backend", ["numba", "scipy"])
def test_three_rounds_of_the_small_case(small, backend):
    case, relations, X = small
    model = demm.DEMMPlus(
        2,
        alpha=case["alpha"],
        beta=case["beta"],
        n_hops=case["n_hops"],
        max_iter=3,
        tol=0,
        features="precomputed",
        dtype="float64",
        backend=backend,
        random_state=0,
    ).fit(relations, X)
    np.testing.assert_allclose(model.energies_history_, case["energies"], atol=2e-6)
    np.testing.assert_allclose(model.relation_weights_history_, case["weights"], atol=1e-6)
    np.testing.assert_allclose(model.features_, case["H_third"], atol=1e-6)
    assert sorted(model.labels_.tolist()) == [0, 0, 0, 1, 1, 1]


def test_sinkhorn_example(known):
    case = known["sinkhorn"]
    Z0 = np.array(case["Z0"], dtype=float)
    first = Z0 @ Z0.T.sum(axis=1)
    np.testing.assert_allclose(first, case["first_row_sums"])
    np.testing.assert_allclose(Z0 @ (Z0 / first[:, None]).sum(axis=0), case["next_column_sums"], atol=1e-6)
    Z, _ = sinkhorn_symmetric(Z0.copy(), max_iter=500, tol=1e-13)
    np.testing.assert_allclose(Z, case["limit"], atol=1e-6)
    S = Z @ Z.T
    np.testing.assert_allclose(S[0], case["S_first_row"], atol=1e-6)
    np.testing.assert_allclose([S[4, 4], S[3, 4]], [case["S_5_5"], case["S_4_5"]], atol=1e-6)
    # the alternating form has the same affinity Zl Zr^T as its limit
    right, _ = sinkhorn_paper(Z0.copy(), max_iter=500)
    left = Z0 / (Z0 @ right.sum(axis=0))[:, None]
    np.testing.assert_allclose(left @ right.T, S, atol=1e-10)


@pytest.mark.data
@pytest.mark.parametrize("name", list(LOADERS))
def test_frobenius_norms_of_public_files(name, known, spk_data):
    load, file = LOADERS[name]
    graph = as_graph(load(spk_data(file)).graph)
    operators = build_operators(graph, dtype=np.float32, compress="auto", pool=RowPool())
    for relation, operator in zip(graph, operators, strict=True):
        wanted = known["frobenius_of_files"][name][relation.name]
        assert operator.frobenius == pytest.approx(wanted, abs=0.006 if wanted < 100 else 0.06)


@pytest.mark.data
@pytest.mark.parametrize("name", ["ACM", "Yelp"])
def test_learned_weights_on_public_files(name, known, spk_data):
    load, file = LOADERS[name]
    data = load(spk_data(file))
    case = known["learned_weights"][name]
    model = demm.DEMMPlus(data.n_clusters, random_state=0, n_init=1, **case["settings"]).fit(data.graph, data.X)
    found = dict(zip(model.relation_names_, model.relation_weights_, strict=True))
    assert found == pytest.approx(case["weights"], abs=0.005)
