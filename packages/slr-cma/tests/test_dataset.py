"""DVS-SLR: official semantics against a transcription, our own semantics, splits, cache, hostile files."""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slr_cma import collate
from slr_cma.data import (
    DVSSLR,
    LABELS,
    CachedSigns,
    Events,
    Key,
    Recording,
    check_leakage,
    convert,
    official_pairs,
    official_windows,
    scan,
    split_keys,
    subject_split,
)
from slr_cma.data.npz import read_npz
from slr_cma.data.splits import USERS, index_file, make_index
from slr_cma.synth.layout import synthetic_recording, write_layout

#: the sensor of conftest's tree, and keywords that fit it
SIZE = (60, 80)
SMALL: dict[str, Any] = {"size": SIZE, "crop": (2, 10, 56, 60), "down": 4, "n_bins": 5}


def transcription(ev: Events, t_f: np.ndarray, imgs: np.ndarray, dt: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """The steps of the specification, 2.1, one after the other, without a thought for speed."""
    times, pictures = [int(t) for t in t_f], list(imgs)
    if dt != 50:
        grid = [int(g) for g in np.arange(times[0], times[-1], dt * 1e6)]
        pictures = [next(im for t, im in zip(times, pictures, strict=True) if t >= g - 50e6) for g in grid]
        times = grid
    while times and times[0] < ev.t[0]:
        times, pictures = times[1:], pictures[1:]
    while times and times[-1] > ev.t[-1]:
        times, pictures = times[:-1], pictures[:-1]
    windows, images = [], []
    for k in range(len(times) - 1):
        frame = np.zeros((2, *ev.size))
        for t, x, y, p in zip(ev.t, ev.x, ev.y, ev.p, strict=True):
            if times[k] <= t < times[k + 1]:
                frame[p, y, x] += 1
        windows.append(frame)
        images.append(np.transpose(pictures[k + 1], (2, 0, 1)).astype(float))
    length = int(6 / (dt / 1000))
    while len(windows) < length:
        windows.append(windows[-1])
        images.append(images[-1])
    return np.stack(windows[:length]), np.stack(images[:length])


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from([50, 100, 30]), st.floats(0.3, 7.0))
def test_official_mode_equals_the_transcription(seed: int, dt: int, seconds: float) -> None:
    rng = np.random.default_rng(seed)
    n, size = 60, (5, 6)
    t = np.sort(rng.integers(0, int(seconds * 1e9), n)) + 10**18
    ev = Events.from_arrays(t, rng.integers(0, 6, n), rng.integers(0, 5, n), rng.integers(0, 2, n), size=size)
    t_f = 10**18 + np.arange(-100_000_000, int(seconds * 1e9) + 100_000_000, 50_000_000)
    imgs = rng.integers(0, 255, (len(t_f), *size, 3)).astype(np.uint8)
    counts, images = official_pairs(Recording(ev, t_f, imgs), dt=dt)
    wanted = transcription(ev, t_f, imgs, dt)
    np.testing.assert_array_equal(counts, wanted[0])
    np.testing.assert_array_equal(images, wanted[1])


def test_the_known_alignment() -> None:
    starts, dropped = official_windows(np.arange(0, 80, 10), np.array([-5, 15, 35, 55, 80]))
    assert starts.tolist() == [2, 4, 6]  # windows (2, 4) and (4, 6), two events each
    assert dropped == 1


def test_the_layout_written_is_read_back_as_the_official_loader_would(tree: Path, keys: list[Key]) -> None:
    data = DVSSLR(tree, "all", users=["user0"], labels=["at"], lights=["dimLED"], size=SIZE, compat="official")
    sample = data[0]
    recording = synthetic_recording(keys[0], seconds=1.6, rate=2000, size=SIZE)
    counts, images = transcription(recording.events, recording.times, recording.images, 50)
    assert sample.events is not None
    assert sample.frames is not None
    assert sample.events.dtype == torch.float64
    np.testing.assert_array_equal(sample.events.numpy(), counts)
    np.testing.assert_array_equal(sample.frames.numpy(), images)


