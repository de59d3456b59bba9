"""Columns of text fields as numbers and ids, a block of lines at a time.

A field is a slice ``buffer[start:end]``; a block hands over the starts and ends of one column. Everything here works on
whole arrays: a row costs tens of nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LineOf = Callable[[int], int]

# 10^18 - 1 is the largest all-digits number that int64 holds whatever the digits
_DIGITS = 18
_POWERS = np.array([float(f"1e{places}") for places in range(_DIGITS)])
# wider fields are told apart one by one: a (rows × width) matrix would waste memory on a few long ones
_WIDE = 64


def parse_integers(buffer: Array, starts: Array, ends: Array) -> Array | None:
    """Fields as int64, or None unless every one is written the way ``str(int)`` writes it.

    So "007", "+7", "7.0", " 7" and "-0" are not integers here: as such they could not be written back.
    """
    if starts.size == 0:
        return np.empty(0, np.int64)
    lengths = ends - starts
    longest = int(lengths.max())
    if longest > _DIGITS + 1 or int(lengths.min()) < 1:
        return None
    first = buffer[starts]
    negative = first == ord("-")
    some_negative = bool(negative.any())
    if some_negative:
        lengths = lengths - negative
        if int(lengths.min()) < 1:
            return None
        first = buffer[starts + negative]
    longest, shortest = int(lengths.max()), int(lengths.min())
    if longest > _DIGITS or (first == ord("0"))[(lengths > 1) | negative].any():
        return None
    values = np.zeros(starts.size, np.int64)
    last = ends - 1
    for place in range(longest):
        if place < shortest:
            digit = buffer[last - place] - np.uint8(ord("0"))
            if (digit > 9).any():
                return None
            values += digit * np.int64(10**place)
        else:
            rows = np.flatnonzero(lengths > place)
            digit = buffer[last[rows] - place] - np.uint8(ord("0"))
            if (digit > 9).any():
                return None
            values[rows] += digit * np.int64(10**place)
    if some_negative:
        values[negative] *= -1
    return values


def field_bytes(buffer: Array, starts: Array, ends: Array) -> Array:
    """Fields as one array of bytes ("S" dtype, zero-padded to a multiple of 8)."""
    lengths = ends - starts
    longest, shortest = int(lengths.max()), int(lengths.min())
    if longest > _WIDE:
        raw = buffer.tobytes()
        return np.array([raw[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)])
    width = max(8, -(-longest // 8) * 8)
    matrix = np.zeros((starts.size, width), np.uint8)
    for place in range(longest):
        if place < shortest:
            matrix[:, place] = buffer[starts + place]
        else:
            rows = np.flatnonzero(lengths > place)
            matrix[rows, place] = buffer[starts[rows] + place]
    return matrix.view(f"S{width}").ravel()


def distinct_bytes(fields: Array) -> tuple[Array, Array]:
    """Distinct entries of an "S" array, in no particular order, and the index of each field's entry.

    Sorts 64-bit keys instead of strings. The keys of fields beyond 8 bytes are hashes; a collision is noticed
    and sends the block down the slow way.
    """
    if fields.size == 0:
        return fields, np.empty(0, np.int64)
    width = fields.dtype.itemsize
    if width > _WIDE:
        return np.unique(fields, return_inverse=True)
    if width % 8:
        width = -(-width // 8) * 8
        fields = fields.astype(f"S{width}")
    words = np.ascontiguousarray(fields).view(np.uint64).reshape(fields.size, width // 8)
    keys = words[:, 0].copy()
    for word in words.T[1:]:
        keys ^= keys >> np.uint64(29)
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys += word
    _, codes = np.unique(keys, return_inverse=True)
    representative = np.empty(int(codes.max()) + 1, np.int64)
    representative[codes] = np.arange(codes.size)
    if width > 8 and (words != words[representative[codes]]).any():
        return np.unique(fields, return_inverse=True)
    return fields[representative], codes


def distinct_integers(values: Array, dtype: Any = np.int64) -> tuple[Array, Array]:
    """Sorted distinct integers and the index of each value; linear where the values lie close together."""
    if values.size == 0:
        return values, np.empty(0, dtype)
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * values.size + (1 << 20):
        raw, rows = np.unique(values, return_inverse=True)
        return raw, rows.astype(dtype, copy=False)
    # narrow signed types would not hold the differences
    shifted = values if values.dtype.kind == "u" else values.astype(np.int64, copy=False)
    if low:
        shifted = shifted - values.min()
    present = np.zeros(high - low + 1, np.bool_)
    present[shifted] = True
    raw = np.flatnonzero(present).astype(values.dtype) + values.min()
    return raw, (np.cumsum(present, dtype=dtype) - dtype(1))[shifted]


class IdColumn:
    """One side's ids over all blocks: int64 while every field is a plainly written integer, else strings."""

    def __init__(self, side: str) -> None:
        self.side = side
        self.integers: list[Array] = []
        self.codes: list[Array] = []
        self.names: list[Array] | None = None

    def add(self, buffer: Array, starts: Array, ends: Array, line_of: LineOf) -> None:
        empty = ends <= starts
        if empty.any():
            line = line_of(int(np.argmax(empty)))
            raise ValueError(f"line {line}: the {self.side} is empty; every interaction needs one, drop the line")
        if self.names is None:
            values = parse_integers(buffer, starts, ends)
            if values is not None:
                self.integers.append(values)
                return
            self.names = []
            for earlier in self.integers:
                raw, codes = distinct_integers(earlier)
                self._append(raw.astype("S20"), codes)
            self.integers.clear()
        self._append(*distinct_bytes(field_bytes(buffer, starts, ends)))

    def _append(self, names: Array, codes: Array) -> None:
        assert self.names is not None
        self.names.append(names)
        self.codes.append(codes.astype(np.int32, copy=False))

    def finish(self) -> tuple[Array, Array]:
        """Row of each interaction, int64, and the sorted raw ids (int64 or unicode)."""
        if self.names is None:
            values = np.concatenate(self.integers) if self.integers else np.empty(0, np.int64)
            self.integers.clear()
            raw, rows = distinct_integers(values)
            return rows, raw
        every, place = distinct_bytes(np.concatenate(self.names))
        # the order of UTF-8 bytes is the order of code points, hence of the decoded strings
        order = np.argsort(every)
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        rank = rank[place]
        rows = np.empty(sum(part.size for part in self.codes), np.int64)
        done = offset = 0
        for names, codes in zip(self.names, self.codes, strict=True):
            rows[done : done + codes.size] = rank[offset + codes]
            done += codes.size
            offset += names.size
        return rows, np.char.decode(every[order], "utf-8")


