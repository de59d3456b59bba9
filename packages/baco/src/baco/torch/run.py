"""A whole run, as the command ``baco train`` makes it: tables, model, training, test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from baco._files import atomic_write
from baco.codebook import Codebook
from baco.graph import BipartiteGraph

from .evaluate import evaluate
from .recommenders import LightGCN, MatrixFactorization, compressed_tables, full_tables
from .trainer import TrainConfig, Trainer


def train_run(
    graphs: tuple[BipartiteGraph, BipartiteGraph | None, BipartiteGraph | None],
    codebook: Codebook | None,
    config: TrainConfig,
    folder: Path,
    *,
    model: str,
    embedding_dim: int,
    n_layers: int,
    init_std: float,
    device: str,
    verbose: int,
) -> dict[str, Any]:
    """Train on (train, valid, test) in a run folder and say what it came to; ``results.json`` gets the test too.

    Raises:
        ValueError: a codebook from other interactions, or a folder that holds another run.
    """
    train, valid, test = graphs
    if codebook is not None and (codebook.n_users, codebook.n_items) != (train.n_users, train.n_items):
        raise ValueError(
            f"the codebook is of {codebook.n_users} users and {codebook.n_items} items, the interactions of "
            f"{train.n_users} and {train.n_items}; give the data the codebook was made from"
        )
    torch.manual_seed(config.seed)
    if codebook is None:
        tables = full_tables(train.n_users, train.n_items, embedding_dim, init_std=init_std)
    else:
        tables = compressed_tables(codebook, embedding_dim, init_std=init_std)
    recommender = LightGCN(*tables, train, n_layers) if model == "lightgcn" else MatrixFactorization(*tables)
    trainer = Trainer(recommender.to(device), train, valid, config, folder=folder, verbose=verbose)
    result = trainer.fit()
    facts: dict[str, Any] = {
        "output": str(folder),
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "finished": result.finished,
        "seconds": result.seconds,
        "parameters": sum(one.numel() for one in recommender.parameters()),
        "valid": result.best,
        "test": {},
    }
    if test is not None and result.finished:
        seen = train if valid is None else BipartiteGraph.from_scipy(train.to_scipy() + valid.to_scipy())
        facts["test"] = evaluate(recommender, test, seen=seen, ks=config.ks, chunk=config.chunk)
    with atomic_write(folder / "results.json") as file:
        file.write(json.dumps({name: value for name, value in facts.items() if name != "output"}, indent=2) + "\n")
    return facts
