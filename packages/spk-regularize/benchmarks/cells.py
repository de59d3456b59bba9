"""One cell of the study: train one small network, attack it, look inside. What there is to run is in :func:`queue`.

Set-up of the digits: 1,151 training images, 250 for validation, the same 200 of the 396 test images attacked in every
cell, eps 0.1, T = 4, three convolutions (12, 16, 16), tdBN, LIF with decay 0.5, hard reset, triangle; SGD 0.1 with
momentum, batch 50, 10 epochs, penalties ramped over the first half; adversarial training is PGD-2 at eps 0.1. Transfer
comes from a network of another seed that was trained plainly. Table "search" attacks validation images instead.
MNIST: 3,000 training images, 6 epochs, 200 test images, eps 0.1. CIFAR-10: 2,000, 6, 100, eps 8/255, wider layers.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from packed import first, unpack

from spk_regularize.attacks.base import prepared
from spk_regularize.attacks.losses import margin
from spk_regularize.data import ImageSet, Split, load, read_image_folder, read_mnist
from spk_regularize.models import build_model
from spk_regularize.robustness import AttackSpec, evaluate_robustness, summarise_layers
from spk_regularize.training import RobustTrainer, TrainConfig

IMAGES = {"digits": 200, "mnist": 200, "cifar10": 100}
METHODS = {"clean": "no AT", "at": "AT"}
COLUMNS = ("clean", "FGSM", "PGD", "wide", "ASSG", "SA-PGD", "APGD", "transfer", "Square", "worst")
INNER = ("rate", "overlap", "inside", "gradient", "relative gradient")
CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}


def battery(steps: int, long: int, queries: int, restarts: int = 1) -> tuple[AttackSpec, ...]:
    """FGSM, PGD with three gradients, SA-PGD, APGD, transfer, Square; at most these steps and queries."""

    def pgd(name: str, grad: str) -> AttackSpec:
        return AttackSpec(name, "pgd", {"steps": steps, "grad": grad, "restarts": restarts})

    return (
        AttackSpec("FGSM", "fgsm"),
        pgd("PGD", "native"),
        pgd("wide", "wide2"),
        pgd("ASSG", "assg"),
        AttackSpec("SA-PGD", "sapgd", {"steps": long, "grad": "assg", "restarts": restarts}),
        AttackSpec("APGD", "apgd", {"steps": long, "grad": "assg", "restarts": restarts}),
        AttackSpec("transfer", "transfer"),
        AttackSpec("Square", "square", {"queries": queries}),
    )


CORE = battery(20, 60, 300)
# much more effort, on the images that withstand the core battery
STRONG = (
    *battery(50, 100, 5000, restarts=2)[1:],
    AttackSpec("APGD-DLR", "apgd", {"steps": 50, "grad": "assg", "loss": "dlr", "restarts": 2}),
)


@dataclass(frozen=True)
class Cell:
    """One network to train and attack."""

    table: str
    name: str
    seed: int
    data: str = "digits"
    method: str = "clean"
    regularizer: str = ""
    weight_decay: float = 5e-4
    model: dict[str, Any] = field(default_factory=dict, hash=False)
    epochs: int = 10
    strong: bool = False
    part: str = "test"
    attacked: int = IMAGES["digits"]

    @property
    def key(self) -> str:
        return f"{self.table}: {self.name}"


GRADIENT, FLOOR = "input-gradient:weight=0.3", "rate-floor:floor=0.24,weight=30"
PRESET = (f"{GRADIENT} + {FLOOR}", 5e-3)
PLAIN, WHOLE = "no regulariser", "preset (with rate floor)"
REMEDIES = {
    PLAIN: ("", 5e-4),
    "weight decay": ("", 5e-3),
    "weight decay + input gradient": (GRADIENT, 5e-3),
    WHOLE: PRESET,
    "preset + mean SG": (f"{PRESET[0]} + mean-sg:eta=0.333", 5e-3),
    "preset + MPD-SGR 1": (f"{PRESET[0]} + mpd-sgr:eta=1", 5e-3),
    "preset without weight decay": (PRESET[0], 5e-4),
}
# every regulariser of the package alone, at the weight its documentation starts from
ALONE = {
    "MPD-SGR 1": "mpd-sgr:eta=1",
    "MPD-SGR 1, tdBN statistics": "mpd-sgr:eta=1,stats=tdbn",
    "MPD-SGR 1, soft window": "mpd-sgr:eta=1,window=soft",
    "MPD-SGR 1, target 0.3": "mpd-sgr:eta=1,target=0.3",
    "expected SG 1": "expected-sg:eta=1",
    "mean SG 1": "mean-sg:eta=1",
    "threshold guard": "threshold-guard",
    "IM loss": "im",
    "RMP loss": "rmp",
    "SR": "sr",
    "input gradient 0.3": GRADIENT,
    "Parseval": "parseval",
    "Lipschitz rows": "lipschitz",
    "spike rate 0.2": "spike-rate:target=0.2",
    "rate floor": FLOOR,
    "MPPD": "mppd",
    "SynOps": "synops:weight=10",
}
# forms of the idea on top of the preset, judged on validation images
FORMS = {
    "preset": "",
    "MPD-SGR 0.3": "mpd-sgr:eta=0.3",
    "MPD-SGR 1, target 0.3": "mpd-sgr:eta=1,target=0.3",
    "MPD-SGR 1, gamma 0.3": "mpd-sgr:eta=1,gamma=0.3",
    "MPD-SGR -1 (opposite sign)": "mpd-sgr:eta=-1",
    "mean SG 1": "mean-sg:eta=1",
    "mean SG -1 (opposite sign)": "mean-sg:eta=-1",
    "threshold guard 0.5": "threshold-guard:weight=0.5",
    "threshold guard, delta 0.2": "threshold-guard:weight=1,delta=0.2",
    "Parseval": "parseval",
    "MPPD": "mppd",
}
DEEP = {"channels": (12, 16, 16, 16, 16)}
NETS: dict[str, dict[str, Any]] = {"3 conv": {"name": "cnn"}, "small ResNet": {"name": "small_resnet"}}


def _mpd(eta: int) -> str:
    return f"mpd-sgr:eta={eta}" if eta else ""


def core() -> Iterator[Cell]:
    """The core table: what the issue of robustness hangs on."""
    for seed in range(3):
        for method, title in METHODS.items():
            for eta in (0, 1, 10):
                yield Cell("core", f"digits, {title}, eta {eta}", seed, method=method, regularizer=_mpd(eta))
    for data in ("mnist", "cifar10"):
        for method in METHODS:
            for eta in (0, 3):
                yield Cell(
                    "core", f"{data}, {METHODS[method]}, eta {eta}", 0, data, method, _mpd(eta), epochs=6,
                    attacked=IMAGES[data],
                )  # fmt: skip


def remedies(seeds: range, names: Sequence[str]) -> Iterator[Cell]:
    """The preset and its parts; without AT, one plain network and one preset meet the strong battery, too."""
    for seed in seeds:
        for name in names:
            text, decay = REMEDIES[name]
            for method, title in METHODS.items():
                strong = seed == 0 and method == "clean" and name in (PLAIN, WHOLE)
                # the core table has the plain network of the first three seeds
                if strong or name != PLAIN or seed > 2:
                    yield Cell("remedies", f"{title}, {name}", seed, "digits", method, text, decay, strong=strong)


def elsewhere() -> Iterator[Cell]:
    """The preset on other data and in a deeper network."""
    for name in (PLAIN, WHOLE):
        text, decay = REMEDIES[name]
        for data in ("mnist", "cifar10"):
            yield Cell("remedies", f"{data}, {name}", 0, data, "clean", text, decay, epochs=6, attacked=IMAGES[data])
        for method, title in METHODS.items():
            for seed in range(3):
                yield Cell("remedies", f"5 conv, {title}, {name}", seed, "digits", method, text, decay, DEEP)


def general(seeds: range) -> Iterator[Cell]:
    """Surrogates, encodings and networks, one eta against none."""
    for seed in seeds:
        for net, model in NETS.items():
            for surrogate in ("triangle", "rectangle", "atan", "sigmoid"):
                for encoder in ("direct", "poisson", "latency"):
                    for eta in (0, 3):
                        options = {**model, "surrogate": surrogate, "encoder": encoder}
                        name = f"{net}, {surrogate}, {encoder}, eta {eta}"
                        yield Cell("general", name, seed, regularizer=_mpd(eta), model=options, attacked=100)


def alone() -> Iterator[Cell]:
    """Each regulariser alone, three seeds."""
    for seed in range(3):
        for name, text in ALONE.items():
            yield Cell("alone", name, seed, regularizer=text)


def search() -> Iterator[Cell]:
    """Forms of the idea on top of the preset, on validation images."""
    for seed in range(2):
        for name, text in FORMS.items():
            both = " + ".join(filter(None, (PRESET[0], text)))
            yield Cell("search", name, seed, regularizer=both, weight_decay=PRESET[1], part="validation")


def queue() -> list[Cell]:
    """All cells, the headline first."""
    main = [WHOLE, PLAIN, "preset + MPD-SGR 1", "weight decay + input gradient"]
    rest = [name for name in REMEDIES if name not in main]
    first = [*core(), *remedies(range(5), main), *elsewhere(), *general(range(1)), *remedies(range(5), rest)]
    return [*first, *alone(), *search(), *general(range(1, 3))]


def data_file(name: str) -> Path | None:
    """Where MNIST or CIFAR-10 lie, None where they do not."""
    root = os.environ.get("SPK_DATA")
    files = {"mnist": ["mnist"], "cifar10": ["cifar10.npz.xz", "cifar10_jpeg.zip"]}[name]
    paths = [] if not root else [Path(root) / "images" / file for file in files]
    return next((path for path in paths if path.exists()), None)


def available(cell: Cell) -> bool:
    """Whether its data are at hand."""
    return cell.data == "digits" or data_file(cell.data) is not None


@lru_cache(maxsize=2)
def data_of(name: str, seed: int) -> tuple[Split, float]:
    """Images and the attack's size."""
    if name == "digits":
        return load("digits", validation=250 / 1401, seed=seed), 0.1
    path = data_file(name)
    assert path is not None
    if name == "mnist":
        train, test = (read_mnist(path, part).take(slice(0, n)) for part, n in (("train", 6000), ("test", 1000)))
        eps, images = 0.1, 3000
    else:
        limits = {"train": 450, "test": 100}
        if path.suffix == ".zip":
            parts = {part: read_image_folder(path, part, limit=limit) for part, limit in limits.items()}
        else:
            parts = {part: first(found, limits[part]) for part, found in unpack(path).items()}
        train, test = parts["train"], parts["test"]
        eps, images = 8 / 255, 2000
    rest, held = train.stratified(0.1, seed=seed)
    return Split(rest.sample(images, seed), held.sample(300, seed), test.sample(IMAGES[name], 0)), eps


