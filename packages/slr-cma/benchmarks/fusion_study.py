"""The fusion study of reproduce.py: one cell trains one fusion with one seed on the hard setting, under faults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import fusion_attempts as attempts
import numpy as np
import torch
from numpy.typing import NDArray

from slr_cma import HARD, ArrayDataset, CMANet, PairedSign, SignWorld, TrainConfig, predict, train
from slr_cma.synth import draw_faults

#: raised when the same cell gives other figures than before; the generator's own hash stands in the notes
VERSION = "hard-2"
EPOCHS = 40
#: samples; each set is a seed of the generator that no other part uses
TRAIN, VALIDATION, TEST = 1000, 600, 2000
SETS = ("clean", "mixed", "heavy")
#: events that tell more: the modalities are nearer to equally useful
BALANCED = replace(HARD, threshold=0.39)
WORLDS = {"hard": HARD, "balanced": BALANCED, "easy": SignWorld()}


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Args:
        net: options of the network. world: of :data:`WORLDS`. informed: options of :class:`attempts.Informed`.
        start: "joined": self-attention turned into one scorer of both; "late": the same, its cross weights free only
            in the second half. lost: share of samples that lose one modality in the second half of training.
        epochs: of training.
    """

    net: dict[str, Any] = field(default_factory=dict)
    world: str = "hard"
    informed: dict[str, Any] | None = None
    start: Literal["plain", "joined", "late"] = "plain"
    lost: float = 0.0
    epochs: int = EPOCHS


def attended(allocate: str, **options: Any) -> dict[str, Any]:
    return {"fusion": "cma", "attention": {"allocate": allocate, **options}}


CONCAT = {"fusion": "concat"}
#: every variant starts from the same weights but for its attention
VARIANTS: dict[str, Variant] = {
    "concat": Variant(CONCAT),
    # as many parameters as attention adds, and a few more
    "concat, wider": Variant({"fusion": "concat", "hidden": 67}),
    "self": Variant(attended("self")),
    "joint": Variant(attended("joint")),
    "cross": Variant(attended("cross")),
    "complementary": Variant(attended("complementary")),
    "gated": Variant({"fusion": "gated"}),
    # what a gate could win
    "oracle gate": Variant(CONCAT, informed={"oracle": "soft"}),
    "oracle gate, to zero": Variant(CONCAT, informed={"oracle": "hard"}),
    "told the faults": Variant(CONCAT, informed={"told": True}),
    # attempts at an allocation across modalities that beats self
    "joint, faults predicted": Variant(attended("joint"), informed={"predict": 0.3}),
    "self, faults predicted": Variant(attended("self"), informed={"predict": 0.3}),
    "joint from self": Variant(attended("self"), start="joined"),
    "joint from self, late": Variant(attended("self"), start="late"),
    "self, late dropout": Variant(attended("self"), lost=0.2),
    "cross, late dropout": Variant(attended("cross"), lost=0.2),
    "balanced, concat": Variant(CONCAT, "balanced"),
    "balanced, self": Variant(attended("self"), "balanced"),
    "balanced, joint": Variant(attended("joint"), "balanced"),
    "balanced, cross": Variant(attended("cross"), "balanced"),
    # what the parts are worth, and whether the baseline is sound
    "self, time alone": Variant(attended("self", spatial=False)),
    "self, space alone": Variant(attended("self", temporal=False)),
    "easy, concat": Variant(CONCAT, "easy", epochs=20),
    "concat, twice as long": Variant(CONCAT, epochs=2 * EPOCHS),
    "self, twice as long": Variant(attended("self"), epochs=2 * EPOCHS),
    # which modality is worth what (on the validation set)
    "events": Variant({"fusion": "events"}),
    "frames": Variant({"fusion": "frames"}),
    "balanced, events": Variant({"fusion": "events"}, "balanced"),
    "balanced, frames": Variant({"fusion": "frames"}, "balanced"),
}
CORE = ("concat", "concat, wider", "self", "joint", "cross", "complementary", "gated")
#: with whom a variant is compared: designs of the core and gates that are told with both, attempts with self
RIVALS: dict[str, tuple[str, ...]] = dict.fromkeys(VARIANTS, ("self",)) | {
    **dict.fromkeys(CORE, ("concat", "self")),
    **dict.fromkeys(("oracle gate", "oracle gate, to zero", "told the faults"), ("concat", "self")),
    "joint, faults predicted": ("self", "self, faults predicted"),
    "cross, late dropout": ("self", "self, late dropout"),
    "balanced, self": ("balanced, concat",),
    "balanced, joint": ("balanced, self",),
    "balanced, cross": ("balanced, self",),
    "self, twice as long": ("concat, twice as long",),
    "self": ("concat",),
    **dict.fromkeys(("concat", "concat, twice as long", "balanced, concat", "easy, concat"), ()),
    **dict.fromkeys(("events", "frames", "balanced, events", "balanced, frames"), ()),
}


#: not part of the comparison: run last
LAST = (
    "events", "frames", "balanced, events", "balanced, frames", "self, time alone", "self, space alone",
    "concat, twice as long", "self, twice as long",
)  # fmt: skip


def queue() -> list[tuple[str, int]]:
    """All cells: the core table first, then the attempts, each seed by seed, then what explains them."""
    attempted = [name for name in VARIANTS if name not in (*CORE, *LAST)]
    parts = ((CORE, 5), (attempted, 5), (LAST, 2))
    return [(name, seed) for names, seeds in parts for seed in range(seeds) for name in names]


