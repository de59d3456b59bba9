"""The paper's own recordings: facts of the files, known distances, the trap of the silent model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tecos_lvm import Recording, metrics
from tecos_lvm.datasets import load_onken, load_onken_images

FACTS = {  # specification, section 3: neurons, spikes, odd/even correlation at 33.3 and 10 ms
    "Movie1Exp1": (38, 26968, 0.9041, 0.7690),
    "Movie1Exp2": (49, 76833, 0.9592, 0.8467),
    "Movie2Exp1": (38, 34889, 0.9193, 0.8032),
}
DISTANCES = [  # trials index 1 and 2: van Rossum tau 10 ms, Victor-Purpura q 0.1 (elephant 1.2.1)
    ("Movie1Exp1", 0, 4.729198, 21.2), ("Movie1Exp1", 10, 6.185103, 34.7), ("Movie1Exp2", 0, 11.216245, 118.8),
    ("Movie1Exp2", 10, 3.661115, 12.9), ("Movie2Exp1", 0, 5.198134, 24.8), ("Movie2Exp1", 10, 6.234063, 31.2),
]  # fmt: skip
Find = Callable[[str], Path]


@pytest.fixture(scope="module")
def recordings(spk_data: Find) -> dict[str, Recording]:
    return {name: load_onken(spk_data(f"retina/{name}.mat")) for name in FACTS}


@pytest.mark.data
@pytest.mark.parametrize("name", FACTS)
def test_facts(recordings: dict[str, Recording], name: str) -> None:
    recording, (neurons, spikes, coarse, fine) = recordings[name], FACTS[name]
    assert (recording.n_neurons, recording.n_trials, recording.n_spikes) == (neurons, 30, spikes)
    # edges of bins of a third of 100 ms fall between whole milliseconds: their rounding moves the third digit
    for dt, known, within in ((100 / 3, coarse, 2e-3), (10.0, fine, 6e-5)):
        half = metrics.split_half(recording.counts(dt), dt, sd_ms=0)
        assert np.nanmean(half) == pytest.approx(known, abs=within)


@pytest.mark.data
@pytest.mark.parametrize(("name", "neuron", "rossum", "purpura"), DISTANCES)
def test_distances(recordings: dict[str, Recording], name: str, neuron: int, rossum: float, purpura: float) -> None:
    trials = recordings[name].spike_times[neuron]
    assert metrics.van_rossum(trials[1], trials[2], 10) == pytest.approx(rossum, abs=6e-7)
    assert metrics.victor_purpura(trials[1], trials[2], 0.1) == pytest.approx(purpura, abs=1e-9)


@pytest.mark.data
def test_mean_distance_of_a_whole_recording(recordings: dict[str, Recording]) -> None:
    upper = np.triu_indices(30, 1)
    values = [metrics.van_rossum_matrix(trials, 10.0)[upper] for trials in recordings["Movie1Exp2"].spike_times]
    assert np.mean(values) == pytest.approx(8.197999488946836, rel=1e-9)


TRAP = {  # specification, section 2.4: squared difference of traces to another real trial, to silence; neurons; U form
    "Movie1Exp1": (13.04, 9.32, 38, 2.80),
    "Movie1Exp2": (23.88, 20.76, 40, 8.82),
    "Movie2Exp1": (14.39, 12.04, 32, 4.85),
}


def squared_differences(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared difference of traces between two trials, and between a trial and silence, per neuron."""
    trace = metrics.psp(y, 2.0)
    alone = trace.square().sum((0, 1)) / len(y)
    cross = (trace.sum(0).square().sum(0) - trace.square().sum((0, 1))) / (len(y) * (len(y) - 1))
    return 2 * (alone - cross), alone


@pytest.mark.data
@pytest.mark.parametrize("name", FACTS)
def test_silent_model_trap(recordings: dict[str, Recording], name: str) -> None:
    """One squared difference of traces prefers silence to another trial of the retina; the unbiased MMD does not."""
    y = torch.from_numpy(recordings[name].counts(5.0)[5:15] > 0).double()
    real, silent, wins, unbiased = TRAP[name]
    other, alone = squared_differences(y)
    assert other.mean().item() == pytest.approx(real, abs=6e-3)
    assert alone.mean().item() == pytest.approx(silent, abs=6e-3)
    assert int((alone < other).sum()) == wins
    nothing = torch.zeros_like(y)
    assert metrics.mmd(nothing, y).mean().item() == pytest.approx(unbiased, abs=6e-3)
    assert (metrics.mmd(nothing[:5], y[5:]) > metrics.mmd(y[:5], y[5:])).all()


@pytest.mark.data
def test_silent_model_trap_under_images(spk_data: Find) -> None:
    found = load_onken_images(spk_data("retina/NaturalImages1.mat"))
    y = torch.from_numpy(np.concatenate([r.counts(5.0)[5:15, :200] > 0 for r in found], axis=1)).double()
    other, alone = squared_differences(y)
    assert 0.4 < (alone < other).double().mean() < 0.7  # silence wins for half of the neurons
    assert (metrics.mmd(torch.zeros_like(y[:5]), y[5:]) > metrics.mmd(y[:5], y[5:])).all()


@pytest.mark.data
def test_several_spikes_in_a_bin_warn_with_the_share(recordings: dict[str, Recording]) -> None:
    with pytest.warns(UserWarning, match=r"2[678]\.\d % of the occupied bins"):
        recordings["Movie1Exp2"].bin(100 / 3)
    data = recordings["Movie1Exp2"].bin(5.0)
    assert data.spikes.shape == (30, 3600, 49)


@pytest.mark.data
def test_images(spk_data: Find) -> None:
    path = spk_data("retina/NaturalImages1.mat")
    found = load_onken_images(path)
    assert (len(found), found[0].n_neurons, found[0].n_trials) == (60, 38, 30)
    with pytest.raises(ValueError, match="load_onken_images"):
        load_onken(path)
    with pytest.raises(ValueError, match="use load_onken"):
        load_onken_images(spk_data("retina/Movie1Exp1.mat"))


@pytest.mark.data
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_matlab_file(spk_data: Find, tmp_path: Path, share: float) -> None:
    whole = spk_data("retina/Movie1Exp1.mat").read_bytes()
    path = tmp_path / "cut.mat"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.mat"):
        load_onken(path)
