"""Graphs from the forms people have them in, and a memory-mapped store for large ones."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from demm._features import check_attributes
from demm._hetero import from_hetero
from demm._input import as_graph
from demm._store import load_store, write_store

__all__ = ["from_edges", "from_hetero", "from_views", "load_store", "read_edges", "save_store"]


def from_edges(
    src: Any, dst: Any, relation: Any = None, weight: Any = None, *, n_nodes: int | None = None
) -> tuple[dict[str, sp.csr_array], np.ndarray]:
    """Adjacencies from an edge table; every row is one undirected edge.

    Args:
        src, dst: node ids of any one type, [edges]. Whole numbers below ``n_nodes`` are used as they are when
            ``n_nodes`` is given; otherwise ids are numbered in sorted order.
        relation: kind of each edge, [edges]; None puts all into one relation ``"edges"``.
        weight: [edges], >= 0; None is 1. Repeated edges are summed.
    Returns:
        relation name -> symmetric matrix, and the ids in node order.
    """
    src, dst = np.asarray(src), np.asarray(dst)
    if src.ndim != 1 or src.shape != dst.shape:
        raise ValueError(f"src has shape {src.shape} and dst {dst.shape}; expected two columns of equal length")
    if src.shape[0] == 0:
        raise ValueError("the edge table is empty; expected at least one edge")
    if n_nodes is None:
        ids, codes = np.unique(np.concatenate([src, dst]), return_inverse=True)
        src, dst = codes[: src.shape[0]], codes[src.shape[0] :]
        n = ids.shape[0]
    else:
        ends = np.concatenate([src, dst])
        if ends.dtype.kind not in "iu" or ends.min() < 0 or ends.max() >= n_nodes:
            raise ValueError(f"node ids must be whole numbers from 0 to {n_nodes - 1} when n_nodes is given")
        ids, n = np.arange(n_nodes), n_nodes
    weights = np.ones(src.shape[0], dtype=np.float32) if weight is None else np.asarray(weight, dtype=np.float64)
    if weights.shape != src.shape:
        raise ValueError(f"weight has shape {weights.shape}, expected {src.shape}: one per edge")
    kinds = np.full(src.shape[0], "edges") if relation is None else np.asarray(relation).astype(str)
    if kinds.shape != src.shape:
        raise ValueError(f"relation has shape {kinds.shape}, expected {src.shape}: one per edge")
    graph = {}
    for name in np.unique(kinds):
        own = kinds == name
        i, j, w = src[own], dst[own], weights[own]
        off = i != j
        matrix = sp.csr_array(
            (np.concatenate([w, w[off]]), (np.concatenate([i, j[off]]), np.concatenate([j, i[off]]))),
            shape=(n, n),
        )
        matrix.sum_duplicates()
        graph[str(name)] = matrix
    return graph, ids


def read_edges(
    path: str | os.PathLike[str], *, n_nodes: int | None = None
) -> tuple[dict[str, sp.csr_array], np.ndarray]:
    """Read an edge table with columns ``src, dst, relation`` and optionally ``weight``.

    Args:
        path: ``.csv`` or ``.tsv`` (with a header line), or ``.parquet`` (extra ``demm[parquet]``).
        n_nodes: as in ``from_edges``.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there; expected an edge table (.csv, .tsv or .parquet)")
    if file.suffix in (".csv", ".tsv"):
        table = _read_text(file, "," if file.suffix == ".csv" else "\t")
    elif file.suffix == ".parquet":
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise ImportError('reading parquet needs pyarrow: pip install "demm[parquet]"') from error
        columns = parquet.read_table(file)
        table = {name: columns.column(name).to_numpy(zero_copy_only=False) for name in columns.column_names}
    else:
        raise ValueError(f"{file.name}: got suffix {file.suffix!r}, expected .csv, .tsv or .parquet")
    missing = [name for name in ("src", "dst") if name not in table]
    if missing:
        raise ValueError(
            f"{file.name} lacks column(s) {', '.join(missing)}; it has {', '.join(table)}; "
            "expected src, dst, relation and optionally weight"
        )
    return from_edges(table["src"], table["dst"], table.get("relation"), table.get("weight"), n_nodes=n_nodes)


