"""The command ``baco``: interactions in, a codebook and a report out. Thin over `read_interactions` and `BACO`."""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

User = Annotated[str | None, typer.Option("--user", "-u", help="User column: name, or position from 0.")]
Item = Annotated[str | None, typer.Option("--item", "-i", help="Item column: name, or position from 0.")]
Weight = Annotated[str | None, typer.Option("--weight", "-w", help="Weight column; default: each counts once.")]
Format = Annotated[str, typer.Option("--format", help="auto, csv, tsv, parquet, lightgcn or npz.")]
Key = Annotated[str | None, typer.Option("--key", help="Which array of an npz file.")]
Delimiter = Annotated[str | None, typer.Option("--delimiter", help="Of delimited text; default: found out.")]
NoHeader = Annotated[bool, typer.Option("--no-header", help="The first line is data, columns are positions.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary, no warnings.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"baco {version('baco')}")
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Shrink a recommender's embedding tables by balanced co-clustering of users and items."""


@app.command()
def compress(
    file: Annotated[Path, typer.Argument(help="Interactions: CSV, TSV (.gz), parquet, LightGCN text, npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Codebook to write, .npz.")],
    user: User = None,
    item: Item = None,
    weight: Weight = None,
    ratio: Annotated[float | None, typer.Option(help="Budget: codebook rows as a share of all ids.")] = None,
    rows: Annotated[int | None, typer.Option(help="Budget: codebook rows, both sides together.")] = None,
    megabytes: Annotated[float | None, typer.Option(help="Budget: size to serve from, rows and codes.")] = None,
    gamma: Annotated[float | None, typer.Option(help="Resolution, instead of a budget.")] = None,
    dim: Annotated[int, typer.Option(help="Width of an embedding row.")] = 64,
    weights: Annotated[str, typer.Option(help="Balance weights: paper, or a pair such as degree,uniform.")] = "paper",
    no_secondary: Annotated[bool, typer.Option("--no-secondary", help="One code per user, not two.")] = False,
    jobs: Annotated[int | None, typer.Option(help="Threads; default: every core. The result is the same.")] = None,
    format: Format = "auto",  # noqa: A002 - the option's name
    key: Key = None,
    delimiter: Delimiter = None,
    no_header: NoHeader = False,
    report: Annotated[Path | None, typer.Option("--report", help="HTML report to write.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compress FILE into a codebook: which rows of two small tables make up each user and item.

    Give one of --ratio, --rows, --megabytes (never exceeded) or --gamma.
    """
    with _one_line_errors(quiet):
        from .cluster import BACO
        from .report import provenance, summarise, write_report

        model = BACO(
            rows=rows,
            ratio=ratio,
            megabytes=megabytes,
            gamma=gamma,
            weights=weights if weights == "paper" else tuple(weights.split(",")),
            secondary=None if no_secondary else "users",
            embedding_dim=dim,
            n_jobs=jobs,
            verbose=0 if quiet else 1,
        )
        # nobody should wait for a fit and then learn that it cannot be saved, or was not asked for rightly
        model._check()
        _check_target(out, ".npz", file)
        if report is not None:
            _check_target(report, ".html", file)
        begin = time.perf_counter()
        from ._solver import _kernels  # noqa: F401 - numba takes a second to load, which is not reading

        start = time.perf_counter()
        graph = _read(file, user, item, weight, format, key, delimiter, no_header, quiet)
        read = time.perf_counter()
        model.fit(graph)
        fitted = time.perf_counter()
        codebook = model.codebook_
        codebook.meta |= {"source": file.name, **provenance(model, graph)}
        codebook.save(out)
        if report is not None:
            write_report(report, codebook, graph)
        facts = summarise(codebook, graph)
        facts |= {
            "output": str(out),
            "report": None if report is None else str(report),
            "seconds": {
                "load": start - begin,
                "read": read - start,
                "fit": fitted - read,
                "write": time.perf_counter() - fitted,
            },
        }
        _print(facts, as_json, quiet)


@app.command("report")
def report_command(
    codebook: Annotated[Path, typer.Argument(metavar="MAP", help="Codebook written by `baco compress`, .npz.")],
    file: Annotated[Path | None, typer.Argument(help="Its interactions, for volumes and the matrix.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML report to write.")] = None,
    user: User = None,
    item: Item = None,
    weight: Weight = None,
    dim: Annotated[int | None, typer.Option(help="Width of an embedding row; default: as compressed.")] = None,
    format: Format = "auto",  # noqa: A002 - the option's name
    key: Key = None,
    delimiter: Delimiter = None,
    no_header: NoHeader = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Describe the codebook MAP: sizes, balance and how it was found; as a page with --out."""
    with _one_line_errors(quiet):
        from .codebook import Codebook
        from .report import summarise, write_report

        if out is not None:
            _check_target(out, ".html", codebook)
        start = time.perf_counter()
        loaded = Codebook.load(codebook)
        graph = None
        if file is not None:
            graph = _read(file, user, item, weight, format, key, delimiter, no_header, quiet)
        facts = summarise(loaded, graph, embedding_dim=dim)
        if out is not None:
            write_report(out, loaded, graph, embedding_dim=dim)
        facts |= {
            "output": None,
            "report": None if out is None else str(out),
            "seconds": {"read": time.perf_counter() - start},
        }
        _print(facts, as_json, quiet)


@app.command("assign")
def assign_command(
    codebook: Annotated[Path, typer.Argument(metavar="MAP", help="Codebook written by `baco compress`, .npz.")],
    file: Annotated[Path, typer.Argument(help="Interactions that hold new ids beside known ones.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Extended codebook to write, .npz.")],
    user: User = None,
    item: Item = None,
    weight: Weight = None,
    format: Format = "auto",  # noqa: A002 - the option's name
    key: Key = None,
    delimiter: Delimiter = None,
    no_header: NoHeader = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Give codes to the new ids of FILE from their interactions with known ones; known codes stay as they are.

    No row is added and nothing is fitted again, so a table that was trained on MAP serves the extended one.
    """
    with _one_line_errors(quiet):
        from ._growth import split_log
        from .codebook import Codebook

        _check_target(out, ".npz", file)
        loaded = Codebook.load(codebook)
        graph = _read(file, user, item, weight, format, key, delimiter, no_header, quiet)
        new_users, new_items = split_log(loaded, graph)
        grown = loaded
        if new_users is not None or new_items is not None:
            grown = loaded.extend(loaded.assign(new_users, new_items))
        grown.save(out)
        facts = {
            "output": str(out),
            "new_users": grown.n_users - loaded.n_users,
            "new_items": grown.n_items - loaded.n_items,
            "users": grown.n_users,
            "items": grown.n_items,
            "rows": grown.n_rows,
        }
        text = (
            f"{facts['new_users']:,} new users and {facts['new_items']:,} new items placed in the "
            f"{grown.n_rows:,} rows there are\nwritten     {out}"
        )
        _say(facts, text, as_json, quiet)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Interactions in any format, or a codebook .npz.")],
    out: Annotated[Path, typer.Argument(help="Interactions: .npz or a folder. Codebook: .parquet or .csv.")],
    side: Annotated[str, typer.Option(help="Of a codebook: user or item.")] = "user",
    user: User = None,
    item: Item = None,
    weight: Weight = None,
    format: Format = "auto",  # noqa: A002 - the option's name
    key: Key = None,
    delimiter: Delimiter = None,
    no_header: NoHeader = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write IN in another form.

    Interactions become an .npz of users, items and weights, or a folder that `baco` reads without loading it; a
    codebook becomes a table of raw id, codes and weights of one side, which databases and other languages read.
    """
    with _one_line_errors(quiet):
        from .convert import convert_file

        options = {"user": user, "item": item, "weight": weight, "format": format, "key": key}
        facts = convert_file(
            source, out, side=side, delimiter=delimiter, header=not no_header, verbose=0 if quiet else 1, **options
        )
        _say(facts, f"{facts['what']}\nwritten     {out}", as_json, quiet)


@app.command()
def bench(
    train: Annotated[Path, typer.Argument(help="Training interactions.")],
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
    with _one_line_errors(quiet):
        from .compare import compare, comparison_table
        from .report import write_comparison

        if (rows is None) == (ratio is None):
            raise ValueError("give exactly one of --rows and --ratio")
        if report is not None:
            _check_target(report, ".html", train)
        graphs = _split_of(train, valid, test, format, key, quiet)
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
            write_comparison(report, records, title=train.name)
        lines = comparison_table(records)
        widths = [max(len(line[place]) for line in lines if len(line) > 2) for place in range(len(lines[0]))]
        text = "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
        )
        _say({"rows_allowed": budget, "methods": records}, text, as_json, quiet)


@app.command("train")
def train_command(
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
    """Train a recommender on TRAIN with compressed (--map) or full tables (extra baco[torch]).

    Writes config.json, metrics.csv, checkpoints and results.json into the run folder. The defaults are the paper's
    recipe, for a GPU; on a CPU try --epochs 40 --batch-size 8192 --lr 0.005 --init-std 0.1 --eval-every 5.
    """
    with _one_line_errors(quiet):
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
        _say(facts, text, as_json, quiet)


def main() -> None:
    """Entry point of the command ``baco``."""
    app(prog_name="baco")


@contextmanager
def _one_line_errors(quiet: bool) -> Iterator[None]:
    """Our own errors in one line and exit code 2, Ctrl-C as exit code 130, warnings without their source line."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"baco: warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if quiet else "always", UserWarning)
        warnings.showwarning = show
        try:
            yield
        except (ValueError, TypeError, OSError, ImportError) as problem:
            typer.echo(f"baco: error: {' '.join(str(problem).split())}", err=True)
            raise typer.Exit(2) from None
        except MemoryError:
            typer.echo("baco: error: there is not enough memory for these interactions; drop rare ids first", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("baco: interrupted; unfinished files were not written", err=True)
            raise typer.Exit(130) from None


def _check_target(path: Path, suffix: str, source: Path) -> None:
    """Whether ``path`` can be written, tried out before the work."""
    if path.suffix != suffix:
        raise ValueError(f"the output {path} must end in {suffix}")
    if path.is_dir():
        raise IsADirectoryError(f"the output {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} of the output does not exist; create it first")
    if path.exists() and source.exists() and path.samefile(source):
        raise ValueError(f"the output {path} is the input; name another file")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as problem:
        raise OSError(f"cannot write to the folder {path.parent} ({problem.strerror}); name another output") from None


def _read(
    file: Path,
    user: str | None,
    item: str | None,
    weight: str | None,
    format: str,  # noqa: A002
    key: str | None,
    delimiter: str | None,
    no_header: bool,
    quiet: bool,
) -> Any:
    from .io import read_interactions

    return read_interactions(
        file,
        user=user,
        item=item,
        weight=weight,
        format=format,
        header=not no_header,
        delimiter=delimiter,
        key=key,
        verbose=0 if quiet else 1,
    )


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


def _say(facts: dict[str, Any], text: str, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
    elif not quiet:
        typer.echo(text)


def _print(facts: dict[str, Any], as_json: bool, quiet: bool) -> None:
    if as_json:
        # of the sweeps and the search a program has the file
        typer.echo(json.dumps({name: value for name, value in facts.items() if name not in ("history", "search_path")}))
    elif not quiet:
        from ._text import summary

        typer.echo(summary(facts))


if __name__ == "__main__":
    main()
