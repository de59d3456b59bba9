"""Boxes: read by name, hygiene, K3; augmentation keeps them exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eas_det import DecodeError, Events, clean_boxes, filter_boxes, load_boxes, make_boxes, save_boxes
from eas_det import augment as aug


def test_k3_the_filter_of_gen1() -> None:
    cases = [(500_000, 50, 50), (500_001, 50, 50), (600_000, 30, 10), (600_000, 9.9, 60), (600_000, 10, 60)]
    cases.append((600_000, 29, 5))
    t, w, h = zip(*cases, strict=True)
    kept = filter_boxes(make_boxes(6, t=t, w=w, h=h, track_id=range(6)), "gen1")
    assert kept["track_id"].tolist() == [1, 2, 4]
    with pytest.raises(ValueError, match="preset='kitti'"):
        filter_boxes(make_boxes(1), "kitti")


def test_older_files_are_read_by_name(tmp_path: Path) -> None:
    old = np.zeros(2, [("ts", "<u8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "u1"),
                       ("confidence", "<f4"), ("track_id", "<u4")])  # fmt: skip
    old["ts"], old["x"], old["class_id"], old["confidence"] = [5, 6], [1.5, 2.5], [1, 0], [0.5, 1]
    np.save(tmp_path / "a_bbox.npy", old)
    boxes = load_boxes(tmp_path / "a_bbox.npy")
    assert boxes["t"].tolist() == [5, 6]
    assert boxes["x"].tolist() == [1.5, 2.5]
    assert boxes["class_confidence"].tolist() == [0.5, 1]
    save_boxes(tmp_path / "b.npy", boxes)
    assert np.array_equal(load_boxes(tmp_path / "b.npy"), boxes)
    np.save(tmp_path / "c.npy", np.zeros(3))
    with pytest.raises(DecodeError, match="expected records"):
        load_boxes(tmp_path / "c.npy")


def test_hygiene() -> None:
    boxes = make_boxes(5, x=[-5, 90, 10, 0, np.nan], y=[0, 0, 10, 0, 0], w=[20, 20, 3, 95, 9], h=[20, 20, 20, 20, 9])
    before = boxes.copy()
    kept = clean_boxes(boxes, (100, 50))
    assert [tuple(float(box[name]) for name in "xywh") for box in kept] == [(0, 0, 15, 20), (90, 0, 10, 20)]
    assert boxes.tobytes() == before.tobytes()
    assert len(clean_boxes(boxes[:0], (100, 50))) == 0


def inside(events: Events, box: Any) -> int:
    x, y = events.x + 0.5, events.y + 0.5
    hits = (x >= box["x"]) & (x < box["x"] + box["w"]) & (y >= box["y"]) & (y < box["y"] + box["h"])
    return int(hits.sum())


@pytest.fixture
def pair(recipes: SimpleNamespace) -> tuple[Events, Any]:
    return recipes.make_events(3000), make_boxes(2, t=[40_000, 80_000], x=[3, 20], y=[5, 1], w=[8, 10], h=[12, 9])


@pytest.mark.parametrize("flip", [aug.flip_horizontal, aug.flip_vertical, aug.flip_polarity])
def test_flips_twice_are_the_identity_and_boxes_hold_the_same_events(
    flip: Callable[..., Any], pair: tuple[Events, Any]
) -> None:
    events, boxes = pair
    once = flip(events, boxes)
    assert [inside(once[0], box) for box in once[1]] == [inside(events, box) for box in boxes]
    assert once[0] != events
    twice = flip(*once)
    assert twice[0] == events
    assert np.array_equal(twice[1], boxes)


def test_moves_keep_what_is_in_the_box(pair: tuple[Events, Any]) -> None:
    events, boxes = pair
    expected = [inside(events, box) for box in boxes]
    for moved in (aug.translate(events, boxes, 2, 3), aug.crop(events, boxes, 2, 1, 30, 30),
                  aug.scale_space(events, boxes, 2.0, (68, 68))):  # fmt: skip
        assert [inside(moved[0], box) for box in moved[1]] == expected
    slower, later = aug.scale_time(events, boxes, 2.0)
    assert slower.duration == 2 * events.duration
    assert later["t"].tolist() == [80_000, 160_000]
    with pytest.raises(ValueError, match="never runs backwards"):
        aug.scale_time(events, boxes, -1.0)


def test_noise_and_loss(pair: tuple[Events, Any]) -> None:
    events, boxes = pair
    rng = np.random.default_rng(0)
    fewer, same = aug.drop_events(events, boxes, 0.25, rng)
    assert len(fewer) == pytest.approx(0.75 * len(events), rel=0.05)
    more, _ = aug.hot_pixels(events, boxes, 3, 2000, rng)
    assert len(more) > len(events) + 300
    assert np.array_equal(same, boxes)
    both = aug.Compose([aug.flip_horizontal, aug.flip_horizontal])(events, boxes)
    assert both[0] == events
