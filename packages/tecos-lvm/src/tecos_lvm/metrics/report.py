"""Where a model stands: between another real trial and the best possible rate model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from tecos_lvm._checks import Array, Floats, binary
from tecos_lvm.metrics.kernels import mmd
from tecos_lvm.metrics.statistics import autocorrelogram, isi_ks, noise_correlation

__all__ = ["SpikeReport"]


class SpikeReport:
    """Spike statistics of a model beside a floor and a ceiling from the recording itself.

    The even trials are the reference. "real" scores the odd trials against it; "rate" scores independent spikes
    drawn from the odd trials' mean response (the best a rate model can do with those trials); "model" the model's
    trials. A model with better spike statistics than any rate model lies below "rate".

    Args:
        real: recorded spikes [R, T, N], R >= 4. model: generated spikes [K, T, N], K >= 2. dt_ms: bin.
        max_lag: of the autocorrelogram, bins. seed: of the drawn rate model.
    """

    MEASURES = ("ISI KS", "autocorrelogram RMSE", "MMD", "noise correlation", "rate Hz")

    def __init__(self, real: Any, model: Any, dt_ms: float, *, max_lag: int = 20, seed: int = 0,
                 neuron_ids: tuple[str, ...] = ()) -> None:  # fmt: skip
        real, model = binary(real, "real"), binary(model, "model")
        if real.ndim != 3 or model.ndim != 3 or real.shape[1:] != model.shape[1:]:
            raise ValueError(f"real has shape {real.shape}, model {model.shape}; expected [R, T, N] and [K, T, N]")
        if len(real) < 4 or len(model) < 2:
            raise ValueError(f"{len(real)} real and {len(model)} model trials given; at least 4 and 2 are needed")
        self.dt_ms, self.max_lag = dt_ms, max_lag
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
        discrepancy = mmd(*tensors, tau=2.0).numpy()
        return {
            "ISI KS": isi_ks(trials, reference),
            "autocorrelogram RMSE": np.sqrt((difference**2).mean(axis=1)),
            "MMD": np.where(silent, np.nan, discrepancy),
            "noise correlation": noise_correlation(trials, self.dt_ms),
            "rate Hz": np.where(silent, np.nan, trials.mean(axis=(0, 1)) / (self.dt_ms / 1000)),
        }

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
            for m in self.MEASURES
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