def _read_text(file: Path, separator: str) -> dict[str, np.ndarray]:
    import csv

    with file.open(encoding="utf-8", newline="") as handle:
        rows = csv.reader(handle, delimiter=separator)
        header = [name.strip() for name in next(rows, [])]
        columns: list[list[str]] = [[] for _ in header]
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise ValueError(f"{file.name}, line {rows.line_num}: got {len(row)} fields, expected {len(header)}")
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    table = {name: np.array(column) for name, column in zip(header, columns, strict=True)}
    for name in ("src", "dst", "weight"):
        if name in table and table[name].size:
            kind: Any = np.float64 if name == "weight" else np.int64
            try:
                table[name] = table[name].astype(kind)
            except ValueError:
                if name == "weight":
                    raise ValueError(f"{file.name}: column weight holds something that is not a number") from None
    return table


def from_views(
    views: Mapping[str, Any] | Sequence[Any],
    *,
    n_neighbors: int = 10,
    metric: str = "cosine",
    mutual: bool = False,
    n_jobs: int | None = None,
) -> dict[str, sp.csr_array]:
    """One k-nearest-neighbour relation per feature table of the same nodes.

    Args:
        views: tables [nodes, features of that view], dense or sparse, by name or in order.
        n_neighbors: k >= 1, the node itself not counted.
        metric: anything scikit-learn's ``NearestNeighbors`` takes.
        mutual: keep an edge only when each is among the other's neighbours; otherwise one side is enough.
        n_jobs: threads of the search; None: one, -1: all cores.
    Returns:
        relation name -> symmetric binary matrix.
    """
    from sklearn.neighbors import NearestNeighbors

    named = dict(views) if isinstance(views, Mapping) else {f"view_{i}": view for i, view in enumerate(views)}
    if not named:
        raise ValueError("got no view; expected at least one feature table")
    graph: dict[str, sp.csr_array] = {}
    n: int | None = None
    for name, view in named.items():
        try:
            table = check_attributes(view, n)
        except (TypeError, ValueError) as error:
            raise type(error)(f"view {name!r}: {error}") from None
        n = int(table.shape[0])
        if not 1 <= n_neighbors < n:
            raise ValueError(f"n_neighbors={n_neighbors}: expected 1 to {n - 1}, one less than the nodes")
        search = NearestNeighbors(n_neighbors=n_neighbors, metric=metric, n_jobs=n_jobs).fit(table)
        nearest = sp.csr_array(search.kneighbors_graph(mode="connectivity"))
        both = nearest.minimum(nearest.T) if mutual else nearest.maximum(nearest.T)
        matrix = sp.csr_array(both).astype(np.float32)
        matrix.eliminate_zeros()
        matrix.sort_indices()
        graph[str(name)] = matrix
    return graph


def save_store(
    folder: str | os.PathLike[str],
    graph: Any,
    X: Any = None,
    *,
    binarize: bool = False,
    directed: Literal["symmetrize", "error"] = "symmetrize",
) -> Path:
    """Write a graph to a folder that ``fit`` can memory-map.

    One ``.npy`` per array (indptr int64, indices int32, values only where weights differ) and ``store.json``.
    Written to a temporary folder first, then renamed.

    Args:
        graph, X: as in ``DEMMPlus.fit``; sparse X is stored as its three arrays.
        binarize: drop weights. directed: "symmetrize" or "error" where a relation is not symmetric.
    """
    n_nodes = int(X.shape[0]) if X is not None and hasattr(X, "shape") else None
    read = as_graph(graph, n_nodes=n_nodes, binarize=binarize, directed=directed)
    write_store(folder, read, read.X if X is None else X)
    return Path(folder)
