"""Decoders, one pass over the bytes: every read is checked against the size, every pixel against the sensor.

Each returns how far it came and why it stopped; the words for a person are in ``eas_det.io``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

OK, TIME, PIXEL, TYPE, FULL, POLARITY = 0, 1, 2, 3, 4, 5


@njit(cache=True, nogil=True)
def _evt2_run(stream: Any, width: int, height: int, high: int, last: Any, t: Any, x: Any, y: Any, p: Any) -> Any:
    """Events up to any other word or a defect; there is room for all. -> (events, last time)"""
    for i in range(stream.size):
        word = np.int64(stream[i])
        now = high | ((word >> 22) & 63)
        column = (word >> 11) & 0x7FF
        row = word & 0x7FF
        # a negative number shows in the sign bit of the union; types of words above 1 are no events
        if ((1 - (word >> 28)) | (now - last) | (width - 1 - column) | (height - 1 - row)) < 0:
            return i, last
        t[i] = now
        x[i] = column
        y[i] = row
        p[i] = word >> 28
        last = now
    return stream.size, last


@njit(cache=True, nogil=True)
def evt2(b: Any, start: int, width: int, height: int, state: Any, keep: bool, t: Any, x: Any, y: Any, p: Any) -> Any:
    """EVT2 words of 4 bytes from word ``start``. state: [epoch + high time (-1: not seen), last time].

    Returns (status, events written, next word).
    """
    words = b.size // 4
    stream = b[: 4 * words].view(np.uint32)
    high, last = state[0], state[1]
    room = t.size
    n = 0
    i = start
    status = OK
    while i < words:
        if high >= 0:
            done, last = _evt2_run(stream[i : i + room - n], width, height, high, last, t[n:], x[n:], y[n:], p[n:])
            n += done
            i += done
            if i == words:
                break
        word = np.int64(stream[i])
        kind = word >> 28
        if kind < 2:
            if high >= 0:
                if n == room:
                    status = FULL
                    break
                now = high | ((word >> 22) & 63)
                column = (word >> 11) & 0x7FF
                row = word & 0x7FF
                if now < last and not keep:
                    status = TIME
                    break
                if column >= width or row >= height:
                    status = PIXEL
                    break
                t[n] = now
                x[n] = column
                y[n] = row
                p[n] = kind
                last = now
                n += 1
        elif kind == 8:
            now = (word & 0xFFFFFFF) << 6
            span = np.int64(1) << 34
            if high >= 0:
                now += high // span * span
                if now < high - span // 2:
                    now += span
            high = now
        elif kind != 10 and kind != 14 and kind != 15:
            status = TYPE
            break
        i += 1
    state[0], state[1] = high, last
    return status, n, i


@njit(cache=True, nogil=True)
def _evt3_run(
    stream: Any, width: int, height: int, high: int, low: Any, row: Any, n: int, t: Any, x: Any, y: Any, p: Any
) -> Any:
    """Rows, columns and low times, up to any other word or a pixel outside. -> (words, events, low, row)

    They come in any order, so a branch on their type is guessed wrong every other time: masks of all ones or none
    choose instead. Events go to unsigned places, which are not looked at for being negative. Time cannot decrease here.
    There is room for an event of each word.
    """
    place = np.uint64(n)
    done = stream.size
    for i in range(stream.size):
        word = np.int64(stream[i])
        kind = word >> 12
        value = word & 0xFFF
        column = word & 0x7FF
        fires, is_row, is_low = -np.int64(kind == 2), -np.int64(kind == 0), -np.int64(kind == 6)
        wrong = ~(fires | is_row | is_low) | (is_low & (value - low))
        wrong |= fires & ((width - 1 - column) | (height - 1 - row))
        if wrong < 0:
            done = i
            break
        t[place] = high | low
        x[place] = column
        y[place] = row
        p[place] = value >> 11
        low ^= (low ^ value) & is_low
        row ^= (row ^ column) & is_row
        place += np.uint64(kind == 2)
    return done, np.int64(place), low, row


@njit(cache=True, nogil=True)
def evt3(b: Any, start: int, width: int, height: int, state: Any, keep: bool, t: Any, x: Any, y: Any, p: Any) -> Any:
    """EVT3 words of 2 bytes. state: [epoch + high time (-1: not seen), low time, row (-1), base column (-1),
    polarity, last time]. A vector is written whole or not at all. Returns as evt2."""
    words = b.size // 2
    stream = b[: 2 * words].view(np.uint16)
    high, low, row, base, polarity, last = state[0], state[1], state[2], state[3], state[4], state[5]
    room = t.size
    n = 0
    i = start
    status = OK
    span = np.int64(1) << 24
    while i < words:
        if high >= 0 and row >= 0 and ((high | low) >= last or keep):
            before = n
            done, n, low, row = _evt3_run(stream[i : i + room - n], width, height, high, low, row, n, t, x, y, p)
            i += done
            if n > before:
                last = t[n - 1]
        if i == words:
            break
        word = np.int64(stream[i])
        kind = word >> 12
        if kind == 4 or kind == 5:
            length = 12 if kind == 4 else 8
            if base >= 0:
                mask = word & (0xFFF if kind == 4 else 0xFF)
                if mask != 0 and high >= 0 and row >= 0:
                    if n + length > room:
                        status = FULL
                        break
                    now = high | low
                    if now < last and not keep:
                        status = TIME
                        break
                    if row >= height or (base + length > width and (mask >> max(width - base, 0)) != 0):
                        status = PIXEL
                        break
                    column = base
                    while mask != 0:
                        if mask & 1:
                            t[n] = now
                            x[n] = column
                            y[n] = row
                            p[n] = polarity
                            n += 1
                        mask >>= 1
                        column += 1
                    last = now
                base += length
        elif kind == 2:
            if high >= 0 and row >= 0:
                if n == room:
                    status = FULL
                    break
                now = high | low
                column = word & 0x7FF
                if now < last and not keep:
                    status = TIME
                    break
                if column >= width or row >= height:
                    status = PIXEL
                    break
                t[n] = now
                x[n] = column
                y[n] = row
                p[n] = (word >> 11) & 1
                last = now
                n += 1
        elif kind == 0:
            row = word & 0x7FF
        elif kind == 3:
            base = word & 0x7FF
            polarity = (word >> 11) & 1
        elif kind == 6:
            now = word & 0xFFF
            # some writers leave out the high word when the low one starts over, or put it after
            if now < low and high >= 0:
                high += 4096
            low = now
        elif kind == 8:
            now = (word & 0xFFF) << 12
            if high >= 0:
                now += high // span * span
                if now < high - span // 2:
                    now += span
            # the low part of the old time does not belong to the new one; its own word follows
            if now != high:
                low = 0
            high = now
        elif kind != 7 and kind != 10 and kind != 14 and kind != 15:
            status = TYPE
            break
        i += 1
    state[0], state[1], state[2], state[3], state[4], state[5] = high, low, row, base, polarity, last
    return status, n, i


@njit(cache=True, nogil=True)
def es(b: Any, start: int, width: int, height: int, state: Any, keep: bool, t: Any, x: Any, y: Any, p: Any) -> Any:
    """Event Stream, DVS: a byte (7 bits of time difference, polarity), then x and y of 2 bytes; 0xFF adds 127 us.

    state: [time]. Returns (status, events, next byte); a record cut off at the end stays unread.
    """
    now = state[0]
    room = t.size
    n = 0
    i = start
    status = OK
    while i < b.size:
        first = np.int64(b[i])
        if first >= 0xFE:  # 0xFF: 127 us without an event; 0xFE: a reset of the stream, no event either
            now += 127 * (first & 1)
            i += 1
            continue
        if i + 5 > b.size:
            break
        if n == room:
            status = FULL
            break
        column = np.int64(b[i + 1]) | np.int64(b[i + 2]) << 8
        row = np.int64(b[i + 3]) | np.int64(b[i + 4]) << 8
        if column >= width or row >= height:
            status = PIXEL
            break
        now += first >> 1
        t[n] = now
        x[n] = column
        y[n] = row
        p[n] = first & 1
        n += 1
        i += 5
    state[0] = now
    return status, n, i


@njit(cache=True, nogil=True)
def ncaltech(b: Any, keep: bool, t: Any, x: Any, y: Any, p: Any) -> Any:
    """Rows of 5 bytes; y = 240 is no event: later times move on by 2^13 us. Returns (status, events, row)."""
    rows = min(b.size // 5, t.size)
    shift = np.int64(0)
    last = np.int64(-1)
    n = 0
    for i in range(rows):
        j = 5 * i
        row = b[j + 1]
        if row == 240:
            shift += 1 << 13
            continue
        if row > 240:
            return PIXEL, n, i
        now = shift + (np.int64(b[j + 2] & 127) << 16 | np.int64(b[j + 3]) << 8 | np.int64(b[j + 4]))
        if now < last and not keep:
            return TIME, n, i
        t[n] = now
        x[n] = b[j]
        y[n] = row
        p[n] = b[j + 2] >> 7
        last = now
        n += 1
    return OK, n, rows