def network(cell: Cell, data: ImageSet, seed: int) -> torch.nn.Module:
    """The cell's network before training."""
    options: dict[str, Any] = {"name": "cnn", **cell.model}
    if cell.data == "cifar10":
        options |= {"channels": (16, 32, 32), **CIFAR}
    return build_model(**options, shape=data.shape, classes=data.classes, seed=seed)


def trained(cell: Cell, split: Split, eps: float, seed: int, *, plain: bool = False) -> torch.nn.Module:
    """The cell's network; ``plain``: the source of the transfer attack."""
    model = network(cell, split.train, seed)
    config = TrainConfig(
        method="clean" if plain else cell.method, epochs=cell.epochs, eps=eps, seed=seed, ramp=0.5,  # type: ignore[arg-type]
        weight_decay=5e-4 if plain else cell.weight_decay, regularizer="" if plain else cell.regularizer,
    )  # fmt: skip
    RobustTrainer(model, config).fit(split.train)
    return model


_SOURCES: dict[str, torch.nn.Module] = {}


def source(cell: Cell) -> torch.nn.Module:
    """Trained once per kind of network, with a seed that no cell has."""
    key = f"{cell.data} {cell.model} {cell.epochs}"
    if key not in _SOURCES:
        split, eps = data_of(cell.data, 0)
        _SOURCES[key] = trained(cell, split, eps, 100, plain=True)
    return _SOURCES[key]


