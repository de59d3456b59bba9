"""Every format: known files, round trips, slices, third parties."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eas_det import DecodeError, Events, micro_counts, open_events, write_dat, write_npz
from eas_det.io import decode_dat, decode_evt3

Recordings = Callable[[Events], dict[str, Path]]

# specification 4.2: counts measured with the formats' own tools; (events, first t, last t, on events)
KNOWN = {
    "sample_ncars.dat": ("dat", 2009, 0, 99952, None, None),
    "sample_nmnist.bin": ("bin", 4325, 654, 311175, 2145, (34, 34)),
    "evt2_sample.raw": ("evt2", 539481, 1317888, 1367888, round(0.6818683 * 539481), (640, 480)),
    "dvs.es": ("es", 473225, 0, 999000, 270001, (320, 240)),
    "sample.aedat4": ("aedat4", 111954, 1605537493718345, 1605537494308262, None, (320, 240)),
}


@pytest.mark.data
@pytest.mark.parametrize("name", KNOWN)
def test_real_files_decode_to_their_known_counts(name: str, spk_data: Callable[[str], Path]) -> None:
    if name.endswith("aedat4"):
        pytest.importorskip("lz4")
    form, count, first, last, on, size = KNOWN[name]
    reader = open_events(spk_data(f"events/{name}"))
    events = reader.read()
    assert (reader.format, len(events), int(events.t[0]), int(events.t[-1])) == (form, count, first, last)
    assert on is None or int(events.p.sum()) == on
    assert size is None or events.sensor_size == size


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "x", "y"), [("sample_nmnist.bin", (0, 33), (0, 33)), ("evt2_sample.raw", (60, 599), (18, 475))]
)
def test_real_files_have_their_known_extent(
    name: str, x: tuple[int, int], y: tuple[int, int], spk_data: Callable[[str], Path]
) -> None:
    events = open_events(spk_data(f"events/{name}")).read()
    assert (events.x.min(), events.x.max()) == x
    assert (events.y.min(), events.y.max()) == y


@pytest.mark.data
def test_k2_first_and_last_event_of_ncars(spk_data: Callable[[str], Path]) -> None:
    events = decode_dat(spk_data("events/sample_ncars.dat"))
    assert [int(each) for each in (events.x[0], events.y[0], events.p[0])] == [25, 8, 0]
    assert [int(each) for each in (events.x[-1], events.y[-1], events.p[-1])] == [75, 28, 1]


def test_k2_one_word(tmp_path: Path) -> None:
    path = tmp_path / "one.dat"
    path.write_bytes(np.array([7, 0x00020019], "<u4").tobytes())
    events = decode_dat(path)
    assert [int(each[0]) for each in (events.t, events.x, events.y, events.p)] == [7, 25, 8, 0]


def test_every_format_gives_back_what_was_written(events: Events, recordings: Recordings) -> None:
    for form, path in recordings(events).items():
        reader = open_events(path)
        assert reader.format == form
        assert reader.read() == events, form
        assert reader.duration == events.duration


def test_chunks_make_the_whole(events: Events, recordings: Recordings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eas_det.io._source.CHUNK", 160)
    monkeypatch.setattr("eas_det.io._binary.CHUNK", 160)
    for form, path in recordings(events).items():
        parts = list(open_events(path, sensor_size=(34, 34)))
        assert len(parts) > 5 or form in ("npz",), form
        assert Events.concatenate(parts) == events, form


@pytest.mark.parametrize("chunk_us", [1, 777, 10_000, 10**9])
def test_windows_make_the_whole(events: Events, recordings: Recordings, chunk_us: int) -> None:
    for form in ("dat", "evt3", "npy"):
        parts = list(open_events(recordings(events)[form], chunk_us=chunk_us, sensor_size=(34, 34)))
        assert Events.concatenate(parts) == events
        assert all(len(part) and part.duration < chunk_us for part in parts)


def test_slices_are_what_a_mask_gives(events: Events, recordings: Recordings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eas_det.io._source.CHUNK", 160)
    monkeypatch.setattr("eas_det.io._binary.CHUNK", 160)
    paths = recordings(events)
    rng = np.random.default_rng(1)
    for form, path in paths.items():
        reader = open_events(path, sensor_size=(34, 34))
        for t0, t1 in [(-5, 10**9), (0, 0), (500, 100), *np.sort(rng.integers(0, 91_000, (12, 2)), 1).tolist()]:
            inside = (events.t >= t0) & (events.t < t1)
            assert reader.slice(t0, t1) == events[inside], (form, t0, t1)
        limited = open_events(path, t_range=(20_000, 60_000), sensor_size=(34, 34))
        expected = events.window(20_000, 60_000)
        assert limited.read() == expected
        assert Events.concatenate(list(limited)) == expected
        assert (limited.t_first, limited.t_last) == (expected.t[0], expected.t[-1])


def test_many_events_at_one_time_are_not_lost_at_a_checkpoint(
    recipes: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eas_det.io._binary.CHUNK", 160)
    t = np.repeat([10, 20, 30], 100)
    events = Events(t, np.arange(300) % 34, np.arange(300) // 34, np.ones(300, int), (34, 34))
    path = tmp_path / "a.raw"
    path.write_bytes(recipes.encode_evt3(events))
    reader = open_events(path)
    for when in (10, 20, 30):
        assert len(reader.slice(when, when + 1)) == 100


@pytest.mark.parametrize("form", ["dat", "evt2", "evt3"])
def test_expelliarmus_reads_and_writes_the_same(recipes: SimpleNamespace, form: str, tmp_path: Path) -> None:
    pytest.importorskip("expelliarmus")
    from expelliarmus import Wizard

    # expelliarmus 1.1.12 counts the high clock of EVT3 twice: 4 ms are as far as it reads rightly
    events = recipes.make_events(30_000, (640, 480), span=3_900 if form == "evt3" else 2_000_000)
    suffix = "dat" if form == "dat" else "raw"
    ours, theirs = tmp_path / f"ours.{suffix}", tmp_path / f"theirs.{suffix}"
    if form == "dat":
        write_dat(ours, events)
    else:
        ours.write_bytes({"evt2": recipes.encode_evt2, "evt3": recipes.encode_evt3}[form](events))
    read = Wizard(encoding=form).read(str(ours))
    assert Events.from_structured(read, (640, 480)) == events
    records = events.to_structured(read.dtype)
    Wizard(encoding=form).save(str(theirs), records)
    assert open_events(theirs, form, sensor_size=(640, 480)).read() == events


@pytest.mark.data
def test_expelliarmus_decodes_the_sample_alike(spk_data: Callable[[str], Path]) -> None:
    pytest.importorskip("expelliarmus")
    from expelliarmus import Wizard

    path = spk_data("events/evt2_sample.raw")
    assert Events.from_structured(Wizard(encoding="evt2").read(str(path)), (640, 480)) == open_events(path).read()


@pytest.mark.data
def test_the_library_aedat_reads_the_sample_alike(spk_data: Callable[[str], Path]) -> None:
    aedat = pytest.importorskip("aedat")
    pytest.importorskip("lz4")
    path = spk_data("events/sample.aedat4")
    parts = [packet["events"] for packet in aedat.Decoder(path) if "events" in packet]
    assert Events.from_structured(np.concatenate(parts), (320, 240)) == open_events(path).read()


def test_dat_without_header_or_with_one(events: Events, tmp_path: Path) -> None:
    with_header, without = tmp_path / "a.dat", tmp_path / "b.dat"
    write_dat(with_header, events)
    content = with_header.read_bytes()
    without.write_bytes(content[content.index(b"\x0c\x08") + 2 :])
    assert decode_dat(without, sensor_size=(34, 34)) == events
    assert open_events(without).read().sensor_size == events.extent()


def test_the_32_bit_clock_is_unwrapped_everywhere(tmp_path: Path) -> None:
    t = np.cumsum(np.full(9000, 1_700_000)) + 2**31
    events = Events(t, np.arange(9000) % 30, np.arange(9000) % 20, np.arange(9000) % 2, (30, 20))
    path = tmp_path / "long.dat"
    write_dat(path, events)
    reader = open_events(path)
    assert reader.read() == events
    assert events.t[-1] > 3 * 2**32
    for place in (0, 1500, 4000, 8990):
        assert reader.slice(int(t[place]), int(t[place]) + 10_000_000) == events.window(int(t[place]), t[place] + 10**7)
    counts = micro_counts(reader, 7, int(t[100]), int(t[8000]))
    assert np.array_equal(counts, micro_counts(events, 7, int(t[100]), int(t[8000])))


def test_evt3_clock_wraps_after_16_seconds(recipes: SimpleNamespace, tmp_path: Path) -> None:
    events = recipes.make_events(20_000, (1280, 720), span=60_000_000)
    path = tmp_path / "a.raw"
    path.write_bytes(recipes.encode_evt3(events))
    assert decode_evt3(path) == events


def test_evt3_starts_in_the_middle_of_a_vector(tmp_path: Path) -> None:
    # a vector without base, an event without time, then a whole one
    words = [4 << 12 | 0xFFF, 2 << 12 | 5, 8 << 12 | 1, 6 << 12 | 2, 2 << 12 | 9, 7, 2 << 12 | 1 << 11 | 3]
    path = tmp_path / "a.raw"
    path.write_bytes(b"% evt 3.0\n% end\n" + np.array(words, "<u2").tobytes())
    events = decode_evt3(path)
    assert [int(each[0]) for each in (events.t, events.x, events.y, events.p)] == [4098, 3, 7, 1]
    assert len(events) == 1


def test_npz_keeps_what_dat_cannot(tmp_path: Path) -> None:
    events = Events([-5, 2**40], [0, 1], [0, 1], [0, 1], (2, 2))
    path = tmp_path / "a.npz"
    write_npz(path, events, compress=True)
    assert open_events(path).read() == events
    with pytest.raises(ValueError, match="negative times"):
        write_dat(tmp_path / "a.dat", events)
    with pytest.raises(ValueError, match="35 minutes"):
        write_dat(tmp_path / "a.dat", Events([5, 2**33], [0, 1], [0, 1], [0, 1], (2, 2)))
    assert not (tmp_path / "a.dat").exists()


def test_text_of_many_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("0.000010 1 2 1\n0.000020 3 4 0\n")
    assert open_events(path).read().t.tolist() == [10, 20]
    path.write_text("x;y;p;timestamp\n1;2;1;10\n3;4;-1;20\n")
    with pytest.raises(DecodeError, match="3"):
        open_events(path, sensor_size=(3, 3)).read()
    events = open_events(path).read()
    assert (events.t.tolist(), events.x.tolist(), events.p.tolist()) == ([10, 20], [1, 3], [1, 0])
    path.write_text("1 2 10 1\n")
    assert open_events(path, columns="xytp").read().t.tolist() == [10]


def test_a_reader_travels_to_another_process(events: Events, recordings: Recordings) -> None:
    for path in recordings(events).values():
        assert pickle.loads(pickle.dumps(open_events(path))).read() == events


@pytest.mark.parametrize("form", ["dat", "evt2", "npz", "csv"])
def test_time_that_goes_back(recipes: SimpleNamespace, form: str, tmp_path: Path) -> None:
    t = np.array([100, 300, 200, 400])
    wrong = Events.trusted(t, np.arange(4, dtype="u2"), np.arange(4, dtype="u2"), np.ones(4, "u1"), (8, 8))
    path = tmp_path / f"a.{'raw' if form == 'evt2' else form}"
    if form == "dat":
        write_dat(path, Events([1], [1], [1], [1], (8, 8)))
        words = np.column_stack([t, wrong.x.astype(int) | wrong.y.astype(int) << 14 | 1 << 28]).astype("<u4")
        path.write_bytes(path.read_bytes()[:-8] + words.tobytes())
    elif form == "evt2":
        path.write_bytes(recipes.encode_evt2(wrong))
    elif form == "npz":
        np.savez(path, t=t, x=wrong.x, y=wrong.y, p=wrong.p)
    else:
        path.write_text("".join(f"{a},{b},{b},1\n" for a, b in zip(t, wrong.x, strict=True)))
    with pytest.raises(DecodeError, match="time decreases"):
        open_events(path).read()
    assert open_events(path, repair="sort").read().t.tolist() == [100, 200, 300, 400]
    assert open_events(path, repair="sort").read().x.tolist() == [0, 2, 1, 3]
    assert open_events(path, repair="cummax").read().t.tolist() == [100, 300, 300, 400]
    if form != "npz":
        with pytest.warns(UserWarning, match="ends there"):
            assert len(open_events(path, errors="truncate").read()) in (0, 2)


def test_defects_name_the_byte(events: Events, tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    write_dat(path, events)
    content = path.read_bytes()
    start = content.index(b"\x0c\x08") + 2
    path.write_bytes(content[:-3])
    with pytest.raises(DecodeError, match="cut off") as caught:
        open_events(path)
    assert caught.value.offset == len(content) - 8
    with pytest.warns(UserWarning, match="cut off"):
        assert open_events(path, errors="truncate").read() == events[:-1]
    damaged = bytearray(content)
    damaged[start + 8 * 50 + 4 : start + 8 * 50 + 6] = b"\xff\x3f"  # x = 16383
    path.write_bytes(bytes(damaged))
    with pytest.raises(DecodeError, match="outside 34x34") as caught:
        open_events(path).read()
    assert caught.value.offset == start + 8 * 50
    assert pickle.loads(pickle.dumps(caught.value)).offset == caught.value.offset
    with pytest.warns(UserWarning, match="outside 34x34"):
        assert open_events(path, errors="truncate").read() == events[:50]


@pytest.mark.parametrize("place", [0, 1, 2047, 2048, 2049, 4095, 4999])
def test_a_defect_anywhere_in_a_block_is_found_where_it_is(
    place: int, recipes: SimpleNamespace, tmp_path: Path
) -> None:
    events = recipes.make_events(5000)
    path = tmp_path / "a.dat"
    write_dat(path, events)
    content = bytearray(path.read_bytes())
    start = content.index(b"\x0c\x08") + 2
    begins = start + 8 * place
    for offset, changed in ((4, b"\xff\x3f"), *(((0, bytes(4)),) if place else ())):  # a pixel outside, a time of 0
        damaged = content.copy()
        damaged[begins + offset : begins + offset + len(changed)] = changed
        path.write_bytes(bytes(damaged))
        for read in (lambda: open_events(path).read(), lambda: micro_counts(open_events(path), 3, 0, 10**6)):
            with pytest.raises(DecodeError) as caught:
                read()
            assert caught.value.offset == begins


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.dat", b"", "empty"),
        ("a.xyz", bytes(range(200, 256)), "no known format"),
        ("a.aedat", b"#!AER-DAT3.1\r\n", "AEDAT 3.1"),
        ("a.raw", b"% evt 2.1\n% end\n1234", "EVT 2.1"),
        ("a.raw", b"1234", "names no encoding"),
        ("a.es", b"Event Stream\x02\x00\x00\x02\x10\x00\x10\x00", "ATIS"),
        ("a.es", b"Event Stream\x01", "ends inside"),
        ("a.dat", b"% Width 3\n\x0c\x10", "16 bytes"),
        ("a.dat", b"% Width 3\n", "ends before"),
        ("a.npy", b"\x93NUMPY\x01\x00", "not a readable"),
        ("a.npz", b"PK\x03\x04junk", "not a readable"),
        ("a.csv", b"a,b,c,d\n1,2,3,4\n", "expected names"),
        ("a.csv", b"1,2,x,4\n", "not a table"),
        ("a.csv", b"1,1.5,2,1\n", "whole number"),
    ],
)
def test_foreign_files_are_refused_in_one_line(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=words) as caught:
        open_events(path).read()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_arguments_are_checked(recipes: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_events(tmp_path / "nothing.dat")
    with pytest.raises(IsADirectoryError):
        open_events(tmp_path)
    path = tmp_path / "a.dat"
    write_dat(path, recipes.make_events(5))
    for wrong in (
        {"format": "avi"}, {"errors": "ignore"}, {"repair": "yes"}, {"columns": "txy"}, {"time_unit": "h"},
        {"chunk_us": 0}, {"t_range": (5, 1)}, {"sensor_size": (0, 5)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="given"):
            open_events(path, **wrong)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"t": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DecodeError):
        open_events(path)
    np.savez(tmp_path / "a.npz", t=np.array([{}], dtype=object))
    with pytest.raises(DecodeError):
        open_events(tmp_path / "a.npz")


def test_an_empty_recording_is_fine(recordings: Recordings) -> None:
    nothing = Events.empty((34, 34))
    for form, path in recordings(nothing).items():
        if path.stat().st_size == 0:
            continue
        reader = open_events(path)
        assert len(reader.read()) == 0, form
        assert (reader.duration, reader.t_first, list(reader)) == (0, None, [])
        assert len(reader.slice(0, 100)) == 0