class WeightColumn:
    """Interaction weights over all blocks, checked where the line number is still known."""

    def __init__(self) -> None:
        self.parts: list[Array] = []

    def add(self, buffer: Array, starts: Array, ends: Array, line_of: LineOf) -> None:
        whole = parse_integers(buffer, starts, ends)
        values = whole.astype(np.float64) if whole is not None else _parse_decimals(buffer, starts, ends)
        if values is None:
            values = _parse_floats(buffer, starts, ends, line_of)
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"line {line_of(row)}: the weight is {values[row]:g}; weights must be finite and >= 0, "
                "drop or shift such interactions"
            )
        self.parts.append(values)

    def finish(self) -> Array:
        return np.concatenate(self.parts) if self.parts else np.empty(0)


def _parse_decimals(buffer: Array, starts: Array, ends: Array) -> Array | None:
    """Fields of digits with at most one point, or None where there are others.

    Up to 15 digits the mantissa and the power of ten are exact in float64, so their quotient is the nearest one.
    """
    lengths = ends - starts
    longest, shortest = int(lengths.max()), int(lengths.min())
    if longest > 15 or shortest < 1:
        return None
    mantissa = np.zeros(starts.size, np.int64)
    decimals = np.full(starts.size, -1)  # digits behind the point; -1 before it
    for place in range(longest):
        rows: Any = slice(None) if place < shortest else np.flatnonzero(lengths > place)
        digit = buffer[starts[rows] + place] - np.uint8(ord("0"))
        point = digit == (ord(".") - ord("0")) % 256
        behind = decimals[rows]
        if ((digit > 9) & ~point).any() or (point & (behind >= 0)).any():
            return None
        mantissa[rows] = np.where(point, mantissa[rows], mantissa[rows] * 10 + digit)
        decimals[rows] = behind + (point | (behind >= 0))
    if (lengths == (decimals >= 0)).any():  # a point and no digit
        return None
    result: Array = mantissa / _POWERS[np.maximum(decimals, 0)]
    return result


def _parse_floats(buffer: Array, starts: Array, ends: Array, line_of: LineOf) -> Array:
    # 64 characters hold any number written on purpose
    if int((ends - starts).max()) <= _WIDE:
        fields = field_bytes(buffer, starts, ends)
        if not (fields.view(np.uint8) == ord("_")).any():  # float() would read 1_0 as 10
            try:
                return fields.astype(np.float64)
            except ValueError:
                pass
    values = np.empty(starts.size)
    for row, (a, b) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        text = buffer[a:b].tobytes().decode("utf-8")
        try:
            if "_" in text or not text.isascii() or b - a > _WIDE:
                raise ValueError
            values[row] = float(text)
        except ValueError:
            shown = text if len(text) <= 40 else text[:40] + "..."
            raise ValueError(
                f"line {line_of(row)}: the weight is {shown!r}; expected a number >= 0, with a decimal point if any"
            ) from None
    return values
