"""Scores of a fitted model on a dataset, and a stimulus that stands in where the true one is missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tecos_lvm._checks import Array, positive
from tecos_lvm.metrics.rates import bits_per_spike, ceiling_sb, fev, pearson, smooth, split_half
from tecos_lvm.metrics.report import SpikeReport
from tecos_lvm.recording import SpikeDataset

__all__ = ["evaluate", "time_code"]


def time_code(n_bins: int, dt_ms: float, *, width_ms: float = 100.0) -> Array:
    """Smooth bumps that tell the time since onset, [T, n]: a stand-in for a stimulus that is not at hand.

    A model fitted to it learns the response to one repeated stimulus. It says nothing about other stimuli.

    Args:
        n_bins, dt_ms: length. width_ms: distance and standard deviation of the bumps.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins={n_bins} given; it must be >= 1")
    width = positive("width_ms", width_ms) / positive("dt_ms", dt_ms)
    centres = np.arange(0, n_bins + width, width)
    return np.exp(-0.5 * ((np.arange(n_bins)[:, None] - centres) / width) ** 2).astype(np.float32)


def evaluate(
    model: Any, data: SpikeDataset, null_p: Any, *, n_samples: int = 20, sd_ms: float = 20.0, skip_ms: float = 300.0
) -> dict[str, float]:
    """Mean scores over neurons: the rate with its ceiling, bits per spike, spike statistics with floor and ceiling.

    Args:
        model: a TeCoSLVM or a baseline. data: with a stimulus and at least 4 trials.
        null_p: mean spike probability per bin of the *training* data, [N].
        sd_ms: smoothing of the rates. skip_ms: start of the trial that is left out of the rate's scores.
    Returns:
        cc, ceiling, cc_normalised, fev, bits_per_spike (nan for a deterministic output), and for each measure of
        :class:`~tecos_lvm.metrics.SpikeReport` the model's, the real trials' and the rate model's value.
    """
    if data.stimulus is None:
        raise ValueError("the dataset has no stimulus to predict from")
    skip = round(skip_ms / data.dt_ms)
    if skip >= data.n_bins - 2:
        raise ValueError(f"skip_ms={skip_ms:g} leaves nothing of {data.n_bins * data.dt_ms:g} ms")
    p = model.predict_p(data.stimulus, n_samples)
    cc = pearson(smooth(p, data.dt_ms, sd_ms)[skip:], smooth(data.psth, data.dt_ms, sd_ms)[skip:])
    ceiling = ceiling_sb(split_half(data.spikes, data.dt_ms, sd_ms=sd_ms, skip=skip, splits=20))
    found = {"cc": _mean(cc), "ceiling": _mean(ceiling), "fev": _mean(fev(p[skip:], data.spikes[:, skip:]))}
    found["cc_normalised"] = found["cc"] / found["ceiling"]
    try:
        likelihood = model.log_likelihood(data.stimulus, data.spikes)
        found["bits_per_spike"] = _mean(bits_per_spike(likelihood, data.spikes, null_p))
    except ValueError:
        found["bits_per_spike"] = float("nan")
    report = SpikeReport(data.spikes, model.generate(data.stimulus, n_samples), data.dt_ms)
    for name, measures in report.summary().items():
        found.update({f"{measure}, {name}": value for measure, value in measures.items()})
    return found


def _mean(values: Any) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
