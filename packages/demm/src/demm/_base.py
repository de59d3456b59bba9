"""What the three estimators share: parameter checks, preparation of the graph, results, saving."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state

from demm._features import CHOICES, FeatureMap, check_attributes, fit_features
from demm._graph import MultiRelationalGraph, build_operators, normalised_adjacency
from demm._input import as_graph
from demm._persist import save_model
from demm._stage1 import SOLVERS, Alternation, dirichlet_energies, fill_zero_rows, weigh_relations
from demm.operators import Backend, NumbaBackend, RelationOperator, RowPool, ScipyBackend, TorchBackend


def check_number(
    name: str, value: Any, *, low: float, open_low: bool = False, integer: bool = False, high: float = np.inf
) -> None:
    """One line that says what came, what was expected."""
    kinds = (int, np.integer) if integer else (int, float, np.integer, np.floating)
    what = "a whole number" if integer else "a number"
    bound = f"{'>' if open_low else '>='} {low:g}" + (f" and <= {high:g}" if np.isfinite(high) else "")
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name}={value!r}: expected {what} {bound}")
    if not (value > low if open_low else value >= low) or value > high or not np.isfinite(value):
        raise ValueError(f"{name}={value!r}: expected {what} {bound}")


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """``value`` is one of ``allowed``."""
    if not any(type(value) is type(option) and value == option for option in allowed):
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}")


class Clock:
    """Seconds per named phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def total(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self._start}


class Prepared:
    """One checked graph in the form the solvers use."""

    def __init__(
        self, graph: MultiRelationalGraph, operators: list[RelationOperator], backend: Backend, pool: RowPool
    ) -> None:
        self.graph = graph
        self.operators = operators
        self.backend = backend
        self.pool = pool
        self.frobenius = np.array([operator.frobenius for operator in operators])
        self.occupied = [operator.inverse_root > 0 for operator in operators]
        self.usable = np.array([operator.n_entries > 0 for operator in operators])

    def energies(self, H: Any) -> np.ndarray:
        return dirichlet_energies(self.backend, H, self.occupied)

    def matrices(self) -> list[Any]:
        return [normalised_adjacency(relation) for relation in self.graph]


class MultiRelationalClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators; not for direct use."""

    # ---- checks ---------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        p = self.get_params(deep=False)
        check_number("n_clusters", p["n_clusters"], low=1, integer=True)
        check_number("beta", p["beta"], low=0)
        check_number("max_iter", p["max_iter"], low=1, integer=True)
        check_number("tol", p["tol"], low=0)
        check_number("n_init", p["n_init"], low=1, integer=True)
        check_number("weight_power", p["weight_power"], low=0, open_low=True)
        check_number("sigma", p["sigma"], low=0, open_low=True)
        for name, low in (("alpha", 0.0),):
            if name in p:
                check_number(name, p[name], low=low)
        if p["n_components"] is not None or "alpha" in p:
            check_number("n_components", p["n_components"], low=1, integer=True)
        for name in ("n_hops", "sketch_size", "n_random_features", "sinkhorn_iter", "max_nodes"):
            if name in p:
                check_number(name, p[name], low=0 if name == "n_hops" else 1, integer=True)
        choices: dict[str, Sequence[Any]] = {
            "solver": SOLVERS,
            "tail": (True, False),
            "energy": ("exact", "countsketch"),
            "features": CHOICES,
            "sinkhorn": ("symmetric", "paper", None),
            "assign": ("kmeans", "minibatch"),
            "embedding": ("orf", "features"),
            "binarize": (True, False),
            "self_loops": ("keep", "add", "remove"),
            "directed": ("symmetrize", "error"),
            "compress": ("auto", True, False),
            "dtype": ("float32", "float64"),
            "backend": ("numba", "scipy", "torch"),
            "n_trials": (None, "auto"),
        }
        for name, allowed in choices.items():
            if name in p:
                check_choice(name, p[name], allowed)

    def _check_relation_weights(self, names: Sequence[str]) -> tuple[np.ndarray, bool]:
        """Starting weights and whether they are learned."""
        given = self.relation_weights
        n = len(names)
        if isinstance(given, str):
            check_choice("relation_weights", given, ("learn", "uniform"))
            return np.full(n, 1.0 / n), given == "learn"
        if isinstance(given, Mapping):
            unknown = [name for name in given if name not in names]
            missing = [name for name in names if name not in given]
            if unknown or missing:
                raise ValueError(f"relation_weights names {sorted(map(str, given))}, expected exactly {list(names)}")
            given = [given[name] for name in names]
        weights = np.asarray(given, dtype=np.float64)
        if weights.shape != (n,):
            raise ValueError(f"relation_weights has shape {weights.shape}, expected ({n},): one per relation")
        if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f"relation_weights={weights.tolist()}: expected weights >= 0 with a positive sum")
        return weights / weights.sum(), False

    # ---- preparation ----------------------------------------------------------------------------------

    def _read(self, graph: Any, X: Any) -> tuple[MultiRelationalGraph, Any]:
        n_nodes = None
        if X is not None and hasattr(X, "shape") and len(X.shape) == 2:
            n_nodes = int(X.shape[0])
        read = as_graph(
            graph,
            n_nodes=n_nodes,
            binarize=self.binarize,
            self_loops=self.self_loops,
            directed=self.directed,
            n_jobs=self.n_jobs,
        )
        if X is None:
            X = read.X
        if X is not None:
            X = check_attributes(X, read.n_nodes)
        if self.n_clusters > read.n_nodes:
            raise ValueError(
                f"n_clusters={self.n_clusters} but the graph has {read.n_nodes} nodes; "
                "expected at most one cluster per node"
            )
        return read, X

    def _prepare(self, graph: MultiRelationalGraph, pool: RowPool) -> Prepared:
        dtype = np.dtype(self.dtype)
        p = self.get_params(deep=False)
        compress = p.get("compress", "auto") and p.get("energy", "exact") == "exact"
        engine = p.get("backend", "numba")
        operators = build_operators(
            graph, dtype=dtype, compress=p.get("compress", "auto") if compress else False, pool=pool
        )
        backend: Backend
        if engine == "numba":
            backend = NumbaBackend(operators, pool)
        else:
            matrices = [normalised_adjacency(relation, dtype) for relation in graph]
            backend = ScipyBackend(matrices) if engine == "scipy" else TorchBackend(matrices, p["device"])
        return Prepared(graph, operators, backend, pool)

    def _features(self, X: Any, rng: np.random.RandomState) -> tuple[np.ndarray, FeatureMap]:
        return fit_features(
            X,
            kind=self.features,
            n_components=self.n_components,
            dtype=np.dtype(self.dtype),
            random_state=int(rng.randint(np.iinfo(np.int32).max)),
        )

    def _update_rule(self, prepared: Prepared, alpha: float) -> Any:
        return lambda energies: weigh_relations(
            energies,
            prepared.frobenius,
            prepared.usable,
            alpha=alpha,
            beta=self.beta,
            power=self.weight_power,
        )

    @contextmanager
    def _progress(self, rounds: int) -> Iterator[Any]:
        """A bar per round when ``verbose``; tqdm keeps quiet where there is no terminal."""
        if not self.verbose:
            yield None
            return
        from tqdm import tqdm

        with tqdm(total=rounds, desc=type(self).__name__, disable=None) as bar:

            def step(_: int, weights: np.ndarray) -> None:
                bar.set_postfix_str("w=" + " ".join(f"{w:.2f}" for w in weights))
                bar.update()

            yield step

    def _rng(self) -> np.random.RandomState:
        rng: np.random.RandomState = check_random_state(self.random_state)
        return rng

    # ---- results --------------------------------------------------------------------------------------

    def _store_stage1(self, prepared: Prepared, result: Alternation, H: np.ndarray) -> None:
        zero = fill_zero_rows(H, result.norms)
        if zero:
            warnings.warn(
                f"{zero} node(s) have no attributes left after smoothing (zero rows); "
                "they are placed at the uniform vector",
                UserWarning,
                stacklevel=3,
            )
        self.relation_names_ = prepared.graph.names
        self.relation_weights_ = result.weights
        self.relation_weights_history_ = result.weights_history
        self.energy_per_relation_ = result.energies
        self.energies_history_ = result.energies_history
        self.energy_history_ = np.einsum("tr,tr->t", result.weights_history, result.energies_history)
        self.energy_ = float(result.weights @ result.energies)
        self.n_iter_ = int(result.weights_history.shape[0])
        self.converged_ = bool(result.converged)
        self.features_ = H
        self._norms = result.norms
        self._degrees = np.stack([operator.inverse_root for operator in prepared.operators])

    def _require_fitted(self) -> None:
        if not hasattr(self, "labels_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit(graph, X) first")

    def fit_predict(self, graph: Any, X: Any = None, y: Any = None) -> np.ndarray:
        """Fit and return ``labels_``, shape [nodes]."""
        labels: np.ndarray = self.fit(graph, X, y).labels_
        return labels

    def score(self, graph: Any = None, X: Any = None, y: Any = None) -> float:
        """Minus the multi-relational Dirichlet energy of the fitted features: higher is smoother.

        It compares fits of the same graph and settings; across settings it says nothing about quality.
        """
        self._require_fitted()
        return -float(self.energy_)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fitted model to a folder as ``model.json`` and ``arrays.npz``; no pickle."""
        self._require_fitted()
        save_model(getattr(self, "best_estimator_", self), folder)
