"""The demonstration: three networks on generated signs, against what each can at best know."""

from __future__ import annotations

import time
from typing import Any

import torch

from slr_cma.engine.train import TrainConfig, predict, train
from slr_cma.models.net import CMANet
from slr_cma.synth.paired_sign import PairedSign

__all__ = ["run"]


def run(*, n: int = 500, epochs: int = 10, test: int = 300, seed: int = 0, progress: bool = True) -> dict[str, Any]:
    """Train on events, on frames, on both; returns accuracies, ceilings, seconds, and the fusion network.

    The networks' accuracies are on ``test`` samples of another seed.
    """
    training, testing = PairedSign(n, seed=2 * seed + 1), PairedSign(test, seed=2 * seed + 2)
    accuracy: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for name, fusion in (("events", "events"), ("frames", "frames"), ("both", "cma")):
        start = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = CMANet(training.n_classes, size=(12, 12), channels=(8, 16), hidden=64, fusion=fusion)
        config = TrainConfig(epochs=epochs, batch_size=50, lr=8e-3, schedule="onecycle", seed=seed)
        train(net, training.arrays(), None, config, progress=progress)
        logits, labels = predict(net, testing.arrays())
        accuracy[name] = float((logits.argmax(1) == labels).double().mean())
        seconds[name] = round(time.perf_counter() - start, 1)
    return {"accuracy": accuracy, "ceilings": testing.ceilings, "seconds": seconds}
