"""Fitting: clips whose state is carried on, a schedule, validation, checkpoints that resume to the same result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tecos_lvm._checks import Array, positive
from tecos_lvm._run import RunFolder
from tecos_lvm.clips import Streams
from tecos_lvm.losses import TeCoSLoss
from tecos_lvm.metrics.rates import bits_per_spike, pearson, smooth
from tecos_lvm.model import TeCoSLVM
from tecos_lvm.recording import SpikeDataset

__all__ = ["FitResult", "TrainConfig", "fit", "validate"]


@dataclass(frozen=True)
class TrainConfig:
    """The recipe.

    Args:
        steps: gradient steps. batch: clips per step. clip_s: length of a clip, through which gradients flow.
        carry_s: a clip goes on where the one of the step before ended, with its state, for so long; then it starts
            anew at another place, from the mean state so far (zeros where the movie begins). 0: every clip starts
            from zeros, and its first ``burn_in_s`` stay outside the loss.
        lr: peak rate of AdamW; 3 % warm-up, then cosine to 2 %. weight_decay: decoupled; about 1 for a few minutes of
            data, 0 for twenty.
        n_samples: free-running samples per clip, where the loss needs them.
        checks: validations over the run; the best weights are kept. patience: stop after so many without a better
            one (0: never).
        seed: of clips and draws.
    """

    steps: int = 1200
    batch: int = 32
    clip_s: float = 0.5
    carry_s: float = 16.0
    burn_in_s: float = 0.25
    lr: float = 3e-3
    weight_decay: float = 0.0
    n_samples: int = 2
    checks: int = 5
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checks", "n_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} given; it must be >= 1")
        positive("clip_s", self.clip_s)
        positive("lr", self.lr)
        if not self.carry_s >= 0:
            raise ValueError(f"carry_s={self.carry_s} given; it must be >= 0 (0: no clip goes on)")
        if not self.carry_s and not 0 <= self.burn_in_s < self.clip_s:
            raise ValueError(f"burn_in_s={self.burn_in_s} given; it must be >= 0 and below clip_s={self.clip_s}")


@dataclass
class FitResult:
    """history: one row per validation; best_score: validation score of the weights that were kept; steps: gradient
    steps done; seconds: of work."""

    history: list[dict[str, float]]
    best_score: float
    steps: int
    seconds: float


def validate(model: TeCoSLVM, data: SpikeDataset, null_p: Array, *, n_samples: int = 10, seed: int = 0) -> float:
    """Score that selects weights: mean correlation with the mean of repeats, or bits per spike for a single trial."""
    stimulus = _stimulus(data)
    generator = torch.Generator(device=model.mean.device).manual_seed(seed)
    skip = min(data.n_bins // 4, round(300 / data.dt_ms))
    if data.n_trials >= 2:
        p = model.predict_p(stimulus, n_samples, generator=generator)
        score = pearson(smooth(p, data.dt_ms)[skip:], smooth(data.psth, data.dt_ms)[skip:])
    elif model.config.output == "noisy":
        likelihood = model.log_likelihood(stimulus, data.spikes, generator=generator)
        score = bits_per_spike(likelihood, data.spikes, null_p)
    else:
        p = model.predict_p(stimulus, n_samples, generator=generator)
        score = pearson(smooth(p, data.dt_ms, 50.0)[skip:], smooth(data.psth, data.dt_ms, 50.0)[skip:])
    return float(np.nanmean(score)) if np.isfinite(score).any() else float("-inf")


def _stimulus(data: SpikeDataset) -> Array:
    if data.stimulus is None:
        raise ValueError("the dataset has no stimulus; give one frame per bin, or a time code (tecos_lvm.time_code)")
    return data.stimulus


def _rate(step: int, c: TrainConfig) -> float:
    warm = max(1, round(0.03 * c.steps))
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, c.steps - warm)))


def fit(
    model: TeCoSLVM,
    train: SpikeDataset,
    val: SpikeDataset | None = None,
    *,
    config: TrainConfig | None = None,
    loss: TeCoSLoss | None = None,
    run_dir: str | Path | None = None,
    progress: bool = True,
    max_seconds: float | None = None,
    callback: Callable[[dict[str, float]], None] | None = None,
) -> FitResult:
    """Fit a model in place; afterwards it holds the weights with the best validation score.

    Args:
        train: stimulus and spikes; every trial counts alike. val: other stimulus or trials; None: last weights stay.
        config: the recipe. loss: default the exact likelihood (noisy output) or the unbiased MMD (deterministic).
        run_dir: gets config.json, after every validation metrics.csv, checkpoints/last.pt and, where it was the best,
            checkpoints/best (as ``from_pretrained`` reads it), at the end results.json. A run found there goes on
            where it stopped, with the same result as one that never stopped.
        progress: a bar on a terminal. max_seconds: stop in time, cleanly; a later call goes on.
        callback: called with each row of the history.
    Raises:
        ValueError: no stimulus, shapes that do not fit the model, clips longer than the data, an alien checkpoint.
    """
    from tqdm import tqdm

    config = config or TrainConfig()
    noisy = model.config.output == "noisy"
    loss = loss or (TeCoSLoss() if noisy else TeCoSLoss(nll=0.0, mmd=1.0))
    if loss.nll and not noisy:
        raise ValueError("a deterministic output has no likelihood; use TeCoSLoss(nll=0, mmd=1)")
    if loss.mmd and config.n_samples < 2:
        raise ValueError(
            f"n_samples={config.n_samples} given; the unbiased MMD compares samples, so 2 or more are needed"
        )
    stimulus = _stimulus(train)
    if train.n_neurons != model.config.n_neurons or train.dt_ms != model.config.dt_ms:
        raise ValueError(
            f"the data has {train.n_neurons} neurons at {train.dt_ms:g} ms, the model {model.config.n_neurons} at "
            f"{model.config.dt_ms:g} ms"
        )
    clip, burn = (round(s * 1000 / train.dt_ms) for s in (config.clip_s, 0.0 if config.carry_s else config.burn_in_s))
    if clip > train.n_bins or clip <= burn:
        raise ValueError(
            f"clips of {clip} bins, {burn} of burn-in, do not fit into {train.n_bins} bins of training data"
        )
    device = model.mean.device
    null_p = train.spikes.mean(axis=(0, 1))
    frames = torch.as_tensor(np.ascontiguousarray(stimulus))
    spikes = torch.from_numpy(train.spikes)
    streams = Streams(train.n_bins, train.n_trials, clip, config.batch, config.carry_s, config.seed, train.dt_ms)
    generator = torch.Generator(device=device).manual_seed(config.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] | None = None
    best_score, first, spent, since = float("-inf"), 0, 0.0, 0
    run = None
    if run_dir is not None:
        data = [train.n_trials, train.n_bins, int(train.spikes.sum())]
        run = RunFolder(
            run_dir, {"model": model.config.to_dict(), "train": asdict(config), "loss": asdict(loss), "data": data}
        )
    state = None if run is None else run.read()
    if state is not None:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["generator"])
        streams.load_state_dict(state["streams"])
        history, best, best_score = state["history"], state["best"], state["best_score"]
        first, spent, since = state["step"], state["seconds"], state["since"]
    else:
        model.standardise(stimulus)
        model.set_rates(torch.from_numpy(null_p))
        if run is not None:
            run.start()
    marks = {round(config.steps * (i + 1) / config.checks) for i in range(config.checks)}
    begin, running = time.perf_counter(), 0.0
    step = first
    bar = tqdm(total=config.steps, initial=first, disable=None if progress else True, desc="fit", unit="step")
    try:
        while step < config.steps and not (config.patience and since >= config.patience):
            streams.move(model)
            x = torch.stack([frames[s : s + clip] for s in streams.starts])
            y = torch.stack(
                [spikes[r, s : s + clip] for r, s in zip(streams.trial, streams.starts, strict=True)]
            ).to(model.mean)  # fmt: skip
            value = _clip_loss(model, x, y, loss, config, burn, step, generator, streams)
            if not bool(torch.isfinite(value)):
                raise ValueError(f"the loss is {float(value.detach())} at step {step}; lower lr={config.lr}")
            for group in optimiser.param_groups:
                group["lr"] = config.lr * _rate(step, config)
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            running = float(value.detach()) if running == 0.0 else 0.98 * running + 0.02 * float(value.detach())
            bar.update()
            out_of_time = max_seconds is not None and time.perf_counter() - begin > max_seconds
            if step in marks or out_of_time:
                if step in marks:
                    score = validate(model, val, null_p) if val is not None else -running
                    seconds = spent + time.perf_counter() - begin
                    row = {"step": float(step), "seconds": seconds, "train_loss": running, "score": score}
                    history.append(row)
                    since += 1
                    if score > best_score or best is None:
                        best_score, since = score, 0
                        best = {name: t.detach().clone() for name, t in model.state_dict().items()}
                        if run is not None:
                            run.keep(model)
                    bar.set_postfix(loss=f"{running:.3f}", score=f"{score:.3f}")
                    if callback is not None:
                        callback(row)
                if run is not None:
                    run.write({
                        "model": model.state_dict(), "step": step, "since": since, "best": best,
                        "optimiser": optimiser.state_dict(), "generator": generator.get_state(),
                        "streams": streams.state_dict(), "history": history, "best_score": best_score,
                        "seconds": spent + time.perf_counter() - begin,
                    }, history)  # fmt: skip
            if out_of_time:
                break
    finally:
        bar.close()
    if val is not None and best is not None:
        model.load_state_dict(best)
    result = FitResult(history, best_score, step, spent + time.perf_counter() - begin)
    if run is not None:
        run.finish({"steps": step, "best_score": best_score if best is not None else None, "seconds": result.seconds})
    return result


def _clip_loss(model: TeCoSLVM, x: Tensor, y: Tensor, loss: TeCoSLoss, config: TrainConfig, burn: int, step: int,
               generator: torch.Generator, streams: Streams) -> Tensor:  # fmt: skip
    beta = loss.beta * min(1.0, (step + 1) / max(1.0, loss.warmup * config.steps))
    first, second = streams.states
    forced = model(x, first, y_teacher=y, generator=generator) if loss.nll else None
    free = model(x, second, n_samples=config.n_samples, generator=generator) if loss.samples else None
    if config.carry_s:
        streams.states = [None if out is None else out.state for out in (forced, free)]
        model.set_rest(next(filter(None, streams.states)), 0.05)
    sigma, dt = model.config.sigma, model.config.dt_ms
    value = loss.spike_terms(forced, free, y, sigma=sigma, dt_ms=dt, skip=burn)
    of = forced if forced is not None else free
    assert of is not None  # a loss without any spike term is refused by TeCoSLoss
    return value + beta * loss.kl(of, burn)
