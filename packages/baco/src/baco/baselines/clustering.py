"""Rows shared by clusters that other libraries, or label propagation, find in the interactions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from baco.codebook import Codebook
from baco.graph import BipartiteGraph, as_graph

from .hashing import _two, split_rows

Array = np.ndarray[Any, Any]
Labels = tuple[Array, Array]

_INSTALL = 'needs {library}; install it with: pip install "baco[bench]"'
# a resolution is good when it uses this share of the budget; more trials than these are not made
_USED, _TRIALS = 0.97, 10
# singular vectors of spectral bi-clustering, the trivial pair aside: as many as scikit-learn projects on
_VECTORS = 2


def graphhash(X: Any, rows: int, *, seed: int = 0) -> Codebook:
    """Louvain's clusters of the bipartite graph (GraphHash, Wu et al. 2025), by scikit-network.

    Args:
        X: interactions, as `baco.BACO.fit` takes them.
        rows: budget of both sides together, never exceeded; the resolution is found by bisection. So in all
            functions here.
        seed: of the library's random order.
    """
    graph = as_graph(X)
    return _codebook(graph, _louvain(graph, rows, seed), "graphhash")


def double_graphhash(X: Any, rows: int, *, seed: int = 0) -> Codebook:
    """A Louvain cluster's row and a hashed row, added; half of the budget to each."""
    graph = as_graph(X)
    clustered = _codebook(graph, _louvain(graph, rows // 2, seed), "")
    codes, sizes = [], []
    hashed = split_rows(graph, rows - clustered.n_rows)
    for own, count, size in (
        (clustered.user_codes, clustered.n_user_rows, hashed[0]),
        (clustered.item_codes, clustered.n_item_rows, hashed[1]),
    ):
        more = count + _two(np.arange(own.shape[0]), size, seed)[:, 0]
        codes.append(np.column_stack([own[:, 0], more]))
        sizes.append(count + size)
    ones = [np.ones(one.shape, np.float32) for one in codes]
    return Codebook(
        codes[0],
        codes[1],
        sizes[0],
        sizes[1],
        user_weights=ones[0],
        item_weights=ones[1],
        user_ids=graph.user_ids,
        item_ids=graph.item_ids,
        meta={"method": "double_graphhash"},
    )


def leiden(X: Any, rows: int, *, seed: int = 0) -> Codebook:
    """Leiden's clusters at modularity with a resolution, by igraph."""
    import random

    graph = as_graph(X)
    igraph = _need("igraph", "python-igraph")
    whole = _igraph(igraph, graph)
    igraph.set_random_number_generator(random.Random(seed))

    def cluster(resolution: float) -> Labels:
        found = whole.community_leiden(
            objective_function="modularity",
            weights="weight" if graph.weighted else None,
            resolution=resolution,
            n_iterations=2,
        )
        return _split(np.array(found.membership), graph)

    return _codebook(graph, _within(graph, rows, cluster), "leiden")


def label_propagation(X: Any, rows: int) -> Codebook:
    """Plain label propagation (Raghavan et al., 2007), stopped within the sweep that meets the budget.

    It has no resolution: left alone it ends near one cluster a component. Its sweeps are baco's at gamma = 0.
    """
    from baco._solver.problem import Problem
    from baco._solver.search import run_trial
    from baco._solver.sweeps import Alternating

    graph = as_graph(X)
    problem = Problem(graph, ("uniform", "uniform"))
    masses = (problem.user_mass, problem.item_mass, problem.norm)
    engine = Alternating(graph, *masses, stay=True, n_jobs=1)
    reserved = (problem.isolated_users.size > 0) + (problem.isolated_items.size > 0)
    trial = run_trial(engine, 0.0, max(rows - reserved, 2), 1000, patient=True, exact=True, show=lambda *_: None)
    if not trial.met:
        raise ValueError(f"label propagation ends with {trial.rows} rows, the budget is {rows}; give more rows")
    labels = problem.share_isolated(*engine.labels(), rows)
    return _codebook(graph, labels, "label_propagation")


def infomap(X: Any, rows: int, *, seed: int = 0) -> Codebook:
    """Clusters of random walks (Rosvall & Bergstrom, 2008), by igraph. It has no resolution: the budget is a limit.

    Raises:
        ValueError: more rows than the budget.
    """
    import random

    graph = as_graph(X)
    igraph = _need("igraph", "python-igraph")
    igraph.set_random_number_generator(random.Random(seed))
    weights = "weight" if graph.weighted else None
    found = _igraph(igraph, graph).community_infomap(edge_weights=weights, trials=1)
    labels = _share_isolated(graph, _split(np.array(found.membership), graph))
    made = _codebook(graph, labels, "infomap")
    if made.n_rows > rows:
        raise ValueError(f"infomap has no resolution and finds {made.n_rows} rows, the budget is {rows}")
    return made


def spectral_coclustering(X: Any, rows: int, *, seed: int = 0) -> Codebook:
    """Spectral co-clustering (Dhillon, 2001), by scikit-learn; ``rows // 2`` co-clusters. Slow above a thousand."""
    graph = as_graph(X)
    cluster = _need("sklearn.cluster", "scikit-learn")
    matrix, users, items = _connected(graph)
    count = max(min(rows // 2, *matrix.shape), 1)
    model = cluster.SpectralCoclustering(n_clusters=count, random_state=seed, mini_batch=True, n_init=1).fit(matrix)
    return _codebook(graph, _filled(graph, (users, model.row_labels_), (items, model.column_labels_)), "scc", rows)


def spectral_biclustering(X: Any, rows: int, *, seed: int = 0) -> Codebook:
    """Spectral bi-clustering (Kluger et al., 2003): users and items clustered apart, by scikit-learn's k-means.

    In the plane of the leading singular vectors of the scaled matrix. scikit-learn's own class holds a mask of every
    pair of clusters, which no memory has room for at thousands a side.
    """
    import scipy.sparse as sp
    from scipy.sparse.linalg import svds

    graph = as_graph(X)
    cluster = _need("sklearn.cluster", "scikit-learn")
    matrix, users, items = _connected(graph)
    roots = [sp.diags_array(1 / np.sqrt(np.asarray(matrix.sum(axis)).ravel())) for axis in (1, 0)]
    start = np.random.default_rng(seed).normal(size=min(matrix.shape))
    most = min(1 + _VECTORS, min(matrix.shape) - 1)
    left, values, right = svds(roots[0] @ matrix @ roots[1], k=max(most, 1), v0=start)
    # the first pair says how many interactions an id has, nothing else
    best = np.argsort(-values)[1:] if values.size > 1 else slice(None)
    planes = (matrix @ right[best].T, matrix.T @ left[:, best])
    sizes = split_rows(graph, rows - 2 if rows > 3 else rows)
    labels = [
        cluster.MiniBatchKMeans(min(size, plane.shape[0]), n_init=1, random_state=seed).fit_predict(plane)
        for size, plane in zip(sizes, planes, strict=True)
    ]
    return _codebook(graph, _filled(graph, (users, labels[0]), (items, labels[1])), "sbc", rows)


def _louvain(graph: BipartiteGraph, rows: int, seed: int) -> Labels:
    clustering = _need("sknetwork.clustering", "scikit-network")
    matrix = graph.to_scipy()

    def cluster(resolution: float) -> Labels:
        model = clustering.Louvain(resolution=resolution, random_state=seed).fit(matrix, force_bipartite=True)
        return model.labels_row_, model.labels_col_

    return _within(graph, rows, cluster)


def _within(graph: BipartiteGraph, rows: int, cluster: Callable[[float], Labels]) -> Labels:
    """Labels at about the largest resolution that leaves at most ``rows`` rows: bisection of its logarithm."""
    low, high = 1e-3, 1e7
    best: Labels | None = None
    most = 0
    value = 100.0
    for _ in range(_TRIALS):
        labels = _share_isolated(graph, cluster(value))
        got = sum(np.unique(side).size for side in labels)
        if got <= rows and got > most:
            best, most = labels, got
        if _USED * rows <= got <= rows:
            break
        low, high = (value, high) if got <= rows else (low, value)
        # rows grow about with the resolution: one guess from that, kept inside the bracket
        guess = value * rows * (1 + _USED) / 2 / got
        value = guess if low < guess < high else float(np.sqrt(low * high))
    if best is None:
        raise ValueError(f"no resolution of {_TRIALS} tried leaves {rows} rows or fewer; give a larger budget")
    return best


def _share_isolated(graph: BipartiteGraph, labels: Labels) -> Labels:
    """Ids without interactions, which every library makes a cluster each, share one label a side."""
    largest = int(max(side.max() for side in labels))
    shared = []
    for number, (side, pointer) in enumerate(zip(labels, (graph.user_ptr, graph.item_ptr), strict=True), 1):
        shared.append(np.where(np.diff(pointer) == 0, largest + number, side))
    return shared[0], shared[1]


def _connected(graph: BipartiteGraph) -> tuple[Any, Array, Array]:
    """The matrix without empty rows and columns, which spectral methods divide by, and which ids it is of."""
    users, items = np.flatnonzero(np.diff(graph.user_ptr)), np.flatnonzero(np.diff(graph.item_ptr))
    return graph.to_scipy()[users][:, items].tocsr(), users, items


def _filled(graph: BipartiteGraph, *sides: tuple[Array, Array]) -> Labels:
    """Labels of all ids: those found, and 0 for ids without interactions."""
    filled = []
    for size, (ids, labels) in zip((graph.n_users, graph.n_items), sides, strict=True):
        whole = np.zeros(size, np.int64)
        whole[ids] = labels
        filled.append(whole)
    return filled[0], filled[1]


def _codebook(graph: BipartiteGraph, labels: Labels, name: str, rows: int | None = None) -> Codebook:
    codes = [np.unique(side, return_inverse=True)[1] for side in labels]
    made = Codebook(
        codes[0],
        codes[1],
        int(codes[0].max()) + 1,
        int(codes[1].max()) + 1,
        user_ids=graph.user_ids,
        item_ids=graph.item_ids,
        meta={"method": name},
    )
    if rows is not None and made.n_rows > rows:
        raise ValueError(f"{name} made {made.n_rows} rows, the budget is {rows}")
    return made


def _igraph(igraph: Any, graph: BipartiteGraph) -> Any:
    coo = graph.to_scipy().tocoo()
    whole = igraph.Graph(n=graph.n_users + graph.n_items, edges=np.column_stack([coo.row, graph.n_users + coo.col]))
    if graph.weighted:
        whole.es["weight"] = coo.data
    return whole


def _split(labels: Array, graph: BipartiteGraph) -> Labels:
    return _share_isolated(graph, (labels[: graph.n_users], labels[graph.n_users :]))


def _need(module: str, library: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise ImportError(f"this baseline {_INSTALL.format(library=library)}") from None
