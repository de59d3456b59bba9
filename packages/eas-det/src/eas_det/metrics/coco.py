"""COCO's average precision, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["coco_ap"]

_NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")


def coco_ap(
    truth: Sequence[NDArray[Any]],
    found: Sequence[NDArray[Any]],
    num_classes: int,
    *,
    ignore: Sequence[NDArray[Any]] | None = None,
    backend: str = "auto",
) -> dict[str, Any]:
    """Average precision over a set of frames.

    Args:
        truth: [frames] records of BOX_DTYPE. found: [frames] the same, with class_confidence as the score; the best 100
            a frame and class count.
        num_classes: class_id runs from 0.
        ignore: [frames] bool for each true box: neither missed nor found; what overlaps such a one best is no mistake.
        backend: "faster" (faster-coco-eval), "pycocotools", or "auto": the first that is installed.
    Returns:
        AP (mean over IoU 0.5 to 0.95 and classes), AP50, AP75, AP_small, AP_medium, AP_large (by area; left out where
        ``ignore`` is given), per_class: AP of each class. nan where there is no true box.
    Raises:
        ValueError: different numbers of frames, a class_id from num_classes on, or a box that is not finite.
        ImportError: no backend.
    """
    if len(truth) != len(found) or (ignore is not None and len(ignore) != len(truth)):
        raise ValueError(f"{len(truth)} frames of truth, {len(found)} of detections; expected one each")
    counts = [np.array([len(each) for each in side], np.int64) for side in (truth, found)]
    frames = [np.repeat(np.arange(len(each)), each) for each in counts]
    joined = [_joined(side, name, num_classes) for side, name in ((truth, "true"), (found, "found"))]
    flags = np.concatenate([np.empty(0, bool), *(ignore or [])]).astype(bool) if ignore is not None else None
    if flags is not None and len(flags) != len(joined[0]):
        raise ValueError(f"{len(flags)} flags for {len(joined[0])} true boxes; expected one each")
    return evaluate(joined[0], frames[0], joined[1], frames[1], len(truth), num_classes, flags, backend)


def evaluate(
    truth: NDArray[Any],
    truth_frame: NDArray[Any],
    found: NDArray[Any],
    found_frame: NDArray[Any],
    frames: int,
    num_classes: int,
    ignore: NDArray[Any] | None = None,
    backend: str = "auto",
) -> dict[str, Any]:
    """The same for records in a row, with the number of each one's frame."""
    empty: dict[str, Any] = dict.fromkeys(_NAMES if ignore is None else _NAMES[:3], float("nan"))
    empty["per_class"] = [float("nan")] * num_classes
    counted = len(truth) if ignore is None else int((~ignore).sum())
    if not counted:
        return empty
    if not len(found):
        present = np.unique(truth["class_id"] if ignore is None else truth["class_id"][~ignore])
        per_class = [0.0 if k in present else float("nan") for k in range(num_classes)]
        return {**dict.fromkeys(empty, 0.0), "per_class": per_class}
    kind, evaluator = _backend(backend)
    # an ignored box is told by an area outside the range; "iscrowd" would also change what overlap means
    areas = None if ignore is None else np.where(ignore, 1e9, 1.0)
    known = kind({**_about(frames, num_classes), "annotations": _annotations(truth, truth_frame, areas)})
    seen = kind({**_about(frames, num_classes), "annotations": _annotations(found, found_frame, areas is not None)})
    run = evaluator(known, seen, "bbox")
    run.params.imgIds = list(range(1, frames + 1))
    if ignore is not None:
        run.params.areaRng, run.params.areaRngLbl = [[0, 2]], ["all"]
    run.evaluate()
    run.accumulate()
    precision = np.asarray(run.eval["precision"])  # [IoU, recall, class, area, most]
    out: dict[str, Any] = {}
    picks: list[tuple[Any, int]] = [
        (slice(None), 0),
        (0, 0),
        (5, 0),
        (slice(None), 1),
        (slice(None), 2),
        (slice(None), 3),
    ]
    for name, (iou, area) in zip(_NAMES[: len(picks) if ignore is None else 3], picks, strict=False):
        out[name] = _mean(precision[iou, ..., area, -1])
    out["per_class"] = [_mean(precision[:, :, k, 0, -1]) for k in range(num_classes)]
    return out


