"""Graphs from the forms people have them in, and a memory-mapped store for large ones."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from demm._features import check_attributes
from demm._graph import Metapath, MultiRelationalGraph, Relation, as_graph
from demm._persist import write_folder

__all__ = ["from_edges", "from_hetero", "from_views", "load_store", "read_edges", "save_store"]

STORE_SCHEMA = 1
COLUMNS = ("src", "dst", "relation")


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


def from_hetero(
    data: Any, node_type: str | None = None, metapaths: Sequence[Any] | None = None
) -> MultiRelationalGraph:
    """Relations among one node type of a PyG ``HeteroData``, with its ``x`` as attributes.

    Args:
        data: ``torch_geometric.data.HeteroData`` (extra ``demm[pyg]``).
        node_type: the nodes to cluster; may be left out when there is only one type.
        metapaths: each a list of edge types ``(source, relation, target)`` that starts at ``node_type`` and
            either ends there, or ends at another type, which then links nodes that share an object:
            ``[("paper", "about", "subject")]`` is paper-subject-paper. None takes every edge type among
            ``node_type`` itself, and one such shared-object relation per edge type that leaves it.
    Returns:
        graph for ``fit(graph)``; ``graph.X`` holds the attributes, or None.
    """
    types = list(data.node_types)
    if node_type is None:
        if len(types) != 1:
            raise ValueError(f"HeteroData has node types {types}; pass from_hetero(data, node_type=...)")
        node_type = types[0]
    if node_type not in types:
        raise ValueError(f"node_type={node_type!r}: expected one of {types}")
    edge_types = [tuple(edge) for edge in data.edge_types]
    if metapaths is None:
        metapaths = [[edge] for edge in edge_types if edge[0] == node_type]
    if not metapaths:
        raise ValueError(f"no edge type leaves {node_type!r}; it has {edge_types}")
    graph: dict[str, Any] = {}
    for path in metapaths:
        steps = [tuple(step) for step in path]
        _check_metapath(steps, edge_types, node_type)
        product = _incidence(data, steps[0])
        for step in steps[1:]:
            product = sp.csr_array(product @ _incidence(data, step))
        product.data[:] = 1
        name = "-".join([steps[0][0], *(step[2] for step in steps)])
        while name in graph:
            name += "'"
        if steps[-1][2] == node_type:
            matrix = sp.csr_array(product.maximum(product.T))
            matrix.sort_indices()
            graph[name] = matrix
        else:
            graph[name] = Metapath(product)
    attributes = getattr(data[node_type], "x", None)
    n = _count(data, node_type)
    read = as_graph(graph, n_nodes=n)
    X = None if attributes is None else check_attributes(attributes, n)
    return MultiRelationalGraph(read.relations, n, X)


def _check_metapath(steps: list[tuple[Any, ...]], edge_types: list[tuple[Any, ...]], node_type: str) -> None:
    unknown = [step for step in steps if step not in edge_types]
    if unknown or not steps:
        raise ValueError(f"meta-path {steps}: {unknown} not among the edge types {edge_types}")
    if steps[0][0] != node_type:
        raise ValueError(f"meta-path {steps} starts at {steps[0][0]!r}, expected {node_type!r}")
    for before, after in pairwise(steps):
        if before[2] != after[0]:
            raise ValueError(f"meta-path {steps}: {before} ends at {before[2]!r} but {after} starts at {after[0]!r}")


def _count(data: Any, node_type: str) -> int:
    n = data[node_type].num_nodes
    if n is None:
        raise ValueError(f"node type {node_type!r} has no number of nodes; set data[{node_type!r}].num_nodes")
    return int(n)


def _incidence(data: Any, step: tuple[Any, ...]) -> sp.csr_array:
    edges = data[step].edge_index.detach().cpu().numpy()
    shape = (_count(data, step[0]), _count(data, step[2]))
    matrix = sp.csr_array((np.ones(edges.shape[1], dtype=np.float32), (edges[0], edges[1])), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


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
        binarize: drop weights.
    """
    n_nodes = int(X.shape[0]) if X is not None and hasattr(X, "shape") else None
    read = as_graph(graph, n_nodes=n_nodes, binarize=binarize, directed=directed)
    X = read.X if X is None else X
    files: dict[str, Any] = {}
    described = []
    for place, relation in enumerate(read):
        stem = f"relation_{place}"
        entry: dict[str, Any] = {"name": relation.name, "stem": stem, "entries": relation.n_entries}
        if relation.incidence is not None:
            b = relation.incidence
            entry |= {"kind": "metapath", "shape": list(b.shape)}
            files |= {
                f"{stem}.indptr.npy": b.indptr.astype(np.int64),
                f"{stem}.indices.npy": b.indices.astype(np.int32),
            }
            files[f"{stem}.values.npy"] = b.data
        else:
            entry |= {"kind": "csr", "weighted": relation.values is not None}
            files |= {f"{stem}.indptr.npy": relation.indptr, f"{stem}.indices.npy": relation.indices}
            if relation.values is not None:
                files[f"{stem}.values.npy"] = relation.values
        described.append(entry)
    attributes = None
    if X is not None:
        X = check_attributes(X, read.n_nodes)
        attributes = {"kind": "sparse" if sp.issparse(X) else "dense", "shape": list(X.shape)}
        if sp.issparse(X):
            files |= {"X.indptr.npy": X.indptr, "X.indices.npy": X.indices, "X.values.npy": X.data}
        else:
            files["X.npy"] = X
    description = {
        "schema": STORE_SCHEMA,
        "n_nodes": read.n_nodes,
        "relations": described,
        "attributes": attributes,
    }
    write_folder(folder, {"store.json": description, **files})
    return Path(folder)


