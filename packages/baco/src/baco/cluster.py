"""The estimator: interactions in, co-clusters and a codebook out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._codes import Anchors, Assigned
from .codebook import Codebook
from .graph import BipartiteGraph, as_graph

if TYPE_CHECKING:
    from ._solver.problem import Problem
    from ._solver.sweeps import Engine, Sweep

Array = np.ndarray[Any, Any]
Callback = Callable[[dict[str, Any]], None]

_TARGETS = ("rows", "ratio", "megabytes", "gamma")


class BACO:
    """Balanced co-clustering of users and items, for sharing embedding rows (BACO).

    Maximises ``F = sum_l [L_l - gamma * W_U(l) * W_V(l)]``: edge weight inside co-clusters less gamma times the
    product of their user and item volumes, by label propagation from singletons. Follows the scikit-learn
    conventions (`get_params`, `set_params`, ``clone``) without depending on it.

    Args:
        rows: budget of codebook rows, both sides together, >= 2; never exceeded.
        ratio: the same as a share of all ids, in (0, 1]; 1 keeps every id.
        megabytes: the same as size to serve from, in 10^6 bytes: float32 rows of ``embedding_dim`` and int32 codes.
        gamma: resolution >= 0 instead of a budget; larger keeps more clusters. Give exactly one of these four.
        weights: balance weights, "paper" or a pair (users, items) of "degree", "uniform", "sqrt", "log" or arrays.
            "paper" is (d_u / sqrt(E), d_v / sqrt(n_items)), which the authors' released solver computes and which
            their published resolutions belong to; the scheme their configuration *names* is ("degree", "uniform").
        secondary: "users" gives each user a second row, the best label among its items' besides its own; also
            "items", "both", or None.
        n_codes: rows per id on the sides named by ``secondary``, >= 1.
        max_sweeps: sweeps at a fixed gamma (the paper's T). A budget search may take twice as many in its last
            trial, plus polishing, when ``coarsen`` is on.
        order: "alternating" (all users, then all items; exact, parallel, no randomness), "permutation" (a random
            order each sweep) or "degree" (heaviest first); the last two run on one thread.
        stay: keep the own label unless another is strictly better; F then never decreases under "alternating".
        compat: "release" repeats the published software: random permutations, forced moves, both volumes of a label
            started with its founder's mass, single precision, a row per isolated id. Needs ``gamma``.
        tol: stop once at most this share of the nodes moved in a sweep.
        coarsen: with a budget, use all of it: stop within the sweep that would cross it, take more sweeps where
            ``max_sweeps`` do not get there, and merge clusters where sweeps stall, or would get there only by letting
            one cluster swallow the others.
        embedding_dim: width of a row, for ``megabytes``.
        n_jobs: threads; None uses every core. The result does not depend on it.
        random_state: seed of the "permutation" order and of ``compat``.
        verbose: 1 shows progress (silent when the output is not a terminal).
        callbacks: functions called with each record of `history_` as it is made.

    Attributes:
        row_labels_: int64 (n_users,), co-cluster of each user; column_labels_: int64 (n_items,), of each item.
            Isolated users share one label, isolated items another.
        secondary_: int64 (n_users,), second co-cluster of each user, -1 for none.
        n_user_rows_, n_item_rows_: rows of the two codebooks.
        gamma_: resolution of the sweeps; objective_: F of the result.
        history_: one dict per sweep of the accepted run: sweep, moves, rows_u, rows_i (labels held; isolated ids
            hold one each here), inside (edge weight inside clusters), F, gamma.
        search_path_: one dict per trial of a budget search: gamma, rows, F.
        codebook_: the `Codebook`.
        graph_: the interactions, which `partial_fit` adds to.
    """

    def __init__(
        self,
        rows: int | None = None,
        ratio: float | None = None,
        megabytes: float | None = None,
        gamma: float | None = None,
        weights: Any = "paper",
        secondary: str | None = "users",
        n_codes: int = 2,
        max_sweeps: int = 5,
        order: str = "alternating",
        stay: bool = True,
        compat: str | None = None,
        tol: float = 0,
        coarsen: bool = True,
        embedding_dim: int = 64,
        n_jobs: int | None = None,
        random_state: int | None = None,
        verbose: int = 0,
        callbacks: Iterable[Callback] | None = None,
    ) -> None:
        self.rows = rows
        self.ratio = ratio
        self.megabytes = megabytes
        self.gamma = gamma
        self.weights = weights
        self.secondary = secondary
        self.n_codes = n_codes
        self.max_sweeps = max_sweeps
        self.order = order
        self.stay = stay
        self.compat = compat
        self.tol = tol
        self.coarsen = coarsen
        self.embedding_dim = embedding_dim
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Cluster the interactions.

        Args:
            X: users × items matrix (scipy sparse or dense), `BipartiteGraph`, tuple of arrays (users, items[,
                weights]), or table with the columns user, item[, weight].
            y: ignored.
            sample_weight: weight per interaction where X is a tuple of two arrays.
        Returns:
            self. After an exception or Ctrl-C the estimator is as it was before the call.
        Raises:
            ValueError, TypeError: bad parameters or interactions; the message says what to change.
        """
        self._check()
        return self._fit(as_graph(X, sample_weight), BACO._engine)

    def _fit(self, graph: BipartiteGraph, make_engine: Callable[[BACO, Problem], Engine]) -> Self:
        """`fit` with sweeps by the engine that is made for the problem."""
        from ._solver.problem import Problem  # loads numba

        problem = Problem(graph, self.weights, release=self.compat is not None)
        engine = make_engine(self, problem)
        with _Progress(problem, self.verbose, self.callbacks) as progress:
            if self.gamma is not None:
                found = problem.at_gamma(engine, float(self.gamma), self.max_sweeps, self.tol, progress.show)
            else:
                budget = self._budget(problem.graph)
                found = problem.within(engine, budget, self.max_sweeps, self.coarsen, progress.show)
        users, items = problem.share_isolated(*found.labels, None if self.gamma is not None else budget)
        codebook, labels, secondary = self._codebook(problem, users, items, found.gamma)
        codebook.anchors = self._anchors(problem, codebook, labels, found.gamma)
        # everything is computed before anything is stored: an interrupted fit leaves the estimator untouched
        self.row_labels_, self.column_labels_ = labels
        self.secondary_ = secondary
        self.codebook_ = codebook
        self.graph_ = problem.graph
        self.n_user_rows_, self.n_item_rows_ = codebook.n_user_rows, codebook.n_item_rows
        self.gamma_ = found.gamma
        self.objective_ = problem.objective(users, items, found.gamma)
        self.history_ = [problem.record(sweep, number, gamma) for number, (sweep, gamma) in enumerate(found.sweeps, 1)]
        self.search_path_ = [{"gamma": gamma, "rows": rows, "F": value} for gamma, rows, value in found.path]
        return self

    def assign(self, X_new_users: Any = None, X_new_items: Any = None) -> Assigned:
        """Codes of ids that came after the fit, without fitting again; see `Codebook.assign`."""
        self._check_fitted()
        return self.codebook_.assign(X_new_users, X_new_items)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Take in new interactions, of known and of new ids, from the labels there are; before a fit, `fit`.

        New ids are placed as `assign` does. Then only nodes whose interactions changed are swept, and the neighbours
        of those that move, up to ``max_sweeps`` times. Rows are neither opened nor emptied and keep their numbers, so
        a trained table stays in use; the codes of ids that were not swept do not change. The resolution stays, the
        volumes follow the interactions, and the objective of the whole log does not fall by the sweeps.

        Args:
            X: the new interactions alone, as in `fit`: with raw ids where the fit had them, else with row numbers,
                those beyond the known ones being new ids. Weights add up; in a binary log a known pair adds nothing.
        Raises:
            ValueError: as `fit`; new ids where balance weights were given as arrays; ``compat="release"``.
        """
        if not hasattr(self, "codebook_"):
            return self.fit(X, y, sample_weight)
        from ._solver.partial import grow

        if self.compat is not None:
            raise ValueError('compat="release" repeats software that cannot grow; fit again on the whole log')
        # everything is computed before anything is stored
        grown = grow(
            self.codebook_,
            self.graph_,
            as_graph(X, sample_weight),
            (self.row_labels_, self.column_labels_),
            gamma=self.gamma_,
            weights=self.weights,
            max_sweeps=self.max_sweeps,
        )
        for name, value in grown.items():
            setattr(self, name, value)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """`fit`, then the co-clusters of the users (``row_labels_``)."""
        return self.fit(X, y, sample_weight).row_labels_

    def score(self, X: Any, y: Any = None) -> float:
        """Objective of the fitted labels on ``X`` over its edge weight, at the fitted resolution; at most 1."""
        from .metrics import objective

        self._check_fitted()
        graph = as_graph(X)
        gamma = self.gamma_ if np.isfinite(self.gamma_) else 0.0
        return objective(graph, (self.row_labels_, self.column_labels_), gamma, self.weights) / graph.total_weight

    @property
    def biclusters_(self) -> tuple[Array, Array]:
        """Membership as two boolean arrays, clusters × users and clusters × items (dense: for small graphs)."""
        self._check_fitted()
        clusters = np.arange(max(self.row_labels_.max(), self.column_labels_.max()) + 1)[:, None]
        return clusters == self.row_labels_, clusters == self.column_labels_

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments, as scikit-learn's ``clone`` needs them."""
        return {name: getattr(self, name) for name in _parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; an unknown name raises ValueError and changes nothing."""
        unknown = params.keys() - set(_parameter_names())
        if unknown:
            raise ValueError(
                f"BACO has no parameter {', '.join(sorted(unknown))}; it has {', '.join(_parameter_names())}"
            )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: one.default for name, one in inspect.signature(BACO.__init__).parameters.items()}
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if not (value is defaults[name] or (np.isscalar(value) and value == defaults[name]))
        ]
        return f"BACO({', '.join(changed)})"

    def _check(self) -> None:
        given = {name: getattr(self, name) for name in _TARGETS if getattr(self, name) is not None}
        if len(given) != 1:
            what = " and ".join(f"{name}={value!r}" for name, value in given.items()) or "none"
            raise ValueError(f"give exactly one of {', '.join(_TARGETS)}; got {what}")
        name, value = next(iter(given.items()))
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or value != value:
            raise TypeError(f"{name} must be a number, got {value!r}")
        if name == "rows" and (int(value) != value or value < 2):
            raise ValueError(f"rows={value!r}: a budget is a whole number of at least 2, one row for each side")
        if name == "ratio" and not 0 < value <= 1:
            raise ValueError(f"ratio={value!r} must lie in (0, 1]: codebook rows as a share of all ids")
        if name == "megabytes" and not 0 < value < float("inf"):
            raise ValueError(f"megabytes={value!r} must be a finite number > 0")
        if name == "gamma" and not 0 <= value < float("inf"):
            raise ValueError(f"gamma={value!r} must be a finite number >= 0")
        _check_choice("order", self.order, ("alternating", "permutation", "degree"))
        _check_choice("secondary", self.secondary, (None, "users", "items", "both"))
        _check_choice("compat", self.compat, (None, "release"))
        if self.compat == "release" and self.gamma is None:
            raise ValueError('compat="release" repeats software that has no budget search; give gamma instead')
        for name, least in (("max_sweeps", 1), ("n_codes", 1), ("embedding_dim", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
        if not 0 <= self.tol < 1:
            raise ValueError(f"tol must lie in [0, 1), a share of the nodes, got {self.tol!r}")

    def _check_fitted(self) -> None:
        if not hasattr(self, "codebook_"):
            raise ValueError("this BACO is not fitted yet; call fit first")

    def _budget(self, graph: BipartiteGraph) -> int:
        """Codebook rows that the request allows."""
        ids = graph.n_users + graph.n_items
        if self.rows is not None:
            return int(self.rows)
        if self.ratio is not None:
            budget = int(self.ratio * ids)
            if budget < 2:
                raise ValueError(
                    f"ratio={self.ratio!r} of {ids} ids is a budget of {budget} rows; at least 2 are needed, one for "
                    f"each side: give ratio >= {2 / ids:.3g}"
                )
            return budget
        user_codes, item_codes = self._code_counts()
        codes = 4 * (graph.n_users * user_codes + graph.n_items * item_codes)
        budget = int((float(self.megabytes or 0) * 1e6 - codes) // (4 * self.embedding_dim))
        if budget < 2:
            least = (codes + 8 * self.embedding_dim) / 1e6
            raise ValueError(
                f"megabytes={self.megabytes!r} leaves no room for 2 rows of {self.embedding_dim} float32 beside the "
                f"codes of {ids} ids ({codes / 1e6:.3g} MB); give megabytes >= {least:.3g}"
            )
        return budget

    def _code_counts(self) -> tuple[int, int]:
        """Code places of a user and of an item."""
        users = self.n_codes if self.secondary in ("users", "both") else 1
        items = self.n_codes if self.secondary in ("items", "both") else 1
        return users, items

    def _engine(self, problem: Problem) -> Engine:
        from ._solver.blocks import resolve_jobs
        from ._solver.sweeps import Alternating, Sequential

        n_jobs = resolve_jobs(self.n_jobs)
        graph, masses = problem.graph, (problem.user_mass, problem.item_mass, problem.norm)
        if self.compat is None and self.order == "alternating":
            return Alternating(graph, *masses, stay=self.stay, n_jobs=n_jobs)
        release = self.compat is not None
        return Sequential(
            graph,
            *masses,
            stay=self.stay and not release,
            order="permutation" if release else self.order,
            rng=np.random.default_rng(self.random_state),
            release=release,
        )

    def _codebook(
        self, problem: Problem, users: Array, items: Array, gamma: float
    ) -> tuple[Codebook, tuple[Array, Array], Array]:
        """Codebook, labels numbered from 0 in the order of their first holder, and second user labels."""
        from ._solver.blocks import resolve_jobs

        n_labels = int(max(users.max(), items.max())) + 1
        held = np.zeros(n_labels, bool)
        held[users] = held[items] = True
        number = np.cumsum(held) - 1
        user_codes, user_rows = _row_numbers(users, n_labels)
        item_codes, item_rows = _row_numbers(items, n_labels)
        user_extra, item_extra = (count - 1 for count in self._code_counts())
        n_jobs = resolve_jobs(self.n_jobs)
        more_users = problem.further("user", users, items, gamma, user_extra, n_jobs)
        more_items = problem.further("item", users, items, gamma, item_extra, n_jobs)
        secondary = np.full(users.size, -1, np.int64)
        if user_extra:
            first = more_users[:, 0]
            secondary[first >= 0] = number[first[first >= 0]]
        graph = problem.graph
        codebook = Codebook(
            np.column_stack([user_codes[users], np.where(more_users >= 0, user_codes[more_users], -1)]),
            np.column_stack([item_codes[items], np.where(more_items >= 0, item_codes[more_items], -1)]),
            user_rows,
            item_rows,
            user_ids=graph.user_ids,
            item_ids=graph.item_ids,
            meta={
                "gamma": gamma if np.isfinite(gamma) else None,
                "weights": self.weights if isinstance(self.weights, str) else _names(self.weights),
                "edges": graph.n_edges,
            },
        )
        return codebook, (number[users], number[items]), secondary

    def _anchors(self, problem: Problem, codebook: Codebook, labels: tuple[Array, Array], gamma: float) -> Anchors:
        """What newcomers are scored with."""
        n_labels = int(max(one.max() for one in labels)) + 1
        row_labels: list[Array] = []
        for codes, own, rows in zip(
            (codebook.user_codes, codebook.item_codes),
            labels,
            (codebook.n_user_rows, codebook.n_item_rows),
            strict=True,
        ):
            of_row = np.empty(rows, np.int64)
            of_row[codes[:, 0]] = own
            row_labels.append(of_row)
        user_scheme, item_scheme = ("degree", "degree") if isinstance(self.weights, str) else _names(self.weights)
        return Anchors(
            row_labels[0],
            row_labels[1],
            np.bincount(labels[0], problem.user_mass, minlength=n_labels),
            np.bincount(labels[1], problem.item_mass, minlength=n_labels),
            gamma / problem.norm if np.isfinite(gamma) else 0.0,
            (user_scheme, item_scheme),
        )


class _Progress:
    """Callbacks and, when asked for, one line on the terminal."""

    def __init__(self, problem: Problem, verbose: int, callbacks: Iterable[Callback] | None) -> None:
        self.problem, self.verbose, self.callbacks = problem, verbose, tuple(callbacks or ())

    def __enter__(self) -> Self:
        from tqdm import tqdm

        # disable=None: silent where the output is not a terminal
        self.bar = tqdm(desc="sweeps", unit="", disable=None if self.verbose else True, leave=False)
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def show(self, sweep: Sweep, gamma: float) -> None:
        record = self.problem.record(sweep, self.bar.n + 1, gamma)
        self.bar.update()
        self.bar.n = record["sweep"]
        self.bar.set_postfix(rows=record["rows_u"] + record["rows_i"], moves=record["moves"], refresh=False)
        for callback in self.callbacks:
            callback(record)


def _parameter_names() -> list[str]:
    return [name for name in inspect.signature(BACO.__init__).parameters if name != "self"]


def _check_choice(name: str, value: object, choices: tuple[str | None, ...]) -> None:
    if not isinstance(value, str | None) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _row_numbers(labels: Array, n_labels: int) -> tuple[Array, int]:
    """Codebook row of each label on one side, and the number of rows; labels it does not hold get no meaning."""
    held = np.zeros(n_labels, bool)
    held[labels] = True
    return np.cumsum(held) - 1, int(held.sum())


def _names(weights: Any) -> list[str]:
    return [one if isinstance(one, str) else "array" for one in weights]
