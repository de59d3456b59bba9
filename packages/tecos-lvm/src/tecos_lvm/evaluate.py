"""Scores of a fitted model on a dataset, scores over length, and a stimulus where the true one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from tecos_lvm._checks import Array, Floats, positive
from tecos_lvm.metrics.rates import bits_per_spike, ceiling_sb, fev, pearson, smooth, split_half
from tecos_lvm.metrics.report import SpikeReport
from tecos_lvm.metrics.statistics import autocorrelogram, isi_ks
from tecos_lvm.model import TeCoSLVM
from tecos_lvm.recording import SpikeDataset

__all__ = ["Evaluation", "evaluate", "examine", "length_curve", "time_code"]


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


class Evaluation(NamedTuple):
    """scores: as of :func:`evaluate`; report: the spike statistics; p: predicted probability [T, N]; trials:
    generated spikes [K, T, N]; cc: correlation with the mean response, [N]; ceiling: the highest possible, [N]."""

    scores: dict[str, float]
    report: SpikeReport
    p: Array
    trials: Array
    cc: Floats
    ceiling: Floats


def evaluate(
    model: Any, data: SpikeDataset, null_p: Any, *, n_samples: int = 20, sd_ms: float = 20.0, skip_ms: float = 300.0,
    seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Mean scores over neurons: the rate with its ceiling, bits per spike, spike statistics with floor and ceiling.

    Args:
        model: a TeCoSLVM or a baseline. data: with a stimulus and at least 4 trials.
        null_p: mean spike probability per bin of the *training* data, [N].
        sd_ms: smoothing of the rates. skip_ms: start of the trial that is left out of the rate's scores.
        n_samples: trials drawn from the model. seed: of the draws.
    Returns:
        cc, ceiling, cc_normalised, fev, bits_per_spike (nan for a deterministic output), and for each measure of
        :class:`~tecos_lvm.metrics.SpikeReport` the model's, the real trials' and the rate model's value.
    """
    return examine(model, data, null_p, n_samples=n_samples, sd_ms=sd_ms, skip_ms=skip_ms, seed=seed).scores


def examine(
    model: Any, data: SpikeDataset, null_p: Any, *, n_samples: int = 20, sd_ms: float = 20.0, skip_ms: float = 300.0,
    seed: int = 0,
) -> Evaluation:  # fmt: skip
    """As :func:`evaluate`, with everything that was computed on the way."""
    if data.stimulus is None:
        raise ValueError("the dataset has no stimulus to predict from")
    skip = round(skip_ms / data.dt_ms)
    if skip >= data.n_bins - 2:
        raise ValueError(f"skip_ms={skip_ms:g} leaves nothing of {data.n_bins * data.dt_ms:g} ms")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        p = model.predict_p(data.stimulus, n_samples)
        trials = model.generate(data.stimulus, n_samples)
        paths = {"n_samples": n_samples} if isinstance(model, TeCoSLVM) else {}  # a baseline has no latent paths
        try:
            bits = bits_per_spike(model.log_likelihood(data.stimulus, data.spikes, **paths), data.spikes, null_p)
        except ValueError:
            bits = np.full(data.n_neurons, np.nan)
    cc = pearson(smooth(p, data.dt_ms, sd_ms)[skip:], smooth(data.psth, data.dt_ms, sd_ms)[skip:])
    ceiling = ceiling_sb(split_half(data.spikes, data.dt_ms, sd_ms=sd_ms, skip=skip, splits=20))
    found = {"cc": _mean(cc), "ceiling": _mean(ceiling), "fev": _mean(fev(p[skip:], data.spikes[:, skip:]))}
    found["cc_normalised"] = found["cc"] / found["ceiling"]
    found["bits_per_spike"] = _mean(bits)
    report = SpikeReport(data, trials)
    for name, measures in report.summary().items():
        found.update({f"{measure}, {name}": value for measure, value in measures.items()})
    return Evaluation(found, report, p, trials, cc, ceiling)


def length_curve(
    model: TeCoSLVM,
    data: SpikeDataset,
    lengths_s: Sequence[float] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    *,
    warm_s: float = 0.25,
    n_samples: int = 10,
    sd_ms: float = 20.0,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Scores against how long a state has been carried: the benchmark of longer time scales.

    The movie is cut into stretches of each length. Each starts from the model's rested state ``warm_s`` before its
    beginning and carries it to its end. Every length is scored on the same bins, so rows differ in the age of the
    state alone.

    Args:
        model: fitted, usually on short clips. data: repeats of one movie, longer than the longest length.
        lengths_s: of the stretches. n_samples: trials drawn. sd_ms: smoothing of the rates. seed: of the draws.
    Returns:
        A row per length: length_s, cc (correlation of the rate), rate_hz and rate_ratio (to the recorded), isi_ks and
        acg_rmse of the generated spikes against the recorded ones of the same stretches.
    Raises:
        ValueError: a length that is no multiple of the shortest, or longer than the movie.
    """
    if data.stimulus is None:
        raise ValueError("the dataset has no stimulus to predict from")
    bins = [round(positive("length", s) * 1000 / data.dt_ms) for s in lengths_s]
    warm = round(warm_s * 1000 / data.dt_ms)
    longest = max(bins, default=0)
    covered = longest * ((data.n_bins - warm) // longest) if longest else 0
    if not covered or any(covered % b for b in bins):
        raise ValueError(
            f"lengths of {list(lengths_s)} s do not divide the movie's {data.n_bins * data.dt_ms / 1000:g} s (less "
            f"{warm_s:g} s of warm-up) alike; give lengths of which the longest is a multiple of each"
        )
    x, y = np.asarray(data.stimulus), data.spikes[:, warm : warm + covered]
    wanted = smooth(y.mean(axis=0), data.dt_ms, sd_ms)
    rows = []
    for seconds, length in zip(lengths_s, bins, strict=True):
        generator = torch.Generator().manual_seed(seed)
        starts = np.arange(0, covered, length)
        with torch.no_grad():
            pieces = np.stack([x[s : s + warm + length] for s in starts])
            rested = model.rested_state(n_samples * len(pieces))
            out = model(pieces, rested, n_samples=n_samples, generator=generator)
        p = out.p_spike[:, :, warm:].mean(0).flatten(0, 1).double().numpy()
        own = out.spikes[:, :, warm:].flatten(0, 1).to(torch.uint8).numpy()
        real = y.reshape(-1, length, data.n_neurons)
        difference = autocorrelogram(own) - autocorrelogram(real)
        rows.append({
            "length_s": float(seconds),
            "cc": _mean(pearson(smooth(p, data.dt_ms, sd_ms), wanted)),
            "rate_hz": float(p.mean()) * 1000 / data.dt_ms,
            "rate_ratio": float(p.mean() / y.mean()),
            "isi_ks": _mean(isi_ks(own, real)),
            "acg_rmse": _mean(np.sqrt((difference**2).mean(axis=1))),
        })  # fmt: skip
    return rows


def _mean(values: Any) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
