"""Datasets: files of every kind behind one protocol."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eas_det import DecodeError, Events, make_boxes, micro_counts, save_boxes, write_dat
from eas_det.data import (
    EventDetectionDataset,
    Gen1,
    Mpx1,
    NCaltech101,
    RandomAugment,
    Recordings,
    Rendered,
    Rendering,
    RVTPreprocessed,
    SynthShapes,
    collate,
    from_corners,
    load_annotation,
    to_corners,
)


def random_events(size: tuple[int, int], n: int = 3000, seed: int = 0, span: int = 1_000_000) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, span, n))
    return Events(t, rng.integers(0, size[0], n), rng.integers(0, size[1], n), rng.integers(0, 2, n), size)


@pytest.fixture(scope="module")
def shapes() -> SynthShapes:
    return SynthShapes("medium", 4, 0, size=(48, 64))


@pytest.fixture
def prophesee(tmp_path: Path) -> Callable[..., Path]:
    def write(size: tuple[int, int], names: tuple[str, ...] = ("a", "b"), **fields: Any) -> Path:
        for place, name in enumerate(names):
            folder = tmp_path / "train" / name
            folder.mkdir(parents=True)
            write_dat(folder / f"{name}_td.dat", random_events(size, seed=place))
            boxes = make_boxes(3, t=[300_000, 300_000, 700_000], x=[10, 50, 20], y=20, w=30, h=40)
            for key, value in fields.items():
                boxes[key] = value
            save_boxes(folder / f"{name}_bbox.npy", boxes)
        return tmp_path

    return write


def test_an_item_is_the_window_before_its_label(prophesee: Callable[..., Path]) -> None:
    data = Gen1(prophesee((304, 240)), "train", Rendering(bins=4, window_us=100_000))
    assert isinstance(data, EventDetectionDataset)
    assert len(data) == 4  # two labelled moments a recording
    assert (data.classes, data.sensor_size) == (("car", "pedestrian"), (304, 240))
    sample = data[0]
    expected = micro_counts(random_events((304, 240)), 4, 200_000, 300_000)
    assert torch.equal(sample.counts, torch.from_numpy(expected))
    assert sample.boxes.tolist() == [[10, 20, 40, 60], [50, 20, 80, 60]]
    assert (sample.t_label, sample.recording_id) == (300_000, "a")
    assert data[3].recording_id == "b"
    with pytest.raises(IndexError):
        data[4]


def test_the_recipe_of_gen1_finds_its_data(prophesee: Callable[..., Path]) -> None:
    from eas_det.engine.config import make_dataset, read_config

    recipe = Path(__file__).parents[1] / "examples" / "gen1.yaml"
    cfg = read_config(recipe)
    data = make_dataset({**cfg.data, "root": prophesee((304, 240))}, cfg.rendering, cfg.augment, cfg.seed)
    assert data[0].counts.shape == (4, 2, 240, 304)
    assert (cfg.epochs, cfg.batch_size, cfg.lr, cfg.schedule) == (30, 64, 1e-3, "constant")


def test_recordings_are_opened_once_and_travel_to_workers(
    prophesee: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eas_det.data import recordings

    opened = []
    real = recordings.open_events
    monkeypatch.setattr(recordings, "open_events", lambda *a, **k: opened.append(a[0]) or real(*a, **k))
    data = Gen1(prophesee((304, 240)))
    for _ in range(3):
        for place in range(len(data)):
            data[place]
    assert len(opened) == 2
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[1].counts, data[1].counts)
    loader = torch.utils.data.DataLoader(data, batch_size=4, collate_fn=collate, num_workers=2)
    (batch,) = list(loader)
    assert batch.counts.shape == (4, 4, 2, 240, 304)
    assert [len(each.labels) for each in batch.targets] == [2, 1, 2, 1]


def test_classes_that_nobody_named(prophesee: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"a has class_id 2; expected 0 to 1 \(car, pedestrian\)"):
        Gen1(prophesee((304, 240), class_id=2))


def test_one_megapixel_at_half_resolution(prophesee: Callable[..., Path]) -> None:
    root = prophesee((1280, 720), class_id=[0, 6, 2])
    half, full = Mpx1(root), Mpx1(root, half=False)
    assert half.sensor_size == (640, 360)
    assert half[0].boxes.tolist() == [[5, 10, 20, 30]]  # class 6 is dropped
    assert full[0].boxes.tolist() == [[10, 20, 40, 60]]
    assert half[0].counts.sum() == full[0].counts.sum()
    assert torch.equal(half[0].counts, torch.nn.functional.avg_pool2d(full[0].counts, 2) * 4)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        Gen1(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no \*_bbox"):
        Gen1(tmp_path, None)
    save_boxes(tmp_path / "x_bbox.npy", make_boxes(0))
    with pytest.raises(FileNotFoundError, match=r"x_td\.dat"):
        Gen1(tmp_path, None)


def test_faulty_boxes_are_cleaned_and_the_moment_stays() -> None:
    boxes = make_boxes(3, t=500_000, x=[10, -5, np.nan], y=10, w=[20, 10, 20], h=[2, 20, 20])
    options = {
        "events": [random_events((60, 50))],
        "boxes": [boxes],
        "names": ["a"],
        "classes": ["x"],
        "sensor_size": (60, 50),
    }
    sample = Recordings(**options)[0]
    assert sample.boxes.tolist() == [[0, 10, 5, 30]]
    raw = Recordings(**options, clean=False)[0]
    assert len(raw.boxes) == 3
    empty = Recordings(**{**options, "boxes": [boxes[:1]]})[0]
    assert empty.boxes.shape == (0, 4)
    assert collate([sample, empty]).targets[1].labels.shape == (0,)


def test_an_empty_window_steps_back() -> None:
    events = random_events((60, 50), span=100_000)
    boxes = make_boxes(1, t=550_000, x=10, y=10, w=20, h=20)
    options = {"boxes": [boxes], "names": ["a"], "classes": ["x"], "sensor_size": (60, 50)}
    back = Recordings([events], rendering=Rendering(window_us=100_000), **options)[0]
    # windows that end at 550, 450, 350, 250 and 150 ms: the fifth holds events
    assert torch.equal(back.counts, torch.from_numpy(micro_counts(events, 4, 50_000, 150_000)))
    none = Recordings([events], rendering=Rendering(window_us=100_000, look_back=3), **options)[0]
    assert none.counts.abs().sum() == 0


def test_labels_before_the_first_event() -> None:
    boxes = make_boxes(1, t=5, x=10, y=10, w=20, h=20)
    late = Events([1000], [3], [4], [1], (60, 50))
    sample = Recordings([late], [boxes], ["a"], ["x"], (60, 50))[0]
    assert sample.counts.abs().sum() == 0
    assert len(sample.boxes) == 1


def test_shapes_know_speed_and_what_cannot_be_seen(shapes: SynthShapes) -> None:
    clip = shapes.shapes[0]
    sample = shapes[0]
    first = clip.boxes["t"] == clip.boxes["t"].min()
    assert sample.speed.tolist() == pytest.approx(clip.speed[first][clip.boxes["w"][first] >= 5].tolist())
    assert sample.counts.shape == (4, 2, 64, 48)
    assert sample.targets.labels.shape[0] == (~sample.ignore).sum()


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("counts", (3, 2)), ("voxel", (3, 1)), ("surface", (3, 2)), ("cube", (3, 4)), ("stacked", (1, 6))],
)
def test_every_representation(shapes: SynthShapes, kind: str, shape: tuple[int, int]) -> None:
    rendering = Rendering(kind, 3)
    made = rendering(shapes.reader(0), 400_000)
    assert made.shape == (*shape, 64, 48)
    assert made.shape[1] == rendering.channels
    assert made.dtype == torch.float32
    with pytest.raises(ValueError, match="expected one of"):
        Rendering("histogram")


def test_augmentation_keeps_boxes_exact_and_can_be_repeated(shapes: SynthShapes) -> None:
    data = SynthShapes("medium", 4, 0, size=(48, 64), augment=RandomAugment(polarity=0.5, drop=0.2))
    same, again = data[2], data[2]
    assert torch.equal(same.counts, again.counts)
    assert torch.equal(same.boxes, again.boxes)
    data.set_epoch(1)
    assert not torch.equal(data[2].counts, same.counts)
    # flags and speeds follow the boxes that are left
    assert len(same.boxes) == len(same.speed) == len(same.ignore) <= len(shapes[2].boxes)
    assert set(same.speed.tolist()) <= set(shapes[2].speed.tolist())


def test_rendered_once(shapes: SynthShapes, tmp_path: Path) -> None:
    data = Rendered.of(shapes, torch.uint8)
    assert isinstance(data, EventDetectionDataset)
    for place in (0, len(data) - 1):
        assert torch.equal(data[place].counts, shapes[place].counts)
        assert torch.equal(data[place].boxes, shapes[place].boxes)
    batch = data.batch(torch.tensor([2, 0]))
    assert torch.equal(batch.counts[1], shapes[0].counts)
    data.save(tmp_path / "a.npz")
    again = Rendered.load(tmp_path / "a.npz")
    assert len(again) == len(data)
    assert torch.equal(again.counts, data.counts)
    assert all(torch.equal(again[k].speed, data[k].speed) for k in range(len(data)))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    with pytest.raises(DecodeError):
        Rendered.load(tmp_path / "a.npz")
    voxels = SynthShapes("medium", 1, 0, Rendering("voxel"), size=(48, 64))
    with pytest.raises(ValueError, match="float32"):
        Rendered.of(voxels, torch.uint8)
    with pytest.raises(ValueError, match="square"):
        Rendered.of(shapes, symmetric=True)


def test_symmetries_move_counts_and_boxes_alike() -> None:
    side = 32
    counts, boxes = torch.zeros(1, 1, 2, side, side), torch.tensor([[3.0, 5, 11, 9]])
    counts[0, 0, 0, 5:9, 3:11] = 1  # the box is filled
    from eas_det.data import Sample

    sample = Sample(counts[0], boxes, torch.tensor([0]), 0, "a", torch.tensor([False]), torch.tensor([1.0]))
    data = Rendered(counts, [sample], ["x"], symmetric=True)
    seen = set()
    for epoch in range(30):
        data.set_epoch(epoch)
        batch = data.batch(torch.tensor([0]))
        x1, y1, x2, y2 = (int(each) for each in batch.targets[0].boxes[0])
        assert batch.counts[0, 0, 0, y1:y2, x1:x2].sum() == 32 == batch.counts.sum()
        seen.add((x1, y1, x2, y2))
    assert len(seen) == 8


def write_caltech(root: Path) -> None:
    for name in ("ant", "BACKGROUND_Google", "camera"):
        (root / "Caltech101" / name).mkdir(parents=True)
        (root / "Caltech101_annotations" / name).mkdir(parents=True)
        for place in range(5):
            events = random_events((240, 180), 200, place, 200_000)
            rows = zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True)
            data = b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for t, x, y, p in rows)
            (root / "Caltech101" / name / f"image_{place:04d}.bin").write_bytes(data)
            corners = [20, 30, 120, 30, 120, 100, 20, 100, 20, 30]
            outline = struct.pack("<hh10h", 2, 5, *corners) + struct.pack("<hh2h", 2, 1, 5, 5)
            (root / "Caltech101_annotations" / name / f"annotation_{place:04d}.bin").write_bytes(outline)


def test_caltech(tmp_path: Path) -> None:
    write_caltech(tmp_path)
    train, test = NCaltech101(tmp_path), NCaltech101(tmp_path, "test")
    assert train.classes == ("ant", "camera")
    assert (len(train), len(test)) == (8, 2)
    assert not set(train.names) & set(test.names)
    sample = train[0]
    assert sample.counts.shape == (4, 2, 180, 240)
    assert sample.counts.sum() == 200  # the whole recording, its last event too
    assert sample.boxes.tolist() == [[20, 30, 120, 100]]
    own = NCaltech101(tmp_path, names=["camera/image_0003"])
    assert own[0].labels.tolist() == [1]
    with pytest.raises(ValueError, match="ant/image_9 is not"):
        NCaltech101(tmp_path, names=["ant/image_9"])
    bad = tmp_path / "bad.bin"
    for data in (b"", struct.pack("<hh", 2, 5), struct.pack("<hh", 3, 1)):
        bad.write_bytes(data)
        with pytest.raises(DecodeError):
            load_annotation(bad)


def test_files_of_rvt(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    sequence = tmp_path / "train" / "seq"
    made = sequence / "event_representations_v2" / "stacked_histogram_dt=50_nbins=10"
    made.mkdir(parents=True)
    (sequence / "labels_v2").mkdir()
    rng = np.random.default_rng(0)
    stacked = rng.integers(0, 4, (8, 20, 24, 32), dtype=np.uint8)
    with h5py.File(made / "event_representations_ds2_nearest.h5", "w") as file:
        file["data"] = stacked
    np.save(made / "timestamps_us.npy", np.arange(1, 9) * 50_000)
    np.save(made / "objframe_idx_2_repr_idx.npy", np.array([1, 6]))
    labels = make_boxes(3, t=[100_000, 100_000, 350_000], x=[10, 20, 8], y=8, w=20, h=24, class_id=[0, 4, 2])
    np.savez(sequence / "labels_v2" / "labels.npz", labels=labels, objframe_idx_2_label_idx=np.array([0, 2]))
    data = RVTPreprocessed(tmp_path, dataset="1mpx")
    assert isinstance(data, EventDetectionDataset)
    assert (len(data), data.sensor_size) == (2, (32, 24))
    early, late = data[0], data[1]
    assert early.counts[:2].sum() == 0  # before the recording
    summed = stacked.reshape(8, 2, 10, 24, 32).sum(2)
    assert torch.equal(early.counts[2:], torch.from_numpy(summed[:2]).float())
    assert torch.equal(late.counts, torch.from_numpy(summed[3:7]).float())
    assert (early.boxes.tolist(), early.t_label) == ([[5, 4, 15, 16]], 100_000)  # half size; class 4 is dropped
    assert late.labels.tolist() == [2]
    assert torch.equal(pickle.loads(pickle.dumps(data))[1].counts, late.counts)
    np.save(made / "timestamps_us.npy", np.arange(3))
    with pytest.raises(DecodeError, match="3 times for 8 slices"):
        RVTPreprocessed(tmp_path, dataset="1mpx")
    with pytest.raises(FileNotFoundError):
        RVTPreprocessed(tmp_path, "test")


def test_corners_there_and_back() -> None:
    boxes = make_boxes(2, t=7, x=[1.5, 2], y=[3, 4], w=[5, 6], h=[7, 8.25], class_id=[1, 0], class_confidence=[0.5, 1])
    again = from_corners(to_corners(boxes), torch.tensor([0.5, 1]), torch.tensor([1, 0]), 7)
    assert np.array_equal(again, boxes)


def test_samples_of_different_shapes_are_not_collated(shapes: SynthShapes) -> None:
    sample = shapes[0]
    with pytest.raises(ValueError, match="expected one"):
        collate([sample, sample._replace(counts=sample.counts[:2])])
    with pytest.raises(ValueError, match="expected one"):
        collate([])
