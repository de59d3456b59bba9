"""Choose smoothing strength, hops, dimension and self-loops without labels.

Every setting of a pool is scored by *modularity x stability*: the mean modularity of its partition over
the relations, times the mean agreement (ARI) of four single K-means starts. Relations get equal weights:
learned ones let the score be maximised by the cliques of one dense relation. The powers ``Ahat^l X`` are
shared by all settings, so a pool of 72 costs 20 hops per self-loop choice and some K-means runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from demm import _agreement as agreement
from demm._base import MultiRelationalClustering, Prepared
from demm._canonical import canonical_graph
from demm._graph import MultiRelationalGraph, Relation
from demm._modularity import Modularity
from demm._stage2 import centre_rows, kmeans_threads
from demm.operators import NumbaBackend, RowPool
from demm.plot import search_surface

ALPHAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
HOPS = (5, 10, 20)
LARGEST_DIMENSION = 128
STARTS = 4
SAMPLE = 20_000  # nodes that K-means sees in a search; larger graphs are scored on all edges all the same
SILHOUETTE_SAMPLE = 1000
CLOSE = 0.95  # share of the best score that counts as equal
DISAGREE = 0.7  # mean ARI below which partitions of equal score are called different
FAR_FROM_ATTRIBUTES = 0.1
CHOSEN = frozenset({"alpha", "n_hops", "n_components", "self_loops", "relation_weights", "embedding", "n_trials"})


@dataclass
class SearchResult:
    """Outcome of ``search``.

    Attributes:
        best_params: settings for ``DEMMPlus`` of the best trial.
        model: ``DEMMPlus`` fitted with them; ``labels_`` are its labels.
        trials: one dict per setting: its parameters, ``modularity``, ``stability``, ``silhouette`` and
            ``score``.
        agreement: mean ARI between the best partition and those within 5 % of its score (1 if alone).
        relation_agreement: relation name -> best agreement with the attributes or another relation.
        uninformative: relations that agree with nothing and were left out (weight 0).
        attribute_labels: K-means on the attributes alone, to compare with.
        attribute_ari: ARI of the chosen partition with it.
        warnings: what the user should know, one sentence each.
    """

    best_params: dict[str, Any]
    model: Any
    trials: list[dict[str, Any]] = field(repr=False)
    agreement: float
    relation_agreement: dict[str, float]
    uninformative: list[str]
    attribute_labels: np.ndarray = field(repr=False)
    attribute_ari: float
    warnings: list[str]

    @property
    def labels_(self) -> np.ndarray:
        labels: np.ndarray = self.model.labels_
        return labels

    @property
    def best_trial(self) -> dict[str, Any]:
        return max(self.trials, key=lambda trial: trial["score"])

    def summary(self) -> str:
        """What was picked, and why, in a few sentences."""
        best = self.best_trial
        others = sum(trial["score"] >= CLOSE * best["score"] for trial in self.trials) - 1
        text = (
            f"Of {len(self.trials)} settings, alpha={best['alpha']:g}, n_hops={best['n_hops']}, "
            f"n_components={best['n_components']}, self_loops={best['self_loops']!r}, "
            f"n_clusters={best['n_clusters']} has the highest modularity x stability: "
            f"{best['modularity']:.3f} x {best['stability']:.3f}. "
            f"{others} others come within 5 % of it and agree with it to ARI {self.agreement:.2f}."
        )
        if self.uninformative:
            text += f" Left out as uninformative: {', '.join(self.uninformative)}."
        return " ".join([text, *self.warnings])

    def plot(self, ax: Any = None) -> Any:
        """Score over smoothing strength and hops; needs matplotlib."""
        return search_surface(self, ax)


def pool_features(
    backend: NumbaBackend,
    weights: Sequence[float],
    X: np.ndarray,
    alphas: Sequence[float],
    hops: Sequence[int],
) -> Iterator[tuple[float, int, np.ndarray]]:
    """``(alpha, L, H)`` of the truncated series with tail for every pair, up to a factor."""
    current = X.copy()
    following = np.empty_like(X)
    sums = {alpha: X.copy() for alpha in alphas}
    for hop in range(1, max(hops) + 1):
        backend.hop(weights, 1.0, current, following)
        current, following = following, current
        for alpha in alphas:
            a = alpha / (1.0 + alpha)
            backend.axpy(a**hop, current, sums[alpha])
            if hop in hops:
                H = sums[alpha].copy()
                backend.axpy(alpha * a**hop, current, H)
                yield alpha, hop, H


class Search:
    """One run of ``search``: the steps share the graph, its operators and the random numbers."""

    def __init__(
        self, base: MultiRelationalClustering, candidates: list[int], n_trials: int | str, guard: bool, verbose: int
    ) -> None:
        self.base, self.candidates, self.n_trials = base, candidates, n_trials
        self.guard, self.verbose = guard, verbose
        self.rng = base._rng()
        self.notes: list[str] = []
        if base.backend != "numba" or base.solver != "neumann":
            raise ValueError("the search shares powers of the Neumann series; backend and solver cannot be chosen")

    def run(self, graph: Any, X: Any) -> SearchResult:
        base = self.base
        with RowPool(base.n_jobs) as pool:
            read, X = base._read(graph, X)
            if X is None:
                raise ValueError(
                    "search needs attributes: without them only the number of eigenvectors is open; "
                    "compare DEMMNA fits by demm.metrics.modularity"
                )
            base.n_components = LARGEST_DIMENSION
            panel, _ = base._features(X, self.rng)
            options = self._loop_options(read)
            prepared = {name: base._prepare(option, pool) for name, option in options.items()}
            plain = options["remove"] if "remove" in options else options["keep"]
            weights, uninformative, related = self._weigh(prepared[self._name(options, plain)], panel, plain)
            trials, partitions = self._score(prepared, plain, panel, weights, pool)
            best = int(np.argmax([trial["score"] for trial in trials]))
            agreed = self._agreement(trials, partitions, best)
            attributes = self._kmeans(centre_rows(panel), trials[best]["n_clusters"])[0]
        params = {key: trials[best][key] for key in ("n_clusters", "alpha", "n_hops", "n_components", "self_loops")}
        params["relation_weights"] = dict(zip(read.names, weights.tolist(), strict=True))
        params["embedding"] = "features"
        model = base.__class__(**{**base.get_params(deep=False), **params, "random_state": base.random_state})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what there is to say about the graph has been said
            model.fit(graph, X)
        ari = self._compare(model.labels_, attributes)
        for note in self.notes:
            warnings.warn(note, UserWarning, stacklevel=4)
        return SearchResult(params, model, trials, agreed, related, uninformative, attributes, ari, self.notes)

    @staticmethod
    def _name(options: dict[str, MultiRelationalGraph], graph: MultiRelationalGraph) -> str:
        return next(name for name, option in options.items() if option is graph)

    def _loop_options(self, read: MultiRelationalGraph) -> dict[str, MultiRelationalGraph]:
        """The graph as it is, and with its self-loops removed (or added where it has none)."""
        other = "remove" if any(_has_loops(relation) for relation in read) else "add"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            changed = canonical_graph(read, binarize=self.base.binarize, self_loops=other)  # type: ignore[arg-type]
        return {"keep": read, other: changed}

    def _weigh(
        self, prepared: Prepared, panel: np.ndarray, graph: MultiRelationalGraph
    ) -> tuple[np.ndarray, list[str], dict[str, float]]:
        """Equal weights over the relations that agree with something."""
        assert isinstance(prepared.backend, NumbaBackend)
        values, noise = agreement.agreements(prepared.backend, panel, self.rng)
        related = dict(zip(graph.names, values.max(axis=1).round(4).tolist(), strict=True))
        useful = prepared.usable & agreement.informative(values, noise)
        dropped: list[str] = []
        if self.guard and not useful.any():
            self.notes.append(
                "No relation agrees with the attributes or with another relation beyond chance: "
                "the partition is not to be trusted."
            )
        elif self.guard:
            dropped = [name for name, keep in zip(graph.names, useful, strict=True) if not keep]
            if dropped:
                self.notes.append(
                    f"Relation(s) {', '.join(dropped)} agree with neither the attributes nor another "
                    "relation and got weight 0; relation_guard=False keeps them."
                )
        if not self.guard or not useful.any():
            useful = prepared.usable
        weights = useful / useful.sum()
        return weights, dropped, related

    def _score(
        self,
        prepared: dict[str, Prepared],
        plain: MultiRelationalGraph,
        panel: np.ndarray,
        weights: np.ndarray,
        pool: RowPool,
    ) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        full = panel.shape[1]
        half = min(64, full) if full > 64 else max(1, full // 2)
        dimensions = sorted({half, full})
        settings = [
            (loops, alpha, hops, d, k)
            for loops in prepared
            for alpha in ALPHAS
            for hops in HOPS
            for d in dimensions
            for k in self.candidates
        ]
        if self.n_trials != "auto":
            count = min(int(self.n_trials), len(settings))
            settings = [settings[i] for i in sorted(self.rng.choice(len(settings), count, replace=False))]
        wanted = set(settings)
        scorers = [Modularity(r) for r, w in zip(plain, weights, strict=True) if w > 0]
        n = panel.shape[0]
        self.sample = np.sort(self.rng.choice(n, SAMPLE, replace=False)) if n > SAMPLE else None
        trials, partitions = [], []
        from tqdm import tqdm

        with tqdm(total=len(settings), desc="search", disable=None if self.verbose else True) as bar:
            for loops, one in prepared.items():
                assert isinstance(one.backend, NumbaBackend)
                for alpha, hops, H in pool_features(one.backend, weights.tolist(), panel, ALPHAS, HOPS):
                    for d in dimensions:
                        asked = [k for k in self.candidates if (loops, alpha, hops, d, k) in wanted]
                        rows = centre_rows(np.ascontiguousarray(H[:, :d])) if asked else H
                        for k in asked:
                            labels, stability, silhouette = self._kmeans(rows, k)
                            modularity = float(np.mean([scorer.score(labels, pool) for scorer in scorers]))
                            trials.append(
                                {
                                    "alpha": alpha,
                                    "n_hops": hops,
                                    "n_components": d,
                                    "self_loops": loops,
                                    "n_clusters": k,
                                    "modularity": modularity,
                                    "stability": stability,
                                    "silhouette": silhouette,
                                    "score": modularity * stability,
                                }
                            )
                            partitions.append(labels)
                            bar.update()
        return trials, partitions

    def _kmeans(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, float, float]:
        """Best of four single starts on (a sample of) the rows: labels of all, stability, silhouette."""
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.metrics import adjusted_rand_score, silhouette_score

        seen = rows if self.sample is None else rows[self.sample]
        with warnings.catch_warnings(), kmeans_threads(seen, k):
            warnings.filterwarnings("ignore", category=ConvergenceWarning)
            fits = [KMeans(k, n_init=1, random_state=seed).fit(seen) for seed in range(STARTS)]
        pairs = [adjusted_rand_score(fits[i].labels_, fits[j].labels_) for i in range(STARTS) for j in range(i)]
        best = min(fits, key=lambda fit: float(fit.inertia_))
        labels = best.labels_ if self.sample is None else best.predict(rows)
        few = min(SILHOUETTE_SAMPLE, seen.shape[0])
        silhouette = 0.0
        if 1 < np.unique(best.labels_[:few]).shape[0] < few:
            silhouette = float(silhouette_score(seen[:few], best.labels_[:few]))
        return labels.astype(np.int32), float(np.mean(pairs)), silhouette

    def _agreement(self, trials: list[dict[str, Any]], partitions: list[np.ndarray], best: int) -> float:
        from sklearn.metrics import adjusted_rand_score

        limit = CLOSE * trials[best]["score"]
        close = [i for i, trial in enumerate(trials) if i != best and trial["score"] >= limit]
        if not close:
            return 1.0
        agreed = float(np.mean([adjusted_rand_score(partitions[best], partitions[i]) for i in close]))
        if agreed < DISAGREE:
            self.notes.append(
                f"The {len(close)} settings within 5 % of the best score disagree with it (mean ARI "
                f"{agreed:.2f}): more than one grouping fits the relations; look at result.trials."
            )
        return agreed

    def _compare(self, labels: np.ndarray, attributes: np.ndarray) -> float:
        from sklearn.metrics import adjusted_rand_score

        ari = float(adjusted_rand_score(labels, attributes))
        if ari < FAR_FROM_ATTRIBUTES:
            self.notes.append(
                f"The chosen partition has little to do with K-means on the attributes alone "
                f"(ARI {ari:.2f}): relations and attributes may tell of different groups; compare "
                "result.attribute_labels."
            )
        return ari


def _has_loops(relation: Relation) -> bool:
    if relation.incidence is not None:
        return True
    row_of = np.repeat(np.arange(relation.indptr.shape[0] - 1), np.diff(relation.indptr))
    return bool(np.any(relation.indices == row_of))


def fit_best(model: MultiRelationalClustering, graph: Any, X: Any) -> None:
    """``DEMMPlus(n_trials="auto").fit``: search, then take over the best model's results."""
    given = {key: value for key, value in model.get_params(deep=False).items() if key not in CHOSEN}
    given["verbose"] = 0
    base = type(model)(**given)
    result = Search(base, [model.n_clusters], "auto", True, model.verbose).run(graph, X)
    for name, value in vars(result.model).items():
        if name.endswith("_") and not name.startswith("_"):
            setattr(model, name, value)
    model.best_estimator_ = result.model
    model.search_ = result
