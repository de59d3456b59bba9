"""Input checks shared by the modules: what came, what was expected, what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def positive(name: str, value: Any, *, unit: str = "") -> float:
    """A finite number above zero."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}={value!r} given; it must be a number{unit}") from None
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name}={value} given; it must be finite and > 0{unit}")
    return number


def spike_times(times: Any, label: str, duration: float | None = None) -> Floats:
    """Sorted, finite, non-negative event times as a float64 vector.

    Raises:
        ValueError: naming the train and the first offending time.
    """
    found = np.asarray(times, dtype=np.float64)
    if found.ndim > 1 and found.size == max(found.shape, default=0):
        found = found.reshape(-1)
    if found.ndim != 1:
        if found.size:
            raise ValueError(f"{label}: spike times have shape {found.shape}; expected a vector of times")
        found = found.reshape(-1)
    if found.size == 0:
        return np.zeros(0)
    if not np.isfinite(found).all():
        raise ValueError(f"{label}: spike time {int(np.argmin(np.isfinite(found)))} is not finite; remove it")
    if found[0] < 0 or found.min() < 0:
        raise ValueError(f"{label}: spike time {found.min():g} is negative; times count from the stimulus onset")
    steps = np.diff(found)
    if (steps < 0).any():
        where = int(np.argmax(steps < 0)) + 1
        raise ValueError(
            f"{label}: spike times are not sorted (time {where}, {found[where]:g}, comes after {found[where - 1]:g}); "
            "sort them first"
        )
    if duration is not None and found[-1] > duration:
        raise ValueError(
            f"{label}: spike time {found[-1]:g} ms lies outside the recording of {duration:g} ms; "
            "give the right duration_ms, or times in milliseconds"
        )
    return found


def binary(spikes: Any, label: str = "spikes") -> npt.NDArray[np.uint8]:
    """An array of zeros and ones as uint8.

    Raises:
        ValueError: on counts, fractions or nan, with the largest value found.
    """
    found = np.asarray(spikes)
    if found.dtype == object or not (np.issubdtype(found.dtype, np.number) or found.dtype == np.bool_):
        raise TypeError(f"{label} has dtype {found.dtype}; expected numbers 0 and 1")
    if found.size and not ((found == 0) | (found == 1)).all():
        bad = found[~((found == 0) | (found == 1))]
        raise ValueError(
            f"{label} holds {bad.flat[0]} and {bad.size - 1} other values that are not 0 or 1; spikes are meant, not "
            "counts: use a shorter bin, or pass binarize=True to clip counts"
        )
    return found.astype(np.uint8)


def finite_stimulus(stimulus: Any, label: str = "stimulus") -> Array:
    """A numeric stimulus without nan or inf."""
    found = np.asarray(stimulus)
    if found.dtype == object or not (np.issubdtype(found.dtype, np.number) or found.dtype == np.bool_):
        raise TypeError(f"{label} has dtype {found.dtype}; expected numbers")
    with np.errstate(all="ignore"):
        whole = bool(np.isfinite(found.sum()))  # quick; false also where finite numbers add up to inf
    if not whole:
        flat = found.reshape(len(found), -1) if found.ndim else found.reshape(1, 1)
        bad = ~np.isfinite(flat).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{label} of shape {found.shape} has nan or inf in {int(bad.sum())} frame(s), the first is "
                f"{int(np.argmax(bad))}; fill or cut them"
            )
    return found


def choice(name: str, value: Any, options: Sequence[str]) -> str:
    """One of the options."""
    if value not in options:
        raise ValueError(f"{name}={value!r} is not known; choose {', '.join(map(repr, options))}")
    return str(value)
