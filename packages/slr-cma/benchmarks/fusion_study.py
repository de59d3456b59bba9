"""The fusion study of reproduce.py: one cell trains one fusion with one seed on the hard setting, under faults."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slr_cma import HARD, ArrayDataset, CMANet, PairedSign, TrainConfig, predict, train
from slr_cma.synth import draw_faults

VERSION = "hard-1"
EPOCHS = 20
#: training, validation and test samples; three seeds of the generator that no other part uses
TRAIN, TEST = 1000, 600
SETS = ("clean", "mixed", "heavy")

#: what each row of the table is built from; every variant starts from the same weights but for its attention
VARIANTS: dict[str, dict[str, Any]] = {
    "concat": {"fusion": "concat"},
    "self": {"fusion": "cma", "attention": {"allocate": "self"}},
    "joint": {"fusion": "cma", "attention": {"allocate": "joint"}},
    "cross": {"fusion": "cma", "attention": {"allocate": "cross"}},
    "complementary": {"fusion": "cma", "attention": {"allocate": "complementary"}},
    # 810 weights more than plain concat, as many as joint adds
    "concat, wider": {"fusion": "concat", "hidden": 66},
    "gated": {"fusion": "gated"},
}
CORE = ("concat", "self", "joint", "cross")


def struck(data: PairedSign, severity: float, seed: int) -> ArrayDataset:
    """A test set in which every sample has a fault in one modality, half events, half frames."""
    faults = draw_faults(len(data), 9, 12, shares=(0.0, 0.5, 0.5), severity=severity, seed=seed)
    events, frames = faults.apply(data.events, data.frames)
    return ArrayDataset(events, frames, data.labels)


def test_sets() -> dict[str, ArrayDataset]:
    """The same three sets for all models and seeds."""
    clean = PairedSign(TEST, world=HARD, seed=202)
    return {"clean": clean.arrays(), "mixed": struck(clean, 1.0, 7), "heavy": struck(clean, 1.7, 8)}


def training_set(seed: int) -> ArrayDataset:
    """One set for all; faults are drawn anew for each seed, epoch and sample, the same for every variant."""

    def transform(
        events: NDArray[Any] | None, frames: NDArray[Any] | None, epoch: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        assert events is not None
        assert frames is not None
        return draw_faults(len(events), 9, 12, seed=1000 * seed + epoch + 100).apply(events, frames)

    return PairedSign(TRAIN, world=HARD, seed=201).arrays(epoch_transform=transform)


def run(variant: str, seed: int, epochs: int = EPOCHS) -> dict[str, float]:
    """Train one cell; accuracies, and which test samples came out right (bit i of an integer: sample i)."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    options = {"size": (12, 12), "channels": (8, 16), "hidden": 64, **VARIANTS[variant]}
    net = CMANet(24, **options)
    config = TrainConfig(epochs=epochs, batch_size=50, lr=6e-3, schedule="onecycle", seed=seed)
    history = train(net, training_set(seed), None, config, progress=False)
    values: dict[str, float] = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "train accuracy, last epoch": history.rows[-1]["train"],
        "loss, last epoch": history.rows[-1]["loss"],
    }
    for name, data in test_sets().items():
        logits, labels = predict(net, data)
        right = (logits.argmax(1) == labels).numpy()
        values[name] = float(right.mean())
        values[f"{name}, right"] = sum(1 << int(i) for i in np.flatnonzero(right))
    return values


def right(bits: float) -> NDArray[np.bool_]:
    """The answers back from their integer."""
    number = int(bits)
    return np.array([number >> i & 1 for i in range(TEST)], bool)


def margin(
    ours: list[NDArray[np.bool_]], theirs: list[NDArray[np.bool_]], n_boot: int = 4000
) -> tuple[float, float, float, list[float]]:
    """Mean difference in points over paired seeds, its 95 % interval, and the difference of each seed.

    Seeds and test samples are both drawn anew (paired: the same ones for both variants).
    """
    gap = 100.0 * (np.stack(ours).astype(float) - np.stack(theirs))
    rng = np.random.default_rng(0)
    seeds = rng.integers(0, len(gap), (n_boot, len(gap)))
    draws = [gap[s][:, rng.integers(0, gap.shape[1], gap.shape[1])].mean() for s in seeds]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(gap.mean()), float(low), float(high), [float(g) for g in gap.mean(1)]
