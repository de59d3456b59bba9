"""Codes as a table that databases and other languages read."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ._codes import Codes
from ._files import atomic_write


def write_codes(book: Codes, path: Path, side: str) -> Path:
    """Raw id, codes and weights of a side, as parquet (extra ``baco[parquet]``) or CSV; unused places are empty."""
    if side not in ("user", "item"):
        raise ValueError(f"side must be 'user' or 'item', got {side!r}")
    codes, weights = (getattr(book, f"{side}_{name}") for name in ("codes", "weights"))
    ids = getattr(book, f"{side}_ids")
    ids = np.arange(len(codes)) if ids is None else ids
    if path.suffix == ".parquet":
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise ImportError('writing parquet needs pyarrow; install it with: pip install "baco[parquet]"') from None
        columns: dict[str, Any] = {"id": pa.array(ids.tolist())}
        for place in range(codes.shape[1]):
            unused = codes[:, place] < 0
            columns[f"code_{place}"] = pa.array(codes[:, place], mask=unused)
            columns[f"weight_{place}"] = pa.array(weights[:, place], mask=unused)
        with atomic_write(path, "wb") as file:
            pq.write_table(pa.table(columns), file)
        return path
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        places = range(codes.shape[1])
        writer.writerow(["id", *(f"{name}_{place}" for place in places for name in ("code", "weight"))])
        for name, row, mix in zip(ids.tolist(), codes.tolist(), weights.tolist(), strict=True):
            cells = [("", "") if code < 0 else (code, weight) for code, weight in zip(row, mix, strict=True)]
            writer.writerow([name, *(cell for pair in cells for cell in pair)])
    return path