def _mean(values: NDArray[Any]) -> float:
    there = values[values > -1]
    return float(there.mean()) if there.size else float("nan")


def _joined(side: Sequence[NDArray[Any]], name: str, num_classes: int) -> NDArray[Any]:
    from eas_det.boxes import make_boxes

    boxes = np.concatenate([make_boxes(0), *side])
    if (boxes["class_id"] >= num_classes).any():
        worst = int(boxes["class_id"].max())
        raise ValueError(
            f"a {name} box has class_id {worst}; expected 0 to {num_classes - 1}: drop it, or name its class"
        )
    if not all(np.isfinite(boxes[each]).all() for each in ("x", "y", "w", "h", "class_confidence")):
        raise ValueError(f"a {name} box is not finite; clean_boxes drops such")
    return boxes


def _about(frames: int, num_classes: int) -> dict[str, Any]:
    return {
        "info": {},
        "images": [{"id": number + 1} for number in range(frames)],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(num_classes)],
    }


def _annotations(boxes: NDArray[Any], frame: NDArray[Any], areas: NDArray[Any] | bool | None) -> list[dict[str, Any]]:
    sides = np.stack([boxes[name].astype(np.float64) for name in ("x", "y", "w", "h")], 1)
    if areas is None or areas is False:
        size = sides[:, 2] * sides[:, 3]
    else:
        size = np.ones(len(boxes)) if areas is True else areas
    columns = zip(
        sides.tolist(),
        size.tolist(),
        (frame + 1).tolist(),
        (boxes["class_id"].astype(np.int64) + 1).tolist(),
        boxes["class_confidence"].astype(np.float64).tolist(),
        strict=True,
    )
    # numbers from 1: 0 means "not matched" inside the evaluation
    return [
        {"id": place, "image_id": image, "category_id": kind, "bbox": box, "area": area, "iscrowd": 0, "score": score}
        for place, (box, area, image, kind, score) in enumerate(columns, 1)
    ]


def _backend(name: str) -> tuple[Any, Any]:
    """(a maker of COCO objects out of dictionaries, COCOeval)."""
    if name not in ("auto", "faster", "pycocotools"):
        raise ValueError(f"backend={name!r} given; expected 'auto', 'faster' or 'pycocotools'")
    if name in ("auto", "faster"):
        try:
            faster = import_module("faster_coco_eval")
            return _maker(faster.COCO), lambda *sides: faster.COCOeval_faster(*sides, print_function=_quiet)
        except ImportError:
            if name == "faster":
                raise ImportError("this needs faster-coco-eval: pip install faster-coco-eval") from None
    try:
        plain, evaluation = import_module("pycocotools.coco"), import_module("pycocotools.cocoeval")
    except ImportError:
        raise ImportError("average precision needs faster-coco-eval: pip install faster-coco-eval") from None
    return _maker(plain.COCO), _silent(evaluation.COCOeval)


def _quiet(*words: Any) -> None:
    """The evaluation says nothing."""


def _maker(kind: Any) -> Any:
    def make(described: dict[str, Any]) -> Any:
        import contextlib
        import io

        made = kind()
        made.dataset = described
        with contextlib.redirect_stdout(io.StringIO()):
            made.createIndex()
        return made

    return make


def _silent(kind: Any) -> Any:
    import contextlib
    import io

    class Silent(kind):  # type: ignore[misc]
        def evaluate(self) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                super().evaluate()

        def accumulate(self, p: Any = None) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                super().accumulate(p)

    return Silent
