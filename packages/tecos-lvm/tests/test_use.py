"""What a user calls after a fit: the estimator's facade, evaluation, lengths, pictures, the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tecos_lvm import (
    SpikeDataset,
    TeCoSConfig,
    TeCoSLVM,
    TeCoSRegressor,
    evaluate,
    examine,
    length_curve,
    plot,
    write_report,
)
from tecos_lvm.baselines import CNN, CRNN, LNModel, PoissonGLM
from tecos_lvm.datasets import SyntheticRetina

TINY = {"steps": 4, "batch": 2, "clip_s": 0.3, "burn_in_s": 0.05, "checks": 1, "feature_dim": 8, "hidden_dim": 8,
        "latent_dim": 4, "coder_dim": 8, "decoder_dim": 8, "progress": False}  # fmt: skip


@pytest.fixture(scope="module")
def model(small: SyntheticRetina) -> TeCoSLVM:
    torch.manual_seed(0)
    found = TeCoSLVM(TeCoSConfig((6, 6), 4, feature_dim=8, hidden_dim=8, latent_dim=4, coder_dim=8, decoder_dim=8))
    found.standardise(small.train.stimulus)
    return found


@pytest.mark.parametrize(
    "estimator",
    [TeCoSRegressor(**TINY), LNModel(epochs=1), PoissonGLM(epochs=1), CNN(epochs=1), CRNN(epochs=1)],
    ids=lambda e: type(e).__name__,
)
def test_fit_and_score_take_arrays_or_a_dataset(small: SyntheticRetina, estimator: object) -> None:
    train, test = small.train.time(0, 500), small.test.time(0, 150)
    x, y = train.stimulus, train.spikes[0]
    found = estimator.fit(x, y)  # type: ignore[attr-defined]
    assert found is estimator
    score = found.score(test.stimulus, test.spikes)
    assert -1 <= score <= 1
    assert score == found.score(test)
    assert found.predict(test.stimulus).shape == (150, 4)
    with pytest.raises(ValueError, match="without spikes"):
        found.fit(x)
    with pytest.raises(ValueError, match="besides a SpikeDataset"):
        found.fit(train, y)


def test_parameters_as_scikit_learn_has_them() -> None:
    estimator = TeCoSRegressor(memory="gru", steps=7)
    copy = type(estimator)(**estimator.get_params())
    assert copy.get_params() == estimator.get_params()
    assert copy.set_params(steps=8).steps == 8
    with pytest.raises(ValueError, match="stepps given; known are dt_ms"):
        copy.set_params(stepps=8)
    with pytest.raises(ValueError, match="not fitted"):
        copy.predict(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="val_share=1"):
        copy.set_params(val_share=1).fit(np.zeros((4, 2)), np.zeros((4, 1)))


def test_evaluation_is_determined_and_leaves_the_global_stream_alone(small: SyntheticRetina, model: TeCoSLVM) -> None:
    null = small.train.spikes.mean(axis=(0, 1))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b = (evaluate(model, small.test, null, n_samples=4) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert a == b
    for measure in ("ISI KS", "MMD", "van Rossum 10 ms", "Victor-Purpura 0.1/ms", "Fano"):
        assert {f"{measure}, {name}" for name in ("real", "model", "rate")} <= set(a)


def test_silent_neurons_have_no_value_anywhere(small: SyntheticRetina, model: TeCoSLVM) -> None:
    spikes = small.test.spikes.copy()
    spikes[:, :, 2] = 0
    data = SpikeDataset(spikes, 10.0, small.test.stimulus)
    found = examine(model, data, np.full(4, 0.05), n_samples=4)
    assert found.report.silent == ("2",)
    for values in (found.cc, found.ceiling, *(v for m, v in found.report.per_neuron["model"].items()
                                             if m != "noise correlation")):  # fmt: skip
        assert np.isnan(values[2])
    assert np.isfinite(found.scores["cc"])


def test_every_length_is_scored_on_the_same_bins(small: SyntheticRetina, model: TeCoSLVM) -> None:
    rows = length_curve(model, small.test, (0.5, 1.0, 2.0), n_samples=3)
    assert [row["length_s"] for row in rows] == [0.5, 1.0, 2.0]
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    # a model whose output does not depend on its state has the same curve everywhere
    flat = TeCoSLVM(model.config)
    flat.load_state_dict(model.state_dict())
    with torch.no_grad():
        flat.read.weight.zero_()
        flat.output_reset.zero_()
        flat.output_decay.fill_(-50.0)
    rates = [row["rate_hz"] for row in length_curve(flat, small.test, (0.5, 1.0, 2.0), n_samples=3)]
    assert rates == pytest.approx([rates[0]] * 3, rel=1e-5)
    with pytest.raises(ValueError, match="do not divide"):
        length_curve(model, small.test, (0.7, 2.0))
    with pytest.raises(ValueError, match="do not divide"):
        length_curve(model, small.test, (0.5, 16.0))


def test_pictures_return_their_axes(small: SyntheticRetina, model: TeCoSLVM) -> None:
    pytest.importorskip("matplotlib")
    real = small.test.spikes
    own = model.generate(small.test.stimulus, 4)
    assert plot.raster(real, own, 10.0).get_xlabel() == "time (s)"
    assert plot.psth(real, model.predict_p(small.test.stimulus, 2), 10.0).get_ylabel() == "spikes/s"
    assert len(plot.autocorrelogram(real, own, 10.0).lines) == 3
    assert len(plot.intervals(real, own, 10.0).lines) == 3
    assert len(plot.trajectories(*model.trajectories(small.test.stimulus), 10.0).lines) == 6
    assert len(plot.length(length_curve(model, small.test, (0.5, 1.0), n_samples=2)).lines) == 2


def test_page_is_one_file_that_names_what_is_silent(small: SyntheticRetina, model: TeCoSLVM, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    spikes = small.test.spikes.copy()
    spikes[:, :, 1] = 0
    data = SpikeDataset(spikes, 10.0, small.test.stimulus, ("a", "<b>", "c", "d"))
    write_report(tmp_path / "r.html", model, data, np.full(4, 0.05), n_samples=4, neurons=1)
    text = (tmp_path / "r.html").read_text()
    assert "Without a spike in the recording: &lt;b&gt;." in text
    assert "root of Spearman-Brown" in text
    assert text.count("<img") == 4
    assert "http" not in text
    with pytest.raises(ValueError, match=r"must end in \.html"):
        write_report(tmp_path / "r.pdf", model, data, np.full(4, 0.05))
