"""Tensors from events: equal to the plain loops and to tonic's formula, and the laws between them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eas_det import (
    Events,
    LearnedKernelVoxel,
    bin_batch,
    event_count,
    letterbox,
    micro_counts,
    open_events,
    pack,
    stacked_histogram,
    time_surface,
    voxel_cube,
    voxel_grid,
    write_dat,
)
from eas_det.representations import _reference


@st.composite
def some_events(draw: Any) -> Events:
    n = draw(st.integers(0, 40))
    t = np.sort(draw(hnp.arrays(np.int64, n, elements=st.integers(0, 300))))
    x = draw(hnp.arrays(np.uint16, n, elements=st.integers(0, 6)))
    y = draw(hnp.arrays(np.uint16, n, elements=st.integers(0, 4)))
    p = draw(hnp.arrays(np.uint8, n, elements=st.integers(0, 1)))
    return Events(t, x, y, p, (7, 5))


windows = st.sampled_from([(None, None), (0, 300), (50, 51), (10, 250), (400, 500)])
TWINS: list[tuple[Callable[..., Any], Callable[..., Any], dict[str, Any]]] = [
    (micro_counts, _reference.micro_counts, {}),
    (micro_counts, _reference.micro_counts, {"edges": "data"}),
    (voxel_grid, _reference.voxel_grid, {"dtype": np.float64}),
    (time_surface, _reference.time_surface, {"tau": 70.0, "dtype": np.float64}),
    (voxel_cube, _reference.voxel_cube, {"micro_bins": 3}),
    (voxel_cube, _reference.voxel_cube, {"official": True, "binary": True}),
    (stacked_histogram, _reference.stacked_histogram, {"count_cutoff": 2}),
]


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin[0].__name__)
@settings(max_examples=25)
@given(events=some_events(), n=st.integers(1, 5), window=windows)
def test_fast_equals_slow(twin: Any, events: Events, n: int, window: tuple[int | None, int | None]) -> None:
    fast, slow, options = twin
    ours, theirs = fast(events, n, *window, **options), slow(events, n, *window, **options)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_twins_have_one_signature() -> None:
    for fast, slow, _ in TWINS:
        ours, theirs = (list(inspect.signature(each).parameters) for each in (fast, slow))
        assert [name for name in ours if name in theirs] == theirs


@settings(max_examples=30)
@given(events=some_events(), n=st.integers(1, 7), cut=st.integers(1, 299))
def test_counts_lose_nothing_and_add_up(events: Events, n: int, cut: int) -> None:
    whole = micro_counts(events, n, 0, 301)
    assert whole.sum() == len(events)
    assert np.array_equal(whole.sum(0), event_count(events, 0, cut) + event_count(events, cut, 301))
    # the grid counts light: every event once, less what falls behind the last bin
    grid = voxel_grid(events, n, 0, 301, dtype=np.float64)
    behind = sum((1 if p else -1) * max(n * t / 301 - (n - 1), 0) for t, p in zip(events.t, events.p, strict=True))
    assert grid.sum() == pytest.approx((2.0 * events.p - 1).sum() - behind, abs=1e-9)


def test_the_order_of_events_does_not_matter(recipes: SimpleNamespace) -> None:
    events = recipes.make_events(3000, (7, 5))
    order = np.random.default_rng(0).permutation(len(events))
    fields = (getattr(events, name)[order] for name in "txyp")
    assert np.array_equal(micro_counts(Events(*fields, (7, 5), repair="sort"), 4), micro_counts(events, 4))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.float64])
def test_a_pixel_may_fire_more_often_than_a_byte_holds(dtype: Any, tmp_path: Path) -> None:
    n = 5000
    t = np.arange(n)
    events = Events(t, np.where(t % 3, 1, 0), np.zeros(n, int), t % 2, (2, 1))
    wanted = _reference.micro_counts(events, 2, 0, n)
    assert wanted.max() > 3 * 256
    assert np.array_equal(micro_counts(events, 2, 0, n, dtype=dtype), wanted)
    write_dat(tmp_path / "a.dat", events)
    assert np.array_equal(micro_counts(open_events(tmp_path / "a.dat"), 2, 0, n, dtype=dtype), wanted)


@pytest.mark.parametrize("span", [39_999, (1 << 31) + 1, (1 << 32) + 3])
def test_voxels_of_many_events_on_few_pixels(span: int) -> None:
    """Whole-number sums are shared out in time; recordings of more than 71 minutes take the plain loop."""
    n = 40_000
    t = np.arange(n) * (span // (n - 1))
    t[-1] = span
    events = Events(t, np.where(np.arange(n) % 5, 0, 1), np.zeros(n, int), (np.arange(n) % 7 > 0).astype(int), (2, 1))
    ours, theirs = voxel_grid(events, 3, dtype=np.float64), _reference.voxel_grid(events, 3, dtype=np.float64)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@settings(max_examples=20)
@given(events=some_events(), n=st.integers(1, 5))
def test_the_batch_on_a_device_equals_the_loops(events: Events, n: int) -> None:
    starts = [0, 40, 290]
    packed = pack([events] * 3, starts, 100)
    got = bin_batch(packed.to("cpu"), n)
    for place, start in enumerate(starts):
        assert np.array_equal(got[place].numpy(), micro_counts(events, n, start, start + 100))


def test_published_edges_lose_the_last_event(recipes: SimpleNamespace) -> None:
    events = recipes.make_events(500)
    width = events.duration // 4
    lost = int((events.t >= events.t[0] + 4 * width).sum())
    assert lost >= 1
    assert micro_counts(events, 4, official=True).sum() == len(events) - lost
    assert micro_counts(events, 4).sum() == len(events)


def test_published_cube_puts_two_channels_on_one() -> None:
    events = Events([0, 1, 2, 3], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], (1, 1))
    # p 0: bins 0, 1; then p 1; two micro-bins of 2 us each
    assert voxel_cube(events, 1, 0, 4).flatten().tolist() == [2, 0, 0, 2]
    two = Events([0, 2, 0 + 2, 3], [0] * 4, [0] * 4, [0, 0, 1, 1], (1, 1))
    assert voxel_cube(two, 1, 0, 4).flatten().tolist() == [1, 1, 0, 2]
    first_on = Events([0, 2], [0, 0], [0, 0], [1, 0], (1, 1))
    assert voxel_cube(first_on, 1, 0, 4).flatten().tolist() == [0, 1, 1, 0]
    assert voxel_cube(first_on, 1, 0, 4, official=True).flatten().tolist() == [0, 2, 0, 0]


def test_the_callers_arrays_stay_as_they_are(recipes: SimpleNamespace) -> None:
    events = recipes.make_events(300)
    p = events.p.copy()
    voxel_grid(events, 5)
    assert np.array_equal(events.p, p)
    with pytest.raises(ValueError, match="read-only"):
        events.p[0] = 1


def test_dat_is_counted_as_it_is_decoded(recipes: SimpleNamespace, tmp_path: Path) -> None:
    events = recipes.make_events(5000)
    write_dat(tmp_path / "a.dat", events)
    reader = open_events(tmp_path / "a.dat")
    for window in ((0, 95_000), (20_000, 20_001), (33_333, 77_777), (200_000, 300_000)):
        assert np.array_equal(micro_counts(reader, 5, *window), micro_counts(events, 5, *window))
    assert np.array_equal(micro_counts(reader, 3), micro_counts(events, 3))
    out = np.ones((5, 2, 34, 34), np.float32)
    assert micro_counts(reader, 5, 0, 95_000, out=out) is out
    assert out.sum() == len(events)
    with pytest.raises(ValueError, match="out has shape"):
        micro_counts(events, 4, 0, 95_000, out=out)


def test_events_of_one_time_and_no_events() -> None:
    one = Events([5, 5, 5], [0, 1, 1], [0, 0, 1], [1, 0, 1], (2, 2))
    nothing = Events.empty((2, 2))
    for make in (micro_counts, voxel_grid, time_surface, voxel_cube, stacked_histogram):
        assert np.isfinite(make(one, 3)).all()
        assert not make(nothing, 3).any()
    assert voxel_grid(one, 3).sum() == 1
    assert micro_counts(one, 3).sum() == 3


def test_wrong_calls() -> None:
    events = Events([1, 2], [3, 4], [0, 0], [0, 1])
    with pytest.raises(ValueError, match="pass size="):
        micro_counts(events, 2)
    with pytest.raises(ValueError, match="event 1 is at x=4, y=0, outside the grid 4x4"):
        micro_counts(events, 2, size=(4, 4))
    with pytest.raises(ValueError, match="n_bins=0"):
        micro_counts(events, 0, size=(5, 5))
    with pytest.raises(ValueError, match="edges='log'"):
        micro_counts(events, 2, size=(5, 5), edges="log")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ends after it begins"):
        micro_counts(events, 2, 9, 3, size=(5, 5))
    with pytest.raises(ValueError, match="tau=0"):
        time_surface(events, 2, size=(5, 5), tau=0)
    with pytest.raises(ValueError, match="outside the grid"):
        pack([events], [0], 10, (4, 4))


def test_learned_kernel_begins_as_the_triangle_and_learns(recipes: SimpleNamespace) -> None:
    torch.manual_seed(0)
    events = recipes.make_events(200, (8, 8))
    packed = pack([events, events], [100, 100], 90_001)
    voxel = LearnedKernelVoxel(5)
    out = voxel(packed)
    assert out.shape == (2, 5, 2, 8, 8)
    centres = np.arange(5) / 4
    triangle = np.clip(1 - 4 * np.abs((events.t - 100)[:, None] / 90_001 - centres), 0, None)
    wanted = np.zeros((5, 2, 8, 8))
    for b in range(5):
        np.add.at(wanted[b], (events.p, events.y, events.x), triangle[:, b])
    assert np.abs(out[0].detach().numpy() - wanted).mean() < 0.1
    out.sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in voxel.kernel[-1].parameters())


def test_letterbox_keeps_the_corner_and_tells_the_scale() -> None:
    out, scale = letterbox(torch.ones(2, 4, 2, 240, 304), (640, 640))
    assert out.shape == (2, 4, 2, 640, 640)
    assert scale == 640 / 304
    assert out[..., :505, :].min() == 1
    assert out[..., 505:, :].abs().max() == 0