def load_store(folder: str | os.PathLike[str]) -> MultiRelationalGraph:
    """Open a store; arrays are memory-mapped and checked once against their description.

    Raises:
        FileNotFoundError: no store there. ValueError: a file is missing, cut short, or points outside.
    """
    place = Path(folder)
    if not (place / "store.json").exists():
        raise FileNotFoundError(f"{place / 'store.json'} is not there; expected a folder written by demm convert")
    try:
        description = json.loads((place / "store.json").read_text(encoding="utf-8"))
        if description["schema"] != STORE_SCHEMA:
            raise ValueError(f"{place}: got schema {description['schema']!r}, expected {STORE_SCHEMA}")
        n = int(description["n_nodes"])
        relations = tuple(_load_relation(place, entry, n) for entry in description["relations"])
        X = _load_attributes(place, description["attributes"], n)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{place}: store.json is damaged ({type(error).__name__}: {error})") from error
    return MultiRelationalGraph(relations, n, X)


def _map(place: Path, name: str) -> np.ndarray:
    file = place / name
    if Path(name).name != name or not file.exists():
        raise ValueError(f"{place}: {name} is missing; convert the graph again")
    try:
        mapped: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    return mapped


def _load_relation(place: Path, entry: dict[str, Any], n: int) -> Relation:
    stem, name = str(entry["stem"]), str(entry["name"])
    indptr, indices = (np.asarray(_map(place, f"{stem}.{part}.npy")) for part in ("indptr", "indices"))
    columns = int(entry["shape"][1]) if entry["kind"] == "metapath" else n
    values = None
    if entry["kind"] == "metapath" or entry["weighted"]:
        values = np.asarray(_map(place, f"{stem}.values.npy"))
    _check_rows(name, indptr, indices, values, n, columns)
    if entry["kind"] == "metapath":
        b = sp.csr_array((np.array(values), np.array(indices), np.array(indptr)), shape=(n, columns))
        return Relation(name, indptr[:1], indices[:0], None, b)
    return Relation(name, indptr, indices, values)


def _check_rows(
    name: str, indptr: np.ndarray, indices: np.ndarray, values: np.ndarray | None, n: int, columns: int
) -> None:
    """Everything a kernel relies on: it does not check bounds itself."""
    wrong = (
        indptr.dtype != np.int64
        or indices.dtype != np.int32
        or indptr.shape != (n + 1,)
        or indices.ndim != 1
        or int(indptr[0]) != 0
        or int(indptr[-1]) != indices.shape[0]
        or bool(np.any(np.diff(indptr) < 0))
        or (values is not None and (values.shape != indices.shape or values.dtype.kind not in "iuf"))
    )
    if not wrong and indices.shape[0]:
        wrong = int(indices.min()) < 0 or int(indices.max()) >= columns
    if wrong:
        raise ValueError(f"relation {name!r} of the store is damaged: its arrays do not fit together")


def _load_attributes(place: Path, described: dict[str, Any] | None, n: int) -> Any:
    if described is None:
        return None
    shape = (int(described["shape"][0]), int(described["shape"][1]))
    if shape[0] != n:
        raise ValueError(f"{place}: attributes have {shape[0]} rows, expected {n}")
    if described["kind"] == "sparse":
        parts = [np.asarray(_map(place, f"X.{part}.npy")) for part in ("values", "indices", "indptr")]
        matrix = sp.csr_array(tuple(parts), shape=shape)
        matrix.check_format(full_check=True)
        return matrix
    X = _map(place, "X.npy")
    if X.shape != shape:
        raise ValueError(f"{place}: X.npy has shape {X.shape}, expected {shape}")
    return X
