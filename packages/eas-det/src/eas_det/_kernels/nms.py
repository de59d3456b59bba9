"""Greedy suppression on the CPU: a box is compared with kept ones alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def greedy(boxes: Any, labels: Any, threshold: float) -> Any:
    """[N] bool, which boxes (by falling score) stay."""
    n = len(boxes)
    kept = np.zeros(n, np.bool_)
    areas = np.empty(n, np.float32)
    for i in range(n):
        areas[i] = max(boxes[i, 2] - boxes[i, 0], 0) * max(boxes[i, 3] - boxes[i, 1], 0)
    stay = np.empty(n, np.int64)
    count = 0
    for i in range(n):
        free = True
        for k in range(count):
            j = stay[k]
            if labels[i] != labels[j]:
                continue
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if width <= 0 or height <= 0:
                continue
            shared = np.float32(width * height)
            if shared > threshold * max(areas[i] + areas[j] - shared, np.float32(1e-38)):
                free = False
                break
        if free:
            kept[i] = True
            stay[count] = i
            count += 1
    return kept
