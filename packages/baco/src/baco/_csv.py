"""Delimited text: whole arrays where no field is quoted, the csv module from the first quote on."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ._bytes import text_blocks
from ._columns import IdColumn, WeightColumn

Array = np.ndarray[Any, Any]
Column = IdColumn | WeightColumn

DELIMITERS = (",", "\t", ";", "|", "::")
# stands in for a delimiter of several characters, which neither csv nor the array scan takes
_UNIT = "\x1f"
_NEWLINE = ord("\n")
_BATCH = 1 << 17

_USER_NAMES = "user users userid uid useridx userindex reviewerid visitorid customer customerid memberid"
_ITEM_NAMES = (
    "item items itemid iid itemidx itemindex product productid asin movie movieid businessid bookid trackid "
    "songid artistid newsid videoid"
)
_NAMES = {"user": set(_USER_NAMES.split()), "item": set(_ITEM_NAMES.split())}


def pick_column(role: str, given: str | int | None, names: list[str] | int, path: Path) -> int:
    """Position of the ``role`` column: as given, by its usual name, or first and second without a header.

    Args:
        role: "user", "item" or "weight".
        given: name or position (from 0), or None.
        names: the header, or the number of columns where there is none.
    """
    count = names if isinstance(names, int) else len(names)
    listed = f"{count} columns" if isinstance(names, int) else "the columns " + ", ".join(map(repr, names))
    if given is None:
        if isinstance(names, int):
            if count < 2:
                raise ValueError(f"{path} has {listed}; expected at least two, user and item")
            return ("user", "item").index(role)
        # "user_id:token" is how RecBole's atomic files spell it
        plain = ["".join(c for c in name.split(":")[0].lower() if c.isalnum()) for name in names]
        found = [i for i, name in enumerate(plain) if name in _NAMES[role]]
        if len(found) == 1:
            return found[0]
        what = "none of them" if not found else " and ".join(repr(names[i]) for i in found)
        raise ValueError(
            f"{path} has {listed}; {what} can be taken for the {role} column by name: name it with "
            f"{role}=... "
            "(or pass header=False if the first line is data)"
        )
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise TypeError(f"{role} must be a column name or position, got {type(given).__name__}")
    if isinstance(given, str) and isinstance(names, int):
        if not given.isdecimal():
            raise ValueError(f"{role}={given!r} is a name, but {path} is read without a header; give a position from 0")
        given = int(given)
    if isinstance(given, int):
        if not 0 <= given < count:
            raise ValueError(f"{path} has no column {given}; it has {listed}, counted from 0")
        return given
    assert not isinstance(names, int)
    if names.count(given) == 1:
        return names.index(given)
    if given in names:
        raise ValueError(f"{path} has the column {given!r} {names.count(given)} times; give its position from 0")
    raise ValueError(f"{path} has no column {given!r}; it has {listed}")


def sniff_delimiter(line: str, path: Path) -> str:
    """The delimiter that splits ``line`` into the most fields, quoted parts left aside."""
    bare = "".join(line.split('"')[::2])
    counts = {mark: bare.count(mark) for mark in DELIMITERS}
    best = max(DELIMITERS, key=lambda mark: counts[mark])
    if counts[best] == 0:
        shown = line if len(line) <= 60 else line[:60] + "..."
        raise ValueError(
            f"{path}: the first line, {shown!r}, has no comma, tab, semicolon or pipe; expected at least two "
            "columns: "
            "give delimiter=..., or format='lightgcn' for lines of `user item item ...`"
        )
    return best


def read_columns(
    path: Path,
    user: str | int | None,
    item: str | int | None,
    weight: str | int | None,
    header: bool,
    delimiter: str | None,
    verbose: int = 0,
) -> tuple[IdColumn, IdColumn, WeightColumn | None]:
    """The two or three columns of a delimited file, filled; errors name the file and the line."""
    blocks = text_blocks(path, verbose)
    first, skipped = _first_line(blocks, path)
    line_end = first.index(b"\n")
    top = first[:line_end].decode().rstrip("\r")
    if delimiter is None:
        delimiter = sniff_delimiter(top, path)
    elif not isinstance(delimiter, str) or delimiter in ("", '"', "\n", "\r") or not delimiter.isascii():
        raise ValueError(
            f"delimiter must be one or more ASCII characters other than quote and newline, got {delimiter!r}"
        )
    long_delimiter = delimiter if len(delimiter) > 1 else None
    mark = _UNIT if long_delimiter else delimiter
    if long_delimiter:
        top = top.replace(long_delimiter, _UNIT)
    fields = next(csv.reader([top], delimiter=mark))
    names: list[str] | int = [name.strip() for name in fields] if header else len(fields)
    where = [pick_column("user", user, names, path), pick_column("item", item, names, path)]
    users, items = IdColumn("user"), IdColumn("item")
    weights = None
    targets: list[Column] = [users, items]
    if weight is not None:
        where.append(pick_column("weight", weight, names, path))
        weights = WeightColumn()
        targets.append(weights)
    if len(set(where)) < len(where):
        raise ValueError(f"{path}: user, item and weight must be different columns, got positions {where}")
    if header:
        first, skipped = first[line_end + 1 :], skipped + 1
    table = _Table(path, len(fields), mark, list(zip(where, targets, strict=True)), skipped)
    stream = chain([first], blocks)
    for block in stream:
        if long_delimiter:
            block = _single_mark(block, long_delimiter, path)
        if not table.add_plain(block):
            rest = (_single_mark(b, long_delimiter, path) if long_delimiter else b for b in stream)
            table.add_quoted(chain([block], rest))
    if table.rows == 0:
        raise ValueError(
            f"{path} has {'a header but ' if header else ''}no interactions; expected one (user, item) pair per line"
        )
    return users, items, weights


def _first_line(blocks: Iterator[bytes], path: Path) -> tuple[bytes, int]:
    """The first block from its first line that is not blank, and the number of lines before it."""
    skipped = 0
    for block in blocks:
        start = 0
        while start < len(block):
            end = block.index(b"\n", start)
            if block[start:end].strip(b" \r"):
                return block[start:], skipped
            start, skipped = end + 1, skipped + 1
    raise ValueError(f"{path} holds blank lines only; expected interactions, one (user, item) pair per line")


def _single_mark(block: bytes, delimiter: str, path: Path) -> bytes:
    if _UNIT.encode() in block:
        raise ValueError(
            f"{path} holds the control character 0x1f, which a delimiter of several characters cannot bear"
        )
    return block.replace(delimiter.encode(), _UNIT.encode())


class _Table:
    """Sends the wanted columns of each block to their collectors and keeps count of rows and lines."""

    def __init__(self, path: Path, n_columns: int, mark: str, columns: list[tuple[int, Column]], lines: int) -> None:
        self.path, self.n_columns, self.mark, self.columns = path, n_columns, mark, columns
        self.lines, self.rows = lines, 0

    def add_plain(self, block: bytes) -> bool:
        """Take a block of whole lines; False, and nothing taken, where quotes hide delimiters or newlines."""
        buffer = np.frombuffer(block, np.uint8)
        newlines = np.flatnonzero(buffer == _NEWLINE)
        marks = np.flatnonzero(buffer == ord(self.mark))
        quotes = np.flatnonzero(buffer == ord('"')) if b'"' in block else None
        if quotes is not None and not self._only_around_fields(buffer, quotes, marks, newlines):
            return False
        if newlines.size == 0:
            return True
        begins = np.empty_like(newlines)
        begins[0], begins[1:] = 0, newlines[:-1] + 1
        ends = newlines - (buffer[np.maximum(newlines - 1, begins)] == ord("\r"))
        line_numbers = None
        inner = self.n_columns - 1
        grid = marks.reshape(-1, inner) if inner and marks.size == newlines.size * inner else None
        regular = inner == 0 or (
            grid is not None and bool((grid[:, 0] >= begins).all() and (grid[:, -1] < newlines).all())
        )
        if not regular or (ends <= begins).any():
            keep = self._full_lines(buffer, marks, begins, ends, newlines)
            begins, ends, line_numbers = begins[keep], ends[keep], keep
            grid = marks.reshape(-1, inner) if inner else None
        before = self.lines + 1

        def line_of(row: int) -> int:
            return before + (row if line_numbers is None else int(line_numbers[row]))

        for position, column in self.columns:
            starts = begins if position == 0 else grid[:, position - 1] + 1  # type: ignore[index]
            stops = ends if position == inner else grid[:, position]  # type: ignore[index]
            if quotes is not None:
                quoted = buffer[starts] == ord('"')
                starts, stops = starts + quoted, stops - quoted
            self._add(column, buffer, starts, stops, line_of)
        self.lines += newlines.size
        self.rows += begins.size
        return True

    def _only_around_fields(self, buffer: Array, quotes: Array, marks: Array, newlines: Array) -> bool:
        """Whether every quote opens or closes a whole field that holds no quote, delimiter or newline."""
        if quotes.size % 2:
            return False
        opening, closing = quotes[::2], quotes[1::2]
        ends = np.zeros(256, np.bool_)
        ends[[ord(self.mark), _NEWLINE]] = True
        before = ends[buffer[opening - 1]]
        before[0] |= opening[0] == 0
        ends[ord("\r")] = True
        if not (before.all() and ends[buffer[closing + 1]].all()):
            return False
        return all(
            bool((np.searchsorted(found, opening) == np.searchsorted(found, closing)).all())
            for found in (marks, newlines)
        )

    def _full_lines(self, buffer: Array, marks: Array, begins: Array, ends: Array, newlines: Array) -> Array:
        """Indices of the lines that are not blank; raises at the first that has the wrong number of "
        "fields."""
        found = np.diff(np.searchsorted(marks, newlines), prepend=0)
        # a line without the delimiter is blank, or it is ragged
        blank = ends <= begins
        for line in np.flatnonzero((found == 0) & ~blank):
            blank[line] = not buffer[begins[line] : ends[line]].tobytes().strip()
        wrong = np.flatnonzero((found != self.n_columns - 1) & ~blank)
        if wrong.size:
            self._ragged(self.lines + 1 + int(wrong[0]), int(found[wrong[0]]) + 1)
        return np.flatnonzero(~blank)

    def add_quoted(self, blocks: Iterator[bytes]) -> None:
        """All remaining blocks, through the csv module."""
        lines = (line + "\n" for block in blocks for line in block.decode().split("\n")[:-1])
        reader = csv.reader(lines, delimiter=self.mark, strict=True)
        # columns of strings, not rows: a long list of row lists would keep the garbage collector busy
        texts: list[list[str]] = [[] for _ in self.columns]
        positions = [position for position, _ in self.columns]
        numbers: list[int] = []
        base = self.lines
        try:
            for row in reader:
                if len(row) != self.n_columns:
                    if not row or (len(row) == 1 and not row[0].strip()):
                        continue
                    self._flush(texts, numbers)  # an earlier line may hold an earlier error
                    self._ragged(base + reader.line_num, len(row))
                for text, position in zip(texts, positions, strict=True):
                    text.append(row[position])
                numbers.append(base + reader.line_num)
                if len(numbers) == _BATCH:
                    self._flush(texts, numbers)
        except csv.Error as problem:
            self._flush(texts, numbers)
            raise ValueError(
                f"{self.path}, line {base + reader.line_num}: {problem}; check the quotes of this line"
            ) from None
        self._flush(texts, numbers)
        self.lines = base + reader.line_num

    def _flush(self, texts: list[list[str]], numbers: list[int]) -> None:
        for (_, column), text in zip(self.columns, texts, strict=True):
            joined = "".join(text)
            encoded = joined.encode()
            sizes = map(len, text) if joined.isascii() else (len(one.encode()) for one in text)
            stops = np.cumsum(np.fromiter(sizes, np.int64, len(text)))
            starts = stops - np.diff(stops, prepend=0)
            self._add(column, np.frombuffer(encoded or b" ", np.uint8), starts, stops, numbers.__getitem__)
            text.clear()
        self.rows += len(numbers)
        numbers.clear()

    def _add(self, column: Column, buffer: Array, starts: Array, stops: Array, line_of: Callable[[int], int]) -> None:
        if starts.size == 0:
            return
        try:
            column.add(buffer, starts, stops, line_of)
        except ValueError as problem:
            raise ValueError(f"{self.path}, {problem}") from None

    def _ragged(self, line: int, found: int) -> None:
        plural = "" if found == 1 else "s"
        raise ValueError(
            f"{self.path}, line {line}: {found} field{plural}, expected {self.n_columns} as in the first "
            "line; "
            f"mend the line, or quote fields that hold the delimiter {self.mark!r}"
        )