def gradient_sizes(model: torch.nn.Module, data: ImageSet) -> dict[str, float]:
    """Mean l1 norm of the input gradient of the cross-entropy, and the margin's over the margin (native surrogate)."""
    plain, relative = [], []
    with prepared(model, 0):
        for rows in torch.arange(len(data)).split(256):
            x, y = data.x(rows).requires_grad_(), data.labels[rows]
            z = model(x)
            ce = torch.nn.functional.cross_entropy(z, y, reduction="sum")
            (g,) = torch.autograd.grad(ce, x, retain_graph=True)
            plain.append(g.flatten(1).abs().sum(1))
            lead = margin(z, y)
            (g,) = torch.autograd.grad(lead.sum(), x)
            relative.append(g.flatten(1).abs().sum(1) / lead.detach().abs().clamp_min(1e-3))
    return {"gradient": float(torch.cat(plain).mean()), "relative gradient": float(torch.cat(relative).median())}


def inner(model: torch.nn.Module, data: ImageSet) -> dict[str, float]:
    """Rate, overlap by formula and by count (means of the layers), input gradients."""
    layers = summarise_layers(model, data.x())
    return {
        "rate": statistics.mean(row.rate for row in layers),
        "overlap": statistics.mean(row.overlap or 0.0 for row in layers),
        "inside": statistics.mean(row.inside or 0.0 for row in layers),
        **gradient_sizes(model, data),
    }


def run(cell: Cell) -> dict[str, float]:
    """Train, attack, look inside; accuracies in per cent."""
    split, eps = data_of(cell.data, cell.seed)
    images = (split.test if cell.part == "test" else split.validation).sample(cell.attacked, 0)
    model = trained(cell, split, eps, cell.seed)
    options: dict[str, Any] = {
        "sources": [source(cell)], "n": None, "seed": cell.seed, "masking": False,
        "eot": 5 if cell.model.get("encoder") == "poisson" else 1,
    }  # fmt: skip
    report = evaluate_robustness(model, images, eps, battery=CORE, **options)
    values = {name: 100 * report.accuracy(name, eps) for name in report.names}
    values |= {"clean": 100 * report.clean_accuracy, "worst": 100 * report.worst_case[eps]}
    left = report.worst(eps)
    if cell.strong:
        values["worst core"] = values["worst"]
        if bool(left.any()):
            again = evaluate_robustness(model, images.take(left), eps, battery=STRONG, **options)
            values["worst"] *= again.worst_case[eps]
    return values | inner(model, images)