def test_an_official_sample_of_full_size_is_432_megabytes() -> None:
    assert 120 * (2 + 3) * 260 * 346 * 8 == 431_808_000


def test_own_semantics_mask_instead_of_inventing(tree: Path) -> None:
    data = DVSSLR(tree, "subject:train", users=["user0", "user1"], labels=["at", "home"], lights=["dimLED"],
                  **{**SMALL, "n_bins": 9})  # fmt: skip
    assert len(data) == 8
    sample = data[0]
    assert sample.events is not None
    assert sample.frames is not None
    assert sample.events.shape == (9, 2, 14, 15)
    assert sample.frames.shape == (9, 1, 14, 15)
    assert sample.mask.tolist() == [True] * 6 + [False] * 3  # 1.6 s hold 32 frames: 6 bins of 5
    assert not sample.events[6:].any()
    assert not sample.frames[6:].any()
    assert sample.meta["user"] == "user0"
    assert collate([data[0], data[1]]).events.shape == (9, 2, 2, 14, 15)  # type: ignore[union-attr]
    repeated = DVSSLR(
        tree, "all", users=["user0"], labels=["at"], lights=["dimLED"], pad="repeat", **{**SMALL, "n_bins": 9}
    )
    frames = repeated[0].frames
    assert frames is not None
    assert frames[8].any()
    assert not repeated[0].mask[8]


def test_both_layouts_and_both_kinds_of_times_read_the_same(tree: Path, tmp_path: Path, keys: list[Key]) -> None:
    write_layout(tmp_path, keys[:2], seconds=1.6, rate=2000, size=SIZE, flat=True, pickled=False)
    some = {"users": [keys[0].user], "labels": [keys[0].label], "lights": ["dimLED"], **SMALL}
    a, b = DVSSLR(tree, "all", **some)[0], DVSSLR(tmp_path, "all", **some)[0]
    assert torch.equal(a.events, b.events)  # type: ignore[arg-type]
    assert torch.equal(a.frames, b.frames)  # type: ignore[arg-type]


def test_a_label_keeps_its_index_in_a_subset(tree: Path) -> None:
    some: dict[str, Any] = {"users": ["user0"], "labels": ["home"], "lights": ["dimLED"], **SMALL}
    assert set(DVSSLR(tree, "all", **some).labels) == {LABELS.index("home")}
    assert set(DVSSLR(tree, "all", relabel=True, **some).labels) == {0}


def test_missing_files_are_named_at_construction(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"recordings are incomplete \(missing .*user0_at_brightLED_front_event.npz"):
        DVSSLR(tree, "subject:train", **SMALL)
    part = DVSSLR(tree, "subject:train", on_missing="skip", **SMALL)
    assert len(part) == 8
    present, missing = scan(tree)
    assert (len(present), len(present) + len(missing)) == (16, 5418)
    with pytest.raises(ValueError, match="no recording"):
        DVSSLR(tmp_path, "subject:test", on_missing="skip", **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["hello"]}, "labels=.*'hello'.*not known"),
        ({"users": ["user43"]}, "user43"),
        ({"lights": ["dark"]}, "dark"),
        ({"split": "subjects:train"}, "split='subjects:train' is not known"),
        ({"modality": "sound"}, "modality='sound'"),
        ({"size": (100, 100), "crop": (2, 45, 256, 256)}, "leaves the sensor of 100 x 100"),
        ({"crop": (0, 0, 30, 30)}, "not a multiple of down"),
    ],
)
def test_bad_choices_are_one_clear_error(tree: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DVSSLR(tree, **{"split": "all", "on_missing": "skip", **SMALL, **options})


def test_a_recording_of_another_sensor_is_refused(tree: Path) -> None:
    data = DVSSLR(tree, "all", on_missing="skip", **{**SMALL, "size": (50, 60), "crop": None})
    with pytest.raises(ValueError, match="sensor"):
        data[0]


def test_splits_are_disjoint_complete_and_balanced() -> None:
    parts = {name: split_keys(f"subject:{name}") for name in ("train", "val", "test")}
    assert [len(p) for p in parts.values()] == [29 * 126, 5 * 126, 1134]
    users = [{k.user for k in p} for p in parts.values()]
    assert len(set.union(*users)) == sum(len(u) for u in users)
    assert set.union(*users) == set(USERS)
    folds = [split_keys(f"subject_kfold5:{k}:test") for k in range(5)]
    assert sorted(k for fold in folds for k in fold) == sorted(split_keys("all"))
    assert {k.light for k in split_keys("leave_light_out:dimLED:train")} == {"brightLED", "naturalLight"}
    assert {k.position for k in split_keys("leave_position_out:back:test")} == {"back"}
    assert len(split_keys("all")) == 5418
    assert index_file() == make_index()


def test_own_recordings_are_split_by_subject() -> None:
    users = np.repeat([f"p{i}" for i in range(10)], 3)
    parts = subject_split(users, val=0.1, test=0.2, seed=1)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [21, 3, 6]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(30))
    assert check_leakage(users[parts["train"]], users[parts["test"]]) == []
    np.testing.assert_array_equal(subject_split(users, seed=1)["test"], parts["test"])
    with pytest.raises(ValueError, match="leave some for training"):
        subject_split(users, val=0.5, test=0.5)
    with pytest.raises(ValueError, match=r"1 subject\(s\) cannot be split"):
        subject_split(["a", "a"])


