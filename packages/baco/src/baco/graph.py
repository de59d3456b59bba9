"""The interaction log as a bipartite graph, compressed in both directions."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._ids import check_ids, factorise

if TYPE_CHECKING:
    import scipy.sparse

Array = np.ndarray[Any, Any]
_NO_WEIGHTS = np.empty(0, np.float64)


class BipartiteGraph:
    """Users, items and the interactions between them; immutable once built.

    Build one with `from_scipy`, `from_arrays` or `from_frame`; `BACO.fit` accepts what these accept and builds
    it on the fly. Edges are stored twice as compressed rows (by user and by item, 4 bytes each while a side has
    fewer than 2^31 nodes), edge weights only where they differ from 1. A scipy matrix in canonical CSR form is
    shared, not copied.

    Attributes:
        n_users, n_items, n_edges: sizes; `n_edges` counts distinct (user, item) pairs.
        user_ptr, user_items: CSR by user; items of user x are ``user_items[user_ptr[x]:user_ptr[x + 1]]``.
        item_ptr, item_users: the same by item.
        user_weights, item_weights: edge weights in those two orders, float64; empty when every edge weighs 1.
        user_ids, item_ids: raw id of each row, or None where ids are the row numbers.
    """

    def __init__(
        self,
        n_items: int,
        user_ptr: Array,
        user_items: Array,
        user_weights: Array = _NO_WEIGHTS,
        *,
        user_ids: Array | None = None,
        item_ids: Array | None = None,
    ) -> None:
        from ._solver import _kernels

        self.n_users = int(user_ptr.size - 1)
        self.n_items = int(n_items)
        self.n_edges = int(user_ptr[-1])
        if self.n_users + self.n_items >= 2**31:
            raise ValueError(
                f"{self.n_users} users and {self.n_items} items are {self.n_users + self.n_items} nodes; at most "
                "2^31 - 1 are supported: split the log, or drop ids that occur once"
            )
        if self.n_edges == 0:
            raise ValueError("the graph has no interaction with positive weight; give at least one (user, item) pair")
        self.user_ptr, self.user_items, self.user_weights = user_ptr, user_items, user_weights
        self.item_ptr, self.item_users, self.item_weights = _kernels.counting_transpose(
            self.n_items, user_ptr, user_items, user_weights
        )
        self.user_ids = check_ids(user_ids, self.n_users, "user")
        self.item_ids = check_ids(item_ids, self.n_items, "item")

    @property
    def weighted(self) -> bool:
        """Whether edges carry weights other than 1."""
        return self.user_weights.size > 0

    @property
    def user_degrees(self) -> Array:
        """Summed edge weight of each user, float64 (n_users,); exact integers when the weights are integers."""
        return _row_sums(self.user_ptr, self.user_weights)

    @property
    def item_degrees(self) -> Array:
        """Summed edge weight of each item, float64 (n_items,)."""
        return _row_sums(self.item_ptr, self.item_weights)

    @property
    def total_weight(self) -> float:
        """Summed edge weight, the E of the formulas."""
        return float(self.user_weights.sum()) if self.weighted else float(self.n_edges)

    @classmethod
    def from_scipy(cls, X: Any, *, user_ids: Array | None = None, item_ids: Array | None = None) -> BipartiteGraph:
        """Graph of a users × items matrix, sparse in any format or a small dense array.

        A matrix whose stored values are all 1 (or boolean) is binary: repeated entries count once. Otherwise the
        values are weights, and repeated entries add up. Either way a warning says how many were folded. Explicit
        zeros are dropped.

        Raises:
            TypeError: X is not a matrix.
            ValueError: X is not 2-D, has no row or column, no positive entry, or a negative, NaN or infinite one.
        """
        import scipy.sparse as sp

        if not sp.issparse(X):
            dense = np.asarray(X)
            if dense.dtype.kind not in "biuf":
                raise TypeError(f"X must be a numeric users × items matrix, got {type(X).__name__} of {dense.dtype}")
            if dense.ndim != 2:
                raise ValueError(f"X must be 2-D (users × items), got shape {dense.shape}")
            _check_weights(dense.ravel())
            X = sp.csr_matrix(dense)
        if len(X.shape) != 2:
            raise ValueError(f"X must be 2-D (users × items), got shape {X.shape}")
        if 0 in X.shape:
            raise ValueError(f"X has shape {X.shape}; at least one user and one item are needed")
        if X.format != "csr":
            coo = X.tocoo()
            return cls.from_arrays(
                coo.row, coo.col, coo.data, n_users=X.shape[0], n_items=X.shape[1], user_ids=user_ids, item_ids=item_ids
            )
        _n_users, n_items = X.shape
        indptr, indices, values = np.asarray(X.indptr), np.asarray(X.indices), np.asarray(X.data)
        _check_csr(indptr, indices, n_items)
        _check_weights(values)
        weights = _NO_WEIGHTS if _all_ones(values) else values.astype(np.float64)
        return cls._from_rows(
            n_items, indptr.astype(np.int64, copy=False), indices, weights, user_ids, item_ids, shared=True
        )

    @classmethod
    def from_arrays(
        cls,
        users: Any,
        items: Any,
        weights: Any = None,
        *,
        n_users: int | None = None,
        n_items: int | None = None,
        user_ids: Array | None = None,
        item_ids: Array | None = None,
    ) -> BipartiteGraph:
        """Graph of an edge list, one entry per interaction.

        Args:
            users, items: equally long 1-D arrays of ids: integers, strings, or categoricals. They are kept as raw
                ids and mapped to rows in sorted order, unless the side's size is given.
            weights: one number >= 0 per interaction; None makes the graph binary.
            n_users, n_items: the side's size. With it, the ids of that side are row numbers in ``[0, size)``, and
                rows without an interaction are isolated.
            user_ids, item_ids: raw id of each row, where row numbers are given.

        Repeated pairs count once in a binary graph and add up in a weighted one, with a warning.

        Raises:
            ValueError: lengths differ, ids out of range or missing, weights negative, NaN or infinite, no edge.
        """
        rows, user_ids = factorise(users, "user", n_users, user_ids)
        columns, item_ids = factorise(items, "item", n_items, item_ids)
        if rows.size != columns.size:
            raise ValueError(f"users and items must be equally long, got {rows.size} and {columns.size}")
        if rows.size == 0:
            raise ValueError("the edge list is empty; give at least one (user, item) pair")
        n_users = int(n_users) if n_users is not None else len(user_ids)  # type: ignore[arg-type]
        n_items = int(n_items) if n_items is not None else len(item_ids)  # type: ignore[arg-type]
        values = _NO_WEIGHTS
        if weights is not None:
            given = np.asarray(weights)
            if given.shape != rows.shape:
                raise ValueError(f"weights must hold one number per interaction: {rows.size}, got shape {given.shape}")
            _check_weights(given)
            if not _all_ones(given):
                values = given.astype(np.float64)
        from ._solver import _kernels

        index_zero = np.empty(0, np.int32 if max(n_users, n_items) < 2**31 else np.int64)
        pointer, indices, values = _kernels.compress_rows(n_users, rows, columns, values, index_zero)
        del rows, columns
        return cls._from_rows(n_items, pointer, indices, values, user_ids, item_ids, shared=False)

    @classmethod
    def from_frame(cls, frame: Any, user: str, item: str, weight: str | None = None) -> BipartiteGraph:
        """Graph of a pandas (or polars) table with one row per interaction.

        Args:
            frame: table with at least the named columns.
            user, item, weight: column names.

        Raises:
            ValueError: a column is missing (the message lists those present), or as `from_arrays`.
        """
        present = list(frame.columns)
        for name in (user, item, weight):
            if name is not None and name not in present:
                raise ValueError(f"there is no column {name!r}; the table has {', '.join(map(str, present))}")
        columns = [frame[name] for name in (user, item, weight) if name is not None]
        return cls.from_arrays(*columns)

    def save(self, folder: str | Path) -> Path:
        """Write the graph as a folder of npy files for `open`; it appears whole or not at all. Returns its path."""
        from ._mapped import building

        with building(folder) as temporary:
            self._write(temporary)
        return Path(folder)

    def _write(self, folder: Path) -> None:
        from ._mapped import ARRAYS, OPTIONAL, write

        arrays = {name: getattr(self, name) for name in (*ARRAYS, *OPTIONAL)}
        write(folder, arrays, self.n_users, self.n_items, self.n_edges)

    @classmethod
    def open(cls, folder: str | Path) -> BipartiteGraph:
        """A graph that `save` or `baco.ingest.ingest` wrote, mapped rather than loaded.

        Fits give the labels they give in memory. Edges are read from the files as sweeps pass over them, so that
        memory follows the number of ids.

        Raises:
            ValueError: no such graph, damaged, or of a newer schema.
        """
        from ._mapped import load

        graph = cls.__new__(cls)
        parts = load(folder)
        graph.user_weights = graph.item_weights = _NO_WEIGHTS
        graph.user_ids = graph.item_ids = None
        for name, value in parts.items():
            setattr(graph, name, value)
        return graph

    @classmethod
    def _from_rows(
        cls,
        n_items: int,
        pointer: Array,
        indices: Array,
        weights: Array,
        user_ids: Array | None,
        item_ids: Array | None,
        *,
        shared: bool,
    ) -> BipartiteGraph:
        """Finish compressed rows: sort each row, fold repeats, drop zeros; copies ``indices`` if shared."""
        import scipy.sparse as sp

        from ._solver import _kernels

        state = _kernels.rows_are_sorted(pointer, indices)
        zeros = weights.size > 0 and not weights.all()
        if state == 0 and not zeros:
            return cls(n_items, pointer, indices, weights, user_ids=user_ids, item_ids=item_ids)
        if shared:
            indices = indices.copy()
        if state == 2:
            values = weights if weights.size else np.empty(indices.size, np.int8)
            matrix = sp.csr_matrix((values, indices, pointer), shape=(pointer.size - 1, n_items), copy=False)
            matrix.sort_indices()
            indices, weights = matrix.indices, matrix.data if weights.size else weights
            pointer = matrix.indptr.astype(np.int64, copy=False)
        before = int(pointer[-1]) - (int((weights == 0).sum()) if weights.size else 0)
        pointer = _kernels.merge_duplicates(pointer, indices, weights)
        folded = before - int(pointer[-1])
        if folded:
            how = "their weights were summed" if weights.size else "each pair counts once"
            warnings.warn(f"{folded} of {before} interactions repeat a (user, item) pair; {how}", stacklevel=4)
        indices = indices[: pointer[-1]].copy() if folded or zeros else indices
        weights = weights[: pointer[-1]].copy() if weights.size else weights
        return cls(n_items, pointer, indices, weights, user_ids=user_ids, item_ids=item_ids)

    def to_scipy(self) -> scipy.sparse.csr_matrix:
        """The users × items matrix, canonical CSR of float64."""
        import scipy.sparse as sp

        values = self.user_weights if self.weighted else np.ones(self.n_edges)
        return sp.csr_matrix((values, self.user_items, self.user_ptr), shape=(self.n_users, self.n_items))

    def __repr__(self) -> str:
        kind = "weighted" if self.weighted else "binary"
        return f"BipartiteGraph({self.n_users} users, {self.n_items} items, {self.n_edges} {kind} edges)"


def as_graph(X: Any, weights: Any = None) -> BipartiteGraph:
    """`X` as a `BipartiteGraph`: one already, a users × items matrix, or a tuple (users, items[, weights])."""
    if isinstance(X, BipartiteGraph):
        if weights is not None:
            raise ValueError("sample_weight cannot re-weigh a BipartiteGraph; build the graph with the weights")
        return X
    if isinstance(X, (tuple, list)) and len(X) in (2, 3) and not np.isscalar(X[0]):
        if len(X) == 3 and weights is not None:
            raise ValueError("weights were given twice: in X and as sample_weight; give one of them")
        return BipartiteGraph.from_arrays(X[0], X[1], X[2] if len(X) == 3 else weights)
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        names = list(X.columns)
        if len(names) not in (2, 3):
            raise ValueError(
                f"a table given as X must have the columns user, item[, weight] in this order, got {len(names)}: "
                f"{names}; use BipartiteGraph.from_frame(frame, user=..., item=...) to name them"
            )
        return BipartiteGraph.from_frame(X, *names)
    if weights is not None:
        raise ValueError("sample_weight goes with (users, items) arrays; a matrix carries its weights as values")
    return BipartiteGraph.from_scipy(X)


def _row_sums(pointer: Array, weights: Array) -> Array:
    if weights.size == 0:
        return np.diff(pointer).astype(np.float64)
    # reduceat misreads empty rows: only rows with entries take part
    sums = np.zeros(pointer.size - 1)
    rows = np.flatnonzero(np.diff(pointer))
    sums[rows] = np.add.reduceat(weights, pointer[rows])
    return sums


def _all_ones(values: Array) -> bool:
    return (values.dtype == np.bool_ and bool(values.all())) or bool((values == 1).all())


def _check_weights(values: Array) -> None:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"weights must be numbers, got dtype {values.dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"weights must be finite, got {values[bad]} at entry {bad}; drop or replace such interactions")
    if values.size and values.dtype.kind in "if" and values.min() < 0:
        bad = int(np.argmin(values))
        raise ValueError(f"weights must be >= 0, got {values[bad]} at entry {bad}; drop or shift such interactions")


def _check_csr(indptr: Array, indices: Array, n_items: int) -> None:
    """A damaged matrix would make a kernel read outside its arrays."""
    if indptr[0] != 0 or int(indptr[-1]) > indices.size or (np.diff(indptr) < 0).any():
        raise ValueError("X is not a valid CSR matrix: its row pointers do not ascend from 0 to the number of entries")
    if indices.size and (indices.min() < 0 or indices.max() >= n_items):
        raise ValueError(
            f"X holds the column {int(indices.max() if indices.max() >= n_items else indices.min())}, "
            f"outside [0, {n_items}); rebuild the matrix with the right shape"
        )
