"""Fast paths against scipy: every form of a relation, every column count, every thread count."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from demm import Metapath, as_graph
from demm._graph import build_operators, normalised_adjacency
from demm.operators import (
    CSROperator,
    MetapathOperator,
    NumbaBackend,
    RowPool,
    ScipyBackend,
    TwinOperator,
)


def product(operator, x, pool):
    out = np.zeros_like(x)
    operator.add_rows(x, operator.gather(x, pool), 1.0, out, False, 0, x.shape[0])
    return out


def cliques(sizes, loops=True):
    dense = np.zeros((sum(sizes), sum(sizes)))
    start = 0
    for size in sizes:
        dense[start : start + size, start : start + size] = 1
        start += size
    if not loops:
        np.fill_diagonal(dense, 0)
    order = np.random.default_rng(0).permutation(dense.shape[0])
    return sp.csr_array(dense[np.ix_(order, order)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 3, 8, 15, 16, 31, 33, 64, 72, 129])
def test_product_equals_scipy_for_every_width(random_graph, dtype, weighted, d):
    a = random_graph(60, 0.1, d, weighted=weighted, loops=True, isolated=3)
    graph = as_graph([a], binarize=False)
    (operator,) = build_operators(graph, dtype=dtype, compress=False, pool=RowPool(1))
    x = np.random.default_rng(d).standard_normal((60, d)).astype(dtype)
    expected = normalised_adjacency(graph[0]) @ x.astype(np.float64)
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(product(operator, x, RowPool(1)), expected, atol=tolerance * 10)
    quadratic = np.sum(x.astype(np.float64) * expected)
    assert operator.quadratic(x, RowPool(1)) == pytest.approx(quadratic, rel=tolerance * 100, abs=tolerance * 100)


@pytest.mark.parametrize("loops", [True, False])
def test_cliques_compress_to_one_class_each_and_stay_exact(loops):
    a = cliques([30, 20, 50, 7], loops)
    graph = as_graph([a])
    (operator,) = build_operators(graph, dtype=np.float64, compress="auto", pool=RowPool(1))
    assert isinstance(operator, TwinOperator)
    assert operator.n_classes == 4
    x = np.random.default_rng(0).standard_normal((a.shape[0], 9))
    expected = normalised_adjacency(graph[0]) @ x
    np.testing.assert_allclose(product(operator, x, RowPool(1)), expected, atol=1e-12)
    assert operator.quadratic(x, RowPool(1)) == pytest.approx(np.sum(x * expected))


def test_open_twins_compress_too():
    # a complete bipartite graph: two classes of nodes with equal open neighbourhoods, no clique
    a = sp.csr_array(np.kron([[0, 1], [1, 0]], np.ones((40, 40))))
    graph = as_graph([a])
    (operator,) = build_operators(graph, dtype=np.float64, compress="auto", pool=RowPool(1))
    assert isinstance(operator, TwinOperator)
    assert operator.n_classes == 2
    x = np.random.default_rng(0).standard_normal((80, 5))
    np.testing.assert_allclose(product(operator, x, RowPool(1)), normalised_adjacency(graph[0]) @ x, atol=1e-12)


def test_a_class_longer_than_a_segment_is_summed_whole():
    a = cliques([2100, 10])
    (operator,) = build_operators(as_graph([a]), dtype=np.float64, compress="auto", pool=RowPool(1))
    x = np.random.default_rng(0).standard_normal((2110, 4))
    expected = normalised_adjacency(as_graph([a])[0]) @ x
    np.testing.assert_allclose(product(operator, x, RowPool(2)), expected, atol=1e-12)


def test_a_random_graph_is_not_compressed(random_graph):
    (operator,) = build_operators(
        as_graph([random_graph(300, 0.05, 0)]), dtype=np.float32, compress="auto", pool=RowPool(1)
    )
    assert isinstance(operator, CSROperator)
    assert operator.values.shape == (0,)  # binary: no values stored


@pytest.mark.parametrize("self_loops", ["keep", "remove", "add"])
def test_weighted_metapath_equals_the_product_it_stands_for(self_loops):
    rng = np.random.default_rng(1)
    b = sp.csr_array((rng.random((50, 12)) < 0.15).astype(float))
    graph = as_graph([Metapath(b, weighted=True)], self_loops=self_loops)
    (operator,) = build_operators(graph, dtype=np.float64, compress="auto", pool=RowPool(1))
    assert isinstance(operator, MetapathOperator)
    explicit = normalised_adjacency(graph[0])
    x = rng.standard_normal((50, 11))
    np.testing.assert_allclose(product(operator, x, RowPool(1)), explicit @ x, atol=1e-12)
    assert operator.quadratic(x, RowPool(1)) == pytest.approx(np.sum(x * (explicit @ x)))
    assert operator.frobenius == pytest.approx(explicit.power(2).sum())


def test_binary_metapath_links_whoever_shares_an_object():
    b = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
    relation = as_graph([Metapath(b)])[0].tocsr().toarray()
    np.testing.assert_array_equal(relation, (b @ b.T > 0).astype(float))


def test_features_are_bit_equal_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    n = 20_000
    pairs = rng.integers(0, n, (2, 120_000))
    groups = sp.csr_array((np.ones(n), (np.arange(n), rng.integers(0, 400, n))), shape=(n, 400))
    graph = as_graph({"random": np.hstack([pairs, pairs[::-1]]), "group": Metapath(groups)}, n_nodes=n)
    x = rng.standard_normal((n, 20)).astype(np.float32)
    results = []
    for n_jobs in (1, 2, 5):
        with RowPool(n_jobs) as pool:
            operators = build_operators(graph, dtype=np.float32, compress="auto", pool=pool)
            backend = NumbaBackend(operators, pool)
            assert len(backend.blocks) > 3  # otherwise there is nothing to share out
            out = np.empty_like(x)
            backend.hop([0.6, 0.4], 0.8, x, out)
            results.append((out.tobytes(), backend.quadratic(0, x), backend.quadratic(1, x)))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("solver", ["neumann", "chebyshev", "conjugate_gradient"])
def test_backends_agree_on_every_solver(random_graph, solver):
    from demm import _stage1

    graph = as_graph([random_graph(80, 0.08, 1, isolated=4), random_graph(80, 0.2, 2)])
    backends = [
        NumbaBackend(build_operators(graph, dtype=np.float64, compress="auto", pool=RowPool(1)), RowPool(1)),
        ScipyBackend([normalised_adjacency(relation) for relation in graph]),
    ]
    x = np.random.default_rng(0).standard_normal((80, 7))
    first, second = (
        getattr(_stage1, solver)(backend, [0.3, 0.7], x, alpha=5.0, n_hops=9, tail=True) for backend in backends
    )
    np.testing.assert_allclose(first, second, atol=1e-12)


def test_torch_backend_agrees_with_numba(random_graph):
    pytest.importorskip("torch", reason="torch is an extra of demm and not installed")
    from demm._stage1 import chebyshev, conjugate_gradient, neumann
    from demm.operators import TorchBackend

    graph = as_graph([random_graph(80, 0.08, 1, isolated=4), random_graph(80, 0.2, 2)])
    numba = NumbaBackend(build_operators(graph, dtype=np.float64, compress="auto", pool=RowPool(1)), RowPool(1))
    torch = TorchBackend([normalised_adjacency(relation) for relation in graph])
    x = np.random.default_rng(0).standard_normal((80, 7))
    for solver in (neumann, chebyshev, conjugate_gradient):
        ours = solver(numba, [0.3, 0.7], x, alpha=5.0, n_hops=9)
        theirs = torch.to_numpy(solver(torch, [0.3, 0.7], torch.asarray(x), alpha=5.0, n_hops=9))
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
        assert torch.quadratic(0, torch.asarray(ours)) == pytest.approx(numba.quadratic(0, ours))


def test_a_panel_of_another_layout_is_refused(random_graph):
    from numba.core.errors import TypingError

    (operator,) = build_operators(
        as_graph([random_graph(20, 0.3, 0)]), dtype=np.float64, compress=False, pool=RowPool(1)
    )
    with pytest.raises(TypingError, match="C-contiguous"):
        operator.quadratic(np.asfortranarray(np.ones((20, 8))), RowPool(1))


def test_row_blocks_cover_every_row_once():
    from demm.operators._threads import row_blocks

    for cost in (None, np.array([0, 0, 10**6, 10**6, 10**6 + 1]), np.zeros(5, dtype=np.int64)):
        blocks = row_blocks(4, cost)
        assert blocks[0] == 0
        assert blocks[-1] == 4
        assert np.all(np.diff(blocks) > 0)
