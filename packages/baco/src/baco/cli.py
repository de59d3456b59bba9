"""The command ``baco``: interactions in, a codebook and a report out. Thin over `read_interactions` and `BACO`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ._command import (
    AsJson,
    Delimiter,
    Format,
    Item,
    Key,
    NoHeader,
    Quiet,
    User,
    Weight,
    check_target,
    one_line_errors,
    say,
)
from ._command_train import bench, train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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
    with one_line_errors(quiet):
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
        check_target(out, ".npz", file)
        if report is not None:
            check_target(report, ".html", file)
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
    with one_line_errors(quiet):
        from .codebook import Codebook
        from .report import summarise, write_report

        if out is not None:
            check_target(out, ".html", codebook)
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
    with one_line_errors(quiet):
        from ._growth import split_log
        from .codebook import Codebook

        check_target(out, ".npz", file)
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
        say(facts, text, as_json, quiet)


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
    with one_line_errors(quiet):
        from .convert import convert_file

        options = {"user": user, "item": item, "weight": weight, "format": format, "key": key}
        facts = convert_file(
            source, out, side=side, delimiter=delimiter, header=not no_header, verbose=0 if quiet else 1, **options
        )
        say(facts, f"{facts['what']}\nwritten     {out}", as_json, quiet)


app.command("bench")(bench)
app.command("train")(train)


def main() -> None:
    """Entry point of the command ``baco``."""
    app(prog_name="baco")


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
