"""Prophesee's protocol: filter, gather detections around each labelled moment, then COCO's average precision."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eas_det.boxes import PRESETS, filter_boxes, make_boxes

from .coco import evaluate

__all__ = ["PropheseeEvaluator"]

#: (skip_us, shortest diagonal, shortest side) of the evaluator in Prophesee's toolbox: the cameras' sides are exchanged
_TOOLBOX = {"gen1": (100_000, 30.0, 20.0), "1mpx": (100_000, 60.0, 10.0)}


class PropheseeEvaluator:
    """Average precision as the field reports it for Gen1 and 1 Mpx.

    Labels and detections are filtered alike: t > 500 ms, diagonal and sides not below the preset's. For each distinct
    time of the remaining labels, the detections within ``tol_us`` belong to it; other detections are not looked at, so
    moments without any label are never punished. Then COCO's AP.

    Args:
        preset: "gen1", "gen1_half", "1mpx", "1mpx_half"; None: nothing is filtered.
        tol_us: microseconds.
        assign: "window": a detection counts for every labelled time within tol_us, as published; "nearest": for the
            nearest one alone.
        num_classes: by default 2 for Gen1 and 3 for 1 Mpx.
        rule: "rvt", the thresholds that the field uses; "toolbox", those of Prophesee's own evaluator (skips 100 ms,
            shortest side 20 for Gen1 and 10 for 1 Mpx).
        backend: see coco_ap.
    Raises:
        ValueError: an unknown name.

    With labels no more than 2 tol_us apart, "window" shares detections between frames: even the labels themselves as
    detections then score far below 1. ``compute`` warns.

    >>> from eas_det import make_boxes
    >>> truth = make_boxes(2, t=[600_000, 800_000], x=20, y=80, w=50, h=40)
    >>> evaluator = PropheseeEvaluator("gen1")
    >>> evaluator.add(truth, truth)
    >>> evaluator.compute()["AP"]
    1.0
    """

    def __init__(
        self,
        preset: str | None = "gen1",
        tol_us: int = 50_000,
        assign: Literal["window", "nearest"] = "window",
        *,
        num_classes: int | None = None,
        rule: Literal["rvt", "toolbox"] = "rvt",
        backend: str = "auto",
    ) -> None:
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"preset={preset!r} given; expected one of {', '.join(PRESETS)}, or None")
        if assign not in ("window", "nearest"):
            raise ValueError(f"assign={assign!r} given; expected 'window' or 'nearest'")
        if rule not in ("rvt", "toolbox") or (rule == "toolbox" and preset not in _TOOLBOX):
            raise ValueError(f"rule={rule!r}, preset={preset!r} given; expected 'rvt', or 'toolbox' with gen1 or 1mpx")
        if tol_us < 0:
            raise ValueError(f"tol_us={tol_us} given; expected microseconds >= 0")
        if num_classes is None:
            if preset is None:
                raise ValueError("without a preset, num_classes must be given")
            num_classes = 3 if preset.startswith("1mpx") else 2
        self.preset, self.tol_us, self.assign, self.rule = preset, int(tol_us), assign, rule
        self.num_classes, self.backend = num_classes, backend
        self.reset()

    def reset(self) -> None:
        """Forget all recordings."""
        self._truth: list[NDArray[Any]] = []
        self._found: list[NDArray[Any]] = []
        self._ignore: list[NDArray[Any]] = []
        self._speed: list[NDArray[Any]] = []

    def add(
        self,
        truth: NDArray[Any],
        found: NDArray[Any],
        *,
        ignore: NDArray[Any] | None = None,
        speed: NDArray[Any] | None = None,
    ) -> None:
        """One recording.

        Args:
            truth, found: records of BOX_DTYPE; class_confidence of ``found`` is the score.
            ignore: [len(truth)] bool, true boxes that do not count. speed: [len(truth)] pixels per second.
        Raises:
            ValueError: a class_id from num_classes on, or a box that is not finite.
        """
        for name, side in (("true", truth), ("found", found)):
            if len(side) and int(side["class_id"].max()) >= self.num_classes:
                raise ValueError(
                    f"a {name} box has class_id {int(side['class_id'].max())}; expected 0 to {self.num_classes - 1}: "
                    "drop the other classes first"
                )
            if not all(np.isfinite(side[each]).all() for each in ("x", "y", "w", "h", "class_confidence")):
                raise ValueError(f"a {name} box is not finite; clean_boxes drops such")
        kept = self._filtered(truth)
        self._truth.append(np.concatenate([make_boxes(0), truth[kept]]))
        self._ignore.append(np.zeros(len(truth), bool)[kept] if ignore is None else np.asarray(ignore, bool)[kept])
        self._speed.append(np.full(len(truth), np.nan)[kept] if speed is None else np.asarray(speed, float)[kept])
        self._found.append(np.concatenate([make_boxes(0), found[self._filtered(found)]]))

    def _filtered(self, boxes: NDArray[Any]) -> NDArray[Any]:
        """Numbers of the boxes that the preset keeps."""
        if self.preset is None:
            return np.arange(len(boxes))
        if self.rule == "toolbox":
            skip, diagonal, side = _TOOLBOX[self.preset]
            w, h = boxes["w"].astype(np.float64), boxes["h"].astype(np.float64)
            keep = (boxes["t"] > skip) & (w * w + h * h >= diagonal**2) & (w >= side) & (h >= side)
            return np.flatnonzero(keep)
        numbered = np.concatenate([make_boxes(0), boxes])
        numbered["track_id"] = np.arange(len(boxes))
        return filter_boxes(numbered, self.preset)["track_id"].astype(np.int64)

    def frames(self) -> dict[str, NDArray[Any]]:
        """All recordings cut into frames: records "truth" and "found", the number of each one's frame ("truth_frame",
        "found_frame"), "ignore" and "speed" of the true boxes, and the number of "frames"."""
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("truth_frame", "found", "found_frame")}
        closest, before = np.iinfo(np.int64).max, 0
        for truth, found in zip(self._truth, self._found, strict=True):
            times, frame = np.unique(truth["t"], return_inverse=True)
            if len(times) > 1:
                closest = min(closest, int(np.diff(times).min()))
            order = np.argsort(found["t"], kind="stable")
            which, whose = self._gathered(found["t"][order], times)
            parts["truth_frame"].append(before + frame)
            parts["found"].append(found[order[which]])
            parts["found_frame"].append(before + whose)
            before += len(times)
        if self.assign == "window" and closest <= 2 * self.tol_us:
            warnings.warn(
                f"labels are {closest} us apart, no more than twice tol_us={self.tol_us}: frames share detections, and "
                "even perfect ones score far below 1; use assign='nearest', or a smaller tol_us",
                stacklevel=3,
            )
        numbers = np.empty(0, np.int64)
        return {
            "truth": np.concatenate([make_boxes(0), *self._truth]),
            "found": np.concatenate([make_boxes(0), *parts["found"]]),
            "truth_frame": np.concatenate([numbers, *parts["truth_frame"]]),
            "found_frame": np.concatenate([numbers, *parts["found_frame"]]),
            "ignore": np.concatenate([np.empty(0, bool), *self._ignore]),
            "speed": np.concatenate([np.empty(0), *self._speed]),
            "frames": np.array(before),
        }

    def _gathered(self, t: NDArray[Any], times: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Places of detections (sorted by time t), and the frame each belongs to."""
        if self.assign == "nearest":
            if not len(times):
                return np.empty(0, np.int64), np.empty(0, np.int64)
            after = np.searchsorted(times, t).clip(0, len(times) - 1)
            earlier = (after - 1).clip(0)
            # of two equally near the earlier one
            near = np.where(np.abs(times[earlier] - t) <= np.abs(times[after] - t), earlier, after)
            inside = np.flatnonzero(np.abs(times[near] - t) <= self.tol_us)
            return inside, near[inside]
        first = np.searchsorted(t, times - self.tol_us, "left")
        count = np.searchsorted(t, times + self.tol_us, "right") - first
        begins = np.cumsum(count) - count
        which = np.arange(int(count.sum())) - np.repeat(begins, count) + np.repeat(first, count)
        return which, np.repeat(np.arange(len(times)), count)

    def compute(self) -> dict[str, Any]:
        """AP, AP50, AP75, ..., see coco_ap; with "frames", the number of labelled moments."""
        cut = self.frames()
        ignore = cut["ignore"] if cut["ignore"].any() else None
        found = evaluate(
            cut["truth"], cut["truth_frame"], cut["found"], cut["found_frame"], int(cut["frames"]), self.num_classes,
            ignore, self.backend,
        )  # fmt: skip
        return {**found, "frames": int(cut["frames"])}

    def by_speed(self, bands: Any = None) -> dict[str, float]:
        """AP per band of speed, see ap_by_speed; for labels whose speed was given."""
        from .speed import SPEED_BANDS, by_speed

        return by_speed(self.frames(), self.num_classes, bands or SPEED_BANDS, self.backend)
