"""Boxes as Prophesee's data sets keep them: read by field name, cleaned, filtered."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._files import atomic_write
from .errors import DecodeError
from .events import check_size

__all__ = ["BOX_DTYPE", "PRESETS", "clean_boxes", "filter_boxes", "load_boxes", "make_boxes", "save_boxes"]

#: t in microseconds, (x, y) the top left corner, all lengths in pixels
BOX_DTYPE = np.dtype(
    [
        ("t", "<i8"),
        ("x", "<f4"),
        ("y", "<f4"),
        ("w", "<f4"),
        ("h", "<f4"),
        ("class_id", "<u4"),
        ("track_id", "<u4"),
        ("class_confidence", "<f4"),
    ]
)
_ALIASES = {"t": ("t", "ts", "timestamp"), "class_confidence": ("class_confidence", "confidence")}
_OPTIONAL = {"track_id": 0, "class_confidence": 1.0}

#: (shortest diagonal, shortest side) in pixels of the boxes that the field evaluates
PRESETS: dict[str, tuple[float, float]] = {
    "gen1": (30, 10),
    "1mpx": (60, 20),
    "1mpx_half": (30, 10),
    "gen1_half": (15, 5),
}
_SKIP_US = 500_000


def make_boxes(n: int = 0, **fields: Any) -> NDArray[Any]:
    """[n] records of BOX_DTYPE, zero (confidence one) where no field is given."""
    out = np.zeros(n, BOX_DTYPE)
    out["class_confidence"] = 1
    for name, value in fields.items():
        out[name] = value
    return out


def load_boxes(path: str | PathLike[str]) -> NDArray[Any]:
    """Boxes of the ``*_bbox.npy`` file at ``path``, converted by field name to BOX_DTYPE.

    Older files call the time "ts" and the confidence "confidence" and keep the fields in another order and width: the
    names alone count.

    Raises:
        DecodeError: no npy file, no records, or a field is missing.
    """
    path = Path(path)
    try:
        # mapped first: a header that promises more than the file holds is refused before anything is allocated
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged header makes numpy raise almost anything
        raise DecodeError(path, 0, f"not a readable .npy of boxes ({error})") from None
    if not isinstance(array, np.ndarray) or array.dtype.names is None or array.ndim != 1:
        kind = f"shape {array.shape}, dtype {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise DecodeError(path, 0, f"holds {kind}; expected records with fields t, x, y, w, h, class_id")
    return _by_name(path, array)


def _by_name(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    names = array.dtype.names or ()
    out = make_boxes(len(array))
    for name in BOX_DTYPE.names or ():
        source = next((each for each in _ALIASES.get(name, (name,)) if each in names), None)
        if source is None:
            if name in _OPTIONAL:
                out[name] = _OPTIONAL[name]
                continue
            raise DecodeError(path, 0, f"no field {name!r} among {', '.join(names)}")
        if array.dtype[source].kind not in "iufb" or array.dtype[source].shape:
            raise DecodeError(path, 0, f"field {source!r} has type {array.dtype[source]}; expected numbers")
        with np.errstate(invalid="ignore", over="ignore"):
            out[name] = array[source]
    return out


def save_boxes(path: str | PathLike[str], boxes: NDArray[Any]) -> None:
    """Write boxes, records of BOX_DTYPE, to a .npy at ``path``; the file appears whole or not at all."""
    records = _records(boxes)
    with atomic_write(Path(path), "wb") as file:
        np.save(file, records, allow_pickle=False)


def clean_boxes(
    boxes: NDArray[Any],
    sensor_size: tuple[int, int],
    *,
    min_side: float = 5.0,
    max_width_fraction: float | None = 0.9,
) -> NDArray[Any]:
    """Label hygiene: crop to the frame, drop what is left too small, too wide or not finite.

    Args:
        boxes: records with the fields of BOX_DTYPE.
        sensor_size: (width, height) of the frame.
        min_side: boxes with a shorter side after cropping are dropped, pixels.
        max_width_fraction: boxes wider than this share of the frame are dropped (Gen1 has faulty ones); None: none.
    Returns:
        New records; the given ones stay as they are.
    """
    size = check_size(sensor_size)
    if size is None:
        raise ValueError("sensor_size is None; cleaning needs the (width, height) of the frame")
    out = _records(boxes).copy()
    sides = [out[name].astype(np.float64) for name in ("x", "y", "w", "h")]
    finite = np.all([np.isfinite(each) for each in sides], axis=0) & (sides[2] >= 0) & (sides[3] >= 0)
    out, sides = out[finite], [each[finite] for each in sides]
    left, top = sides[0].clip(0, size[0]), sides[1].clip(0, size[1])
    right, bottom = (sides[0] + sides[2]).clip(0, size[0]), (sides[1] + sides[3]).clip(0, size[1])
    out["x"], out["y"], out["w"], out["h"] = left, top, right - left, bottom - top
    keep = (out["w"] >= min_side) & (out["h"] >= min_side)
    if max_width_fraction is not None:
        keep &= out["w"] <= max_width_fraction * size[0]
    cleaned: NDArray[Any] = out[keep]
    return cleaned


def filter_boxes(
    boxes: NDArray[Any],
    preset: Literal["gen1", "gen1_half", "1mpx", "1mpx_half"] | str = "gen1",
    *,
    skip_us: int = _SKIP_US,
) -> NDArray[Any]:
    """The boxes that the evaluation of Gen1 and 1 Mpx counts, by the thresholds that the field uses (RVT's).

    Kept: t > skip_us, w² + h² >= d², w >= s and h >= s, with (d, s) = (30, 10) for Gen1, (60, 20) for 1 Mpx, and half
    of that at half resolution. To be applied to labels and detections alike. The evaluator of Prophesee's toolbox has
    the shortest sides of the two cameras exchanged: PropheseeEvaluator(rule="toolbox").

    Raises:
        ValueError: an unknown preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} given; expected one of {', '.join(PRESETS)}")
    diagonal, side = PRESETS[preset]
    records = _records(boxes)
    w, h = records["w"].astype(np.float64), records["h"].astype(np.float64)
    return records[(records["t"] > skip_us) & (w * w + h * h >= diagonal**2) & (w >= side) & (h >= side)]


def _records(boxes: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(boxes)
    missing = [name for name in BOX_DTYPE.names or () if name not in (array.dtype.names or ())]
    if missing:
        raise ValueError(f"the boxes lack the field {missing[0]!r}; expected records of BOX_DTYPE, see load_boxes")
    return array if array.dtype == BOX_DTYPE else _converted(array)


def _converted(array: NDArray[Any]) -> NDArray[Any]:
    out = make_boxes(len(array))
    for name in BOX_DTYPE.names or ():
        out[name] = array[name]
    return out
