"""The estimators in linear time: ``DEMMPlus``, and ``DEMMNA`` without attributes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from demm import _stage1 as stage1
from demm._base import Clock, MultiRelationalClustering, Prepared
from demm._features import FeatureMap
from demm._predict import predict_labels
from demm._search import fit_best
from demm._solve import make_energy, make_solver
from demm._spectral import spectral_alternation
from demm._stage2 import assign_clusters, centre_rows, embed
from demm.operators import RowPool


class DEMMPlus(MultiRelationalClustering):
    """Cluster an attributed graph with several kinds of edges, in time linear in edges.

    Two stages: smooth the attributes over a weighted sum of the relations while learning the weights, then
    cluster the smoothed features by random features, Sinkhorn scaling and K-means. Without attributes
    (``X=None``) stage 1 is that of ``DEMMNA``.

    Args:
        n_clusters: K >= 1.
        alpha: weight of smoothness against fidelity to X, > 0.
        beta: penalty on sparse relations, >= 0; only ``beta / alpha`` matters for the weights.
        n_hops: L, hops of the solver per round.
        n_components: d of the PCA of X, capped by the features and by nodes - 1.
        max_iter, tol: rounds of the alternation; stops early when no weight moves by more than ``tol``.
        solver: ``"neumann"`` (the paper's series), ``"chebyshev"``, ``"cg"`` or ``"direct"`` (exact).
        tail: replace the series' hops past the last by the last (``"neumann"`` alone).
        weight_power: ``w_r ~ c_r^-power``; 2 is the paper's rule.
        relation_weights: ``"learn"``, ``"uniform"``, or fixed ones: an array or a dict by relation name.
        energy: ``"exact"``, or ``"countsketch"`` with ``sketch_size`` buckets (the paper's; noisier, and no
            faster here: the exact energy costs half a hop).
        features: ``"auto"``, ``"tfidf"``, ``"l2"``, ``"standardize"``, ``"none"`` (PCA alone) or
            ``"precomputed"`` (X as is). ``"auto"`` takes TF-IDF for counts, ``"standardize"`` otherwise.
        sigma: width of the affinity ``exp(-||.||^2 / sigma)``.
        n_random_features: independent orthogonal blocks of 2d random features each. Below about 64 dimensions
            one block leaves the clusters to the luck of the draw: take 4, or ``embedding="features"``.
        sinkhorn: ``"symmetric"`` (to convergence, at most ``sinkhorn_iter``), ``"paper"`` (``sinkhorn_iter``
            alternating rounds, its tau) or None.
        embedding: ``"orf"`` (the paper's random features) or ``"features"``: K-means on centred unit rows.
        assign: ``"kmeans"`` or ``"minibatch"``; ``n_init`` starts.
        binarize: drop edge weights; False keeps them.
        self_loops: ``"keep"``, ``"add"`` or ``"remove"``.
        directed: ``"symmetrize"`` (with a warning) or ``"error"``.
        compress: ``"auto"`` stores relations of many equal neighbourhoods over their classes (exact).
        backend: ``"numba"``, ``"scipy"`` (the slow reference) or ``"torch"`` on ``device``.
        n_trials: None, or ``"auto"``: first pick settings without labels, see ``demm.search``.
        dtype: ``"float32"`` or ``"float64"`` of the panels; energies are always summed in float64.
        n_jobs: threads; None takes all cores. ``features_`` are bit-identical for any number. K-means comes
            from scikit-learn, whose sums may differ in the last bit between numbers of OpenMP threads.
        memory_limit: bytes (or "4GB") for the panels; above it stage 1 works on blocks of columns with the
            panels memory-mapped in ``workdir``.
        random_state: seed of the random features and of K-means.
        verbose: 1 shows a progress bar over the rounds.

    Attributes:
        labels_: [nodes], int32.
        relation_names_, relation_weights_: [relations]; weights sum to 1.
        relation_weights_history_, energies_history_: [rounds, relations]; ``energy_history_``: [rounds].
        energy_, energy_per_relation_: Dirichlet energies of the final features.
        features_: [nodes, d], unit rows. embedding_: [nodes, columns], what K-means saw.
        cluster_centers_: [clusters, columns]; inertia_: its K-means objective.
        n_iter_, converged_, timings_ (seconds per phase), n_features_in_.

    Source: Lin, Jiang, Yang, "Effective Clustering for Large Multi-Relational Graphs", Algorithms 2 and 6.
    The defaults of alpha, beta, L and d are not the paper's (it tunes them on labels): they were chosen on
    five public graphs with labels, so expect less on yours, and see ``demm.search``.

    Example:
        >>> import demm
        >>> data = demm.datasets.make_multirelational(n_nodes=300, n_clusters=3, random_state=0)
        >>> model = demm.DEMMPlus(n_clusters=3, random_state=0).fit(data.graph, data.X)
        >>> demm.metrics.accuracy(data.labels, model.labels_) > 0.95
        True
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        alpha: float = 4.0,
        beta: float = 4.0,
        n_hops: int = 10,
        n_components: int = 128,
        max_iter: int = 10,
        tol: float = 1e-4,
        solver: str = "neumann",
        tail: bool = True,
        weight_power: float = 2.0,
        relation_weights: Any = "learn",
        energy: str = "exact",
        sketch_size: int = 20,
        features: str = "auto",
        sigma: float = 2.0,
        n_random_features: int = 1,
        sinkhorn: str | None = "symmetric",
        sinkhorn_iter: int = 100,
        embedding: str = "orf",
        assign: str = "kmeans",
        n_init: int = 10,
        binarize: bool = True,
        self_loops: str = "keep",
        directed: str = "symmetrize",
        compress: Any = "auto",
        backend: str = "numba",
        device: str = "cpu",
        n_trials: str | None = None,
        dtype: str = "float32",
        n_jobs: int | None = None,
        memory_limit: int | str | None = None,
        workdir: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.alpha = alpha
        self.beta = beta
        self.n_hops = n_hops
        self.n_components = n_components
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.tail = tail
        self.weight_power = weight_power
        self.relation_weights = relation_weights
        self.energy = energy
        self.sketch_size = sketch_size
        self.features = features
        self.sigma = sigma
        self.n_random_features = n_random_features
        self.sinkhorn = sinkhorn
        self.sinkhorn_iter = sinkhorn_iter
        self.embedding = embedding
        self.assign = assign
        self.n_init = n_init
        self.binarize = binarize
        self.self_loops = self_loops
        self.directed = directed
        self.compress = compress
        self.backend = backend
        self.device = device
        self.n_trials = n_trials
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.memory_limit = memory_limit
        self.workdir = workdir
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, graph: Any, X: Any = None, y: Any = None) -> DEMMPlus:
        """Cluster the nodes.

        Args:
            graph: relations over the same nodes; every form is listed under ``demm.as_graph``.
            X: attributes [nodes, features]: dense, scipy sparse, or memory-mapped; None takes those that
                came with the graph, and without any clusters by the relations alone.
            y: ignored.
        Raises:
            ValueError, TypeError: input or parameters that make no sense, before anything is computed.
        """
        del y
        self._check_parameters()
        if self.n_trials == "auto":
            fit_best(self, graph, X)
            return self
        clock = Clock()
        rng = self._rng()
        with RowPool(self.n_jobs) as pool:
            with clock.phase("graph"):
                read, X = self._read(graph, X)
                weights, learn = self._check_relation_weights(read.names)
                prepared = self._prepare(read, pool)
            if X is None:
                self._fit_spectral(prepared, weights, learn, rng, clock)
            else:
                self._warn_about_the_tail()
                self._fit_attributed(prepared, X, weights, learn, rng, clock)
        self._cluster(rng, clock)
        return self

    def _warn_about_the_tail(self) -> None:
        if self.solver == "neumann" and self.tail and 0 < self.n_hops < 3 and self.alpha > 0:
            warnings.warn(
                f"n_hops={self.n_hops} with tail=True puts nearly all weight on hop {self.n_hops}; "
                "use n_hops >= 3, or tail=False",
                UserWarning,
                stacklevel=3,
            )

    def _fit_attributed(
        self,
        prepared: Prepared,
        X: Any,
        weights: np.ndarray,
        learn: bool,
        rng: np.random.RandomState,
        clock: Clock,
    ) -> None:
        with clock.phase("features"):
            panel, feature_map = self._features(X, rng)
            self._feature_map: FeatureMap | None = feature_map
            self.n_features_in_ = int(X.shape[1])
        with clock.phase("stage1"), self._progress(self.max_iter) as progress:
            result = stage1.alternate(
                prepared.backend,
                make_solver(self, prepared, panel),
                make_energy(self, prepared, rng),
                weights=weights,
                learn=learn,
                update=self._update_rule(prepared, self.alpha),
                max_iter=self.max_iter,
                tol=self.tol,
                progress=progress,
            )
            del panel
            H = prepared.backend.to_numpy(result.H)
            result.H = None
        self._eigenvalues: np.ndarray | None = None
        self._store_stage1(prepared, result, H)

    def _fit_spectral(
        self,
        prepared: Prepared,
        weights: np.ndarray,
        learn: bool,
        rng: np.random.RandomState,
        clock: Clock,
    ) -> None:
        self._feature_map = None
        self.n_features_in_ = 0
        wanted = self.n_components if type(self) is DEMMNA else None
        d = self.n_clusters if wanted is None else wanted
        with clock.phase("stage1"), self._progress(self.max_iter) as progress:
            result, self._eigenvalues = spectral_alternation(
                prepared,
                n_components=int(np.clip(d, 1, prepared.graph.n_nodes)),
                weights=weights,
                learn=learn,
                update=self._update_rule(prepared, 1.0),
                max_iter=self.max_iter,
                tol=self.tol,
                rng=rng,
                progress=progress,
            )
        self._store_stage1(prepared, result, result.H)
        if learn and len(result.weights) > 1 and result.weights.max() > 0.99:
            name = prepared.graph.names[int(result.weights.argmax())]
            warnings.warn(
                f"the learned weights collapsed on relation {name!r} ({result.weights.max():.3f}): without "
                "attributes the densest relation is trivially the smoothest. Compare with "
                "relation_weights='uniform'",
                UserWarning,
                stacklevel=3,
            )

    def _cluster(self, rng: np.random.RandomState, clock: Clock) -> None:
        """Stage 2 on ``features_``."""
        self._stage2_seed = int(rng.randint(np.iinfo(np.int32).max - 1))
        kmeans_rng = np.random.RandomState(self._stage2_seed + 1)
        with clock.phase("embedding"):
            if self.embedding == "features":
                self.embedding_ = centre_rows(self.features_)
                self.n_iter_sinkhorn_ = 0
                self._drawn: dict[str, Any] = {}
            else:
                self.embedding_, self.n_iter_sinkhorn_, self._drawn = embed(
                    self.features_,
                    sigma=self.sigma,
                    n_blocks=self.n_random_features,
                    sinkhorn=self.sinkhorn,
                    sinkhorn_iter=self.sinkhorn_iter,
                    seed=self._stage2_seed,
                )
        with clock.phase("kmeans"):
            self.labels_, self.cluster_centers_, self.inertia_ = assign_clusters(
                self.embedding_, self.n_clusters, n_init=self.n_init, rng=kmeans_rng, method=self.assign
            )
        self.timings_ = clock.total()

    def predict(self, graph: Any, X: Any = None) -> np.ndarray:
        """Clusters of new nodes from their links to the nodes of ``fit``; an approximation.

        ``h = (x + alpha sum_r w_r d^-1/2 A_r D_r^-1/2 H) / (1 + alpha)`` with the fitted, unscaled features H
        of the neighbours, then the fitted embedding and the nearest centre. The degrees of old nodes stay as
        fitted, and new nodes do not see each other.

        Args:
            graph: per relation a [new nodes, fitted nodes] matrix (list, tuple or dict as in ``fit``).
            X: attributes of the new nodes, [new nodes, features]; not for a fit without attributes.
        Returns:
            labels, [new nodes], int32.
        """
        self._require_fitted()
        fitted: Any = getattr(self, "best_estimator_", self)
        return predict_labels(fitted, graph, X)


class DEMMNA(DEMMPlus):
    """Cluster the nodes of a multi-relational graph without attributes.

    Features are the top eigenvectors of the weighted sum of normalised adjacencies; the weights follow their
    Dirichlet energies; stage 2 as in ``DEMMPlus``.

    Args:
        n_clusters: K >= 1.
        n_components: number of eigenvectors d; None takes K.
        beta: penalty on sparse relations against the energy (whose weight is 1).
        others: as in ``DEMMPlus``.

    The learned weights tend to collapse on the densest relation, whose top eigenvectors are trivially smooth;
    a warning says so when it happens.

    Source: the paper's Appendix A.

    Example:
        >>> import demm
        >>> data = demm.datasets.make_multirelational(n_nodes=300, n_clusters=3, random_state=0)
        >>> labels = demm.DEMMNA(n_clusters=3, random_state=0).fit_predict(data.graph)
        >>> labels.shape
        (300,)
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        beta: float = 4.0,
        n_components: int | None = None,
        max_iter: int = 10,
        tol: float = 1e-4,
        weight_power: float = 2.0,
        relation_weights: Any = "learn",
        sigma: float = 2.0,
        n_random_features: int = 1,
        sinkhorn: str | None = "symmetric",
        sinkhorn_iter: int = 100,
        embedding: str = "orf",
        assign: str = "kmeans",
        n_init: int = 10,
        binarize: bool = True,
        self_loops: str = "keep",
        directed: str = "symmetrize",
        compress: Any = "auto",
        dtype: str = "float32",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.beta = beta
        self.n_components = n_components  # type: ignore[assignment]
        self.max_iter = max_iter
        self.tol = tol
        self.weight_power = weight_power
        self.relation_weights = relation_weights
        self.sigma = sigma
        self.n_random_features = n_random_features
        self.sinkhorn = sinkhorn
        self.sinkhorn_iter = sinkhorn_iter
        self.embedding = embedding
        self.assign = assign
        self.n_init = n_init
        self.binarize = binarize
        self.self_loops = self_loops
        self.directed = directed
        self.compress = compress
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, graph: Any, X: Any = None, y: Any = None) -> DEMMNA:
        """Cluster the nodes by their relations alone.

        Args:
            graph: as in ``DEMMPlus.fit``.
            X: must be None; attributes that came with the graph are left aside.
        """
        del y
        if X is not None:
            raise ValueError("DEMMNA clusters without attributes; pass X=None, or use DEMMPlus(...).fit(graph, X)")
        self._check_parameters()
        clock = Clock()
        rng = self._rng()
        with RowPool(self.n_jobs) as pool:
            with clock.phase("graph"):
                read, _ = self._read(graph, None)
                weights, learn = self._check_relation_weights(read.names)
                prepared = self._prepare(read, pool)
            self._fit_spectral(prepared, weights, learn, rng, clock)
        self._cluster(rng, clock)
        return self
