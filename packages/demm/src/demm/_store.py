"""The on-disk store of a graph: one array a file, memory-mapped on the way back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from demm._features import check_attributes
from demm._graph import MultiRelationalGraph, Relation
from demm._persist import write_folder

STORE_SCHEMA = 1


def write_store(folder: str | os.PathLike[str], read: MultiRelationalGraph, X: Any) -> None:
    """Write a checked graph and its attributes (or None) to a temporary folder, then rename it."""
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


def load_store(folder: str | os.PathLike[str]) -> MultiRelationalGraph:
    """Open a store; arrays are memory-mapped and checked once against their description.

    Args:
        folder: what :func:`save_store` wrote.
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
