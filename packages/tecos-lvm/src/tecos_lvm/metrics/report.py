"""Where a model stands: between another real trial and the best possible rate model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from tecos_lvm._checks import Array, Floats, binary, positive
from tecos_lvm.metrics.distances import van_rossum_matrix, victor_purpura_matrix
from tecos_lvm.metrics.kernels import mmd
from tecos_lvm.metrics.statistics import autocorrelogram, fano, isi_ks, noise_correlation
from tecos_lvm.recording import SpikeDataset

__all__ = ["SpikeReport"]

PAIRED = 10  # trials a side that the distances are taken over; they are all-pairs


class SpikeReport:
    """Spike statistics of a model beside a floor and a ceiling from the recording itself.

    The even trials are the reference. "real" scores the odd trials against it; "rate" scores independent spikes
    drawn from the odd trials' mean response (the best a rate model can do with those trials); "model" the model's
    trials. A model with better spike statistics than any rate model lies below "rate" in ISI KS, autocorrelogram
    RMSE and MMD. The distances between single trials (van Rossum at 10 and 50 ms, Victor-Purpura at 0.1 per ms, mean
    over pairs of the first ten trials a side) are best *near* "real": a model that hardly fires can lie below it.

    Args:
        real: recorded spikes [R, T, N], R >= 4, or a dataset. model: generated spikes [K, T, N], K >= 2, or a dataset.
        dt_ms: bin; taken from a dataset. max_lag: of the autocorrelogram, bins. seed: of the drawn rate model.
        neuron_ids: names; taken from a dataset. distances: False leaves the three distances out.
    """

    MEASURES = ("ISI KS", "autocorrelogram RMSE", "MMD", "van Rossum 10 ms", "van Rossum 50 ms",
                "Victor-Purpura 0.1/ms", "Fano", "noise correlation", "rate Hz")  # fmt: skip

    def __init__(self, real: Any, model: Any, dt_ms: float | None = None, *, max_lag: int = 20, seed: int = 0,
                 neuron_ids: tuple[str, ...] = (), distances: bool = True) -> None:  # fmt: skip
        if isinstance(real, SpikeDataset):
            dt_ms, neuron_ids, real = dt_ms or real.dt_ms, neuron_ids or real.neuron_ids, real.spikes
        if isinstance(model, SpikeDataset):
            model = model.spikes
        if dt_ms is None:
            raise ValueError("dt_ms is missing; give the bin in ms, or the recording as a SpikeDataset")
        real, model = binary(real, "real"), binary(model, "model")
        if real.ndim != 3 or model.ndim != 3 or real.shape[1:] != model.shape[1:]:
            raise ValueError(f"real has shape {real.shape}, model {model.shape}; expected [R, T, N] and [K, T, N]")
        if len(real) < 4 or len(model) < 2:
            raise ValueError(f"{len(real)} real and {len(model)} model trials given; at least 4 and 2 are needed")
        self.dt_ms, self.max_lag, self._distances = positive("dt_ms", dt_ms), max_lag, distances
        reference, other = real[0::2], real[1::2]
        rng = np.random.default_rng(seed)
        rate = (rng.random((len(other), *other.shape[1:])) < other.mean(axis=0)).astype(np.uint8)
        self.per_neuron = {
            name: self._against(trials, reference)
            for name, trials in (("real", other), ("model", model), ("rate", rate))
        }
        ids = neuron_ids or tuple(str(n) for n in range(real.shape[2]))
        self.silent = tuple(ids[n] for n in np.flatnonzero(real.sum(axis=(0, 1)) == 0))

    def _against(self, trials: Array, reference: Array) -> dict[str, Floats]:
        difference = autocorrelogram(trials, self.max_lag) - autocorrelogram(reference, self.max_lag)
        tensors = [torch.from_numpy(y).double() for y in (trials, reference)]
        silent = reference.sum(axis=(0, 1)) == 0
        found = {
            "ISI KS": isi_ks(trials, reference),
            "autocorrelogram RMSE": np.sqrt((difference**2).mean(axis=1)),
            "MMD": mmd(*tensors, tau=2.0).numpy(),
            "Fano": np.array([fano(counts) for counts in trials.sum(axis=1, dtype=np.int64).T]),
            "noise correlation": noise_correlation(trials, self.dt_ms),
            "rate Hz": trials.mean(axis=(0, 1)) / (self.dt_ms / 1000),
        }
        if self._distances:
            found.update(self._pairs(trials[:PAIRED], reference[:PAIRED]))
        return {
            m: np.where(silent, np.nan, found[m]) if m != "noise correlation" else found[m]
            for m in self.MEASURES
            if m in found
        }

    def _pairs(self, trials: Array, reference: Array) -> dict[str, Floats]:
        """Mean distance of a trial to a reference trial, [N] each."""
        rows = []
        for n in range(trials.shape[2]):
            trains = [(np.flatnonzero(y[:, n]) + 0.5) * self.dt_ms for y in (*trials, *reference)]
            matrices = (
                van_rossum_matrix(trains, 10.0),
                van_rossum_matrix(trains, 50.0),
                victor_purpura_matrix(trains, 0.1),
            )
            rows.append([m[: len(trials), len(trials) :].mean() for m in matrices])
        names = ("van Rossum 10 ms", "van Rossum 50 ms", "Victor-Purpura 0.1/ms")
        return dict(zip(names, np.array(rows).T, strict=True))

    def summary(self) -> dict[str, dict[str, float]]:
        """Means over neurons that have a value (pairs of them for the noise correlation)."""
        return {
            name: {m: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for m, v in measures.items()}
            for name, measures in self.per_neuron.items()
        }

    def table(self) -> str:
        """A text table: one line per measure."""
        found = self.summary()
        lines = [f"{'':<22}{'real':>10}{'model':>10}{'rate':>10}"]
        lines += [
            f"{m:<22}" + "".join(f"{found[name][m]:>10.4f}" for name in ("real", "model", "rate"))
            for m in found["real"]
        ]
        if self.silent:
            lines.append(f"no spike in the recording: neurons {', '.join(self.silent)}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Summary and silent neurons; null where there is no value."""
        found = {
            name: {m: v if np.isfinite(v) else None for m, v in measures.items()}
            for name, measures in self.summary().items()
        }
        return json.dumps({"measures": found, "silent": list(self.silent)})
