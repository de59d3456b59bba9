"""What the baselines share: windows of frames, a likelihood per bin, training with validation, free running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from tecos_lvm._checks import Array, binary, finite_stimulus, positive
from tecos_lvm.estimator import Scored
from tecos_lvm.metrics.rates import bits_per_spike, pearson, smooth
from tecos_lvm.recording import SpikeDataset, as_dataset

__all__ = ["Baseline"]


def probability(rate: Tensor) -> Tensor:
    """Of at least one event in a bin of this rate."""
    return (-torch.expm1(-rate)).clamp(1e-6, 1 - 1e-6)


@dataclass(frozen=True)
class Batches:
    """What an epoch iterates over: (probabilities, spikes), both [..., N]; and how many there are."""

    epoch: Callable[[], Iterator[tuple[Tensor, Tensor]]]
    steps: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.epoch()


class Baseline(Scored, nn.Module):
    """A rate r per bin whose spike probability is 1 - exp(-r); Bernoulli likelihood.

    Args:
        window: frames of history, bins. epochs: passes over the bins. lr: of AdamW, cosine to 0. weight_decay: of it.
        batch: bins per step. seed: of start and order. dt_ms: bin, where arrays are given (a dataset has its own).
    """

    def __init__(
        self,
        *,
        window: int = 30,
        epochs: int = 8,
        lr: float = 3e-3,
        weight_decay: float = 0.0,
        batch: int = 512,
        seed: int = 0,
        dt_ms: float = 10.0,
    ) -> None:
        super().__init__()
        if min(window, epochs, batch) < 1 or not lr > 0:
            raise ValueError(f"window={window}, epochs={epochs}, batch={batch}, lr={lr} given; all must be positive")
        self.window, self.epochs, self.lr, self.weight_decay = window, epochs, lr, weight_decay
        self.batch, self.seed = batch, seed
        self.dt_ms = positive("dt_ms", dt_ms)
        self.shape: tuple[int, ...] = ()
        self.n_neurons = 0

    def build(self, n_in: int, p_spike: Tensor) -> None:
        """Make the parameters for frames of n_in numbers and these probabilities per bin."""
        raise NotImplementedError

    def drive(self, windows: Tensor) -> Tensor:
        """Rates per bin [B, N] from windows [B, window, n_in], the newest frame last."""
        raise NotImplementedError

    def history(self, past: Tensor) -> Tensor | None:
        """What spikes [B, lags, N] (newest last) add before the output; None: this model ignores them."""
        return None

    @property
    def lags(self) -> int:
        """Bins of spike history; 0: a rate model."""
        return 0

    def _prepare(self, stimulus: Any) -> Tensor:
        x = finite_stimulus(stimulus)
        if self.shape and tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"the stimulus has shape {x.shape}; the model was fitted to frames {self.shape}")
        flat = torch.as_tensor(np.ascontiguousarray(x)).float().flatten(1)
        flat = (flat - self.mean) / self.scale
        return torch.cat([torch.zeros(self.window - 1, flat.shape[1]), flat])

    def _windows(self, padded: Tensor, index: Tensor) -> Tensor:
        return padded[index[:, None] + torch.arange(self.window)]

    def _rates(self, windows: Tensor, past: Tensor | None) -> Tensor:
        return self.drive(windows)

    def fit(self, x: Any, y: Any = None, *, val: SpikeDataset | None = None) -> Self:
        """Fit to a dataset, or to a stimulus x [T, ...] and spikes y [T, N] or [R, T, N].

        With ``val`` the epoch with the best validation score is kept: the correlation with repeated trials, or bits
        per spike where the model has history or val one trial.
        """
        train = as_dataset(x, y, self.dt_ms)
        if train.stimulus is None:
            raise ValueError("the dataset has no stimulus; a baseline predicts from one")
        torch_state = torch.random.get_rng_state()
        torch.manual_seed(self.seed)
        try:
            self._fit(train, val)
        finally:
            torch.random.set_rng_state(torch_state)
        return self

    def _fit(self, train: SpikeDataset, val: SpikeDataset | None) -> None:
        x = finite_stimulus(train.stimulus)
        self.shape, self.n_neurons = tuple(x.shape[1:]), train.n_neurons
        self.dt_ms = train.dt_ms
        self.mean, self.scale = float(x.mean()), float(x.std())
        if not self.scale > 0:
            raise ValueError("the stimulus is constant; a model of responses to it cannot be fitted")
        self.null_p = train.spikes.mean(axis=(0, 1))
        self.build(int(np.prod(self.shape)), torch.from_numpy(self.null_p).float().clamp(1e-4, 0.9))
        optimiser = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        batches = self._batches(self._prepare(x), torch.from_numpy(train.spikes))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs * batches.steps)
        best, kept = float("-inf"), None
        for _ in range(self.epochs):
            for p, y in batches:
                loss = nn.functional.binary_cross_entropy(p, y, reduction="none").sum(-1).mean()
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
            if val is not None:
                score = self._score(val)
                if score > best:
                    best, kept = score, {k: v.detach().clone() for k, v in self.state_dict().items()}
        if kept is not None:
            self.load_state_dict(kept)

    def _batches(self, padded: Tensor, spikes: Tensor) -> Batches:
        """The epoch's batches; single bins of single trials in random order."""
        trials, bins = spikes.shape[:2]
        past = torch.cat([torch.zeros(trials, max(self.lags, 1), self.n_neurons, dtype=torch.uint8), spikes], 1)

        def epoch() -> Iterator[tuple[Tensor, Tensor]]:
            for order in torch.randperm(bins * trials).split(self.batch):  # type: ignore[no-untyped-call]
                trial, index = order // bins, order % bins
                before = past[trial[:, None], index[:, None] + torch.arange(self.lags)].float() if self.lags else None
                yield self.probability(self._windows(padded, index), before), spikes[trial, index].float()

        return Batches(epoch, -(-bins * trials // self.batch))

    def probability(self, windows: Tensor, past: Tensor | None) -> Tensor:
        """Spike probabilities [B, N] given windows and, for models with history, past spikes [B, lags, N]."""
        return probability(self._rates(windows, past))

    def _score(self, val: SpikeDataset) -> float:
        if val.n_trials < 2 or self.lags:
            likelihood = self.log_likelihood(val.stimulus, val.spikes)
            return float(np.nanmean(bits_per_spike(likelihood, val.spikes, self.null_p)))
        p = self.predict_p(val.stimulus)
        return float(np.nanmean(pearson(smooth(p, val.dt_ms), smooth(val.psth, val.dt_ms))))

    @torch.no_grad()
    def predict_p(self, stimulus: Any, n_samples: int = 20, *, seed: int = 0) -> Array:
        """Spike probability per bin [T, N]; with history the mean over free-running samples."""
        if self.lags:
            return self._free(stimulus, n_samples, seed)[1]
        padded = self._prepare(stimulus)
        index = torch.arange(len(padded) - self.window + 1)
        rows = [self.probability(self._windows(padded, part), None) for part in index.split(4096)]  # type: ignore[no-untyped-call]
        return torch.cat(rows).double().numpy()

    def predict_rate(self, stimulus: Any, n_samples: int = 20, *, seed: int = 0) -> Array:
        """The same in spikes per second."""
        return self.predict_p(stimulus, n_samples, seed=seed) / (self.dt_ms / 1000)

    @torch.no_grad()
    def generate(self, stimulus: Any, n_trials: int = 1, *, seed: int = 0) -> Array:
        """Free-running trials [n_trials, T, N] uint8."""
        if self.lags:
            return self._free(stimulus, n_trials, seed)[0]
        p = self.predict_p(stimulus)
        return (np.random.default_rng(seed).random((n_trials, *p.shape)) < p).astype(np.uint8)

    def _free(self, stimulus: Any, n: int, seed: int) -> tuple[Array, Array]:
        raise NotImplementedError

    @torch.no_grad()
    def log_likelihood(self, stimulus: Any, spikes: Any) -> Array:
        """Log likelihood of recorded trials given the stimulus and, with history, their own past; [N], nats."""
        y = torch.from_numpy(binary(spikes))
        if not self.lags:
            p = torch.from_numpy(self.predict_p(stimulus))
            return torch.where(y > 0, p.log(), torch.log1p(-p)).sum((0, 1)).numpy()
        padded = self._prepare(stimulus)
        past = torch.cat([torch.zeros(len(y), self.lags, self.n_neurons, dtype=torch.uint8), y], dim=1)
        total = torch.zeros(self.n_neurons, dtype=torch.float64)
        for index in torch.arange(y.shape[1]).split(4096):  # type: ignore[no-untyped-call]
            windows = self._windows(padded, index)
            for r in range(len(y)):
                before = past[r][index[:, None] + torch.arange(self.lags)].float()
                p = self.probability(windows, before).double()
                total += torch.where(y[r, index] > 0, p.log(), torch.log1p(-p)).sum(0)
        return total.numpy()
