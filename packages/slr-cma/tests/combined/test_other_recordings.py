"""The temporal report on recordings of the other packages: what needs order, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from slr_cma import temporal_report

N, STEPS, SIZE = 440, 8, 24  # a quarter tests: fewer than a hundred would be warned about


def moving(rng: np.random.Generator, right: bool, still: bool) -> np.ndarray:
    """Counts [STEPS, 2, SIZE, SIZE] of a bar, simulated as events and binned by eas-det."""
    eas_det = pytest.importorskip("eas_det", reason="eas-det is not installed")
    t = np.sort(rng.integers(0, 80_000, 600))
    place = t / 80_000 if right else 1 - t / 80_000
    if still:
        place = np.full(t.size, 0.25 if right else 0.75)
    x = np.clip(2 + 20 * place + rng.normal(0, 1, t.size), 0, SIZE - 1)
    events = eas_det.Events(
        t, x.astype(np.int64), rng.integers(6, 18, t.size), rng.integers(0, 2, t.size), sensor_size=(SIZE, SIZE)
    )
    return np.asarray(eas_det.micro_counts(events, STEPS, 0, 80_000))


@pytest.mark.parametrize("still", [False, True], ids=["moving left or right", "standing left or right"])
def test_event_streams(still: bool) -> None:
    """A bar that crosses covers the same pixels either way: order alone tells; a standing one needs none."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 2
    counts = np.stack([moving(rng, bool(label), still) for label in labels])
    report = temporal_report(counts, labels, groups=np.arange(N) // 8, n_perm=20, n_boot=50)
    assert report.table["pyramid"]["accuracy"] > 0.9
    if still:
        assert report.table["collapsed"]["accuracy"] > 0.9
        assert report.order_gain < 0.1
    else:
        assert report.table["collapsed"]["accuracy"] < 0.75
        assert report.order_gain > 0.25


def test_recordings_of_a_retina() -> None:
    """Cells that answer a flash or its end: the counts of a trial are equal, when they come is not."""
    tecos_lvm = pytest.importorskip("tecos_lvm", reason="tecos-lvm is not installed")
    rng = np.random.default_rng(1)
    labels = np.arange(N) % 2

    def trial(label: int) -> list[float]:
        times = (200.0 if label else 600.0) + 40 * rng.standard_normal(12)
        return sorted(np.clip(times, 1, 999))

    recording = tecos_lvm.Recording([[trial(label) for label in labels] for _ in range(16)], 1000.0)
    maps = recording.counts(100.0).reshape(N, 10, 1, 4, 4)  # [trials, bins, cells] before
    report = temporal_report(maps, labels, groups=np.arange(N) // 8, n_perm=20, n_boot=50)
    assert report.table["pyramid"]["accuracy"] > 0.9
    assert report.order_gain > 0.25
