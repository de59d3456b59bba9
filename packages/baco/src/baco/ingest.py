"""Logs larger than memory: DuckDB reads, filters and numbers them; the graph is written as files to be mapped.

Needs the extra ``baco[duckdb]``. DuckDB spills to disk what does not fit, and the graph is put together a range of
users (then of items) at a time. A log of integer ids that clearly fits is put together at once, several times faster.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ._bytes import checked_path
from ._columns import distinct_integers
from ._csv import pick_column
from ._ids import plain_ids
from ._mapped import building, write, write_header
from .graph import BipartiteGraph

__all__ = ["ingest"]

Array = np.ndarray[Any, Any]

#: Edges put together at a time: 64 million take about 1 GB.
EDGES_AT_ONCE = 1 << 26
#: Bytes of text that are read at once; the arrays take some six times as much.
TEXT_AT_ONCE = 400_000_000
#: Bytes of text that a byte of a packed file stands for, at most as a rule.
_PACKED = 6
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_STEPS = ("reading", "numbering users", "numbering items", "joining", "by user", "by item")


def ingest(
    files: str | Path | Iterable[str | Path],
    folder: str | Path,
    *,
    user: str | None = None,
    item: str | None = None,
    weight: str | None = None,
    where: str | None = None,
    min_user: int = 1,
    min_item: int = 1,
    text_ids: bool = False,
    memory_limit: str | None = None,
    threads: int | None = None,
    verbose: int = 0,
) -> BipartiteGraph:
    """Build a memory-mapped graph from CSV or parquet files of any size.

    Args:
        files: one or more files with equal columns, all CSV/TSV (gzipped or not, with a header) or all parquet.
        folder: where the graph goes; `BipartiteGraph.open` reads it again. It appears whole or not at all, and a
            build that was killed leaves nothing that a rerun would trip over.
        user, item: column names; None: the columns with the usual names, as `baco.io.read_csv`.
        weight: column of weights >= 0; None: every pair counts once.
        where: a condition in SQL on the columns, such as ``"rating >= 4 AND event = 'click'"``.
        min_user, min_item: drop users with fewer interactions, then items with fewer; one pass each.
        text_ids: keep ids as text. By default they are what DuckDB takes the column for; some of its versions read
            ``007`` as 7.
        memory_limit: of DuckDB, such as "4GB", and then every log is built by ranges; None: its default, 80 % of the
            machine's.
        threads: of DuckDB; None: every core.
        verbose: 1 shows progress where stderr is a terminal.
    Returns:
        the graph, mapped.
    Raises:
        ImportError: DuckDB is not installed.
        ValueError: an unreadable file, no such column, missing ids, bad weights, or nothing left.
    """
    try:
        import duckdb
    except ImportError:
        raise ImportError('reading through DuckDB needs it; install it with: pip install "baco[duckdb]"') from None
    from tqdm import tqdm

    paths = [checked_path(one) for one in ([files] if isinstance(files, (str, Path)) else list(files))]
    if not paths:
        raise ValueError("name at least one file")
    for name, value in (("min_user", min_user), ("min_item", min_item)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
    with building(folder) as out, tqdm(total=len(_STEPS), disable=None if verbose else True, leave=False) as bar:
        build = _Build(out, bar)
        settings: dict[str, Any] = {"temp_directory": str(out / "spill")}
        # the order says how repeated weights are rounded as they add up, and nothing else
        settings["preserve_insertion_order"] = weight is not None
        settings |= {} if memory_limit is None else {"memory_limit": memory_limit}
        settings |= {} if threads is None else {"threads": threads}
        try:
            with duckdb.connect(str(out / "log.duckdb"), config=settings) as database:
                database.execute("SET enable_progress_bar = false")  # it would write to stdout
                build.choose(database, paths, (user, item, weight), where, text_ids)
                if memory_limit is None and build.fits(paths):
                    build.at_once(database, min_user, min_item)
                else:
                    build.read(database)
                    n_users = build.number(database, "user", min_user)
                    n_items = build.number(database, "item", min_item)
                    build.join(database)
                    build.by_user(database, n_users, n_items)
                    build.by_item(n_users, n_items)
        except duckdb.Error as problem:
            told = " ".join(str(problem).split())
            raise ValueError(f"DuckDB cannot read {paths[0]} ({told[:300]}); check columns, filter and file") from None
        for left in out.glob("log.duckdb*"):
            left.unlink()
    return BipartiteGraph.open(folder)


class _Build:
    """The steps of a build in its folder."""

    def __init__(self, folder: Path, bar: Any) -> None:
        self.folder, self.bar = folder, bar
        self.weighted = False
        self.n_edges = 0
        self._announce()

    def _announce(self) -> None:
        self.bar.set_description(_STEPS[min(self.bar.n, len(_STEPS) - 1)])

    def _done(self) -> None:
        self.bar.update()
        self._announce()

    def choose(
        self, database: Any, paths: list[Path], columns: tuple[Any, Any, Any], where: str | None, text: bool
    ) -> None:
        """The query of u, i and w over the files."""
        kind = "parquet" if paths[0].suffix == ".parquet" else "csv"
        listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
        source = f"read_{kind}([{listed}]{', header=true' if kind == 'csv' else ''})"
        described = database.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        names = [row[0] for row in described]
        places = [pick_column(role, given, names, paths[0]) for role, given in zip(("user", "item"), columns)]  # noqa: B905
        where_is = [names[place] for place in places]
        if text and kind == "csv":
            types = ", ".join(f"{_text(one)}: 'VARCHAR'" for one in where_is)
            source = source[:-1] + f", types={{{types}}})"
        wanted = [f"{_name(where_is[0])} AS u", f"{_name(where_is[1])} AS i"]
        if text and kind == "parquet":
            wanted = [f"CAST({_name(one)} AS VARCHAR) AS {to}" for one, to in zip(where_is, "ui", strict=True)]
        self.weighted = columns[2] is not None
        if self.weighted:
            column = names[pick_column("weight", columns[2], names, paths[0])]
            wanted.append(f"CAST({_name(column)} AS DOUBLE) AS w")
        self.query = f"SELECT {', '.join(wanted)} FROM {source}" + (f" WHERE {where}" if where else "")
        self.nothing = f"{paths[0]} has no interactions{' that meet ' + repr(where) if where else ''}"
        self.integers = not text and all(str(described[place][1]) in _INTEGERS for place in places)

    def fits(self, paths: list[Path]) -> bool:
        """Whether ids are integers, and so few that arrays of them clearly fit in memory."""
        text = sum(one.stat().st_size * (_PACKED if one.suffix in (".gz", ".zst", ".parquet") else 1) for one in paths)
        return self.integers and text <= TEXT_AT_ONCE

    def at_once(self, database: Any, min_user: int, min_item: int) -> None:
        """The whole build with arrays in memory, both sides beside each other."""
        database.execute("ATTACH ':memory:' AS quick")
        self.read(database, "quick.log")
        # columns are fetched apart, and must stay row by row
        database.execute("SET preserve_insertion_order = true")

        def fetched(name: str) -> Array:
            with database.cursor() as own:
                return np.asarray(own.execute(f"SELECT {name} FROM quick.log").fetchnumpy()[name])

        with ThreadPoolExecutor(2) as pool:
            of_users = pool.submit(lambda: _numbered(fetched("u"), "user", min_user))
            items = fetched("i")
            kept = slice(None) if min_user == 1 else of_users.result()[2]
            item_ids, items, of_those = _numbered(items[kept], "item", min_item)
            user_ids, users, _ = of_users.result()
            users = users[of_those]
            weights = fetched("w")[kept][of_those] if self.weighted else np.empty(0, np.float64)
            database.execute("DETACH quick")
            self._done()
            sizes = user_ids.size, item_ids.size
            by_user = pool.submit(_compressed, *sizes, users, items, weights)
            by_item = _compressed(*sizes[::-1], items, users, weights)
            user_ptr, user_items, user_weights = by_user.result()
        self._some(user_items.size)
        arrays = {"user_ptr": user_ptr, "user_items": user_items, "user_weights": user_weights}
        arrays |= dict(zip(("item_ptr", "item_users", "item_weights"), by_item, strict=True))
        write(self.folder, arrays | {"user_ids": user_ids, "item_ids": item_ids}, *sizes, int(user_items.size))

    def read(self, database: Any, table: str = "log") -> None:
        """Table of u, i and w; bad rows are refused."""
        database.execute(f"CREATE TABLE {table} AS {self.query}")
        missing, rows = database.execute(
            f"SELECT count(*) FILTER (u IS NULL OR i IS NULL), count(*) FROM {table}"
        ).fetchone()
        bad = 0
        if self.weighted:
            bad, other = database.execute(
                f"SELECT count(*) FILTER (w IS NULL OR NOT isfinite(w) OR w < 0), count(*) FILTER (w <> 1) FROM {table}"
            ).fetchone()
            self.weighted = bad > 0 or other > 0  # a binary log otherwise, as for every reader
        if rows == 0:
            raise ValueError(self.nothing)
        if missing:
            raise ValueError(f"{missing} of {rows} interactions lack a user or an item; drop them with where=...")
        if bad:
            raise ValueError(f"{bad} of {rows} weights are missing, negative or not finite; drop them with where=...")
        self._done()

    def _some(self, n_edges: int) -> None:
        if n_edges == 0:
            raise ValueError("every interaction has weight 0; nothing is left")

    def number(self, database: Any, side: str, least: int) -> int:
        """Table of raw ids with their row numbers in sorted order; writes the ids, returns how many."""
        column = side[0]
        few = f" HAVING count(*) >= {least}" if least > 1 else ""
        database.execute(
            f"CREATE TABLE {side}s AS SELECT {column}, CAST(row_number() OVER (ORDER BY {column}) - 1 AS INTEGER) AS r "
            f"FROM (SELECT {column} FROM log GROUP BY {column}{few})"
        )
        if least > 1:
            database.execute(f"DELETE FROM log WHERE {column} NOT IN (SELECT {column} FROM {side}s)")
        ids = database.execute(f"SELECT {column} FROM {side}s ORDER BY r").fetchnumpy()[column]
        _some_ids(ids.size, side, least)
        np.save(self.folder / f"{side}_ids.npy", plain_ids(np.asarray(ids), side), allow_pickle=False)
        self._done()
        return int(ids.size)

    def join(self, database: Any) -> None:
        """Table ``edges`` of row numbers, repeats included."""
        weight = ", log.w AS w" if self.weighted else ""
        database.execute(
            f"CREATE TABLE edges AS SELECT users.r AS u, items.r AS i{weight} FROM log "
            "JOIN users ON log.u = users.u JOIN items ON log.i = items.i"
        )
        database.execute("DROP TABLE log")
        self._done()

    def by_user(self, database: Any, n_users: int, n_items: int) -> None:
        """Compressed rows by user, a range of users at a time; repeats fold, as they do in memory."""
        from ._solver import _kernels

        counted = database.execute("SELECT u, count(*) AS n FROM edges GROUP BY u").fetchnumpy()
        counts = np.zeros(n_users, np.int64)
        counts[counted["u"]] = counted["n"]
        pointer = np.zeros(n_users + 1, np.int64)
        columns = "u, i, w" if self.weighted else "u, i"
        ranges = _ranges(counts)
        items_file, weights_file = _Npy(self.folder / "user_items.npy", np.int32), None
        if self.weighted:
            weights_file = _Npy(self.folder / "user_weights.npy", np.float64)
        with items_file:
            for start, stop in ranges:
                within = f" WHERE u >= {start} AND u < {stop}" if len(ranges) > 1 else ""
                part = database.execute(f"SELECT {columns} FROM edges{within}").fetchnumpy()
                values = np.ascontiguousarray(part["w"]) if self.weighted else np.empty(0, np.float64)
                rows = np.asarray(part["u"]) - np.int32(start)
                local = _kernels.compress_rows(stop - start, rows, np.asarray(part["i"]), values, np.empty(0, np.int32))
                del part, rows
                local = _sorted_rows(local, n_items)
                pointer[start + 1 : stop + 1] = pointer[start] + local[0][1:]
                items_file.append(local[1])
                if weights_file is not None:
                    weights_file.append(local[2])
        if weights_file is not None:
            weights_file.close()
        self.n_edges = int(pointer[-1])
        self._some(self.n_edges)
        np.save(self.folder / "user_ptr.npy", pointer)
        self._done()

    def by_item(self, n_users: int, n_items: int) -> None:
        """The same by item, read off the rows by user."""
        from ._solver import _kernels

        pointer = np.load(self.folder / "user_ptr.npy")
        items = np.load(self.folder / "user_items.npy", mmap_mode="c")
        weights = np.load(self.folder / "user_weights.npy", mmap_mode="c") if self.weighted else np.empty(0, np.float64)
        counts = np.bincount(items, minlength=n_items) if items.size <= EDGES_AT_ONCE else _counts(items, n_items)
        users_file = _Npy(self.folder / "item_users.npy", np.int32)
        weights_file = _Npy(self.folder / "item_weights.npy", np.float64) if self.weighted else None
        item_ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        with users_file:
            for start, stop in _ranges(counts):
                size = int(item_ptr[stop] - item_ptr[start])
                users = np.empty(size, np.int32)
                values = np.empty(size if self.weighted else 0, np.float64)
                fill = item_ptr[start:stop] - item_ptr[start]
                _kernels.gather_columns(pointer, items, weights, start, stop, fill, users, values)
                users_file.append(users)
                if weights_file is not None:
                    weights_file.append(values)
        if weights_file is not None:
            weights_file.close()
        np.save(self.folder / "item_ptr.npy", item_ptr)
        write_header(self.folder, n_users, n_items, self.n_edges)
        self._done()


class _Npy:
    """An npy file of one dimension that grows; its heading is written when its length is known."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.path, self.dtype, self.size = path, np.dtype(dtype), 0
        self.file = path.open("wb")
        self._heading()

    def _heading(self) -> None:
        # numpy pads the heading for growth: it keeps its length
        np.lib.format.write_array_header_1_0(
            self.file, {"descr": self.dtype.str, "fortran_order": False, "shape": (self.size,)}
        )

    def append(self, values: Array) -> None:
        np.ascontiguousarray(values, dtype=self.dtype).tofile(self.file)
        self.size += values.size

    def close(self) -> None:
        self.file.seek(0)
        self._heading()
        self.file.close()

    def __enter__(self) -> _Npy:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _numbered(column: Array, side: str, least: int) -> tuple[Array, Array, Any]:
    """Sorted ids with ``least`` interactions or more, the row number of each of theirs, and which those are."""
    ids, rows = distinct_integers(column, np.int32)
    kept: Any = slice(None)
    if least > 1:
        enough = np.bincount(rows, minlength=ids.size) >= least
        kept = enough[rows]
        ids, rows = ids[enough], (np.cumsum(enough, dtype=np.int32) - np.int32(1))[rows[kept]]
    _some_ids(ids.size, side, least)
    return plain_ids(ids, side), rows, kept


