"""Counting in bytes: a grid of bytes stays in the cache; a byte that runs over hands 256 on to the result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: events whose places are worked out at once, a loop that vectorises, before they are counted, one that cannot
BLOCK = 2048


@njit(cache=True, nogil=True)
def tally(places: Any, first: int, last: int, bytes_: Any, flat: Any) -> None:
    """One more at places[first:last]."""
    for i in range(first, last):
        j = places[i]
        count = np.uint8(bytes_[j] + 1)
        bytes_[j] = count
        if count == 0:
            flat[j] += 256


@njit(cache=True, nogil=True)
def settle(bytes_: Any, flat: Any) -> None:
    """Hand what the bytes hold on to the result; they are zero after."""
    for j in range(flat.size):
        flat[j] += bytes_[j]
    bytes_[:] = 0
