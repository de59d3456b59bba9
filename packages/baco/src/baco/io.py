"""Interaction logs from files: delimited text, parquet, LightGCN text, npz.

Every reader gives a `BipartiteGraph` that keeps the file's own ids, and says in one sentence what is wrong with a file
it cannot read: what was found and where, what was expected, what to do. Nothing is unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ._bytes import checked_path, first_bytes, text_blocks
from ._columns import parse_integers
from ._csv import read_columns
from ._mapped import is_graph
from .graph import BipartiteGraph

__all__ = [
    "read_csv",
    "read_interactions",
    "read_lightgcn",
    "read_movielens",
    "read_npz",
    "read_parquet",
    "read_recbole",
]

Array = np.ndarray[Any, Any]
FORMATS = ("auto", "csv", "tsv", "parquet", "lightgcn", "npz", "movielens", "recbole")


def read_interactions(
    path: str | Path,
    *,
    user: str | int | None = None,
    item: str | int | None = None,
    weight: str | int | None = None,
    format: str = "auto",  # noqa: A002 - the word a user looks for
    header: bool = True,
    delimiter: str | None = None,
    key: str | None = None,
    verbose: int = 0,
) -> BipartiteGraph:
    """Read a file of interactions in any of the formats below.

    Args:
        path: the file; text may be gzipped. Or a folder that `BipartiteGraph.save` wrote.
        user, item, weight: columns of CSV, TSV or parquet, see `read_csv`.
        format: "csv", "tsv", "parquet", "lightgcn", "npz", "movielens", "recbole", or "auto": parquet and npz by their
            first bytes or their ending, LightGCN text where the name does not end in .csv, .tsv or .inter and the
            first line is integers with single spaces between them, CSV otherwise.
        header, delimiter: of delimited text, see `read_csv`.
        key: of an npz file, see `read_npz`.
        verbose: 1 shows a progress bar on stderr where that is a terminal.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file, or it is a folder.
        ValueError: the content is not what the format promises, or an option does not belong to the format.
        ImportError: parquet without pyarrow.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if is_graph(path):
        return BipartiteGraph.open(path)
    path = checked_path(path)
    chosen = _sniff_format(path) if format == "auto" else format
    options: dict[str, Any] = {}
    for name, value, default, takes in (
        ("user", user, None, ("csv", "tsv", "parquet")),
        ("item", item, None, ("csv", "tsv", "parquet")),
        ("weight", weight, None, ("csv", "tsv", "parquet")),
        ("header", header, True, ("csv", "tsv")),
        ("delimiter", delimiter, None, ("csv", "tsv")),
        ("key", key, None, ("npz",)),
    ):
        if chosen in takes:
            options[name] = value
        elif value != default:
            how = "was recognised as" if format == "auto" else "is read as"
            raise ValueError(
                f"{path} {how} {chosen}, which has no use for {name}={value!r}; leave it out, or name another format="
            )
    if chosen == "parquet":
        return read_parquet(path, verbose=verbose, **options)
    if chosen == "npz":
        return read_npz(path, **options)
    if chosen == "movielens":
        return read_movielens(path, verbose=verbose)
    if chosen == "recbole":
        return read_recbole(path, verbose=verbose)
    if chosen == "lightgcn":
        return read_lightgcn(path, verbose=verbose)
    if chosen == "tsv" and delimiter is None:
        options["delimiter"] = "\t"
    return read_csv(path, verbose=verbose, **options)


