"""Trainings of compressed tables: what a cell of the queues is, its data, its codebook, its run.

Beauty is the BACO authors' exact split. Their Gowalla train split is not public: all of its interactions are split
anew, at random and in their proportions, 80/10/10. MovieLens-1M comes as LightGCN++ splits it.
"""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import data_file

from baco import BACO, BipartiteGraph, Codebook
from baco.baselines.table8 import METHODS, make
from baco.io import read_lightgcn, read_npz

DIM = 64
BUDGET = {"Beauty": 9000, "ML-1M": 2200, "Gowalla": 12000}
#: Settings of training and the deviation of the first rows. The short recipe was chosen on Beauty's validation part.
RECIPES: dict[str, tuple[dict[str, Any], float]] = {
    "short": ({"epochs": 40, "batch_size": 8192, "lr": 5e-3, "eval_every": 5, "patience": 10}, 0.1),
    "paper": ({}, 1.0),
}
#: Larger logs by the short recipe: batches of about a twentieth of an epoch, as on Beauty. On Gowalla half as many
#: epochs: with 40 its five cells take an hour on one thread.
LARGER: dict[str, dict[str, Any]] = {
    "ML-1M": {"batch_size": 32768},
    "Gowalla": {"batch_size": 40960, "epochs": 20, "eval_every": 10},
}
NAMED: tuple[str, str] = ("degree", "uniform")
VARIANTS: dict[str, dict[str, Any]] = {
    "BACO": {"weights": NAMED},
    "BACO, one code": {"weights": NAMED, "secondary": None},
    "BACO, paper weights": {},
    # as many parameters as infomap, which has no resolution, takes on Beauty
    "BACO, fewer rows": {"weights": NAMED, "rows": 3900},
}
TITLES = {
    "full": "full tables",
    "BACO, one code": "BACO, one code a user",
    "BACO": "BACO, two codes a user",
    "BACO, paper weights": "BACO, two codes, weights as released",
    "BACO, fewer rows": "BACO, two codes a user, infomap's size",
    **{name: method.title for name, method in METHODS.items()},
}

Split = tuple[BipartiteGraph, BipartiteGraph, BipartiteGraph]


@dataclass(frozen=True)
class Cell:
    """One training: a log, a model, the table it learns, a seed, and the recipe."""

    data: str
    model: str
    table: str
    seed: int
    recipe: str = "short"

    def __str__(self) -> str:
        return f"{self.data}, {self.model}, {self.table}" + (", paper's recipe" if self.recipe == "paper" else "")


@functools.cache
def load(name: str) -> Split:
    """Train, validation and test over the same row numbers."""
    if name == "Beauty":
        path = data_file("beauty/beauty.npz")
        assert path is not None
        return tuple(read_npz(path, key=part) for part in ("train", "val", "test"))  # type: ignore[return-value]
    folder = data_file("ml-1m" if name == "ML-1M" else "gowalla")
    assert folder is not None
    parts = [read_lightgcn(folder / f"{part}.txt") for part in ("train", "valid", "test")]
    size = {"n_users": max(one.n_users for one in parts), "n_items": max(one.n_items for one in parts)}
    pairs = [np.column_stack([one.row, one.col]) for one in (part.to_scipy().tocoo() for part in parts)]
    if name == "Gowalla":
        everything = np.random.default_rng(2025).permutation(np.concatenate(pairs))
        tenth = everything.shape[0] // 10
        pairs = np.split(everything, [everything.shape[0] - 2 * tenth, everything.shape[0] - tenth])
    return tuple(BipartiteGraph.from_arrays(*one.T, **size) for one in pairs)  # type: ignore[return-value]


def codebook(cell: Cell, train: BipartiteGraph) -> Codebook:
    """Codebook of a cell within the budget of its log; a second code of a user is charged one parameter.

    Kept in the folder that ``BACO_SCRATCH`` names, where it does: a machine without the baselines' libraries takes
    them from there.
    """
    folder = os.environ.get("BACO_SCRATCH")
    if folder is None:
        return _make(cell, train)
    kept = Path(folder) / f"{cell.data}-{cell.table}.npz".replace(", ", "-").replace(" ", "-").lower()
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        _make(cell, train).save(kept)
    return Codebook.load(kept)


def _make(cell: Cell, train: BipartiteGraph) -> Codebook:
    rows = BUDGET[cell.data]
    if cell.table in VARIANTS:
        options = {"rows": rows, **VARIANTS[cell.table]}
        if options.get("secondary", "users"):
            options["rows"] = (options["rows"] * DIM - train.n_users) // DIM
        return BACO(n_jobs=1, **options).fit(train).codebook_
    return make(cell.table, train, rows)


def run(cell: Cell, device: str = "cpu", minutes: float | None = None) -> dict[str, float]:
    """Train a cell, for at most so many minutes from now, and measure its best validation on the test part."""
    import torch

    from baco.torch import (
        LightGCN,
        MatrixFactorization,
        TrainConfig,
        Trainer,
        compressed_tables,
        evaluate,
        full_tables,
    )

    started = time.perf_counter()
    torch.set_num_threads(1)
    train, valid, test = load(cell.data)
    book = None if cell.table == "full" else codebook(cell, train)
    options, std = RECIPES[cell.recipe]
    if cell.recipe == "short":
        options = {**options, **LARGER.get(cell.data, {})}
    torch.manual_seed(cell.seed)
    if book is None:
        tables = full_tables(train.n_users, train.n_items, DIM, init_std=std)
    else:
        tables = compressed_tables(book, DIM, init_std=std)
    model = LightGCN(*tables, train) if cell.model == "LightGCN" else MatrixFactorization(*tables)
    left = None if minutes is None else minutes - (time.perf_counter() - started) / 60
    config = TrainConfig(seed=cell.seed, minutes=left, **options)

    def tell(record: dict[str, float]) -> None:
        if "recall@20" in record:
            told = f"epoch {record['epoch']:.0f}, loss {record['loss']:.4f}, validation {record['recall@20']:.4f}"
            print(f"    {cell}: {told}, {time.perf_counter() - started:.0f} s", flush=True)

    trainer = Trainer(model.to(device), train, valid, config, verbose=1, callback=tell)
    result = trainer.fit()
    if not result.best:
        raise ValueError(f"{minutes:.1f} minutes ended before the first validation; give more")
    trainer.restore_best()
    both = BipartiteGraph.from_scipy(train.to_scipy() + valid.to_scipy())
    found = evaluate(model, test, seen=both)
    rows = train.n_users + train.n_items if book is None else book.n_rows
    parameters = rows * DIM if book is None else book.parameters(DIM)
    told = {
        "rows": rows,
        "parameters": parameters,
        "epoch": result.best_epoch,
        "epochs": len(result.history),
        "finished": result.finished,
        "valid recall@20": result.best["recall@20"],
    }
    return {name: float(value) for name, value in {**told, **found}.items()}
