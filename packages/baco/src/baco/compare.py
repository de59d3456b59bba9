"""BACO and its baselines on one log at one budget: sizes, objective, balance, time, and what they recommend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from .baselines import METHODS, NOT_RUN, TABLE_8
from .baselines.table8 import make
from .cluster import BACO
from .codebook import Codebook
from .graph import BipartiteGraph, as_graph
from .metrics import joint_labels, objective

__all__ = ["compare", "comparison_table", "method_names"]

_OURS = {"baco_one_code": "BACO, one code", "baco": "BACO"}
_COLUMNS = ("method", "rows", "parameters", "objective", "volume Gini", "seconds")


def method_names() -> tuple[str, ...]:
    """What `compare` lists, in order: the full tables, table 8's eighteen baselines, quotient-remainder, BACO."""
    return ("full", *TABLE_8, "quotient_remainder", *_OURS)


def compare(
    train: Any,
    rows: int,
    *,
    valid: Any = None,
    test: Any = None,
    methods: Iterable[str] | None = None,
    weights: Any = "paper",
    embedding_dim: int = 64,
    seed: int = 0,
    epochs: int = 0,
    model: str = "lightgcn",
    batch_size: int = 8192,
    lr: float = 5e-3,
    verbose: int = 0,
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """One record per method, in the order of `method_names`.

    Args:
        train, valid, test: interactions over the same row numbers; the last two for training and measuring it.
        rows: budget of codebook rows; for BACO with two codes, less the parameters of the second codes, as its
            authors count.
        methods: names to run; the others are listed as not asked for. None: all.
        weights: balance weights of BACO, see `baco.BACO`.
        embedding_dim: width of a row.
        seed: of every random draw.
        epochs: train each table for so many epochs at most and measure it; 0: clusterings only, without torch.
        model: "lightgcn" or "mf".
        batch_size, lr: of the training, a short recipe for CPUs: rows start at a deviation of 0.1, validation every
            5 epochs, patience 10.
        verbose: 1 shows progress where stderr is a terminal.
        callback: called with each record as it is made.
    Returns:
        records of method, title, status ("run", "not run", "not asked for", "failed"), reason, rows, parameters,
        objective (F at BACO's resolution, of the labels or of `metrics.joint_labels`), gini (of the rows' volumes,
        mean of the sides), seconds (for the codebook), and with ``epochs`` recall@20, ndcg@20, train_seconds.
    """
    graph = as_graph(train)
    names = method_names()
    wanted = set(names if methods is None else methods)
    if unknown := wanted - set(names):
        raise ValueError(f"method must be one of {', '.join(names)}, got {sorted(unknown)[0]!r}")
    if model not in ("lightgcn", "mf"):
        raise ValueError(f'model must be "lightgcn" or "mf", got {model!r}')
    if epochs and test is None:
        raise ValueError("epochs > 0 trains the tables, which needs test interactions to measure them on")
    gamma = BACO(rows=rows, weights=weights, secondary=None).fit(graph).gamma_
    records = []
    for name in names:
        title = _OURS.get(name) or (METHODS[name].title if name in METHODS else "Full" if name == "full" else name)
        record: dict[str, Any] = {"method": name, "title": title, "status": "run", "reason": ""}
        if name in NOT_RUN:
            record |= {"status": "not run", "reason": NOT_RUN[name]}
        elif name not in wanted:
            record |= {"status": "not asked for"}
        else:
            try:
                record |= _measure(graph, name, rows, weights, embedding_dim, seed, gamma)
                if epochs:
                    table = record["codebook"]
                    record |= _train(
                        graph, valid, test, table, embedding_dim, seed, epochs, model, batch_size, lr, verbose
                    )
            except (ImportError, ValueError) as problem:
                record |= {"status": "failed", "reason": str(problem)}
        record.pop("codebook", None)
        records.append(record)
        if callback is not None:
            callback(record)
    return records


def comparison_table(records: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The records as lines of text cells, the heading first; a reason stands where there are no numbers."""
    trained = any("recall@20" in one for one in records)
    lines: list[tuple[str, ...]] = [_COLUMNS + (("Recall@20", "NDCG@20") if trained else ())]
    for one in records:
        if one["status"] != "run":
            reason = one["reason"] or one["status"]
            lines.append((one["title"], f"{one['status']}: {reason}" if one["reason"] else reason))
            continue
        cells = [one["title"], f"{one['rows']:,}", f"{one['parameters']:,}"]
        cells += ["-" if one[key] is None else f"{one[key]:,.4g}" for key in ("objective", "gini")]
        cells.append(f"{one['seconds']:.2f}")
        if trained:
            cells += [f"{100 * one[key]:.2f} %" for key in ("recall@20", "ndcg@20")]
        lines.append(tuple(cells))
    return lines


def _measure(
    graph: BipartiteGraph, name: str, rows: int, weights: Any, dim: int, seed: int, gamma: float
) -> dict[str, Any]:
    if name == "full":
        ids = graph.n_users + graph.n_items
        return {"rows": ids, "parameters": ids * dim, "objective": None, "gini": None, "seconds": 0.0, "codebook": None}
    start = time.perf_counter()
    labels = None
    if name in _OURS:
        two = name == "baco"
        allowed = (rows * dim - graph.n_users) // dim if two else rows
        fitted = BACO(rows=max(allowed, 2), weights=weights, secondary="users" if two else None).fit(graph)
        book, labels = fitted.codebook_, (fitted.row_labels_, fitted.column_labels_)
    else:
        book = make(name, graph, rows, seed)
    seconds = time.perf_counter() - start
    balance = book.report(graph)
    labels = labels or joint_labels(graph, book)
    return {
        "rows": book.n_rows,
        "parameters": book.parameters(dim),
        "objective": objective(graph, labels, gamma if gamma < float("inf") else 0.0, weights),
        "gini": sum(balance[side]["volume_share"]["gini"] for side in ("user", "item")) / 2,
        "seconds": seconds,
        "codebook": book,
    }


def _train(
    train: BipartiteGraph,
    valid: Any,
    test: Any,
    book: Codebook | None,
    dim: int,
    seed: int,
    epochs: int,
    model: str,
    batch_size: int,
    lr: float,
    verbose: int,
) -> dict[str, float]:
    import torch

    from .torch import LightGCN, MatrixFactorization, TrainConfig, Trainer, compressed_tables, evaluate, full_tables

    torch.manual_seed(seed)
    if book is None:
        tables = full_tables(train.n_users, train.n_items, dim, init_std=0.1)
    else:
        tables = compressed_tables(book, dim, init_std=0.1)
    recommender = LightGCN(*tables, train) if model == "lightgcn" else MatrixFactorization(*tables)
    config = TrainConfig(epochs=epochs, batch_size=batch_size, lr=lr, eval_every=5, patience=10, seed=seed)
    result = Trainer(recommender, train, valid, config, verbose=verbose).fit()
    seen = train if valid is None else BipartiteGraph.from_scipy(train.to_scipy() + as_graph(valid).to_scipy())
    return {**evaluate(recommender, test, seen=seen, ks=(20,)), "train_seconds": result.seconds}
