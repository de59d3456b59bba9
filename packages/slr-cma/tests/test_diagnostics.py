"""Probes, indices, and the report: known answers, laws, and the real signs."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slr_cma import PairedSign
from slr_cma.diagnostics import KernelRidge, describe_time, from_torch_dataset, holm, tci, tdi, temporal_report, wilson
from slr_cma.diagnostics.features import Views, pool_maps
from slr_cma.diagnostics.tier2 import collapse, model_report, segment_shuffle, shuffle_time


def test_known_answers() -> None:
    assert [round(x, 3) for x in wilson(30, 180)] == [0.119, 0.228]
    assert tdi(0.9, 0.9, 0.1) == pytest.approx(0)
    assert tdi(0.9, 0.1, 0.1) == pytest.approx(1)
    assert tdi(0.94, 0.629, 1 / 15) == pytest.approx(0.356, abs=5e-4)
    assert math.isnan(tdi(0.1, 0.1, 0.1))
    assert tci(0.9, 0.5, 0.1) == pytest.approx(0.5)
    assert tci(0.5, 0.9, 0.1) == 0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 9))
def test_collapsed_and_bag_do_not_see_time_at_all(seed: int, t: int) -> None:
    rng = np.random.default_rng(seed)
    views = Views(rng.poisson(1.0, (12, t, 2, 6, 6)), np.arange(8), grid=4, rff=32)
    for name in ("collapsed", "bag"):
        np.testing.assert_array_equal(views.get(name), views.get(f"{name}, shuffled"))
    assert (views.get("ordered") != views.get("ordered, shuffled")).any()


def test_pooling_sums_cells() -> None:
    x = np.ones((1, 1, 1, 10, 6))
    np.testing.assert_allclose(np.expm1(pool_maps(x, 2))[0, 0, 0], np.full((2, 2), 15.0), rtol=1e-5)


def test_ridge_equals_scikit_learn() -> None:
    ridge = pytest.importorskip("sklearn.kernel_ridge")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    ours = KernelRidge(width=4.0, regularisation=0.1).fit(x[:40], y[:40])
    theirs = ridge.KernelRidge(alpha=0.1, kernel="rbf", gamma=0.25).fit(x[:40], np.where(np.eye(3)[y[:40]] > 0, 1, -1))
    np.testing.assert_allclose(ours.decision(x[40:]), theirs.predict(x[40:]), atol=1e-8)
    # permuted labels through the shared factor equal refitting
    rng_a, rng_b = np.random.default_rng(1), np.random.default_rng(1)
    null = ours.permuted(x[40:], y[40:], 5, rng_a)
    again = [
        KernelRidge(width=4.0, regularisation=0.1).fit(x[:40], y[:40][rng_b.permutation(40)]).score(x[40:], y[40:])
        for _ in range(5)
    ]
    np.testing.assert_allclose(null, again)


def test_a_dataset_of_orders_needs_time_and_one_of_places_does_not() -> None:
    signs = PairedSign(360, seed=3)
    split = (np.arange(240), np.arange(240, 360))
    order = temporal_report(signs.events, signs.orders, split=split, tiers=(0, 1), n_perm=50)
    assert order.tci >= 0.9
    assert order.table["ordered"]["accuracy"] >= 0.95
    assert order.table["ordered"]["p_holm"] < 0.2
    assert order.table["collapsed"]["low"] < 1 / 6 < order.table["collapsed"]["high"] + 0.05
    assert "needs time" in order.sentence
    assert order.tier0 is not None
    place = temporal_report(signs.frames, signs.cues, split=split, tiers=(1,), n_perm=50)
    assert place.table["collapsed"]["accuracy"] >= 0.95
    assert place.ci["order_gain"][0] <= 0 <= place.ci["order_gain"][1]
    assert place.tci <= 0.05
    assert "hardly needs time" in place.sentence


def test_labels_at_random_leave_the_index_undefined() -> None:
    rng = np.random.default_rng(0)
    data, labels = rng.poisson(1.0, (400, 6, 1, 4, 4)), rng.integers(0, 4, 400)
    report = temporal_report(data, labels, groups=np.arange(400), tiers=(1,), n_perm=20, n_boot=100)
    assert math.isnan(report.tci)
    assert "Undefined" in report.sentence
    assert json.loads(report.to_json())["tci"] is None


def test_the_report_is_written_whole_in_three_forms(tmp_path: Path) -> None:
    signs = PairedSign(200, task="order", seed=1)
    with pytest.warns(UserWarning, match="test samples"):
        report = temporal_report(signs.events, signs.labels, groups=np.arange(200), n_perm=20, n_boot=100)
    report.to_json(tmp_path / "r.json")
    page = report.to_html(tmp_path / "r.html").read_text()
    assert json.loads((tmp_path / "r.json").read_text())["table"]["bag"]["n"] == report.n_test
    assert page.count("<svg") == 3
    assert report.sentence in page.replace("&#x27;", "'")
    assert "| pyramid |" in report.to_markdown()


def test_groups_on_both_sides_and_missing_groups_are_told() -> None:
    rng = np.random.default_rng(0)
    data, labels = rng.poisson(1.0, (300, 4, 1, 4, 4)), np.arange(300) % 3
    with pytest.warns(UserWarning, match="stand in both train and test"):
        temporal_report(
            data, labels, groups=np.arange(300) % 5, split=(np.arange(150), np.arange(150, 300)), tiers=(0,)
        )
    with pytest.warns(UserWarning, match="no groups given"):
        report = temporal_report(np.repeat(data, 2, 0), np.repeat(labels, 2), tiers=(0,))
    assert report.n_test == 150
    known = np.flatnonzero(labels[:150] != 2)
    with pytest.warns(UserWarning, match="class 2 has no training recording: 50 of 150 test samples cannot be right"):
        temporal_report(data, labels, split=(known, np.arange(150, 300)), tiers=(0,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": np.zeros((6, 2, 4, 4))}, r"expected \[n, T, C, H, W\]"),
        ({"labels": np.zeros(5, int)}, "one label each"),
        ({"labels": np.zeros(6, int)}, "all labels are the same"),
        ({"labels": np.linspace(0, 1, 6)}, "integer class"),
        ({"data": np.full((6, 3, 1, 4, 4), np.nan)}, "NaN"),
        ({"data": np.zeros((6, 1, 1, 4, 4))}, "no order to look for"),
        ({"split": ([0, 1], [1, 2])}, "train and test"),
        ({"split": ([0, 1], [])}, "expected some of each"),
        ({"split": ([0, 1], [9])}, "names sample 9 of 6"),
        ({"tiers": (3,)}, "expected some of 0, 1, 2"),
        ({"groups": [1, 2]}, "one group per recording"),
        ({"groups": [1] * 6}, "at least two"),
    ],
)
def test_bad_data_is_one_clear_error(change: dict[str, Any], message: str) -> None:
    given = {"data": np.zeros((6, 3, 1, 4, 4)), "labels": np.arange(6) % 2, **change}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=message):
            temporal_report(given.pop("data"), given.pop("labels"), **given)


def test_time_without_labels() -> None:
    t = np.arange(12)
    still = np.ones((3, 12, 1, 8, 8)) * np.random.default_rng(0).random((3, 1, 1, 8, 8))
    zero = describe_time(still)
    assert zero["static_share"] == pytest.approx(1)
    assert zero["rate_cv"] == pytest.approx(0, abs=1e-9)
    assert zero["entropy"] == pytest.approx(1)
    moving = np.zeros((4, 12, 1, 16, 16))
    moving[:, t, 0, :, t] = 5.0
    moving[:, t, 0, :, t + 1] = 5.0
    found = describe_time(moving)
    assert found["correlation"][0] > 0.2 > found["correlation"][4]
    assert found["correlation_length"] == 2
    assert found["static_share"] < 0.5


def test_shuffles_keep_what_they_should() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(2 * 6).reshape(2, 6, 1, 1, 1)
    assert (np.sort(shuffle_time(x, rng), 1) == x).all()
    runs = segment_shuffle(x, 2, rng)[..., 0, 0, 0]
    assert (runs[:, 1::2] - runs[:, ::2] == 1).all()
    assert collapse(x)[1, :, 0, 0, 0].tolist() == [8.5] * 6
    with pytest.raises(ValueError, match="does not divide"):
        segment_shuffle(x, 4, rng)


def test_a_network_needs_the_order_where_there_is_one() -> None:
    signs = PairedSign(300, task="order", seed=1)
    found = model_report(
        signs.events,
        signs.labels,
        np.arange(200),
        np.arange(200, 300),
        epochs=10,
        controls=("collapsed",),
        progress=False,
    )
    assert found["trained"]["ordered"] >= 0.9
    assert found["trained"]["collapsed"] <= 0.3
    assert found["tested"]["reversed"] <= 0.1
    assert found["tdi"] >= 0.8
    assert found["tdi_ci"][0] <= found["tdi"] <= found["tdi_ci"][1]
    assert found["low"]["trained ordered"] < found["trained"]["ordered"] <= found["high"]["trained ordered"]
    with pytest.raises(ValueError, match="not known"):
        model_report(signs.events, signs.labels, np.arange(9), np.arange(9, 20), controls=("x",))


def test_torch_datasets_of_others() -> None:
    pairs = [(torch.rand(4, 2, 5, 5), i % 2) for i in range(6)]
    data, labels = from_torch_dataset(pairs, 3)
    assert data.shape == (3, 4, 2, 5, 5)
    assert labels.tolist() == [0, 0, 1]
    assert from_torch_dataset(PairedSign(4))[0].shape == (4, 12, 2, 12, 12)
    rows = np.zeros(50, [("t", "i8"), ("x", "u2"), ("y", "u2"), ("p", "u1")])
    rows["t"] = np.arange(50)
    raw = [(rows, 0), (rows[:30], 1)]
    assert from_torch_dataset(raw, n_bins=3, size=(4, 4), down=2)[0].sum((2, 3, 4)).tolist() == [[16, 17, 17], [10] * 3]
    with pytest.raises(ValueError, match="raw events; give n_bins"):
        from_torch_dataset(raw)
    with pytest.raises(ValueError, match="empty"):
        from_torch_dataset([])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert temporal_report(PairedSign(40, seed=1), tiers=(0,)).n_classes == 18
    with pytest.raises(ValueError, match="expected"):
        from_torch_dataset([(torch.rand(4, 2, 5, 5), 0), (torch.rand(5, 2, 5, 5), 0)])
    with pytest.raises(ValueError, match="Sample"):
        from_torch_dataset([3])


@pytest.mark.data
def test_real_signs_hardly_need_time_and_random_splits_leak(spk_data: Any) -> None:
    with np.load(spk_data("signs/signs15_T20_32x32.npz")) as file:
        x, y, s = file["X"], file["Y"].astype(int), file["S"]
    report = temporal_report(x, y, split=(s == 0, s == 1), tiers=(1,), n_perm=20)
    assert report.table["collapsed"]["accuracy"] == pytest.approx(0.673, abs=0.03)  # an earlier study, same features
    assert report.ci["order_gain"][0] <= 0 <= report.ci["order_gain"][1]
    assert report.tci <= 0.1
    order = np.random.default_rng(0).permutation(750)
    random = temporal_report(x, y, split=(order[150:], order[:150]), tiers=(1,), n_perm=20)
    assert random.table["bag"]["accuracy"] - report.table["bag"]["accuracy"] > 0.15
