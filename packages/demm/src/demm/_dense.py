"""``DEMM``, the dense method: fine for thousands of nodes, hopeless for millions."""

from __future__ import annotations

from typing import Any

import numpy as np

from demm import _stage1 as stage1
from demm._base import Clock, MultiRelationalClustering
from demm._graph import MultiRelationalGraph
from demm._stage2 import assign_clusters, centre_rows
from demm.operators import RowPool


def dense_affinity(H: np.ndarray, sigma: float) -> np.ndarray:
    """``S_ij = exp(-||h_i - h_j||^2 / sigma)``, [nodes, nodes]."""
    squares = np.einsum("ij,ij->i", H, H)
    affinity = H @ H.T
    affinity *= -2.0
    affinity += squares[:, None]
    affinity += squares[None, :]
    np.maximum(affinity, 0, out=affinity)
    affinity /= -sigma
    return np.asarray(np.exp(affinity, out=affinity))


def top_eigenvectors(affinity: np.ndarray, k: int) -> np.ndarray:
    """Eigenvectors of the ``k`` largest eigenvalues, largest first, [nodes, k]."""
    n = affinity.shape[0]
    if k >= n - 1 or n < 200:
        _, vectors = np.linalg.eigh(affinity)
        return np.ascontiguousarray(vectors[:, ::-1][:, :k])
    from scipy.sparse.linalg import eigsh

    # a fixed start makes the result reproducible
    values, vectors = eigsh(affinity, k=k, which="LA", v0=np.full(n, 1.0 / np.sqrt(n)))
    return np.ascontiguousarray(vectors[:, np.argsort(values)[::-1]])


class DEMM(MultiRelationalClustering):
    """The paper's exact method for small graphs: dense solve, dense affinity, eigenvectors, K-means.

    Memory grows with the square of the nodes; ``DEMMPlus`` does the same in linear time.

    Args:
        max_nodes: refuse larger graphs.
        sigma: width of the affinity, 1 in the paper.
        others: as in ``DEMMPlus``.

    Attributes: those of ``DEMMPlus``; ``embedding_`` holds the top K eigenvectors of the affinity.
    Source: the paper's Algorithm 1.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        alpha: float = 4.0,
        beta: float = 4.0,
        n_components: int = 128,
        max_iter: int = 10,
        tol: float = 1e-4,
        weight_power: float = 2.0,
        relation_weights: Any = "learn",
        features: str = "auto",
        sigma: float = 1.0,
        n_init: int = 10,
        binarize: bool = True,
        self_loops: str = "keep",
        directed: str = "symmetrize",
        max_nodes: int = 20_000,
        dtype: str = "float64",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.alpha = alpha
        self.beta = beta
        self.n_components = n_components
        self.max_iter = max_iter
        self.tol = tol
        self.weight_power = weight_power
        self.relation_weights = relation_weights
        self.features = features
        self.sigma = sigma
        self.n_init = n_init
        self.binarize = binarize
        self.self_loops = self_loops
        self.directed = directed
        self.max_nodes = max_nodes
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, graph: Any, X: Any = None, y: Any = None) -> DEMM:
        """Cluster the nodes; arguments as in ``DEMMPlus.fit``, ``X`` required."""
        del y
        self._check_parameters()
        clock = Clock()
        rng = self._rng()
        with RowPool(self.n_jobs) as pool:
            with clock.phase("graph"):
                read, X = self._read(graph, X)
                self._refuse_large(read)
                if X is None:
                    raise ValueError("DEMM needs attributes; pass X, or use DEMMNA for a graph without them")
                weights, learn = self._check_relation_weights(read.names)
                prepared = self._prepare(read, pool)
            with clock.phase("features"):
                panel, self._feature_map = self._features(X, rng)
                self.n_features_in_ = int(X.shape[1])
            with clock.phase("stage1"), self._progress(self.max_iter) as progress:
                matrices = prepared.matrices()

                def solve(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                    H = np.ascontiguousarray(stage1.direct(matrices, w, panel, alpha=self.alpha), self.dtype)
                    norms = prepared.backend.normalise_rows(H)
                    return H, norms

                result = stage1.alternate(
                    prepared.backend,
                    solve,
                    prepared.energies,
                    weights=weights,
                    learn=learn,
                    update=self._update_rule(prepared, self.alpha),
                    max_iter=self.max_iter,
                    tol=self.tol,
                    progress=progress,
                )
        self._store_stage1(prepared, result, result.H)
        with clock.phase("embedding"):
            affinity = dense_affinity(centre_rows(self.features_), self.sigma)
            self.embedding_ = top_eigenvectors(affinity, self.n_clusters)
            del affinity
        with clock.phase("kmeans"):
            self.labels_, self.cluster_centers_, self.inertia_ = assign_clusters(
                self.embedding_, self.n_clusters, n_init=self.n_init, rng=rng
            )
        self.timings_ = clock.total()
        return self

    def _refuse_large(self, graph: MultiRelationalGraph) -> None:
        if graph.n_nodes > self.max_nodes:
            gigabytes = 8e-9 * graph.n_nodes**2
            raise ValueError(
                f"DEMM forms a dense {graph.n_nodes} x {graph.n_nodes} affinity ({gigabytes:.1f} GB), more "
                f"than max_nodes={self.max_nodes} allows; use DEMMPlus, which needs memory linear in nodes, "
                "or raise max_nodes"
            )
