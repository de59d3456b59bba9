"""Events, binning, alignment: laws, known answers, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slr_cma.data import Binning, Events, Recording, align_frames, bin_events, bin_events_reference, bin_recording
from slr_cma.data.binning import shrink_frames

SIZE = (12, 16)


def draw(seed: int, n: int, last: int = 1000) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, last, n))
    return Events.from_arrays(t, rng.integers(0, 16, n), rng.integers(0, 12, n), rng.integers(0, 2, n), size=SIZE)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 300), st.integers(1, 9), st.sampled_from([1, 2, 4]))
def test_one_pass_equals_the_slow_reference(seed: int, n: int, bins: int, down: int) -> None:
    events = draw(seed, n)
    edges = np.sort(np.random.default_rng(seed).integers(0, 1001, bins + 1))
    for crop in (None, (4, 4, 8, 8)):
        fast = bin_events(events, edges, crop=crop, down=down)
        np.testing.assert_array_equal(fast, bin_events_reference(events, edges, crop=crop, down=down))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 200), st.integers(0, 200))
def test_counts_are_complete_additive_and_pool(seed: int, n: int, m: int) -> None:
    a, b = draw(seed, n), draw(seed + 1, m)
    edges = np.array([0, 100, 400, 1000])
    one, two = bin_events(a, edges), bin_events(b, edges)
    assert one.sum() == n
    both = Events.from_arrays(
        *(np.concatenate([getattr(a, k), getattr(b, k)]) for k in "txyp"), size=SIZE, sort=True
    )  # fmt: skip
    np.testing.assert_array_equal(bin_events(both, edges), one + two)
    pooled = one.reshape(3, 2, 3, 4, 4, 4).sum((3, 5))
    np.testing.assert_array_equal(bin_events(a, edges, down=4), pooled)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_coordinates_and_clocks_of_any_kind_give_the_same(dtype: type, unit: str) -> None:
    n = 100
    rng = np.random.default_rng(0)
    x, y = np.full(n, 250), np.full(n, 200)  # y * 346 + x overflows 8 and 16 bits
    t, p = np.sort(rng.integers(0, 50, n)), rng.integers(0, 2, n)
    scale = {"ns": 1, "us": 1000, "ms": 10**6}[unit]
    events = Events.from_arrays(t, x.astype(dtype), y.astype(dtype), p, size=(260, 346), unit=unit)  # type: ignore[arg-type]
    counts = bin_events(events, np.array([0, 25, 50]) * scale)
    assert counts[:, :, 200, 250].sum() == n
    assert counts[0].sum() == (t < 25).sum()


def test_huge_epochs_keep_every_nanosecond() -> None:
    epoch = 1_700_000_000_000_000_001
    t = epoch + np.arange(4)
    ev = Events.from_arrays(t, np.zeros(4, int), np.zeros(4, int), np.ones(4, int), size=SIZE)
    assert bin_events(ev, epoch + np.array([0, 1, 3, 4]))[:, 1, 0, 0].tolist() == [1, 2, 1]
    recording = Recording(ev, t, np.zeros((4, *SIZE), np.uint8))
    edges, _ = Binning(n_bins=2, bin_by="time", crop=None, down=1).edges(recording)
    assert (edges - epoch).tolist() == [0, 2, 4]


def test_equal_counts_per_bin() -> None:
    events = draw(1, 240)
    recording = Recording(events, np.array([0, 500, 1000]), np.zeros((3, *SIZE), np.uint8))
    edges, valid = Binning(n_bins=4, bin_by="count", crop=None, down=1).edges(recording)
    counts = bin_events(events, edges).sum((1, 2, 3))
    assert valid == 4
    assert counts.sum() == 240
    assert abs(counts.astype(int) - 60).max() <= 3  # events of one time stamp stay together


def test_structured_events_and_bins_by_number() -> None:
    events = draw(3, 200)
    for name, kind in (("p", "i1"), ("on", "?")):
        rows = np.zeros(200, [("t", "u8"), ("x", "u2"), ("y", "u2"), (name, kind)])
        rows["t"], rows["x"], rows["y"], rows[name] = events.t, events.x, events.y, events.p
        np.testing.assert_array_equal(bin_events(rows, n_bins=4, size=SIZE), bin_events(events, n_bins=4))
    by_time, by_count = bin_events(events, n_bins=4), bin_events(events, n_bins=4, by="count")
    assert by_time.sum() == by_count.sum() == 200
    assert abs(by_count.sum((1, 2, 3)).astype(int) - 50).max() <= 3
    first, last = events.t[0], events.t[-1]
    edges = first + (last + 1 - first) * np.arange(5) // 4
    np.testing.assert_array_equal(by_time, bin_events(events, edges))
    for wrong, options, message in (
        (rows, {"n_bins": 2}, "give size"),
        (rows[["t", "x"]], {"n_bins": 2, "size": SIZE}, "fields t, x; expected"),
        (events, {}, "give one of the two"),
        (events, {"n_bins": 0}, "n_bins=0"),
        (draw(0, 0), {"n_bins": 2}, "stream is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            bin_events(wrong, **options)  # type: ignore[arg-type]


def test_polarity_of_minus_one_is_off_and_one_polarity_is_fine() -> None:
    ev = Events.from_arrays(np.arange(3), np.zeros(3, int), np.zeros(3, int), np.array([-1, 1, -1]), size=SIZE)
    assert ev.p.tolist() == [0, 1, 0]
    alone = Events.from_arrays(np.arange(3), np.zeros(3, int), np.zeros(3, int), np.ones(3), size=SIZE)
    assert bin_events(alone, np.array([0, 3]))[0, :, 0, 0].tolist() == [0, 3]


def test_counts_saturate_and_an_empty_stream_gives_zeros() -> None:
    n = 70_000
    zeros = np.zeros(n, int)
    ev = Events.from_arrays(np.arange(n), zeros, zeros, zeros, size=SIZE)
    assert bin_events(ev, np.array([0, n]))[0, 0, 0, 0] == 65535
    for dtype, most in (("uint8", 255), (np.int64, 65535), (np.float32, 65535.0)):
        counts = bin_events(ev, np.array([0, n]), dtype=dtype)
        assert counts.dtype == dtype
        assert counts[0, 0, 0, 0] == most
    with pytest.raises(ValueError, match="expected integers or floats"):
        bin_events(ev, np.array([0, n]), dtype="bool")
    assert not bin_events(draw(0, 0), np.array([0, 10])).any()


def test_one_event_and_recordings_shorter_than_their_bins() -> None:
    one = Events.from_arrays(np.array([500]), np.array([3]), np.array([2]), np.array([1]), size=SIZE)
    recording = Recording(one, np.array([0, 400, 600]), np.zeros((3, *SIZE), np.uint8))
    by_time = Binning(n_bins=4, bin_by="time", crop=None, down=1)
    counts, _, mask, _ = bin_recording(recording, by_time)
    assert counts.sum() == 1
    assert mask.all()
    with pytest.raises(ValueError, match=r"0 frame\(s\) while events came"):
        bin_recording(recording, Binning(n_bins=4, crop=None, down=1))
    short = Recording(draw(0, 30, last=3), np.array([0, 1, 2]), np.zeros((3, *SIZE), np.uint8))
    assert bin_recording(short, Binning(n_bins=9, bin_by="time", crop=None, down=1))[0].sum() == 30


def test_frames_with_one_time_stamp_make_an_empty_bin() -> None:
    events = Events.from_arrays(np.arange(0, 100, 5), *np.zeros((2, 20), int), np.ones(20), size=SIZE)
    recording = Recording(events, np.array([0, 10, 10, 30, 60]), np.zeros((5, *SIZE), np.uint8))
    counts, _, mask, edges = bin_recording(recording, Binning(n_bins=4, crop=None, down=1, frames_per_bin=1))
    assert counts.sum((1, 2, 3)).tolist() == [2, 0, 4, 6]
    assert edges.tolist() == [0, 10, 10, 30, 60]
    assert mask.all()


def test_frames_that_are_newest_at_the_end_of_a_bin() -> None:
    times = np.array([0, 10, 10, 30])
    edges = np.array([-2, -1, 5, 10, 40])
    assert align_frames(times, edges).tolist() == [-1, 0, 2, 3]
    assert align_frames(times, edges, "hold").tolist() == [-1, -1, 0, 2]
    assert align_frames(times, edges, "nearest").tolist() == [0, 0, 1, 3]
    assert align_frames(times[:0], edges, "nearest").tolist() == [-1] * 4
    with pytest.raises(ValueError, match="policy='start'"):
        align_frames(times, edges, "start")  # type: ignore[arg-type]


def test_shrinking_averages_and_weighs_colours() -> None:
    images = np.zeros((1, 4, 4, 3), np.uint8)
    images[0, :2, :2, 1] = 200
    small = shrink_frames(images, crop=(0, 0, 4, 4), down=2)
    assert small.shape == (1, 1, 2, 2)
    assert small[0, 0].tolist() == [[117, 0], [0, 0]]  # 0.587 x 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": [2, 1]}, "earlier than the one before"),
        ({"x": [0, 16]}, "x = 16 lies outside the sensor of 16 x 12"),
        ({"y": [-1, 0]}, "y = -1 lies outside"),
        ({"p": [0, 2]}, "polarities"),
        ({"p": [0]}, "four equal"),
        ({"t": [0.0, np.nan]}, "not finite"),
    ],
)
def test_bad_events_are_one_clear_error(change: dict, message: str) -> None:  # type: ignore[type-arg]
    arrays = {k: np.array(v) for k, v in {"t": [1, 2], "x": [0, 1], "y": [0, 1], "p": [0, 1], **change}.items()}
    with pytest.raises(ValueError, match=message):
        Events.from_arrays(**arrays, size=SIZE)


def test_unsorted_events_are_mended_on_request() -> None:
    ev = Events.from_arrays(
        np.array([0.2, 0.1]), np.array([1, 2]), np.zeros(2, int), np.ones(2), size=SIZE, unit="s", sort=True
    )
    assert ev.x.tolist() == [2, 1]


def test_clocks_that_do_not_overlap_and_other_bad_recordings() -> None:
    images = np.zeros((2, *SIZE), np.uint8)
    with pytest.raises(ValueError, match="do not overlap"):
        Recording(draw(0, 10), np.array([5000, 6000]), images).overlap()
    with pytest.raises(ValueError, match="event stream is empty"):
        Recording(draw(0, 0), np.array([5000, 6000]), images).overlap()
    with pytest.raises(ValueError, match="no frame"):
        Recording(draw(0, 10), np.zeros(0, np.int64), images[:0]).overlap()
    with pytest.raises(ValueError, match="leaves the sensor of 16 x 12"):
        bin_events(draw(0, 10), np.array([0, 10]), crop=(2, 45, 256, 256))
    with pytest.raises(ValueError, match="ascending"):
        bin_events(draw(0, 10), np.array([10, 0]))
