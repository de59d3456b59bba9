"""A graph as a folder of plain arrays, read through the file system's cache instead of loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SCHEMA = 1
HEADER = "graph.json"
ARRAYS = ("user_ptr", "user_items", "item_ptr", "item_users")
OPTIONAL = ("user_weights", "item_weights", "user_ids", "item_ids")


def is_graph(path: str | Path) -> bool:
    """Whether the path is a folder that `save` wrote."""
    return isinstance(path, (str, Path)) and (Path(path) / HEADER).is_file()


@contextmanager
def building(folder: str | Path) -> Iterator[Path]:
    """A neighbour of ``folder`` to build in; renamed into place when the block ends well, removed when it does not.

    What an earlier build left behind when it was killed is removed first: a rerun starts clean.
    """
    folder = Path(folder)
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"the folder {folder.parent} does not exist; create it first")
    if folder.exists() and not is_graph(folder):
        raise ValueError(f"{folder} exists and is no graph of baco's; name another folder")
    temporary = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_header(folder: Path, n_users: int, n_items: int, n_edges: int) -> None:
    """The last file of a build: a folder without it is no graph."""
    sizes = {"n_users": n_users, "n_items": n_items, "n_edges": n_edges}
    (folder / HEADER).write_text(json.dumps({"format": "baco graph", "schema": SCHEMA, **sizes}) + "\n")


def write(folder: Path, arrays: Mapping[str, Array | None], n_users: int, n_items: int, n_edges: int) -> None:
    """Both directions of a graph as npy files in a folder that is being built."""
    for name, array in arrays.items():
        if array is not None and (name in ARRAYS or array.size):
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    write_header(folder, n_users, n_items, n_edges)


def load(folder: str | Path) -> dict[str, Any]:
    """Sizes and arrays, mapped: pages are read when a kernel touches them, and may be dropped again.

    Raises:
        ValueError: no such graph, of a newer schema, or files that do not fit together.
    """
    folder = Path(folder)
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        schema = int(header["schema"])
        if header["format"] != "baco graph":
            raise KeyError("format")
        if schema > SCHEMA:
            raise ValueError(f"{folder} has graph schema {schema}; this version reads up to {SCHEMA}: upgrade baco")
        parts: dict[str, Any] = {name: header[name] for name in ("n_users", "n_items", "n_edges")}
        for name in (*ARRAYS, *OPTIONAL):
            path = folder / f"{name}.npy"
            if name in ARRAYS or path.exists():
                # copy-on-write: nothing is ever written, and kernels see the same array type as in memory
                parts[name] = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError as problem:
        raise ValueError(f"{folder} is no graph of baco's ({problem.filename} is missing); build it again") from None
    except (KeyError, TypeError, json.JSONDecodeError, EOFError) as problem:
        raise ValueError(f"{folder} is a damaged graph ({problem}); build it again") from None
    lengths = {"user_ptr": parts["n_users"] + 1, "item_ptr": parts["n_items"] + 1}
    lengths |= dict.fromkeys(("user_items", "item_users", "user_weights", "item_weights"), parts["n_edges"])
    for name, length in lengths.items():
        if name in parts and parts[name].shape != (length,):
            raise ValueError(f"{folder}/{name}.npy has shape {parts[name].shape}, expected ({length},); build it again")
    return parts


def drop_pages(array: Array, start: int, stop: int) -> None:
    """Tell the system that a stretch of a mapped array is done with, so that a sweep's memory does not grow.

    The stretch stays in the file system's cache while there is room; an array in memory is left alone.
    """
    import mmap

    base = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap) and base.base is not None:
        base = base.base
    mapping = getattr(base, "_mmap", None)
    if mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    first = array.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    low = (first + start * array.itemsize) // mmap.PAGESIZE * mmap.PAGESIZE
    high = first + stop * array.itemsize
    if high > low:
        mapping.madvise(mmap.MADV_DONTNEED, low, high - low)
