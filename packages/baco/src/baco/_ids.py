"""Raw ids (integers, strings, categories) to row numbers and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._columns import distinct_integers

Array = np.ndarray[Any, Any]


def plain_ids(ids: Any, side: str) -> Array:
    """Ids as an array that npz can hold without pickling: integers or unicode.

    Raises:
        ValueError: an id is missing (None, NaN) or of another kind.
    """
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"{side} ids must be 1-D, got shape {array.shape}")
    if array.dtype.kind in "iuU":
        return array
    if array.dtype.kind == "b":
        raise ValueError(f"{side} ids are booleans; did you pass a mask? Give integers or strings")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ValueError(f"{side} ids hold NaN or infinity; drop these interactions first")
        if (array != np.floor(array)).any() or (np.abs(array) >= 2**53).any():
            raise ValueError(f"{side} ids are fractional numbers; give integers or strings")
        return array.astype(np.int64)
    if array.dtype.kind in "OTS":
        listed = array.tolist()
        if all(isinstance(one, (int, np.integer)) and not isinstance(one, bool) for one in listed):
            return np.array(listed, dtype=np.int64)
        missing = [i for i, one in enumerate(listed) if one is None or one != one]
        if missing:
            raise ValueError(f"{side} ids are missing at {len(missing)} entries, the first is {missing[0]}; drop them")
        if all(isinstance(one, (str, bytes)) for one in listed):
            return np.array([one.decode() if isinstance(one, bytes) else one for one in listed], dtype=np.str_)
        kinds = sorted({type(one).__name__ for one in listed})
        raise ValueError(f"{side} ids mix the types {', '.join(kinds)}; give all integers or all strings")
    raise ValueError(f"{side} ids must be integers or strings, got dtype {array.dtype}")


def factorise(ids: Any, side: str, size: int | None, names: Array | None) -> tuple[Array, Array | None]:
    """Row numbers of ``ids`` and the raw id of each row.

    With ``size`` the ids are row numbers already (checked against it) and ``names`` passes through; without it
    the distinct ids, sorted, become the rows.
    """
    if size is None:
        if names is not None:
            raise ValueError(f"{side}_ids names the rows, so n_{side}s and row numbers are needed with it")
        categories = getattr(getattr(ids, "dtype", None), "categories", None)
        if categories is not None:  # a pandas categorical carries its factorisation
            codes = np.asarray(ids.cat.codes if hasattr(ids, "cat") else ids.codes)
            if codes.size and codes.min() < 0:
                raise ValueError(f"{side} ids are missing at {int((codes < 0).sum())} entries; drop them")
            present, rows = np.unique(codes, return_inverse=True)
            return rows.astype(np.int64, copy=False), plain_ids(np.asarray(categories)[present], side)
        plain = plain_ids(ids, side)
        raw, rows = distinct_integers(plain) if plain.dtype.kind in "iu" else np.unique(plain, return_inverse=True)
        return rows.astype(np.int64, copy=False), raw
    if isinstance(size, bool) or int(size) != size or size < 1:
        raise ValueError(f"n_{side}s must be a positive integer, got {size!r}")
    rows = plain_ids(ids, side)
    if rows.dtype.kind == "U":
        raise ValueError(f"n_{side}s={size} says that {side} ids are row numbers, but they are strings; leave it out")
    if rows.size and (int(rows.min()) < 0 or int(rows.max()) >= size):
        bad = int(rows.min()) if int(rows.min()) < 0 else int(rows.max())
        raise ValueError(f"{side} id {bad} is out of range [0, {size}); raise n_{side}s or leave it out")
    return rows, names


def check_ids(ids: Array | None, size: int, side: str) -> Array | None:
    """Raw ids of a side, checked to be one distinct id per row."""
    if ids is None:
        return None
    array = plain_ids(ids, side)
    if array.size != size:
        raise ValueError(f"{side}_ids must name each of the {size} rows, got {array.size}")
    # ids that a reader made are sorted: looking at neighbours is much cheaper than sorting strings
    if not (array[1:] > array[:-1]).all() and np.unique(array).size != size:
        raise ValueError(f"{side}_ids repeat; each row needs an id of its own")
    return array


class IdIndex:
    """Raw id to row number by binary search: no dictionary of Python objects."""

    def __init__(self, ids: Array | None, size: int, side: str) -> None:
        self.side, self.size, self.ids = side, size, ids
        self.order = None if ids is None else np.argsort(ids, kind="stable")

    def rows(self, wanted: Any) -> Array:
        """Row of each id; raises ValueError naming the first unknown one."""
        asked = plain_ids(np.atleast_1d(wanted), self.side)
        rows = self.find(asked)
        unknown = rows < 0
        if unknown.any():
            first = asked[int(np.flatnonzero(unknown)[0])]
            raise ValueError(f"unknown {self.side} id {first!r} ({int(unknown.sum())} of {asked.size} are unknown)")
        return rows

    def find(self, wanted: Any) -> Array:
        """Row of each id, -1 for unknown ones; raises ValueError where ids are of another kind than those known."""
        asked = plain_ids(np.atleast_1d(wanted), self.side)
        if self.ids is None or self.order is None:
            if asked.dtype.kind == "U":
                raise ValueError(f"{self.side} ids are row numbers here, got the string {asked[0]!r}")
            return np.where((asked < 0) | (asked >= self.size), -1, asked.astype(np.int64))
        if (asked.dtype.kind == "U") != (self.ids.dtype.kind == "U"):
            kind = "strings" if self.ids.dtype.kind == "U" else "integers"
            raise ValueError(f"{self.side} ids are {kind}, got {asked[0]!r}")
        place = np.searchsorted(self.ids, asked, sorter=self.order)
        rows = self.order[np.minimum(place, self.size - 1)]
        return np.where(self.ids[rows] != asked, -1, rows)