def read_csv(
    path: str | Path,
    *,
    user: str | int | None = None,
    item: str | int | None = None,
    weight: str | int | None = None,
    header: bool = True,
    delimiter: str | None = None,
    verbose: int = 0,
) -> BipartiteGraph:
    """Read delimited UTF-8 text, one interaction per line, gzipped or not.

    Args:
        path: the file.
        user, item: column name, or position from 0. Left out, the column is the one whose name says it (user,
            user_id, userId, uid, reviewer_id, ...; item, item_id, product_id, movieId, asin, ...); without a
            header, the first and the second.
        weight: column of weights >= 0; left out, every interaction counts once.
        header: whether the first line names the columns.
        delimiter: one or more ASCII characters; left out, whichever of comma, tab, semicolon, pipe and ``::``
            splits the first line into the most fields.
        verbose: 1 shows a progress bar on stderr where that is a terminal.

    Ids are integers where the whole column is written as integers are (at most 18 digits), and strings
    otherwise: a column with ``007`` stays text, so every id is found again exactly as it stood. Nothing is
    stripped from an unquoted field. Quotes are those of RFC 4180; blank lines are skipped.

    Raises:
        ValueError: not UTF-8 text, damaged gzip, no such column, a line with too few or too many fields, an
            empty id, a weight that is no finite number >= 0 (each with the line number), or no interactions.
    """
    path = checked_path(path)
    users, items, weights = read_columns(path, user, item, weight, header, delimiter, verbose)
    values = weights.finish() if weights is not None else None
    rows, user_ids = users.finish()
    columns, item_ids = items.finish()
    return _graph(path, rows, columns, values, user_ids, item_ids)


def read_lightgcn(path: str | Path, *, verbose: int = 0) -> BipartiteGraph:
    """Read the text format of LightGCN and its kin: ``user item item ...`` on each line, gzipped or not.

    Ids are row numbers from 0: a side has one row more than its largest id, and numbers without an
    interaction are isolated ids. A user without items is legal. A file of ``user item 1`` lines is not this
    format but ``read_csv(path, header=False, delimiter=" ")``.

    Raises:
        ValueError: a token is not a row number (with the line), not text, damaged gzip, or no interactions.
    """
    path = checked_path(path)
    users: list[Array] = []
    items: list[Array] = []
    lines, tokens, n_users, n_items = 0, 0, 0, 0
    for block in text_blocks(path, verbose):
        buffer = np.frombuffer(block, np.uint8)
        space = buffer <= ord(" ")
        edges = np.flatnonzero(np.diff(space, prepend=True, append=True))
        starts, ends = edges[::2], edges[1::2]
        newlines = np.flatnonzero(buffer == ord("\n"))
        line = np.searchsorted(newlines, starts)
        values = parse_integers(buffer, starts, ends)
        if values is None or (values < 0).any():
            raise _not_a_row_number(path, buffer, starts, ends, line, lines)
        if values.size:
            leads = np.diff(line, prepend=-1) > 0
            n_users = max(n_users, int(values[leads].max()) + 1)
            user_of_line = values[leads]
            items.append(values[~leads])
            users.append(np.repeat(user_of_line, np.diff(np.flatnonzero(np.append(leads, True))) - 1))
            n_items = max(n_items, int(items[-1].max(initial=-1)) + 1)
        lines += newlines.size
        tokens += values.size
    edges_found = sum(part.size for part in items)
    if edges_found == 0:
        raise ValueError(f"{path} has {lines} lines and no interactions; expected `user item item ...` on each line")
    _check_density(path, n_users, n_items, tokens)
    return BipartiteGraph.from_arrays(np.concatenate(users), np.concatenate(items), n_users=n_users, n_items=n_items)


def read_movielens(path: str | Path, *, min_rating: float | None = None, verbose: int = 0) -> BipartiteGraph:
    """Read ratings of any MovieLens release: ``u.data`` (100K), ``ratings.dat`` (1M, 10M), ``ratings.csv`` (later).

    Args:
        path: the file; its first line tells which form it has.
        min_rating: drop lower ratings; None keeps all. What is kept counts once each, whatever its rating.
        verbose: 1 shows a progress bar on stderr where that is a terminal.
    Raises:
        ValueError: not such a file (with the line), or nothing left.
    """
    path = checked_path(path)
    first = next(iter(text_blocks(path, block=1 << 16)), b"").split(b"\n", 1)[0].rstrip(b"\r")
    delimiter = "::" if b"::" in first else "\t" if b"\t" in first else ","
    header = b"userId" in first
    if len(first.split(delimiter.encode())) != 4 or not (header or first.split(delimiter.encode())[0].isdigit()):
        raise ValueError(f"{path} is no ratings file of MovieLens: expected user, item, rating, timestamp in a line")
    if min_rating is None:
        return read_csv(path, user=0, item=1, header=header, delimiter=delimiter, verbose=verbose)
    rated = read_csv(path, user=0, item=1, weight=2, header=header, delimiter=delimiter, verbose=verbose)
    coo = rated.to_scipy().tocoo()
    kept = coo.data >= min_rating
    if not kept.any():
        raise ValueError(f"{path} has no rating of {min_rating} or more; the highest is {coo.data.max():g}")
    return BipartiteGraph.from_arrays(rated.user_ids[coo.row[kept]], rated.item_ids[coo.col[kept]])  # type: ignore[index]


