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
            "seconds": {"read": read - start, "fit": fitted - read, "write": time.perf_counter() - fitted},
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


def _print(facts: dict[str, Any], as_json: bool, quiet: bool) -> None:
    if as_json:
        # of the sweeps and the search a program has the file
        typer.echo(json.dumps({name: value for name, value in facts.items() if name not in ("history", "search_path")}))
    elif not quiet:
        from ._text import summary

        typer.echo(summary(facts))


if __name__ == "__main__":
    main()
