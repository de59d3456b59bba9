"""The facade of scikit-learn: ``fit(X, Y)``, ``predict``, ``score``, ``get_params``, without a need of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch

from tecos_lvm._checks import Array
from tecos_lvm.config import TeCoSConfig
from tecos_lvm.metrics.rates import pearson, smooth
from tecos_lvm.model import TeCoSLVM
from tecos_lvm.recording import SpikeDataset, as_dataset
from tecos_lvm.train import TrainConfig, fit

__all__ = ["Scored", "TeCoSRegressor"]


class Scored:
    """``predict`` and ``score`` for whatever has ``predict_p`` and ``dt_ms``."""

    dt_ms: float

    def predict_p(self, stimulus: Any, n_samples: int = 20) -> Array:
        """Spike probability per bin, [T, N]."""
        raise NotImplementedError

    def predict(self, X: Any) -> Array:
        """Expected spikes per bin, [T, N], for a stimulus [T, ...]."""
        return self.predict_p(X)

    def score(self, X: Any, Y: Any = None) -> float:
        """Mean correlation of predicted and recorded rate (20 ms Gaussian) over neurons that have one.

        Args:
            X, Y: a dataset, or a stimulus [T, ...] and spikes [T, N] or [R, T, N].
        """
        data = as_dataset(X, Y, self.dt_ms)
        if data.stimulus is None:
            raise ValueError("the dataset has no stimulus to predict from")
        r = pearson(smooth(self.predict_p(data.stimulus), data.dt_ms), smooth(data.psth, data.dt_ms))
        return float(np.nanmean(r)) if np.isfinite(r).any() else float("nan")


@dataclass(kw_only=True, eq=False)
class TeCoSRegressor(Scored):
    """TeCoS-LVM behind ``fit`` and ``score``; what it fitted is ``model_`` (:class:`~tecos_lvm.TeCoSLVM`).

    Args:
        dt_ms: bin of the arrays. memory, output, reset, prior, encoder, feature_dim, hidden_dim, latent_dim,
            coder_dim, decoder_dim, sigma: see :class:`~tecos_lvm.TeCoSConfig`. steps, batch, clip_s, carry_s,
            burn_in_s, lr, weight_decay, checks, patience: see :class:`~tecos_lvm.TrainConfig`.
        val_share: end of the training data that selects the weights where ``fit`` gets no ``val``; 0 keeps the last.
        n_samples: free-running samples that a prediction averages. seed: of everything. progress: a bar on a terminal.

    >>> TeCoSRegressor(steps=5).get_params()["steps"]
    5
    """

    dt_ms: float = 10.0
    memory: str = "cascade"
    output: str = "noisy"
    reset: str = "soft"
    prior: str = "learned"
    encoder: str = "linear"
    feature_dim: int = 64
    hidden_dim: int = 64
    latent_dim: int = 16
    coder_dim: int = 64
    decoder_dim: int = 128
    sigma: float = 0.3
    steps: int = 1200
    batch: int = 32
    clip_s: float = 0.5
    carry_s: float = 16.0
    burn_in_s: float = 0.25
    lr: float = 3e-3
    weight_decay: float = 0.0
    checks: int = 5
    patience: int = 0
    val_share: float = 0.1
    n_samples: int = 20
    seed: int = 0
    progress: bool = True

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def set_params(self, **params: Any) -> Self:
        """Change arguments; takes effect at the next ``fit``."""
        known = self.get_params()
        unknown = sorted(set(params) - set(known))
        if unknown:
            raise ValueError(f"{', '.join(unknown)} given; known are {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(self, X: Any, Y: Any = None, *, val: SpikeDataset | None = None) -> Self:
        """Fit to a dataset, or to a stimulus [T, ...] and spikes [T, N] or [R, T, N].

        Args:
            val: data that selects the weights; default the last ``val_share`` of the bins, which are then not
                trained on.
        Raises:
            ValueError: whatever :func:`~tecos_lvm.fit` refuses; ``val_share`` outside [0, 1).
        """
        params = self.get_params()
        data = as_dataset(X, Y, self.dt_ms)
        if data.stimulus is None:
            raise ValueError("the dataset has no stimulus; a model predicts from one")
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share={self.val_share} given; it must be >= 0 and < 1")
        shape = data.stimulus.shape[1:]
        if val is None and self.val_share > 0:
            data, val = data.segments(1 - self.val_share, self.val_share)
        options = {name: params[name] for name in TeCoSConfig.__dataclass_fields__ if name in params}
        recipe = {name: params[name] for name in TrainConfig.__dataclass_fields__ if name in params}
        recipe["n_samples"] = 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.model_ = TeCoSLVM(TeCoSConfig(shape, data.n_neurons, **{**options, "dt_ms": data.dt_ms}))
        self.result_ = fit(self.model_, data, val, config=TrainConfig(**recipe), progress=self.progress)
        return self

    def _fitted(self) -> TeCoSLVM:
        if not hasattr(self, "model_"):
            raise ValueError("this TeCoSRegressor is not fitted; call fit(X, Y) first")
        return self.model_

    def predict_p(self, stimulus: Any, n_samples: int | None = None) -> Array:
        """Spike probability per bin, [T, N]: mean over free-running samples."""
        generator = torch.Generator().manual_seed(self.seed)
        return self._fitted().predict_p(stimulus, n_samples or self.n_samples, generator=generator)

    def generate(self, X: Any, n_trials: int = 1, *, seed: int = 0) -> Array:
        """Free-running trials, [n_trials, T, N] uint8."""
        return self._fitted().generate(X, n_trials, generator=torch.Generator().manual_seed(seed))

    def log_likelihood(self, X: Any, Y: Any) -> Array:
        """Log likelihood of recorded trials, per neuron [N], nats."""
        generator = torch.Generator().manual_seed(self.seed)
        return self._fitted().log_likelihood(X, Y if np.ndim(Y) == 3 else np.asarray(Y)[None], generator=generator)
