"""Average precision: known answers, the reference implementation, laws."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eas_det import filter_boxes, make_boxes
from eas_det.metrics import PropheseeEvaluator, ap_by_speed, coco_ap


def passing_car(hz: float, n: int = 60) -> NDArray[Any]:
    """K4: one box that drives through, labelled at a rate."""
    t = np.array([600_000 + round(place * 1e6 / hz) for place in range(n)])
    return make_boxes(n, t=t, x=20 + (40 * (t * 1e-6 - 0.6)) % 200, y=80, w=50, h=40)


def random_frames(n: int, seed: int, classes: int = 2) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Truth and detections, some near, some anywhere; distinct scores."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for place in range(n):
        many = int(rng.integers(0, 5))
        boxes = make_boxes(many, t=place, class_id=rng.integers(0, classes, many))
        for name, low, high in (("x", 0, 200), ("y", 0, 150), ("w", 10, 90), ("h", 10, 70)):
            boxes[name] = rng.uniform(low, high, many)
        near = boxes[rng.random(many) < 0.8].copy()
        near["x"] += rng.normal(0, 6, len(near))
        stray = make_boxes(2, t=place, x=rng.uniform(0, 200, 2), y=50, w=30, h=30, class_id=rng.integers(0, classes, 2))
        seen = np.concatenate([near, stray])
        seen["class_confidence"] = rng.random(len(seen))
        truth.append(boxes)
        found.append(seen)
    return truth, found


@pytest.mark.parametrize(
    ("t", "w", "h", "kept"),
    [(500_000, 50, 50, False), (500_001, 50, 50, True), (600_000, 30, 10, True), (600_000, 9.9, 60, False),
     (600_000, 10, 60, True), (600_000, 29, 5, False)],
)  # fmt: skip
def test_filter_of_gen1(t: int, w: float, h: float, kept: bool) -> None:
    # source: K3 of the specification; the evaluator and filter_boxes agree
    box = make_boxes(1, t=t, w=w, h=h)
    assert len(filter_boxes(box, "gen1")) == kept
    evaluator = PropheseeEvaluator("gen1")
    evaluator.add(box, box)
    assert evaluator.compute()["frames"] == kept


def test_toolbox_rule_exchanges_the_sides_of_the_cameras() -> None:
    box = make_boxes(2, t=200_000, w=[20, 15], h=[25, 40])
    evaluator = PropheseeEvaluator("gen1", rule="toolbox")
    evaluator.add(box, box)
    cut = evaluator.frames()
    assert cut["truth"]["w"].tolist() == [20]  # later than 100 ms, both sides from 20 pixels on
    with pytest.raises(ValueError, match="toolbox"):
        PropheseeEvaluator("gen1_half", rule="toolbox")


@pytest.mark.parametrize(("hz", "window"), [(1, 1.0), (4, 1.0), (10, 1.0), (20, 0.3723), (30, 0.3723), (60, 0.1815)])
def test_truth_as_detections(hz: float, window: float) -> None:
    # source: K4 of the specification, measured with the published evaluator
    boxes = passing_car(hz)
    found = {}
    for name, options in {"window": {}, "nearest": {"assign": "nearest"}, "narrow": {"tol_us": 5000}}.items():
        evaluator = PropheseeEvaluator("gen1", **options)
        evaluator.add(boxes, boxes)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found[name] = evaluator.compute()["AP"]
        assert bool(caught) == (name == "window" and hz >= 10), name
        assert all("labels are" in str(each.message) for each in caught)
    assert found == {"window": pytest.approx(window, abs=5e-5), "nearest": 1.0, "narrow": 1.0}


def test_moments_without_labels_are_not_punished() -> None:
    boxes = passing_car(4, 8)
    stray = boxes.copy()
    stray["t"] += 120_000  # no label within 50 ms
    evaluator = PropheseeEvaluator("gen1")
    evaluator.add(boxes, np.concatenate([stray, boxes]))
    assert evaluator.compute()["AP"] == 1.0


def test_recordings_do_not_meet() -> None:
    first, second = passing_car(4, 8), passing_car(4, 8)
    evaluator = PropheseeEvaluator("gen1")
    evaluator.add(first, first)
    evaluator.add(second, second[:0])  # the same times in another recording
    both = evaluator.compute()
    assert both["frames"] == 16
    assert both["AP"] == pytest.approx(0.5, abs=0.01)
    evaluator.reset()
    assert math.isnan(evaluator.compute()["AP"])


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_reference_implementation(seed: int) -> None:
    pytest.importorskip("pycocotools")
    truth, found = random_frames(30, seed)
    ignore = [np.random.default_rng(seed).random(len(each)) < 0.2 for each in truth]
    for flags in (None, ignore):
        ours = coco_ap(truth, found, 2, ignore=flags)
        theirs = coco_ap(truth, found, 2, ignore=flags, backend="pycocotools")
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-12, err_msg=name)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_laws_of_average_precision(seed: int) -> None:
    truth, found = random_frames(12, seed)
    if not sum(map(len, truth)):
        return
    base = coco_ap(truth, found, 2)["AP"]
    order = np.random.default_rng(seed).permutation(len(truth))
    moved = coco_ap([truth[k] for k in order], [found[k][::-1] for k in order], 2)["AP"]
    assert moved == pytest.approx(base, abs=1e-9)
    # a false box with a lower score than any never helps
    worse = [each.copy() for each in found]
    extra = make_boxes(1, x=250, y=200, w=20, h=20, class_confidence=-1)
    worse[0] = np.concatenate([worse[0], extra])
    assert coco_ap(truth, worse, 2)["AP"] <= base + 1e-12
    assert coco_ap(truth, truth, 2)["AP"] == 1.0


def test_ignored_boxes_are_neither_missed_nor_mistakes() -> None:
    truth = [make_boxes(2, x=[0, 100], w=40, h=40)]
    found = [make_boxes(1, x=0, w=40, h=40, class_confidence=0.9)]
    assert coco_ap(truth, found, 1)["AP"] == pytest.approx(0.5, abs=0.01)
    flags = [np.array([False, True])]
    assert coco_ap(truth, found, 1, ignore=flags)["AP"] == 1.0
    both = [make_boxes(2, x=[100, 0], w=40, h=40, class_confidence=[0.95, 0.9])]
    assert coco_ap(truth, both, 1, ignore=flags)["AP"] == 1.0


def test_by_speed() -> None:
    truth = [make_boxes(2, x=[0, 100], w=40, h=40)] * 4
    speed = [np.array([10.0, 500.0])] * 4
    found = [make_boxes(1, x=0, w=40, h=40, class_confidence=0.5)] * 4
    by_band = ap_by_speed(truth, found, speed, 1)
    assert by_band["0-16"] == 1.0
    assert by_band["250-"] == 0.0
    assert math.isnan(by_band["16-63"])


def test_nothing_there_or_nothing_found() -> None:
    nothing, something = make_boxes(0), make_boxes(1, w=20, h=20)
    assert math.isnan(coco_ap([nothing], [something], 2)["AP"])
    none_found = coco_ap([something], [nothing], 2)
    assert none_found["AP"] == 0
    assert none_found["per_class"][0] == 0
    assert math.isnan(none_found["per_class"][1])


def test_bad_input_is_named() -> None:
    box = make_boxes(1, w=20, h=20, class_id=5)
    with pytest.raises(ValueError, match="class_id 5; expected 0 to 1"):
        coco_ap([box], [box], 2)
    with pytest.raises(ValueError, match="class_id 5; expected 0 to 1"):
        PropheseeEvaluator("gen1").add(box, box)
    lost = make_boxes(1, x=np.nan, w=20, h=20)
    with pytest.raises(ValueError, match="not finite"):
        PropheseeEvaluator("gen1").add(lost, lost[:0])
    with pytest.raises(ValueError, match="1 frames of truth, 2"):
        coco_ap([lost], [lost, lost], 2)
    for options in ({"preset": "kitti"}, {"assign": "first"}, {"tol_us": -1}, {"rule": "own"}):
        with pytest.raises(ValueError, match="expected"):
            PropheseeEvaluator(**options)
    with pytest.raises(ValueError, match="num_classes must be given"):
        PropheseeEvaluator(None)
