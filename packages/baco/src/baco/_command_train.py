"""The commands ``baco bench`` and ``baco train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._command import AsJson, Format, Quiet, check_target, one_line_errors, say


def bench(
    file: Annotated[Path, typer.Argument(metavar="TRAIN", help="Training interactions.")],
    rows: Annotated[int | None, typer.Option(help="Budget of codebook rows.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Budget as a share of all ids.")] = None,
    test: Annotated[Path | None, typer.Option(help="Test interactions, for recall.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Validation interactions, for early stopping.")] = None,
    epochs: Annotated[int, typer.Option(help="Train each table so long; 0: clusterings only, without torch.")] = 0,
    model: Annotated[str, typer.Option(help="lightgcn or mf.")] = "lightgcn",
    only: Annotated[str | None, typer.Option(help="Methods to run, with commas between them.")] = None,
    weights: Annotated[str, typer.Option(help="Balance weights of BACO: paper, or a pair.")] = "paper",
    dim: Annotated[int, typer.Option(help="Width of an embedding row.")] = 64,
    seed: Annotated[int, typer.Option(help="Of every random draw.")] = 0,
    format: Format = "auto",  # noqa: A002 - the option's name
    key: Annotated[str | None, typer.Option("--key", help="Arrays of one npz file: train,valid,test.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="HTML page to write.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare BACO with its baselines on TRAIN at one budget: a line for each of the paper's eighteen, run or not.

    The files must number users and items alike (LightGCN text, npz): with raw ids, split one log after reading it.
    """
    with one_line_errors(quiet):
        from .compare import compare, comparison_table
        from .report import write_comparison

        if (rows is None) == (ratio is None):
            raise ValueError("give exactly one of --rows and --ratio")
        if report is not None:
            check_target(report, ".html", file)
        graphs = _split_of(file, valid, test, format, key, quiet)
        budget = rows if rows is not None else int(float(ratio or 0) * (graphs[0].n_users + graphs[0].n_items))
        records = compare(
            graphs[0],
            budget,
            valid=graphs[1],
            test=graphs[2],
            methods=None if only is None else only.split(","),
            weights=weights if weights == "paper" else tuple(weights.split(",")),
            embedding_dim=dim,
            seed=seed,
            epochs=epochs,
            model=model,
            verbose=0 if quiet else 1,
        )
        if report is not None:
            write_comparison(report, records, title=file.name)
        lines = comparison_table(records)
        widths = [max(len(line[place]) for line in lines if len(line) > 2) for place in range(len(lines[0]))]
        text = "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
        )
        say({"rows_allowed": budget, "methods": records}, text, as_json, quiet)


def train(
    file: Annotated[Path, typer.Argument(metavar="TRAIN", help="Training interactions.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run that was interrupted there goes on.")],
    codebook: Annotated[Path | None, typer.Option("--map", help="Codebook; without it, full tables.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Validation interactions, for early stopping.")] = None,
    test: Annotated[Path | None, typer.Option(help="Test interactions, measured at the end.")] = None,
    model: Annotated[str, typer.Option(help="lightgcn or mf.")] = "lightgcn",
    dim: Annotated[int, typer.Option(help="Width of an embedding row.")] = 64,
    layers: Annotated[int, typer.Option(help="Propagation steps of LightGCN.")] = 2,
    epochs: Annotated[int, typer.Option(help="At most so many.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Interactions per step.")] = 1024,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    init_std: Annotated[float, typer.Option(help="Deviation of the first rows.")] = 1.0,
    eval_every: Annotated[int, typer.Option(help="Epochs between validations.")] = 10,
    patience: Annotated[int, typer.Option(help="Epochs without a better validation before stopping.")] = 50,
    seed: Annotated[int, typer.Option(help="Of rows, order and negatives.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    format: Format = "auto",  # noqa: A002 - the option's name
    key: Annotated[str | None, typer.Option("--key", help="Arrays of one npz file: train,valid,test.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a recommender on TRAIN with compressed (--map) or full tables (needs the extra "torch").

    Writes config.json, metrics.csv, checkpoints and results.json into the run folder. The defaults are the paper's
    recipe, for a GPU; on a CPU try --epochs 40 --batch-size 8192 --lr 0.005 --init-std 0.1 --eval-every 5.
    """
    with one_line_errors(quiet):
        from .codebook import Codebook
        from .torch import TrainConfig
        from .torch.run import train_run

        if model not in ("lightgcn", "mf"):
            raise ValueError(f'model must be "lightgcn" or "mf", got {model!r}')
        if out.exists() and not out.is_dir():
            raise ValueError(f"the run folder {out} is a file; name a folder")
        graphs = _split_of(file, valid, test, format, key, quiet)
        config = TrainConfig(
            epochs=epochs, batch_size=batch_size, lr=lr, eval_every=eval_every, patience=patience, seed=seed
        )
        facts = train_run(
            graphs,
            None if codebook is None else Codebook.load(codebook),
            config,
            out,
            model=model,
            embedding_dim=dim,
            n_layers=layers,
            init_std=init_std,
            device=device,
            verbose=0 if quiet else 1,
        )
        told = ", ".join(f"{name} {100 * value:.2f} %" for name, value in (facts["test"] or facts["valid"]).items())
        text = f"{facts['epochs']} epochs, best {facts['best_epoch']}\n{told}\nwritten     {out}"
        say(facts, text, as_json, quiet)


def _split_of(train: Path, valid: Path | None, test: Path | None, format: str, key: str | None, quiet: bool) -> Any:  # noqa: A002
    """Train, validation and test over the same row numbers; None for what was not given."""
    from .graph import BipartiteGraph
    from .io import read_interactions

    keys = (key.split(",") if key is not None else []) + [None, None, None]
    files: list[Path | None] = [train, valid, test]
    if key is not None and len(key.split(",")) > 1:
        files = [train if name is not None else None for name in keys[:3]]
    graphs = [
        None if file is None else read_interactions(file, format=format, key=name, verbose=0 if quiet else 1)
        for file, name in zip(files, keys, strict=False)
    ]
    for file, graph in zip(files, graphs, strict=True):
        if graph is not None and graph.user_ids is not None and any(one is not None for one in graphs[1:]):
            raise ValueError(
                f"{file} has raw ids, so the files do not number users alike; give row numbers (LightGCN text or npz)"
            )
    n_users = max(graph.n_users for graph in graphs if graph is not None)
    n_items = max(graph.n_items for graph in graphs if graph is not None)
    same: list[Any] = []
    for graph in graphs:
        if graph is None or (graph.n_users, graph.n_items) == (n_users, n_items):
            same.append(graph)
            continue
        coo = graph.to_scipy().tocoo()
        same.append(BipartiteGraph.from_arrays(coo.row, coo.col, coo.data, n_users=n_users, n_items=n_items))
    return same