def read_recbole(path: str | Path, *, weight: str | None = None, verbose: int = 0) -> BipartiteGraph:
    """Read an atomic interaction file of RecBole (``.inter``): tab-separated, columns named like ``user_id:token``.

    Args:
        path: the file.
        weight: column of weights, with or without its type (``rating``); None: every line counts once.
        verbose: 1 shows a progress bar on stderr where that is a terminal.
    Raises:
        ValueError: the heading is none of RecBole's, or as `read_csv`.
    """
    path = checked_path(path)
    first = next(iter(text_blocks(path, block=1 << 16)), b"").split(b"\n", 1)[0].decode("utf-8")
    names = first.rstrip("\r").split("\t")
    plain = [name.split(":")[0] for name in names]
    if not all(":" in name for name in names):
        raise ValueError(f"{path} is no atomic file of RecBole: its columns are {first[:80]!r}, expected name:type")
    column = None
    if weight is not None:
        if weight.split(":")[0] not in plain:
            raise ValueError(f"{path} has no column {weight!r}; it has {', '.join(plain)}")
        column = plain.index(weight.split(":")[0])
    return read_csv(path, weight=column, delimiter="\t", verbose=verbose)


def read_npz(path: str | Path, *, key: str | None = None) -> BipartiteGraph:
    """Read interactions from an npz file; arrays of Python objects are refused.

    Understood are, in this order:

    - what ``scipy.sparse.save_npz`` wrote: a users × items matrix;
    - arrays ``users`` and ``items`` of raw ids, ``weights`` if there;
    - integer arrays of shape (2, E), first row users and second row items, as row numbers from 0. With
      several of them, ``key`` names the one to read. A side is as large as the largest row number in any of
      them asks, so that a codebook made from ``train`` covers the ids that only ``test`` holds.

    Raises:
        ValueError: damaged, none of these, several edge lists and no ``key`` (the message lists them), no
            such key.
    """
    path = checked_path(path)
    arrays = _npz_arrays(path)
    listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    if {"format", "shape", "data"} <= arrays.keys() and key is None:
        import scipy.sparse as sp

        try:
            matrix = sp.load_npz(path)
        except (ValueError, KeyError, NotImplementedError, IndexError, TypeError) as problem:
            raise ValueError(
                f"{path} is a damaged sparse matrix ({problem}); save it with scipy.sparse again"
            ) from None
        with _naming(path):
            return BipartiteGraph.from_scipy(matrix)
    if {"users", "items"} <= arrays.keys() and key is None:
        with _naming(path):
            return BipartiteGraph.from_arrays(arrays["users"], arrays["items"], arrays.get("weights"))
    if "user_codes" in arrays and "header" in arrays:
        raise ValueError(f"{path} is a baco codebook, not interactions; read it with Codebook.load or `baco report`")
    lists = {n: a for n, a in arrays.items() if a.ndim == 2 and a.shape[0] == 2 and a.dtype.kind in "iu"}
    if key is not None and key not in lists:
        if key in arrays:
            wrong = f"{arrays[key].dtype} of shape {arrays[key].shape}"
            raise ValueError(f"{path}: {key} is {wrong}; expected integers of shape (2, E), users above items")
        raise ValueError(f"{path} has no array {key!r}; it has {listed}")
    if not lists:
        raise ValueError(
            f"{path} has {listed}; expected a scipy.sparse matrix, arrays users and items, or an integer (2, E) array"
        )
    if key is None and len(lists) > 1:
        raise ValueError(f"{path} has several edge lists: {', '.join(lists)}; choose one with key=...")
    edges = lists[key if key is not None else next(iter(lists))]
    if edges.shape[1] == 0:
        raise ValueError(f"{path}: {key or next(iter(lists))} holds no edge; expected shape (2, E) with E >= 1")
    filled = [one for one in lists.values() if one.shape[1]]
    n_users, n_items = (max(int(one[side].max()) for one in filled) + 1 for side in (0, 1))
    if int(edges.min()) < 0:
        raise ValueError(f"{path} holds the row number {int(edges.min())}; row numbers start at 0")
    _check_density(path, n_users, n_items, sum(one.size for one in filled))
    users, items = (edges[side].astype(np.int64) for side in (0, 1))
    return BipartiteGraph.from_arrays(users, items, n_users=n_users, n_items=n_items)