def struck(
    data: PairedSign, *, shares: tuple[float, float, float], severity: float, seed: int, told: bool
) -> ArrayDataset:
    """Samples with faults; with ``told`` a channel more in each modality says where."""
    faults = draw_faults(len(data), 9, 12, shares=shares, severity=severity, seed=seed)
    events, frames = faults.apply(data.events, data.frames)
    if told:
        events, frames = marked(events, frames, faults.masks(9, 12, 12))
    return ArrayDataset(events, frames, data.labels)


def marked(events: NDArray[Any], frames: NDArray[Any], masks: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Events [n, T, 3, H, W] and frames [n, T, 2, H, W]: the last channel says what is broken."""
    broken = masks.astype(np.float32)[:, :, :, None]
    return np.concatenate([events, broken[:, 0]], 2), np.concatenate([frames, broken[:, 1]], 2)


def tests(world: str, told: bool) -> dict[str, ArrayDataset]:
    """The same sets for all models and seeds: clean, a fault in every sample, heavier faults."""
    if world == "easy":
        return {"clean": PairedSign(TEST, seed=202).arrays()}
    data = PairedSign(TEST, world=WORLDS[world], seed=202)
    shares = {"clean": (1.0, 0.0, 0.0), "mixed": (0.0, 0.5, 0.5), "heavy": (0.0, 0.5, 0.5)}
    return {
        name: struck(data, shares=shares[name], severity=1.7 if name == "heavy" else 1.0, seed=7 + i, told=told)
        for i, name in enumerate(SETS)
    }


def training_set(variant: Variant, seed: int, switch: attempts.Switch | None) -> ArrayDataset:
    """One set for all; faults are drawn anew for each seed, epoch and sample, the same for every variant."""
    data = PairedSign(TRAIN, world=WORLDS[variant.world], seed=201)
    if variant.world == "easy":
        return data.arrays()

    def transform(
        events: NDArray[Any] | None, frames: NDArray[Any] | None, epoch: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        assert events is not None
        assert frames is not None
        faults = draw_faults(len(events), 9, 12, seed=1000 * seed + epoch + 100)
        events, frames = faults.apply(events, frames)
        late = epoch >= variant.epochs // 2
        if switch is not None:
            switch.open = late
        if variant.lost and late:
            draw = np.random.default_rng([21, seed, epoch]).random(len(events))
            events[draw < variant.lost / 2] = 0
            frames[(draw >= variant.lost / 2) & (draw < variant.lost)] = 0
        if variant.informed is not None:
            return marked(events, frames, faults.masks(9, 12, 12))
        return events, frames

    return data.arrays(epoch_transform=transform)


def build(variant: Variant, seed: int, device: str = "cpu") -> tuple[CMANet, attempts.Switch | None]:
    """The network at its start, and what lets its cross weights go."""
    torch.manual_seed(seed)
    options = {"size": (12, 12), "channels": (8, 16), "hidden": 64, **variant.net}
    if variant.informed is not None:
        return attempts.Informed(**options, **variant.informed).to(device), None
    net = CMANet(18 if variant.world == "easy" else 24, **options)
    if variant.start != "plain":
        attempts.joined(net)
    net.to(device)
    return net, attempts.Switch(net) if variant.start == "late" else None


def run(name: str, seed: int, device: str = "cpu") -> dict[str, float]:
    """Train one cell; accuracies, and which test samples came out right (bit i of an integer: sample i)."""
    torch.set_num_threads(1)
    variant = VARIANTS[name]
    net, switch = build(variant, seed, device)
    config = TrainConfig(epochs=variant.epochs, batch_size=50, lr=6e-3, schedule="onecycle", seed=seed, device=device)
    history = train(net, training_set(variant, seed, switch), None, config, progress=False)
    values: dict[str, float] = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "train accuracy, last epoch": history.rows[-1]["train"],
        "loss, last epoch": history.rows[-1]["loss"],
    }
    told = variant.informed is not None
    if variant.world != "easy":
        unseen = PairedSign(VALIDATION, world=WORLDS[variant.world], seed=203)
        data = struck(unseen, shares=(0.2, 0.4, 0.4), severity=1.0, seed=6, told=told)
        logits, labels = predict(net, data, device=device)
        values["validation"] = float((logits.argmax(1) == labels).double().mean())
    for which, data in tests(variant.world, told).items():
        logits, labels = predict(net, data, device=device)
        right = (logits.argmax(1) == labels).numpy()
        values[which] = float(right.mean())
        values[f"{which}, right"] = sum(1 << int(i) for i in np.flatnonzero(right))
    return values


def right(bits: float) -> NDArray[np.bool_]:
    """The answers back from their integer."""
    number = int(bits)
    return np.array([number >> i & 1 for i in range(TEST)], bool)


def margin(
    ours: list[NDArray[Any]], theirs: list[NDArray[Any]], n_boot: int = 4000
) -> tuple[float, float, float, list[float]]:
    """Mean difference in points over paired seeds, its 95 % interval, and the difference of each seed.

    ours, theirs: which answers were right [n], of each seed; a share where a seed ran more than once. Seeds and test
    samples are both drawn anew (paired: the same ones for both variants).
    """
    gap = 100.0 * (np.stack(ours).astype(float) - np.stack(theirs))
    rng = np.random.default_rng(0)
    seeds = rng.integers(0, len(gap), (n_boot, len(gap)))
    draws = [gap[s][:, rng.integers(0, gap.shape[1], gap.shape[1])].mean() for s in seeds]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(gap.mean()), float(low), float(high), [float(g) for g in gap.mean(1)]
