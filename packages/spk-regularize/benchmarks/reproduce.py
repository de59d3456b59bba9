"""Against the paper and against doubt: who is harder to fool, by which attack, and why.

    python packages/spk-regularize/benchmarks/reproduce.py [--minutes N] [--only TEXT] [--list]

A queue of cells (data, training, regulariser, seed), the core table first; each is written as soon as it is done, and a
stopped queue goes on where it was. Every cell trains a small network on a CPU and attacks it; an image counts where it
stays right. Transfer comes from a network of another seed trained without a regulariser. Set-up of the digits: 1,151
training images, 250 for validation, 396 for the test, eps 0.1, T = 4, three convolutions, batch norm, LIF with decay
0.5, triangle; SGD 0.1, 10 epochs, penalties ramped over the first half; adversarial training is PGD-2 at eps 0.1.

MNIST and CIFAR-10 are read from the folder that SPK_DATA names; without it their cells are left out. CIFAR-10 is a JPEG
copy: absolute accuracies may differ from the original's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
import torch

from results import Results
from spk_regularize.attacks.base import prepared
from spk_regularize.data import ImageSet, Split, load, read_image_folder, read_mnist
from spk_regularize.models import build_model
from spk_regularize.robustness import AttackSpec, evaluate_robustness, summarise_layers
from spk_regularize.training import RobustTrainer, TrainConfig

PRESET = "input-gradient:weight=0.3"
FLOOR = "rate-floor:floor=0.24,weight=30"


def pgd(name: str, grad: str, steps: int = 20) -> AttackSpec:
    return AttackSpec(name, "pgd", {"steps": steps, "grad": grad})


BATTERY = [
    AttackSpec("FGSM", "fgsm"),
    pgd("PGD", "native"),
    pgd("wide", "wide2"),
    pgd("wide4", "wide4"),
    pgd("ASSG", "assg"),
    AttackSpec("APGD-DLR", "apgd", {"steps": 30, "grad": "assg", "loss": "dlr"}),
    AttackSpec("SA-PGD", "sapgd", {"steps": 60, "grad": "assg"}),
    AttackSpec("transfer", "transfer"),
    AttackSpec("Square", "square", {"queries": 300}),
]
# stronger, for the claims of the remedies
STRONG = [
    *BATTERY[:6],
    AttackSpec("SA-PGD", "sapgd", {"steps": 100, "grad": "assg", "restarts": 2}),
    AttackSpec("transfer", "transfer"),
    AttackSpec("Square", "square", {"queries": 2000}),
]
COLUMNS = ("clean", "FGSM", "PGD", "wide", "ASSG", "SA-PGD", "transfer", "Square", "worst")


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
    model: tuple[tuple[str, Any], ...] = ()
    epochs: int = 10
    strong: bool = False
    train: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        return f"{self.table}: {self.name}"


ETAS = {0: "", 1: "mpd-sgr:eta=1", 10: "mpd-sgr:eta=10"}
METHODS = {"clean": "no AT", "at": "AT"}
REMEDIES = {
    "no regulariser": ("", 5e-4),
    "weight decay": ("", 5e-3),
    "weight decay + input gradient": (PRESET, 5e-3),
    "preset (with rate floor)": (f"{PRESET} + {FLOOR}", 5e-3),
    "preset + mean SG": (f"{PRESET} + {FLOOR} + mean-sg:eta=0.333", 5e-3),
    "preset + MPD-SGR 1": (f"{PRESET} + {FLOOR} + mpd-sgr:eta=1", 5e-3),
    "preset without weight decay": (f"{PRESET} + {FLOOR}", 5e-4),
}


def queue() -> Iterator[Cell]:
    """All cells, the headline first."""
    for seed in range(3):
        for method, title in METHODS.items():
            for eta, text in ETAS.items():
                yield Cell("core", f"digits, {title}, eta {eta}", seed, method=method, regularizer=text)
    for data in ("mnist", "cifar10"):
        for method in METHODS:
            for eta in (0, 3):
                text = f"mpd-sgr:eta={eta}" if eta else ""
                yield Cell("data", f"{data}, {METHODS[method]}, eta {eta}", 0, data, method, text, epochs=6)
    for seed in range(5):
        for method, title in METHODS.items():
            for name, (text, decay) in REMEDIES.items():
                yield Cell("remedies", f"{title}, {name}", seed, "digits", method, text, decay, strong=True)
    for data in ("mnist", "cifar10"):
        for name in ("no regulariser", "preset (with rate floor)"):
            text, decay = REMEDIES[name]
            yield Cell("remedies", f"{data}, {name}", 0, data, "clean", text, decay, epochs=6)
    for seed in range(3):
        for net, model in (("3 conv", {"name": "cnn"}), ("small ResNet", {"name": "small_resnet"})):
            for surrogate in ("triangle", "rectangle", "atan", "sigmoid"):
                for encoder in ("direct", "poisson", "latency"):
                    for eta in (0, 3):
                        options = tuple({**model, "surrogate": surrogate, "encoder": encoder}.items())
                        name = f"{net}, {surrogate}, {encoder}, eta {eta}"
                        text = f"mpd-sgr:eta={eta}" if eta else ""
                        yield Cell("general", name, seed, regularizer=text, model=options)


def shared(folder: str) -> Path | None:
    """A folder of the real data, None where there is none."""
    root = os.environ.get("SPK_DATA")
    path = None if not root else Path(root) / "images" / folder
    return path if path is not None and path.exists() else None


@lru_cache(maxsize=1)
def data_of(name: str, seed: int) -> tuple[Split, float]:
    """Images and the attack's size."""
    if name == "digits":
        return load("digits", validation=250 / 1401, seed=seed), 0.1
    path = shared("mnist" if name == "mnist" else "cifar10_jpeg.zip")
    assert path is not None
    if name == "mnist":
        train, test = (read_mnist(path, part) for part in ("train", "test"))
        eps, images = 0.1, 3000
    else:
        train, test = (read_image_folder(path, part, limit=limit) for part, limit in (("train", 450), ("test", 100)))
        eps, images = 8 / 255, 4000
    rest, held = train.stratified(0.1, seed=seed)
    return Split(rest.sample(images, seed), held.sample(300, seed), test.sample(300, 0)), eps