def read_parquet(
    path: str | Path,
    *,
    user: str | int | None = None,
    item: str | int | None = None,
    weight: str | int | None = None,
    verbose: int = 0,
) -> BipartiteGraph:
    """Read a parquet file, one interaction per row, a row group at a time (extra ``baco[parquet]``).

    Args:
        path: the file.
        user, item, weight: as in `read_csv`. Ids may be integers, strings or dictionaries of either.
        verbose: 1 shows a progress bar on stderr where that is a terminal.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: truncated or no parquet, no such column, missing ids or weights, weights that are no
            numbers.
    """
    from ._parquet import read_columns as read_parquet_columns

    path = checked_path(path)
    return _graph(path, *read_parquet_columns(path, (user, item, weight), verbose))


def _graph(
    path: Path, rows: Array, columns: Array, values: Array | None, user_ids: Array, item_ids: Array
) -> BipartiteGraph:
    sizes = {"n_users": len(user_ids), "n_items": len(item_ids)}
    with _naming(path):
        return BipartiteGraph.from_arrays(rows, columns, values, **sizes, user_ids=user_ids, item_ids=item_ids)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what the graph has to say about its content."""
    try:
        yield
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None


def _sniff_format(path: Path) -> str:
    head = first_bytes(path)
    if head.startswith(b"PAR1") or path.suffix == ".parquet":
        return "parquet"
    if path.suffix == ".npz":
        return "npz"
    stem = path.name.lower().removesuffix(".gz")
    if stem.endswith((".csv", ".tsv", ".inter")):
        return "csv"
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    for block in text_blocks(path, block=1 << 16):
        line = block.lstrip().split(b"\n", 1)[0].rstrip()
        if line:
            return "lightgcn" if all(token.isdigit() for token in line.split(b" ")) else "csv"
    return "csv"


def _not_a_row_number(path: Path, buffer: Array, starts: Array, ends: Array, line: Array, before: int) -> ValueError:
    for a, b, at in zip(starts.tolist(), ends.tolist(), line.tolist(), strict=True):
        token = buffer[a:b]
        value = parse_integers(buffer, np.array([a]), np.array([b]))
        if value is None or value[0] < 0:
            text = token.tobytes()[:40].decode("utf-8", "replace")
            return ValueError(
                f"{path}, line {before + at + 1}: {text!r} is not a row number; expected `user item item ...` "
                "with numbers from 0 (for a table with a column per field use format='csv')"
            )
    raise AssertionError("no token was refused")


def _check_density(path: Path, n_users: int, n_items: int, entries: int) -> None:
    """Raw ids taken for row numbers would ask for tables of their largest value."""
    if n_users + n_items > 100 * entries + 1_000_000:
        raise ValueError(
            f"{path} holds the ids {n_users - 1} (user) and {n_items - 1} (item) among {entries} numbers, so "
            "these are not row numbers; give raw ids as CSV, or as arrays `users` and `items` of an npz file"
        )


def _npz_arrays(path: Path) -> dict[str, Array]:
    try:
        # np.load leaves a file that it opened itself open when the archive is damaged
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (
        ValueError,
        EOFError,
        OSError,
        KeyError,
        RuntimeError,  # zipfile's word for encryption, versions and compressions that it does not know
        zipfile.BadZipFile,
        zlib.error,
        SyntaxError,
        AttributeError,
    ) as problem:
        raise ValueError(
            f"{path} is not a readable npz file ({problem}); expected plain arrays saved by np.savez or "
            "scipy.sparse.save_npz"
        ) from None
