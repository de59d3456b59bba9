"""The simulator: K6, its slow twin, exact boxes, noise, seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eas_det import load_boxes, open_events
from eas_det.synth import (
    KINDS,
    LEVELS,
    EventShapes,
    MovingObject,
    Scene,
    Sensor,
    make_dataset,
    simulate,
    simulate_video,
)
from eas_det.synth import _reference as slow


def test_k6_a_ramp_fires_five_times() -> None:
    frames = np.zeros((2, 1, 1))
    frames[1] = 1.05
    events = simulate_video(frames, [0, 1_000_000])
    assert events.t.tolist() == [190476, 380952, 571429, 761905, 952381]
    assert events.p.tolist() == [1] * 5
    down = simulate_video(-frames, [0, 1_000_000])
    assert down.t.tolist() == events.t.tolist()
    assert down.p.tolist() == [0] * 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ego", [(0.0, 0.0), (9.0, -5.0)])
def test_drawing_only_what_moves_equals_drawing_everything(kind: str, ego: tuple[float, float]) -> None:
    shape = MovingObject(kind, (9, 6), (4, 5), (60, 30), angle=0.4, spin=3.0, texture=0.3)
    scene = Scene((20, 16), 0.12, (shape,), texture=0.2 if ego != (0.0, 0.0) else 0.0, ego=ego)
    ours = simulate(scene, Sensor(threshold=0.1), max_step=0.5)
    np.testing.assert_allclose(scene.image(0.07), slow.image(scene, 0.07), atol=1e-12)
    if ego != (0.0, 0.0):
        # two rates: the background is drawn more rarely, so times differ by less than one of its steps
        theirs = slow.events(scene, 0.1, 200)
        assert abs(len(ours) - len(theirs)) <= 0.12 * len(theirs)
        return
    steps = int(np.ceil(shape.fastest(0.12) * 0.12 / 0.5))
    theirs = slow.events(scene, 0.1, steps)
    assert len(ours) == len(theirs) > 100
    got = sorted(zip(ours.x.tolist(), ours.y.tolist(), ours.t.tolist(), ours.p.tolist(), strict=True))
    wanted = sorted((x, y, round(t * 1e6), p) for t, x, y, p in theirs)
    assert all(a[:2] == b[:2] and abs(a[2] - b[2]) <= 1 and a[3] == b[3] for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_exact(kind: str) -> None:
    """The box is that of the shape's own outline, sampled densely."""
    shape = MovingObject(kind, (30, 14), (50, 40), (100, -40), (20, 10), angle=0.3, spin=1.0)
    t = 0.37
    around = np.linspace(0, 2 * np.pi, 20_001)
    a, b = 15, 7
    if kind == "ellipse":
        u, v = a * np.cos(around), b * np.sin(around)
    elif kind == "rectangle":
        u, v = np.array([a, a, -a, -a]), np.array([b, -b, b, -b])
    else:
        u, v = np.array([a, -a, 0, 0]), np.array([0, 0, b, -b])
    angle = 0.3 + t
    x = 50 + 100 * t + 10 * t * t + u * np.cos(angle) - v * np.sin(angle)
    y = 40 - 40 * t + 5 * t * t + u * np.sin(angle) + v * np.cos(angle)
    np.testing.assert_allclose(shape.box(t), (x.min(), y.min(), np.ptp(x), np.ptp(y)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_free_events_lie_on_the_way_of_their_object(kind: str) -> None:
    shape = MovingObject(kind, (20, 12), (20, 30), (200, 0), spin=2.0)
    scene = Scene((96, 64), 0.2, (shape,))
    events = simulate(scene)
    assert len(events) > 500
    for start in range(0, 200_000, 20_000):
        part = events.window(start, start + 20_000)
        boxes = np.array([shape.box(t) for t in np.linspace(start / 1e6, start / 1e6 + 0.02, 50)])
        left, top = boxes[:, :2].min(0) - 1
        right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(0) + 1
        assert ((part.x + 0.5 > left) & (part.x + 0.5 < right)).all()
        assert ((part.y + 0.5 > top) & (part.y + 0.5 < bottom)).all()


def test_nothing_moves_nothing_fires() -> None:
    still = Scene((32, 32), 0.5, (MovingObject("ellipse", (8, 8), (16, 16)),), texture=0.3)
    assert len(simulate(still)) == 0
    assert len(simulate(Scene((8, 8), 0.1))) == 0


def test_noise_has_its_rates() -> None:
    scene = Scene((64, 64), 2.0)
    background = simulate(scene, Sensor(noise_hz=10), 1)
    assert len(background) == pytest.approx(64 * 64 * 20, rel=0.02)
    assert background.p.mean() == pytest.approx(0.5, abs=0.02)
    leak = simulate(scene, Sensor(leak_hz=3), 1)
    assert leak.p.all()
    assert len(leak) == pytest.approx(64 * 64 * 6, rel=0.02)
    hot = simulate(scene, Sensor(hot_fraction=0.01, hot_hz=200), 1)
    assert len(np.unique(hot.y.astype(int) * 64 + hot.x)) == pytest.approx(41, abs=20)


def test_refractory_time_and_thresholds() -> None:
    frames = np.zeros((2, 1, 1))
    frames[1] = 10.0
    rested = simulate_video(frames, [0, 1_000_000], Sensor(refractory_us=100_000))
    assert np.diff(rested.t).min() >= 100_000
    spread = simulate_video(
        np.zeros((2, 40, 40)) + np.array([0, 1.0])[:, None, None], [0, 10**6], Sensor(sigma=0.03), 3
    )
    per_pixel = np.bincount(spread.y.astype(int) * 40 + spread.x, minlength=1600)
    assert per_pixel.std() > 0.3


def test_a_slow_photoreceptor_makes_fewer_events() -> None:
    scene = Scene((48, 32), 0.1, (MovingObject("rectangle", (4, 12), (5, 16), (400, 0)),))
    assert 0 < len(simulate(scene, Sensor(cutoff_hz=30))) < 0.8 * len(simulate(scene))


def test_clips_are_the_same_for_the_same_seed_and_speeds_differ_within_one() -> None:
    one, two = EventShapes("hard", 3, seed=4), EventShapes("hard", 3, seed=4)
    assert one[1].events == two[1].events
    assert np.array_equal(one[2].boxes, two[2].boxes)
    assert one[0].events != EventShapes("hard", 3, seed=5)[0].events
    assert one.digest != EventShapes("hard", 3, seed=5).digest
    speeds = [clip.speed for clip in EventShapes("hard", 12)]
    assert any(each.size and each.max() > 5 * each.min() for each in speeds)


@pytest.mark.parametrize("level", LEVELS)
def test_labels_of_clips(level: str) -> None:
    for clip in EventShapes(level, 4, seed=2, size=(64, 64)):
        boxes = clip.boxes
        assert len(boxes) == len(clip.ignore) == len(clip.visible) == len(clip.speed)
        assert (boxes["x"] >= 0).all()
        assert (boxes["x"] + boxes["w"] <= 64.001).all()
        assert (np.diff(boxes["t"]) >= 0).all()
        assert set(boxes["t"].tolist()) <= {250_000, 500_000}
        assert ((clip.visible >= 0) & (clip.visible <= 1 + 1e-9)).all()
        low, high = LEVELS[level].speed
        assert ((clip.speed >= low - 1e-6) & (clip.speed <= high + 1e-6)).all()
        for box in boxes:
            exact = clip.scene.boxes(box["t"] / 1e6)[int(box["track_id"])]
            np.testing.assert_allclose([box[name] for name in ("x", "y", "w", "h")], exact, rtol=1e-5, atol=1e-4)


def test_a_data_set_on_disk(tmp_path: Path) -> None:
    folder = make_dataset("easy", 2, tmp_path / "set", seed=1, progress=False, size=(48, 48))
    shapes = EventShapes("easy", 2, seed=1, size=(48, 48))
    for place in range(2):
        assert open_events(folder / f"clip_{place:05d}_td.dat").read() == shapes[place].events
        assert np.array_equal(load_boxes(folder / f"clip_{place:05d}_bbox.npy"), shapes[place].boxes)
    assert json.loads((folder / "dataset.json").read_text())["digest"] == shapes.digest
    before = (folder / "clip_00000_td.dat").stat().st_mtime_ns
    make_dataset("easy", 2, folder, seed=1, progress=False, size=(48, 48))
    assert (folder / "clip_00000_td.dat").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="other settings"):
        make_dataset("easy", 2, folder, seed=2, progress=False, size=(48, 48))


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="kind='star'"):
        MovingObject("star", (1, 1), (0, 0))
    with pytest.raises(ValueError, match="seconds > 0"):
        Scene((8, 8), 0)
    with pytest.raises(ValueError, match="threshold"):
        Sensor(threshold=0)
    with pytest.raises(ValueError, match="level='extreme'"):
        EventShapes("extreme")
    with pytest.raises(ValueError, match="times must increase"):
        simulate_video(np.zeros((2, 2, 2)), [5, 5])
    with pytest.raises(ValueError, match="max_step"):
        simulate(Scene((8, 8), 1), max_step=0)