def network(cell: Cell, data: ImageSet, seed: int) -> torch.nn.Module:
    options: dict[str, Any] = {"name": "cnn", **dict(cell.model)}
    if cell.data == "cifar10":
        options |= {"channels": (16, 32, 32), "mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
    return build_model(**options, shape=data.shape, classes=data.classes, seed=seed)


def trained(cell: Cell, split: Split, eps: float, seed: int, *, plain: bool = False) -> torch.nn.Module:
    """The cell's network; ``plain``: the source of the transfer attack."""
    model = network(cell, split.train, seed)
    config = TrainConfig(
        method="clean" if plain else cell.method, epochs=cell.epochs, eps=eps, seed=seed, ramp=0.5,
        weight_decay=5e-4 if plain else cell.weight_decay, regularizer="" if plain else cell.regularizer,
        **cell.train,
    )  # fmt: skip
    RobustTrainer(model, config).fit(split.train)
    return model


_SOURCES: dict[tuple[Any, ...], torch.nn.Module] = {}


def source(cell: Cell, split: Split, eps: float) -> torch.nn.Module:
    key = (cell.data, cell.seed, cell.model, cell.epochs)
    if key not in _SOURCES:
        _SOURCES.clear()
        _SOURCES[key] = trained(cell, split, eps, 100 + cell.seed, plain=True)
    return _SOURCES[key]


def gradient_size(model: torch.nn.Module, data: ImageSet) -> float:
    """Mean l1 norm of the input gradient of the cross-entropy, native surrogate."""
    total = 0.0
    with prepared(model, 0):
        for rows in torch.arange(len(data)).split(256):
            x = data.x(rows).requires_grad_()
            loss = torch.nn.functional.cross_entropy(model(x), data.labels[rows], reduction="sum")
            (g,) = torch.autograd.grad(loss, x)
            total += float(g.abs().sum())
    return total / len(data)


def run(cell: Cell) -> dict[str, float]:
    """Train, attack, look inside."""
    split, eps = data_of(cell.data, cell.seed)
    model = trained(cell, split, eps, cell.seed)
    report = evaluate_robustness(
        model, split.test, eps, battery=STRONG if cell.strong else BATTERY, sources=[source(cell, split, eps)],
        n=None, seed=cell.seed, masking=False, eot=None,
    )  # fmt: skip
    values = {name: 100 * report.accuracy(name, eps) for name in report.names}
    layers = summarise_layers(model, split.test.x())
    values |= {
        "clean": 100 * report.clean_accuracy,
        "worst": 100 * report.worst_case[eps],
        "rate": statistics.mean(row.rate for row in layers),
        "overlap": statistics.mean(row.overlap or 0.0 for row in layers),
        "inside": statistics.mean(row.inside or 0.0 for row in layers),
        "gradient": gradient_size(model, split.test),
    }
    return values


def rank(values: list[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    for place, index in enumerate(order):
        ranks[index] = float(place)
    return ranks


def spearman(a: list[float], b: list[float]) -> float:
    """Rank correlation (ties in order of appearance: the values are continuous)."""
    return statistics.correlation(rank(a), rank(b))


def write_rows(out: Results, cells: list[Cell]) -> None:
    """Tables from what is done so far."""
    names: dict[str, list[Cell]] = {}
    for cell in cells:
        names.setdefault(cell.key, []).append(cell)
    for key, group in names.items():
        first = group[0]
        if not out.values(key, "worst"):
            continue
        for column in COLUMNS:
            values = out.values(key, column)
            more = []
            if column == "worst":
                for extra, unit in (("rate", ""), ("overlap", ""), ("gradient", "")):
                    more.append(f"{extra} {statistics.mean(out.values(key, extra)):.2f}{unit}")
            out.add(
                name=first.name, metric=column, unit="%", ours=statistics.mean(values), n=len(values),
                spread=statistics.stdev(values) if len(values) > 1 else None, note=", ".join(more), table=first.table,
            )  # fmt: skip
    wide(out, names)
    mechanism(out, names)
    paired(out, cells)


def wide(out: Results, names: dict[str, list[Cell]]) -> None:
    """One row a network, all columns in the note: the README's first table."""
    for key, group in names.items():
        first = group[0]
        worst = out.values(key, "worst")
        if first.table not in ("core", "data", "remedies") or not worst:
            continue
        told = ", ".join(f"{c} {statistics.mean(out.values(key, c)):.1f}" for c in COLUMNS[:-1])
        inner = ", ".join(f"{c} {statistics.mean(out.values(key, c)):.2f}" for c in ("rate", "overlap", "gradient"))
        out.add(
            name=first.name, metric="worst case", unit="%", ours=statistics.mean(worst), n=len(worst),
            spread=statistics.stdev(worst) if len(worst) > 1 else None, note=f"{told}; {inner}",
            table=f"{first.table}-worst",
        )  # fmt: skip


def mechanism(out: Results, names: dict[str, list[Cell]]) -> None:
    """Both links of the paper's argument, as rank correlations over the runs."""
    for label, wanted in (("no AT", "no AT"), ("AT", ", AT")):
        chosen = [
            key for key, group in names.items()
            if group[0].table in ("core", "remedies") and (wanted in f", {group[0].name}")
        ]  # fmt: skip
        columns: dict[str, list[float]] = {name: [] for name in ("overlap", "inside", "gradient", "worst", "clean")}
        for key in chosen:
            for name, found in columns.items():
                found += out.values(key, name)
        keep = [i for i, clean in enumerate(columns["clean"]) if clean >= 95]
        n = len(keep)
        if n < 8:
            continue
        got = {name: [values[i] for i in keep] for name, values in columns.items()}
        for a, b in (("overlap", "gradient"), ("gradient", "worst"), ("overlap", "worst")):
            out.add(
                name=f"{label}: {a} to {b}", metric="Spearman correlation", ours=spearman(got[a], got[b]), n=n,
                note="runs with clean accuracy of at least 95 %; runs of one seed share the data split",
                table="mechanism",
            )  # fmt: skip


def paired(out: Results, cells: list[Cell]) -> None:
    """What each part of the preset gives, seed by seed."""
    steps = [
        ("weight decay", "no regulariser", "weight decay"),
        ("input gradient", "weight decay", "weight decay + input gradient"),
        ("rate floor", "weight decay + input gradient", "preset (with rate floor)"),
        ("mean SG", "preset (with rate floor)", "preset + mean SG"),
        ("MPD-SGR, eta 1", "preset (with rate floor)", "preset + MPD-SGR 1"),
        ("weight decay, given the rest", "preset without weight decay", "preset (with rate floor)"),
        ("the whole preset", "no regulariser", "preset (with rate floor)"),
    ]
    done = {(cell.key, cell.seed) for cell in cells if out.has_cell(cell.key, cell.seed)}
    for title in METHODS.values():
        for part, before, after in steps:
            keys = [f"remedies: {title}, {name}" for name in (before, after)]
            seeds = [s for s in range(5) if all((key, s) in done for key in keys)]
            if not seeds:
                continue
            pairs = [dict(zip(_seeds(out, key), out.values(key, "worst"), strict=True)) for key in keys]
            gains = [pairs[1][s] - pairs[0][s] for s in seeds]
            out.add(
                name=f"{title}: {part}", metric="gain in the worst case", unit="points", ours=statistics.mean(gains),
                n=len(gains), spread=statistics.stdev(gains) if len(gains) > 1 else None,
                note="paired by seed: " + " ".join(f"{g:+.1f}" for g in gains), table="shares",
            )  # fmt: skip


def _seeds(out: Results, key: str) -> list[int]:
    return sorted(entry["seed"] for entry in out._data.get("cells", []) if entry["cell"] == key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="start no cell after so many minutes")
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    parser.add_argument("--list", action="store_true", help="print the queue and what is done")
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = Results("spk-regularize", "reproduce", threads=1, resume=True,
                  command="python packages/spk-regularize/benchmarks/reproduce.py")  # fmt: skip
    cells = list(queue())
    start = time.monotonic()
    for cell in cells:
        done = out.has_cell(cell.key, cell.seed)
        if args.list:
            print(f"{'done' if done else '    '}  {cell.key}, seed {cell.seed}")
            continue
        if done or args.only not in f"{cell.key}, seed {cell.seed}":
            continue
        if cell.data == "mnist" and shared("mnist") is None:
            continue
        if cell.data == "cifar10" and shared("cifar10_jpeg.zip") is None:
            continue
        if args.minutes is not None and time.monotonic() - start > 60 * args.minutes:
            break
        began = time.perf_counter()
        values = run(cell)
        seconds = time.perf_counter() - began
        out.add_cell(cell.key, cell.seed, values, seconds=seconds)
        write_rows(out, cells)
        out.write()
        told = "  ".join(f"{name} {values[name]:.1f}" for name in COLUMNS)
        print(f"{cell.key}, seed {cell.seed} ({seconds:.0f} s): {told}", flush=True)
    if not args.list:
        write_rows(out, cells)
        out.write()


if __name__ == "__main__":
    main()
