"""Baselines: they learn what they can represent, their likelihood is that of their probabilities, history is causal."""

from __future__ import annotations

import numpy as np
import pytest

from tecos_lvm.baselines import CNN, CRNN, LNModel, PoissonGLM
from tecos_lvm.datasets import SyntheticRetina


def test_ln_recovers_cells_that_are_ln(small: SyntheticRetina) -> None:
    model = LNModel(rank=1, epochs=15, lr=2e-2, batch=128).fit(small.train)
    true = 1 - np.exp(-small.truth.rate_hz["test"] * 0.01)
    found = model.predict_p(small.test.stimulus)
    assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(true.T, found.T, strict=True)]) > 0.8


@pytest.mark.parametrize("make", [LNModel, PoissonGLM, CNN, CRNN])
def test_facade(small: SyntheticRetina, make: type) -> None:
    train = small.train.time(0, 600)
    model = make(epochs=1, window=6).fit(train, val=small.val.time(0, 100))
    x, y = small.test.stimulus[:80], small.test.spikes[:3, :80]
    p = model.predict_p(x, 4)
    assert p.shape == (80, 4)
    assert ((p > 0) & (p < 1)).all()
    trials = model.generate(x, 3, seed=1)
    assert (trials == model.generate(x, 3, seed=1)).all()
    if not model.lags:
        wanted = (y * np.log(p) + (1 - y) * np.log1p(-p)).sum(axis=(0, 1))
        assert model.log_likelihood(x, y) == pytest.approx(wanted, rel=1e-5)
    changed = x.copy()
    changed[50:] += 5
    assert np.allclose(model.predict_p(changed, 4)[:50], p[:50])
    with pytest.raises(ValueError, match="was fitted to frames"):
        model.predict_p(x[:, :3])
    with pytest.raises(ValueError, match="no stimulus"):
        make().fit(type(train)(train.spikes, 10.0))


def test_history_acts_on_later_bins_alone(small: SyntheticRetina) -> None:
    model = PoissonGLM(epochs=1, window=6, history_bins=3).fit(small.train.time(0, 600))
    x = small.test.stimulus[:20]
    y = np.zeros((1, 20, 4), dtype=np.uint8)
    other = y.copy()
    other[0, 19] = 1  # the last bin has no later one: only its own term changes
    a, b = (model.log_likelihood(x, t) for t in (y, other))
    short = model.log_likelihood(x[:19], y[:, :19])
    p = 1 - np.exp(a - short)
    assert b == pytest.approx(short + np.log(p), rel=1e-4)
