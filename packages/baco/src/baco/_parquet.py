"""Columns of a parquet file as row numbers, raw ids and weights (extra ``baco[parquet]``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ._bytes import progress
from ._columns import distinct_integers
from ._csv import pick_column
from ._ids import plain_ids

Array = np.ndarray[Any, Any]
Name = str | int | None


def read_columns(
    path: Path, wanted_columns: tuple[Name, Name, Name], verbose: int
) -> tuple[Array, Array, Array | None, Array, Array]:
    """Users and items as row numbers, weights or None, raw ids of users and of items; a row group at a time."""
    user, item, weight = wanted_columns
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ImportError('reading parquet needs pyarrow; install it with: pip install "baco[parquet]"') from None
    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            where = [pick_column("user", user, names, path), pick_column("item", item, names, path)]
            if weight is not None:
                where.append(pick_column("weight", weight, names, path))
            if len(set(where)) < len(where):
                raise ValueError(f"{path}: user, item and weight must be different columns")
            wanted = [names[i] for i in where]
            parts = []
            with progress(path, verbose, file.metadata.num_rows, "row") as bar:
                for group in range(file.num_row_groups):
                    parts.append(file.read_row_group(group, columns=wanted))
                    bar.update(parts[-1].num_rows)
            table = pa.concat_tables(parts) if parts else file.schema_arrow.empty_table().select(wanted)
    except (pa.ArrowException, OSError) as problem:
        first = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise ValueError(
            f"{path} is not a readable parquet file, cut short perhaps ({first}); fetch or write it again"
        ) from None
    if table.num_rows == 0:
        raise ValueError(f"{path} has no rows; expected one interaction per row")
    values = _weights(path, table.column(wanted[2]), wanted[2]) if weight is not None else None
    rows, user_ids = _ids(path, table.column(wanted[0]), "user")
    columns, item_ids = _ids(path, table.column(wanted[1]), "item")
    return rows, columns, values, user_ids, item_ids


def _ids(path: Path, column: Any, side: str) -> tuple[Array, Array]:
    import pyarrow.types as kinds

    if column.null_count:
        raise ValueError(f"{path}: {column.null_count} of {len(column)} {side} ids are missing; drop these rows first")
    kind = column.type
    if kinds.is_dictionary(kind) or kinds.is_string(kind) or kinds.is_large_string(kind):
        coded = column if kinds.is_dictionary(kind) else column.dictionary_encode()
        coded = coded.unify_dictionaries().combine_chunks()
        if hasattr(coded, "chunks"):
            coded = coded.chunk(0)
        codes = np.asarray(coded.indices).astype(np.int64)
        names = plain_ids(np.array(coded.dictionary.to_pylist(), dtype=object), side)
        # several entries may spell the same id, others may be unused
        used, codes = distinct_integers(codes)
        raw, merged = np.unique(names[used], return_inverse=True)
        return merged[codes], raw
    if not (kinds.is_integer(kind) or kinds.is_floating(kind)):
        raise ValueError(f"{path}: the {side} column holds {kind}; expected integers or strings")
    raw, rows = distinct_integers(plain_ids(column.to_numpy(), side))
    return rows, raw


def _weights(path: Path, column: Any, name: str) -> Array:
    import pyarrow.types as kinds

    kind = column.type
    if not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)):
        raise ValueError(f"{path}: the weight column {name!r} holds {kind}; expected numbers >= 0")
    if column.null_count:
        raise ValueError(f"{path}: {column.null_count} weights of column {name!r} are missing; fill or drop these rows")
    values: Array = column.to_numpy().astype(np.float64)
    return values
