"""Does a trained spiking network need the order? The same network on ordered, shuffled and collapsed data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slr_cma._arrays import ArrayDataset
from slr_cma.diagnostics.stats import tdi, wilson

__all__ = ["collapse", "model_report", "segment_shuffle", "shuffle_time"]


def shuffle_time(data: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Each sample's bins in an order of its own: [n, T, ...]."""
    order = np.argsort(rng.random(data.shape[:2]), 1)
    return data[np.arange(len(data))[:, None], order]


def segment_shuffle(data: NDArray[Any], length: int, rng: np.random.Generator) -> NDArray[Any]:
    """Each sample's runs of ``length`` bins in an order of its own; the inside of a run stays. T must divide."""
    n, t = data.shape[:2]
    if length < 1 or t % length:
        raise ValueError(f"length={length} does not divide T={t}")
    parts = data.reshape(n, t // length, length, *data.shape[2:])
    return shuffle_time(parts, rng).reshape(data.shape)


def collapse(data: NDArray[Any]) -> NDArray[np.float32]:
    """The mean over time, repeated T times."""
    out: NDArray[np.float32] = np.repeat(data.mean(1, keepdims=True, dtype=np.float32), data.shape[1], 1)
    return out


def model_report(
    data: NDArray[Any],
    labels: NDArray[Any],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    *,
    epochs: int = 25,
    channels: tuple[int, ...] = (8, 16),
    hidden: int = 64,
    seed: int = 0,
    controls: tuple[str, ...] = ("shuffled", "collapsed", "fixed permutation", "no memory"),
    progress: bool = True,
) -> dict[str, Any]:
    """Train one small spiking network per condition and test it.

    Conditions: ordered; every sample shuffled; collapsed; one permutation for all; membranes reset at every step.
    The ordered one is also tested on shuffled, reversed, segment-shuffled, collapsed and cut data.

    Returns:
        accuracies under "trained" and "tested", their Wilson intervals under "low" and "high" (keys "trained ordered",
        "tested shuffled" ...), ``chance``, ``n``, ``tdi`` (of the data, given this class of models) with its bootstrap
        interval ``tdi_ci``, and ``tsi`` (sensitivity of the one ordered model; includes the shift of distribution, so
        it says nothing about the data).
    """
    import torch

    from slr_cma.engine.train import TrainConfig, predict
    from slr_cma.engine.train import train as fit
    from slr_cma.models.net import CMANet, NetConfig

    rng = np.random.default_rng([8, seed])
    t, c, height, width = data.shape[1:]
    classes = int(labels.max()) + 1
    depth = max(1, min(len(channels), int(np.log2(min(height, width)))))
    config = NetConfig(
        classes, size=(height, width), in_channels=(c, 1), channels=channels[:depth], hidden=hidden, fusion="events"
    )
    permutation = rng.permutation(t)
    conditions = {
        "ordered": data,
        "shuffled": shuffle_time(data, rng),
        "collapsed": collapse(data),
        "fixed permutation": data[:, permutation],
        "no memory": data,
    }
    unknown = set(controls) - set(conditions)
    if unknown:
        raise ValueError(f"controls {sorted(unknown)} are not known; choose some of {', '.join(conditions)}")
    right: dict[str, NDArray[np.bool_]] = {}

    def answer(name: str, net: CMANet, x: NDArray[Any]) -> None:
        logits, truth = predict(net, ArrayDataset(x[test], None, labels[test]))
        right[name] = (logits.argmax(1) == truth).numpy()

    for name in ("ordered", *controls):
        x = conditions[name]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = CMANet(replace(config, reset_state=name == "no memory"))
        settings = TrainConfig(epochs=epochs, batch_size=50, lr=6e-3, schedule="onecycle", seed=seed)
        fit(net, ArrayDataset(x[train], None, labels[train]), None, settings, progress=progress)
        answer(f"trained {name}", net, x)
        if name != "ordered":
            continue
        answer("tested shuffled", net, conditions["shuffled"])
        answer("tested reversed", net, data[:, ::-1])
        answer("tested collapsed", net, conditions["collapsed"])
        for length in (k for k in (2, 3, 4) if t % k == 0 and k < t):
            answer(f"tested runs of {length} shuffled", net, segment_shuffle(data, length, rng))
        for share in (0.25, 0.5, 0.75):
            answer(f"tested first {share:.0%}", net, data[:, : max(1, round(share * t))])
    chance = float(np.bincount(labels[test]).max() / len(test))
    accuracy = {name: float(hits.mean()) for name, hits in right.items()}
    ordered = accuracy["trained ordered"]
    blind = [f"trained {k}" for k in ("shuffled", "collapsed") if f"trained {k}" in accuracy]
    intervals = {name: wilson(int(hits.sum()), len(test)) for name, hits in right.items()}
    return {
        "trained": {k.removeprefix("trained "): v for k, v in accuracy.items() if k.startswith("trained ")},
        "tested": {k.removeprefix("tested "): v for k, v in accuracy.items() if k.startswith("tested ")},
        "low": {name: low for name, (low, _) in intervals.items()},
        "high": {name: high for name, (_, high) in intervals.items()},
        "n": len(test),
        "chance": chance,
        "tdi": tdi(ordered, max((accuracy[k] for k in blind), default=float("nan")), chance),
        "tdi_ci": _interval(right["trained ordered"], [right[k] for k in blind], chance, rng),
        "tsi": tdi(ordered, accuracy["tested shuffled"], chance),
    }


def _interval(
    ordered: NDArray[np.bool_], blind: list[NDArray[np.bool_]], chance: float, rng: np.random.Generator
) -> tuple[float, float] | None:
    """95 % of TDI over test samples drawn anew, the same ones for every condition; None where it is undefined."""
    if not blind or ordered.mean() <= chance:
        return None
    n = len(ordered)
    times = rng.multinomial(n, np.full(n, 1 / n), 1000) / n  # [draws, n]
    a, b = times @ ordered, np.max([times @ each for each in blind], 0)
    low, high = np.percentile((a - b) / np.maximum(a - chance, 1e-9), [2.5, 97.5])
    return float(low), float(high)
