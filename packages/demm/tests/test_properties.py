"""Laws of the method: the fifteen properties a correct implementation has."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import demm
from demm import as_graph
from demm._graph import build_operators, normalised_adjacency
from demm._solve import count_sketch
from demm._stage1 import chebyshev, direct, neumann
from demm._stage2 import assign_clusters, haar_orthogonal, orthogonal_random_features, sinkhorn_symmetric
from demm.metrics import accuracy, dirichlet_energy
from demm.operators import NumbaBackend, RowPool

sizes = st.integers(4, 30)
seeds = st.integers(0, 2**16)


def adjacency(n, density, seed, *, weighted=False, connected=False, loops=False):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < density, 0 if loops else 1).astype(float)
    if connected:
        upper[np.arange(n - 1), np.arange(1, n)] = 1
    if weighted:
        upper *= rng.uniform(0.1, 3.0, (n, n))
    return sp.csr_array(np.maximum(upper, upper.T))


def backend_of(relations, **options):
    graph = as_graph(relations, **options)
    return NumbaBackend(build_operators(graph, dtype=np.float64, compress="auto", pool=RowPool(1)), RowPool(1))


def fit(relations, X, **options):
    defaults = {"features": "precomputed", "dtype": "float64", "random_state": 0, "n_init": 2, "n_hops": 6}
    return demm.DEMMPlus(2, **{**defaults, **options}).fit(relations, X)


@given(sizes, st.floats(0.1, 1.0), seeds, st.booleans())
def test_1_energy_lies_between_zero_and_twice_the_norm(n, density, seed, weighted):
    a = adjacency(n, density, seed, weighted=weighted, connected=True)
    H = np.random.default_rng(seed).standard_normal((n, 3))
    energy = dirichlet_energy(H, a)
    assert -1e-9 <= energy <= 2 * np.sum(H**2) + 1e-9


@given(sizes, seeds, st.booleans(), st.booleans())
def test_2_edge_form_trace_form_and_incidence_form_agree(n, seed, weighted, loops):
    a = adjacency(n, 0.3, seed, weighted=weighted, connected=True, loops=loops)
    H = np.random.default_rng(seed).standard_normal((n, 2))
    degree = np.asarray(a.sum(axis=1)).ravel()
    scaled = H / np.sqrt(degree)[:, None]
    coo = a.tocoo()
    edge_form = 0.5 * np.sum(coo.data * np.sum((scaled[coo.row] - scaled[coo.col]) ** 2, axis=1))
    a_hat = normalised_adjacency(as_graph([a], binarize=False)[0])
    trace_form = np.sum(H * H) - np.sum(H * (a_hat @ H))
    upper = sp.triu(a, 1).tocoo()
    incidence = np.zeros((n, upper.nnz))
    incidence[upper.row, np.arange(upper.nnz)] = np.sqrt(upper.data)
    incidence[upper.col, np.arange(upper.nnz)] = -np.sqrt(upper.data)
    incidence_form = np.sum((H.T @ (incidence / np.sqrt(degree)[:, None])) ** 2)
    np.testing.assert_allclose(dirichlet_energy(H, a), [edge_form, trace_form, incidence_form], atol=1e-9)


def test_2_isolated_nodes_count_nothing():
    a = adjacency(6, 1.0, 0)
    padded = sp.csr_array(sp.block_diag([a, sp.csr_array((3, 3))]))
    H = np.random.default_rng(0).standard_normal((9, 2))
    assert dirichlet_energy(H, padded) == pytest.approx(dirichlet_energy(H[:6], a))


def test_3_permuting_nodes_permutes_everything(easy):
    order = np.random.default_rng(1).permutation(easy.labels.shape[0])
    moved = {name: sp.csr_array(a.tocsr()[order][:, order]) for name, a in easy.graph.items()}
    first = demm.DEMMPlus(3, dtype="float64", random_state=0).fit(easy.graph, easy.X)
    second = demm.DEMMPlus(3, dtype="float64", random_state=0).fit(moved, easy.X[order])
    np.testing.assert_allclose(second.features_, first.features_[order], atol=1e-9)
    np.testing.assert_allclose(second.embedding_, first.embedding_[order], atol=1e-9)
    assert demm.metrics.ari(first.labels_[order], second.labels_) == 1.0


def test_4_permuting_relations_permutes_the_weights(easy):
    names = list(easy.graph)
    forward = demm.DEMMPlus(3, dtype="float64", random_state=0).fit(easy.graph, easy.X)
    backward = demm.DEMMPlus(3, dtype="float64", random_state=0).fit(
        {name: easy.graph[name] for name in names[::-1]}, easy.X
    )
    assert backward.relation_names_ == names[::-1]
    np.testing.assert_allclose(backward.relation_weights_, forward.relation_weights_[::-1], atol=1e-9)
    np.testing.assert_allclose(backward.features_, forward.features_, atol=1e-9)


@settings(max_examples=20)
@given(sizes, st.integers(1, 4), seeds)
def test_5_weights_are_positive_and_sum_to_one(n, n_relations, seed):
    relations = [adjacency(n, 0.3, seed + r, connected=True) for r in range(n_relations)]
    X = np.random.default_rng(seed).standard_normal((n, 3))
    model = fit(relations, X, max_iter=3)
    assert np.all(model.relation_weights_ > 0)
    assert model.relation_weights_.sum() == pytest.approx(1.0)


def test_5_a_duplicated_relation_gets_equal_weights(easy):
    a, b = easy.graph.values()
    model = demm.DEMMPlus(3, random_state=0).fit([a, b, a], easy.X)
    assert model.relation_weights_[0] == model.relation_weights_[2]


@settings(max_examples=20)
@given(sizes, seeds, st.floats(0.5, 30.0))
def test_6_neumann_converges_within_its_bound_and_chebyshev_beats_it(n, seed, alpha):
    relations = [adjacency(n, density, seed, connected=True) for density in (0.3, 0.5)]
    backend = backend_of(relations)
    X = np.random.default_rng(seed).standard_normal((n, 3))
    matrices = [normalised_adjacency(relation) for relation in as_graph(relations)]
    w = [0.4, 0.6]
    exact = direct(matrices, w, X, alpha=alpha)
    eigenvalues = np.linalg.eigvalsh(sum(wi * m.toarray() for wi, m in zip(w, matrices, strict=True)))
    a = alpha / (1 + alpha)
    for hops in (2, 5, 12):
        error = np.linalg.norm(neumann(backend, w, X, alpha=alpha, n_hops=hops, tail=True) - exact)
        # Theorem 4.4: a^(L+1) ||X|| max_l max_i |lam_i^L - lam_i^(L+l)|
        spread = max(np.abs(eigenvalues**hops - eigenvalues ** (hops + step)).max() for step in range(1, 400))
        assert error <= a ** (hops + 1) * np.linalg.norm(X) * spread + 1e-9
        # the optimal polynomial beats the plain series in the worst case over the spectrum
        ratio = (np.sqrt(1 + 2 * alpha) - 1) / (np.sqrt(1 + 2 * alpha) + 1)
        fast = np.linalg.norm(chebyshev(backend, w, X, alpha=alpha, n_hops=hops) - exact)
        assert fast <= 2 * ratio ** (hops + 1) / (1 + ratio ** (2 * hops + 2)) * np.linalg.norm(exact) + 1e-9
    np.testing.assert_allclose(
        neumann(backend, w, X, alpha=alpha, n_hops=1500, tail=False),
        exact,
        atol=1e-8 * (1 + np.abs(exact).max()),
    )


def test_6_chebyshev_is_more_accurate_than_the_series_at_equal_hops(easy):
    graph = as_graph(easy.graph)
    backend = backend_of(easy.graph)
    X = easy.X.astype(np.float64)
    exact = direct([normalised_adjacency(r) for r in graph], [0.5, 0.5], X, alpha=8.0)
    for hops in (3, 6, 10, 20):
        series = np.linalg.norm(neumann(backend, [0.5, 0.5], X, alpha=8.0, n_hops=hops, tail=False) - exact)
        assert np.linalg.norm(chebyshev(backend, [0.5, 0.5], X, alpha=8.0, n_hops=hops) - exact) < series


@settings(max_examples=20)
@given(sizes, seeds)
def test_7_rotating_the_attributes_rotates_the_features(n, seed):
    rng = np.random.RandomState(seed)
    relations = [adjacency(n, 0.3, seed, connected=True), adjacency(n, 0.4, seed + 1, connected=True)]
    X = rng.standard_normal((n, 4))
    rotation = haar_orthogonal(4, rng)
    plain, rotated = fit(relations, X, max_iter=4), fit(relations, X @ rotation, max_iter=4)
    np.testing.assert_allclose(rotated.energy_per_relation_, plain.energy_per_relation_, atol=1e-8)
    np.testing.assert_allclose(rotated.relation_weights_, plain.relation_weights_, atol=1e-8)
    np.testing.assert_allclose(rotated.features_, plain.features_ @ rotation, atol=1e-8)


@given(st.integers(2, 20), st.integers(1, 5), seeds, st.floats(1e-3, 1e3))
def test_8_sinkhorn_rows_sum_to_one_and_scale_does_not_matter(n, d, seed, factor):
    Z0 = np.random.default_rng(seed).uniform(0.1, 1.0, (n, d))
    Z, _ = sinkhorn_symmetric(Z0.copy(), max_iter=1000, tol=1e-10)
    np.testing.assert_allclose(Z @ Z.sum(axis=0), 1.0, atol=1e-8)
    ratio = Z / Z0
    assert np.all(ratio > 0)
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones((1, d)), rtol=1e-9)
    scaled, _ = sinkhorn_symmetric(factor * Z0, max_iter=1000, tol=1e-10)
    np.testing.assert_allclose(scaled, Z, rtol=1e-6)


@settings(max_examples=20)
@given(st.integers(6, 40), st.integers(1, 5), seeds)
def test_9_within_cluster_squares_are_the_trace_gap(n, k, seed):
    Z = np.random.default_rng(seed).standard_normal((n, 3))
    labels, _, inertia = assign_clusters(Z, k, n_init=1, rng=np.random.RandomState(0))
    Y = np.zeros((n, k))
    Y[np.arange(n), labels] = 1
    Y /= np.sqrt(Y.sum(axis=0))
    S = Z @ Z.T
    assert inertia == pytest.approx(np.trace(S) - np.trace(Y.T @ S @ Y), abs=1e-8)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_10_random_features_approximate_the_gaussian(sigma):
    rng = np.random.default_rng(0)
    H = rng.standard_normal((12, 16))
    H /= np.linalg.norm(H, axis=1, keepdims=True)
    squares = np.sum((H[:, None] - H[None]) ** 2, axis=2)
    exact = np.exp(-squares / sigma)
    for unbiased in (True, False):
        draws = []
        for seed in range(400):
            Z = orthogonal_random_features(H, sigma=sigma, unbiased=unbiased, rng=np.random.RandomState(seed))
            draws.append(Z @ Z.T)
            np.testing.assert_allclose(np.diag(draws[-1]), 1.0, atol=1e-12)
        error = np.std(draws, axis=0) / np.sqrt(len(draws))
        # the paper's equal lengths are off by z^2 exp(-z) / d to first order, z = ||.||^2 / sigma
        bias = 0.0 if unbiased else (squares / sigma) ** 2 * exact / 16
        np.testing.assert_array_less(np.abs(np.mean(draws, axis=0) - exact), 4.5 * error + bias + 1e-9)


def test_10_the_projection_is_orthogonal():
    Q = haar_orthogonal(7, np.random.RandomState(3))
    np.testing.assert_allclose(Q @ Q.T, np.eye(7), atol=1e-12)


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(2, 12), seeds, st.booleans())
def test_11_twin_and_metapath_operators_equal_rows_and_products(n_groups, size, seed, loops):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n_groups, n_groups * size)
    b = sp.csr_array(np.eye(n_groups)[groups])
    a = sp.csr_array(b @ b.T)
    if not loops:
        a = sp.csr_array(a - sp.eye_array(a.shape[0]))
        a.eliminate_zeros()
    if a.nnz == 0:
        return  # every node alone: no relation to compare
    plain = build_operators(as_graph([a]), dtype=np.float64, compress=False, pool=RowPool(1))
    twin = build_operators(as_graph([a]), dtype=np.float64, compress=True, pool=RowPool(1))
    path = build_operators(
        as_graph([demm.Metapath(b, weighted=True)], self_loops="keep" if loops else "remove"),
        dtype=np.float64,
        compress="auto",
        pool=RowPool(1),
    )
    x = rng.standard_normal((a.shape[0], 5))
    outs = []
    for operators in (plain, twin, path):
        out = np.zeros_like(x)
        operators[0].add_rows(x, operators[0].gather(x, RowPool(1)), 1.0, out, False, 0, x.shape[0])
        outs.append(out)
    np.testing.assert_allclose(outs[1], outs[0], atol=1e-6)
    np.testing.assert_allclose(outs[2], outs[0], atol=1e-6)


def test_12_count_sketch_is_unbiased(random_graph):
    a = random_graph(40, 0.2, 0, weighted=True, loops=True, isolated=2)
    (operator,) = build_operators(as_graph([a], binarize=False), dtype=np.float64, compress=False, pool=RowPool(1))
    H = np.random.default_rng(1).standard_normal((40, 4))
    exact = dirichlet_energy(H, a)
    draws = [np.sum((H.T @ count_sketch(operator, "a", 10, seed)) ** 2) for seed in range(200)]
    assert abs(np.mean(draws) - exact) < 3 * np.std(draws) / np.sqrt(len(draws))
    assert np.std(draws) > 0


@settings(max_examples=20)
@given(sizes, seeds, st.floats(1e-6, 1e6))
def test_13_scaling_a_relation_changes_nothing(n, seed, factor):
    a = adjacency(n, 0.4, seed, weighted=True, connected=True)
    b = adjacency(n, 0.4, seed + 1, weighted=True, connected=True)
    X = np.random.default_rng(seed).standard_normal((n, 3))
    plain = fit([a, b], X, binarize=False, max_iter=3)
    scaled = fit([a * factor, b], X, binarize=False, max_iter=3)
    np.testing.assert_allclose(scaled.features_, plain.features_, atol=1e-8)
    np.testing.assert_allclose(scaled.relation_weights_, plain.relation_weights_, atol=1e-8)


def test_14_a_noise_relation_gets_the_lowest_weight_and_costs_little():
    losses = []
    for seed in range(3):
        data = demm.datasets.make_multirelational(
            600, 4, degrees=(10.0, 10.0), mixing=(0.2, 0.3), n_noise=1, signal=0.7, random_state=seed
        )
        clean = {name: a for name, a in data.graph.items() if not name.startswith("noise")}
        without = demm.DEMMPlus(4, random_state=0).fit(clean, data.X)
        model = demm.DEMMPlus(4, random_state=0).fit(data.graph, data.X)
        weights = dict(zip(model.relation_names_, model.relation_weights_, strict=True))
        assert min(weights, key=weights.get) == "noise_0"
        losses.append(accuracy(data.labels, without.labels_) - accuracy(data.labels, model.labels_))
    assert np.mean(losses) < 0.05


@pytest.mark.parametrize("estimator", [demm.DEMMPlus, demm.DEMM, demm.DEMMNA])
def test_15_saving_and_loading_is_exact(estimator, easy, tmp_path):
    model = estimator(3, random_state=0)
    model = model.fit(easy.graph) if estimator is demm.DEMMNA else model.fit(easy.graph, easy.X)
    model.save(tmp_path / "model")
    loaded = demm.load(tmp_path / "model")
    assert loaded.get_params() == model.get_params()
    for name in ("labels_", "features_", "embedding_", "cluster_centers_", "relation_weights_history_"):
        assert getattr(loaded, name).tobytes() == getattr(model, name).tobytes()
    assert loaded.energy_ == model.energy_
    assert not any(path.suffix in (".pkl", ".pickle") for path in (tmp_path / "model").iterdir())
    if estimator is demm.DEMMPlus:
        links = [a[:5] for a in easy.graph.values()]
        np.testing.assert_array_equal(loaded.predict(links, easy.X[:5]), model.predict(links, easy.X[:5]))