def test_the_random_split_is_that_of_scikit_learn_and_warns() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    with pytest.warns(UserWarning, match="inflated"):
        train, test = (split_keys(f"random_seed42:{side}") for side in ("train", "test"))
    wanted = selection.train_test_split(split_keys("all"), test_size=0.2, random_state=42)
    assert [list(map(tuple, w)) for w in wanted] == [list(map(tuple, train)), list(map(tuple, test))]
    with pytest.warns(UserWarning, match="43 subjects stand in train and test"):
        assert check_leakage([k.user for k in train], [k.user for k in test])
    with pytest.raises(ValueError, match="stand in train and test"):
        check_leakage(["a"], ["a"], strict=True)


def test_a_cache_holds_what_the_dataset_gives_and_resumes(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    broken = tmp_path / "tree"
    shutil.copytree(tree, broken)
    victim = scan(broken, split_keys("all"))[0][5].events
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated"):
        convert(broken, out, on_missing="skip", progress=False, **SMALL)
    with pytest.raises(ValueError, match="unfinished conversion"):
        CachedSigns(out)
    assert np.load(out / "done.npy").sum() == 5
    victim.write_bytes(whole)
    cache = convert(broken, out, on_missing="skip", progress=False, **SMALL)
    data = DVSSLR(tree, "all", on_missing="skip", **SMALL)
    assert len(cache) == len(data) == 16
    for i in (0, 5, 15):
        a, b = cache[i], data[i]
        assert torch.equal(a.events, b.events)  # type: ignore[arg-type]
        assert torch.equal(a.frames, b.frames)  # type: ignore[arg-type]
        assert torch.equal(a.mask, b.mask)
    assert set(cache.part("subject:test").groups) == {"user40"}
    batch, one = cache.batch(np.array([3, 7])), collate([cache[3], cache[7]])
    assert torch.equal(batch.events, one.events)  # type: ignore[arg-type]
    assert torch.equal(batch.frames, one.frames)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="another conversion"):
        convert(broken, out, on_missing="skip", progress=False, **{**SMALL, "n_bins": 4})


