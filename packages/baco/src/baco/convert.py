"""Interactions and codebooks in other forms: what ``baco convert`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ._files import atomic_write
from ._tables import write_codes
from .codebook import Codebook
from .graph import BipartiteGraph

__all__ = ["convert_file", "write_codes", "write_interactions"]


def convert_file(source: str | Path, out: str | Path, *, side: str = "user", **options: Any) -> dict[str, Any]:
    """Write ``source`` as ``out``; the ending says what: .npz or a folder of interactions, .parquet or .csv of codes.

    Args:
        source: interactions in any form `baco.io.read_interactions` takes, or a codebook.
        out: file or folder to write; appears whole or not at all.
        side: "user" or "item", of a codebook.
        options: of `read_interactions`.
    Returns:
        what was written: kind, sizes, and a sentence ``what``.
    Raises:
        ValueError: an ending that does not go with the source.
    """
    from .io import read_interactions

    source, out = Path(source), Path(out)
    if out.exists() and source.exists() and out.samefile(source):
        raise ValueError(f"the output {out} is the input; name another file")
    if out.suffix in (".parquet", ".csv"):
        book = Codebook.load(source)
        write_codes(book, out, side)
        count = len(book.user_codes if side == "user" else book.item_codes)
        return {"kind": "codes", "side": side, "ids": count, "output": str(out), "what": f"codes of {count:,} {side}s"}
    if out.suffix not in ("", ".npz", ".graph"):
        raise ValueError(
            f"{out} must end in .npz (or be a folder) for interactions, in .parquet or .csv for a codebook"
        )
    graph = read_interactions(source, **options)
    if out.suffix == ".npz":
        write_interactions(graph, out)
    else:
        graph.save(out)
    sizes = {"users": graph.n_users, "items": graph.n_items, "edges": graph.n_edges}
    what = f"{graph.n_edges:,} interactions of {graph.n_users:,} users and {graph.n_items:,} items"
    return {"kind": "interactions", **sizes, "output": str(out), "what": what}


def write_interactions(graph: BipartiteGraph, path: Path) -> Path:
    """Raw ids and weights of every interaction as an npz file that `baco.io.read_npz` reads."""
    users = np.repeat(np.arange(graph.n_users), np.diff(graph.user_ptr))
    items = np.asarray(graph.user_items).astype(np.int64)
    arrays = {
        "users": users if graph.user_ids is None else graph.user_ids[users],
        "items": items if graph.item_ids is None else graph.item_ids[items],
    }
    if graph.weighted:
        arrays["weights"] = np.asarray(graph.user_weights)
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return path