def _compressed(n_rows: int, n_columns: int, rows: Array, columns: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Compressed rows, sorted without comparing: by column in the log's order, then by row. Repeats are folded."""
    from ._solver import _kernels

    by_column = _kernels.compress_rows(n_columns, columns, rows, weights, np.empty(0, np.int32))
    return _folded(_kernels.counting_transpose(n_rows, *by_column))


def _some_ids(number: int, side: str, least: int) -> None:
    if number == 0:
        raise ValueError(f"no {side} has {least} interactions or more; lower min_{side}")


def _sorted_rows(rows: tuple[Array, Array, Array], n_columns: int) -> tuple[Array, Array, Array]:
    """Rows sorted, repeats folded: transposing twice sorts without comparing."""
    from ._solver import _kernels

    by_column = _kernels.counting_transpose(n_columns, *rows)
    return _folded(_kernels.counting_transpose(rows[0].size - 1, *by_column))


def _folded(rows: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    from ._solver import _kernels

    pointer, indices, weights = rows
    pointer = _kernels.merge_duplicates(pointer, indices, weights)
    return pointer, indices[: pointer[-1]], weights[: pointer[-1]] if weights.size else weights


def _ranges(counts: Array) -> list[tuple[int, int]]:
    """Consecutive ranges of about `EDGES_AT_ONCE` edges, one node at least."""
    ends = np.cumsum(counts)
    ranges, start = [], 0
    while start < counts.size:
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + EDGES_AT_ONCE, side="right")), start + 1)
        ranges.append((start, stop))
        start = stop
    return ranges


def _counts(items: Array, n_items: int) -> Array:
    counts = np.zeros(n_items, np.int64)
    for start in range(0, items.size, EDGES_AT_ONCE):
        counts += np.bincount(items[start : start + EDGES_AT_ONCE], minlength=n_items)
    return counts


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