def test_a_cache_folder_serves_every_choice_without_the_recordings(tree: Path, tmp_path: Path) -> None:
    gone = tmp_path / "tree"
    shutil.copytree(tree, gone)
    some: dict[str, Any] = {"on_missing": "skip", "cache_dir": tmp_path / "caches", **SMALL}
    first = DVSSLR(gone, "subject:train", **some)
    plain = DVSSLR(tree, "subject:train", on_missing="skip", **SMALL)
    assert len(first) == len(plain) == 8
    again = DVSSLR(gone, "subject:train", **some)
    other = DVSSLR(gone, "subject:test", labels=["home"], relabel=True, modality="events", **some)
    assert set(other.labels) == {0}
    assert len(list((tmp_path / "caches").iterdir())) == 2
    for files in first.files:
        files.events.write_bytes(b"")  # nothing is read again
    for data in (first, again):
        assert torch.equal(data[3].events, plain[3].events)  # type: ignore[arg-type]
        assert torch.equal(data[3].frames, plain[3].frames)  # type: ignore[arg-type]
        assert (data[3].label, data[3].meta["user"]) == (plain[3].label, plain[3].meta["user"])
    assert other[0].frames is None
    assert other[0].events is not None
    assert DVSSLR.scan(tree)[0] == scan(tree)[0]
    with pytest.raises(ValueError, match="drop one of them"):
        DVSSLR(tree, "all", compat="official", **some)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("index.json", "{", "index.json is damaged"),
        ("index.json", '{"schema": 1}', "damaged .KeyError"),
        ("index.json", '{"schema": 2}', "has schema 2, this version reads 1"),
        ("index.json", ('"labels": [', '"labels": [99, '), "2 keys for 3 labels"),
        ("index.json", ('"labels": [0', '"labels": [99'), "labels outside 0..20"),
        ("index.json", ('"n_bins": 5', '"n_bins": 4'), "its index says uint16, 5 axes, 2 x 4"),
        ("events.npy", "", "is damaged"),
        ("events.npy", np.zeros((2, 5, 2, 14, 15), np.float16), "holds float16"),
        ("frames.npy", np.zeros((2, 5), np.uint8), r"holds uint8 \(2, 5\)"),
    ],
)
def test_a_damaged_cache_is_one_clear_error(tree: Path, tmp_path: Path, name: str, content: Any, message: str) -> None:
    some = {"users": ["user0"], "labels": ["at"], "lights": ["dimLED"]}
    convert(tree, tmp_path / "cache", progress=False, **some, **SMALL)
    path = tmp_path / "cache" / name
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_text(content if isinstance(content, str) else path.read_text().replace(*content))
    with pytest.raises(ValueError, match=message):
        CachedSigns(tmp_path / "cache")


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    bad = np.empty(1, object)
    bad[0] = _Hostile(trap)
    np.savez(tmp_path / "bad.npz", t=bad)
    with pytest.raises(ValueError, match="does not hold numpy arrays alone"):
        read_npz(tmp_path / "bad.npz", ("t",))
    assert not trap.exists()
    pickle.loads(pickle.dumps(_Hostile(trap)))  # the trap itself works
    assert trap.exists()


def test_objects_that_are_numbers_open_and_others_do_not(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", t=np.array([1, 10**18 + 1], object), u=np.array([np.ones(2), np.zeros(2)], object),
             s=np.array(["x"], object))  # fmt: skip
    assert read_npz(tmp_path / "a.npz", ("t",))["t"].tolist() == [1, 10**18 + 1]
    assert read_npz(tmp_path / "a.npz", ("u",))["u"].shape == (2, 2)
    with pytest.raises(ValueError, match="expected numbers"):
        read_npz(tmp_path / "a.npz", ("s",))
    with pytest.raises(ValueError, match="no array 'x'"):
        read_npz(tmp_path / "a.npz", ("x",))
    with pytest.raises(ValueError, match="missing"):
        read_npz(tmp_path / "b.npz", ("x",))
    (tmp_path / "c.npz").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="truncated or no"):
        read_npz(tmp_path / "c.npz", ("x",))
    start = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': "
    for shape, message in ((b"(3,", "is no numpy array"), (b"(999999999999999,)}", "is truncated")):
        with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
            archive.writestr("x.npy", (start + shape).ljust(127) + b"\n")
        with pytest.raises(ValueError, match=message):
            read_npz(tmp_path / "d.npz", ("x",))


