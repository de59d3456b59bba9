"""Detect in a whole dataset, and measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eas_det.data.sample import EventDetectionDataset, Sample, from_corners
from eas_det.metrics import SPEED_BANDS, PropheseeEvaluator, ap_by_speed, coco_ap
from eas_det.models.detector import EventDetector

from .loading import batches, processes

__all__ = ["Found", "detect", "evaluate"]


@dataclass
class Found:
    """One labelled moment: what is there and what was found, records of BOX_DTYPE at its time.

    ignore: [N] bool of the true boxes. speed: [N] pixels per second of them, nan where unknown.
    """

    recording_id: str
    t: int
    truth: NDArray[Any]
    found: NDArray[Any]
    ignore: NDArray[Any]
    speed: NDArray[Any]


def detect(
    model: EventDetector,
    data: EventDetectionDataset,
    *,
    batch_size: int = 32,
    device: str | None = None,
    conf: float = 0.001,
    nms: float = 0.65,
    workers: int = 0,
    progress: bool = False,
) -> list[Found]:
    """Detections of every item, in the dataset's order; at most 100 an item, as COCO counts.

    Args:
        device: by default that of the model. Under ``torchrun`` each process takes its share, and all get all.
        progress: a bar where stderr is a terminal.
    Raises:
        ValueError: data that is mirrored by chance, whose boxes are those of what was not mirrored.
    """
    from tqdm import tqdm

    if getattr(data, "symmetric", False):
        raise ValueError("data has symmetric=True, which is for training; evaluate a Rendered without it")
    device = device or str(next(model.parameters()).device)
    rank, ranks = processes(device)
    mine = torch.arange(rank, len(data), ranks)
    order = list(torch.split(mine, batch_size))
    model.to(device)
    out: list[tuple[int, Found]] = []
    bar = tqdm(total=len(order), desc="detect", disable=None if progress and rank == 0 else True)
    # what is there is read from the items; `batches` serves those that were rendered before at once
    for index, batch in zip(order, batches(data, order, workers), strict=True):
        detections = model.predict(batch.counts.to(device, non_blocking=True), conf, nms, max_detections=100)
        for place, each in zip(index.tolist(), detections, strict=True):
            sample = _labels(data, place)
            found = from_corners(each.boxes, each.scores, each.labels, sample.t_label)
            truth = from_corners(sample.boxes, torch.ones(len(sample.boxes)), sample.labels, sample.t_label)
            out.append(
                (
                    place,
                    Found(
                        sample.recording_id, sample.t_label, truth, found, sample.ignore.numpy(), sample.speed.numpy()
                    ),
                )
            )
        bar.update()
    bar.close()
    if ranks > 1:
        shared: list[Any] = [None] * ranks
        torch.distributed.all_gather_object(shared, out)
        out = [each for part in shared for each in part]
    return [each for _, each in sorted(out, key=lambda pair: pair[0])]


def _labels(data: EventDetectionDataset, place: int) -> Sample:
    """An item's labels, without its tensor where the dataset can."""
    quick = getattr(data, "labels_at", None)
    return quick(place) if callable(quick) else data[place]


def evaluate(
    model: EventDetector,
    data: EventDetectionDataset,
    *,
    preset: str | None = None,
    found: Sequence[Found] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Average precision of a model on a dataset.

    Args:
        preset: also evaluate by Prophesee's protocol with this preset; pass a dataset made with clean=False then.
        found: of detect, to measure anew without detecting; options: of detect.
    Returns:
        {"coco": plain COCO over all items, see coco_ap, "by_speed": AP per band where the speeds are known,
        "prophesee": by the protocol, where a preset is given}.
    """
    found = detect(model, data, **options) if found is None else found
    classes = len(data.classes)
    truth, seen = [each.truth for each in found], [each.found for each in found]
    ignore = [each.ignore for each in found]
    some = any(each.any() for each in ignore)
    out: dict[str, Any] = {"coco": coco_ap(truth, seen, classes, ignore=ignore if some else None)}
    speeds = [each.speed for each in found]
    if any(np.isfinite(each).any() for each in speeds):
        out["by_speed"] = ap_by_speed(truth, seen, speeds, classes, bands=SPEED_BANDS, ignore=ignore)
    if preset is not None:
        evaluator = PropheseeEvaluator(preset, assign="nearest", num_classes=classes)
        recordings: dict[str, list[Found]] = {}
        for each in found:
            recordings.setdefault(each.recording_id, []).append(each)
        for there in recordings.values():
            evaluator.add(
                np.concatenate([each.truth for each in there]),
                np.concatenate([each.found for each in there]),
                ignore=np.concatenate([each.ignore for each in there]),
                speed=np.concatenate([each.speed for each in there]),
            )
        out["prophesee"] = evaluator.compute()
    return out
