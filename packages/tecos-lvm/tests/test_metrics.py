"""Known answers of the metrics (elephant 1.2.1, PySpike 0.9.0 or by hand), laws, and the libraries themselves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tecos_lvm import metrics
from tecos_lvm.metrics.statistics import correlogram_counts

A = [10, 20, 50, 51.5, 120, 333, 700, 980]
B = [12, 48, 52, 119, 121, 340, 690]
trains = st.lists(st.integers(0, 2000), max_size=25, unique=True).map(lambda t: np.sort(np.array(t, dtype=float)) / 2)


@pytest.mark.parametrize(
    ("tau", "both", "alone"),
    [
        (2, 3.211788722014108, 2.9930268803254076),
        (10, 2.4387292649910686, 3.273328614135028),
        (50, 1.8505303990864135, 4.130819570172379),
        (200, 1.404011269552442, 5.257567780215422),
    ],
)
def test_van_rossum_known(tau: float, both: float, alone: float) -> None:
    assert metrics.van_rossum(A, B, tau) == pytest.approx(both, rel=1e-12)
    assert metrics.van_rossum(A, [], tau) == pytest.approx(alone, rel=1e-12)


def test_one_spike_against_none_is_at_distance_one() -> None:
    assert metrics.van_rossum([3.0], [], 10) == 1.0
    assert metrics.van_rossum([10], [20], 10) == pytest.approx(np.sqrt(2 * (1 - np.exp(-1))), rel=1e-14)


def test_identical_trains_are_at_distance_zero_not_nan() -> None:
    # elephant issue 679: this train gave nan up to 1.1.1
    a = np.array([0.1782, 0.2286, 0.2804, 0.4972, 0.5504]) * 1000
    assert metrics.van_rossum(a, a, 100.0) == 0.0


@pytest.mark.parametrize(
    ("q", "value"), [(0.005, 1.5875), (0.02, 3.35), (0.1, 5.25), (0.5, 9.75), (0, 1), (np.inf, 15)]
)
def test_victor_purpura_known(q: float, value: float) -> None:
    assert metrics.victor_purpura(A, B, q) == pytest.approx(value, abs=1e-12)


@settings(max_examples=40)
@given(trains, trains, trains, st.sampled_from([1.0, 10.0, 70.0]))
def test_distances_are_metrics(a: np.ndarray, b: np.ndarray, c: np.ndarray, tau: float) -> None:
    for matrix in (metrics.van_rossum_matrix([a, b, c], tau), metrics.victor_purpura_matrix([a, b, c], 1 / tau)):
        assert (matrix == matrix.T).all()
        assert (np.diag(matrix) == 0).all()
        assert matrix[0, 2] <= matrix[0, 1] + matrix[1, 2] + 1e-9
    shifted = metrics.van_rossum(a + 50, b + 50, tau)
    assert shifted == pytest.approx(metrics.van_rossum(a, b, tau), abs=1e-7)


@settings(max_examples=25)
@given(trains, trains)
def test_against_elephant(a: np.ndarray, b: np.ndarray) -> None:
    pytest.importorskip("elephant")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import neo
        import quantities as pq
        from elephant.spike_train_dissimilarity import van_rossum_distance, victor_purpura_distance

        events = [neo.SpikeTrain(t * pq.ms, t_stop=1001 * pq.ms) for t in (a, b)]
        theirs = van_rossum_distance(events, 10 * pq.ms)[0, 1]
        cost = victor_purpura_distance(events, 0.1 / pq.ms)[0, 1]
    if np.isfinite(theirs):
        assert metrics.van_rossum(a, b, 10.0) == pytest.approx(float(theirs), abs=1e-6)
    assert metrics.victor_purpura(a, b, 0.1) == pytest.approx(float(cost), abs=1e-9)


def test_through_pyspike() -> None:
    pytest.importorskip("pyspike")
    assert metrics.isi_distance(A, B, (0, 1000)) == pytest.approx(0.11098817067743255, abs=1e-12)
    assert metrics.spike_distance(A, B, (0, 1000)) == pytest.approx(0.043820343293852274, abs=1e-12)


def test_interval_statistics_known() -> None:
    gaps = metrics.isi([A])
    assert metrics.cv(gaps) == pytest.approx(0.9824517797978767, rel=1e-12)
    assert metrics.lv(gaps) == pytest.approx(1.168398112534659, rel=1e-12)
    assert metrics.cv2(gaps) == pytest.approx(1.0917367549991714, rel=1e-12)
    assert metrics.fano([3, 1, 2, 5]) == pytest.approx(0.7954545454545454, rel=1e-12)
    for dt, value in ((2, 0.5898844408170869), (5, 0.5670853138924898), (20, 0.9101174345076785)):
        assert metrics.sttc(A, B, dt, (0, 1000)) == pytest.approx(value, rel=1e-12)


def test_autocorrelogram_by_hand() -> None:
    y = np.array([1, 0, 0, 1, 1, 0, 1, 0, 0, 0])
    assert correlogram_counts(y, 4).tolist() == [4, 1, 1, 2, 1]
    assert metrics.autocorrelogram(y[None, :, None], 4)[0] == pytest.approx([1 / 4, 1 / 4, 2 / 4, 1 / 3])


def test_psp_and_mmd_by_hand() -> None:
    def train(text: str) -> torch.Tensor:
        return torch.tensor([float(c) for c in text], dtype=torch.float64)[:, None]

    a, b = metrics.psp(train("100110"), 2.0), metrics.psp(train("010100"), 2.0)
    assert a.flatten().tolist() == [0.5, 0.25, 0.125, 0.5625, 0.78125, 0.390625]
    assert (a - b).square().sum().item() == pytest.approx(0.6066894531, abs=1e-9)
    x = torch.stack([train(t) for t in ("100100", "010100", "100010")])
    y = torch.stack([train(t) for t in ("100100", "001001")])
    assert metrics.mmd(x, y, unbiased=False).item() == pytest.approx(0.1281806098, abs=1e-9)
    assert metrics.mmd(x, y).item() == pytest.approx(-0.1359863281, abs=1e-9)
    mean = metrics.psp(x, 2.0).mean(0) - metrics.psp(y, 2.0).mean(0)
    assert metrics.mmd(x, y, unbiased=False).item() == pytest.approx(mean.square().sum().item(), rel=1e-12)


def test_unbiased_mmd_is_zero_on_average_for_equal_laws() -> None:
    g = torch.Generator().manual_seed(0)
    x = (torch.rand(2000, 2, 20, 3, generator=g, dtype=torch.float64) < 0.2).double()
    values = torch.stack(
        [metrics.mmd(pair[:2].reshape(2, 20, 3), other) for pair, other in zip(x[:1000], x[1000:], strict=True)]
    )
    error = values.std(0) / len(values) ** 0.5
    assert (values.mean(0).abs() < 4 * error).all()


def test_psp_in_pieces() -> None:
    y = (torch.rand(3, 40, 2, dtype=torch.float64) < 0.3).double()
    whole = metrics.psp(y, 5.0)
    first = metrics.psp(y[:, :17], 5.0)
    second = metrics.psp(y[:, 17:], 5.0, state=first[:, -1])
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-12, atol=1e-14)


@settings(max_examples=20)
@given(trains, trains)
def test_binned_van_rossum_agrees_on_the_grid(a: np.ndarray, b: np.ndarray) -> None:
    def grid(t: np.ndarray) -> torch.Tensor:
        y = torch.zeros(2001, 1, dtype=torch.float64)
        y[np.round(t * 2).astype(int)] = 1
        return y

    binned = metrics.van_rossum_binned(grid(a), grid(b), tau_ms=10, dt_ms=0.5)
    assert binned.item() == pytest.approx(metrics.van_rossum(a, b, 10), abs=1e-6)


def test_undefined_is_nan_never_zero() -> None:
    y = np.zeros((4, 50, 2), dtype=np.uint8)
    y[:, ::7, 1] = 1
    y[1:, 3, 1] = 1
    for values in (metrics.autocorrelogram(y, 3)[:, 0], metrics.isi_ks(y, y), metrics.isi_hist(y)[:, 0],
                   metrics.pearson(y[0].astype(float), y[1].astype(float)),
                   metrics.bits_per_spike([0, -1], y, [0.1, 0.1]),
                   metrics.split_half(y, 5.0)):  # fmt: skip
        assert np.isnan(values[0])
        assert np.isfinite(values[1])
    assert np.isnan(metrics.noise_correlation(y, 5.0, 25.0)).all()
    assert np.isnan(metrics.sttc([], [1.0], 1, (0, 10)))
    assert np.isnan(metrics.fano([0, 0]))


def test_ceiling_holds_for_a_known_rate() -> None:
    rng = np.random.default_rng(0)
    p = 0.05 + 0.6 * rng.random((4000, 3))
    y = (rng.random((20, 4000, 3)) < p).astype(np.uint8)
    truth = metrics.pearson(p, y.mean(axis=0))
    ceiling = metrics.ceiling_sb(metrics.split_half(y, 5.0, sd_ms=0, splits=30))
    assert truth == pytest.approx(ceiling, abs=0.03)
    assert metrics.fev(p, y) == pytest.approx(1.0, abs=0.06)


def test_perfect_probabilities_give_the_information_of_the_rate() -> None:
    p = np.array([0.5, 0.1])
    y = np.zeros((1, 10, 2), dtype=np.uint8)
    y[0, :5, 0] = 1
    y[0, 0, 1] = 1
    same = (y * np.log(p) + (1 - y) * np.log1p(-p)).sum(axis=(0, 1))
    assert metrics.bits_per_spike(same, y, p) == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.van_rossum([3.0, 1.0], [1.0], 5), "not sorted"),
        (lambda: metrics.van_rossum([-1.0], [1.0], 5), "negative"),
        (lambda: metrics.van_rossum([np.nan], [1.0], 5), "not finite"),
        (lambda: metrics.van_rossum([1.0], [1.0], 0), "tau_ms"),
        (lambda: metrics.victor_purpura([1.0], [1.0], -1), "q_per_ms"),
        (lambda: metrics.mmd(torch.zeros(1, 5, 1), torch.zeros(2, 5, 1)), "K >= 2"),
        (lambda: metrics.mmd(torch.zeros(2, 5, 1), torch.zeros(1, 5, 1)), "R >= 2"),
        (lambda: metrics.autocorrelogram(np.full((1, 5, 1), 2)), "not counts"),
        (lambda: metrics.split_half(np.zeros((1, 5, 1)), 5.0), "2 trials"),
        (lambda: metrics.psp(torch.zeros(5, 1), 0.5), "tau"),
    ],
)
def test_bad_input(call: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()  # type: ignore[operator]