def test_aedat4_is_read_bit_by_bit(tmp_path: Path) -> None:
    dv = pytest.importorskip("dv_processing")
    pytest.importorskip("aedat")
    from slr_cma.data import bin_events, read_aedat4

    rng = np.random.default_rng(0)
    n = 3000
    t, x, y = np.sort(rng.integers(0, 10**6, n)) + 10**15, rng.integers(0, 346, n), rng.integers(0, 260, n)
    p = rng.integers(0, 2, n)
    images = rng.integers(0, 255, (6, 260, 346, 3)).astype(np.uint8)
    path = tmp_path / "davis.aedat4"
    writer = dv.io.MonoCameraWriter(str(path), dv.io.MonoCameraWriter.DAVISConfig("DAVIS346", (346, 260)))
    store = dv.EventStore()
    for row in zip(t.tolist(), x.tolist(), y.tolist(), p.astype(bool).tolist(), strict=True):
        store.push_back(*row)
    writer.writeEvents(store)
    for i, image in enumerate(images):
        writer.writeFrame(dv.Frame(10**15 + i * 50_000, image[..., ::-1].copy()))
    del writer
    recording = read_aedat4(path)
    events = Events.from_arrays(t, x, y, p, size=(260, 346), unit="us")
    edges = 10**18 + np.linspace(0, 10**9, 11).astype(np.int64)
    np.testing.assert_array_equal(bin_events(recording.events, edges), bin_events(events, edges))
    assert recording.times.tolist() == [10**18 + i * 50_000_000 for i in range(6)]
    np.testing.assert_array_equal(recording.images, images)
    with pytest.raises(ValueError, match="missing"):
        read_aedat4(tmp_path / "none.aedat4")
    table = tmp_path / "own.csv"
    table.write_text("path,label,user\ndavis.aedat4,wave,ann\ndavis.aedat4,clap,bob\n")
    cache = convert(table, tmp_path / "cache", n_bins=4, frames_per_bin=1, workers=2, progress=False)
    assert (cache.classes, cache.labels.tolist(), cache.groups.tolist()) == (["clap", "wave"], [1, 0], ["ann", "bob"])
    wanted = bin_events(events, recording.times, crop=(2, 45, 256, 256), down=4)
    np.testing.assert_array_equal(cache[0].events, wanted[1:])  # the first frame comes before any event
    with pytest.raises(ValueError, match=r"pass size=\(260, 346\)"):
        convert(table, tmp_path / "other", n_bins=5, crop=None, size=(240, 320), progress=False)
    table.write_text("path,label,user\nx.aedat4,wave,ann\n")
    with pytest.raises(ValueError, match=r"1 of 1 recordings in .* are missing, such as x.aedat4"):
        convert(table, tmp_path / "other", progress=False)
    table.write_text("path,label\nx.aedat4,wave\n")
    with pytest.raises(ValueError, match="columns path, label; expected path, label and user"):
        convert(table, tmp_path / "other", progress=False)
    table.write_text('path,label,user\n"' + "x" * 200_000)
    with pytest.raises(ValueError, match="no table of comma-separated values"):
        convert(table, tmp_path / "other", progress=False)
    whole, broken = path.read_bytes(), tmp_path / "broken.aedat4"
    for content, message in (
        (whole[:200], "header of .* bytes is longer"),
        (whole[:-1000], "a packet ends at byte"),
        (b"AEDAT" + whole, "does not begin as one"),
        (whole.replace(b"compression", b"compressio\xff"), "can't decode byte 0xff"),  # would end the process
        (whole[:20] + b"\xff" * 8 + whole[28:], "truncated or no AEDAT4 file"),
    ):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_aedat4(broken)


@pytest.mark.data
def test_the_real_aedat4_file_has_the_known_number_of_events(spk_data: Any) -> None:
    pytest.importorskip("aedat")
    from slr_cma.data import read_aedat4

    with warnings.catch_warnings():
        recording = read_aedat4(spk_data("events/sample.aedat4"))
    assert len(recording.events) == 111_954  # counted with aedat 2.3.0
    assert len(recording.times) == 0
