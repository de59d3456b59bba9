"""What the commands share: options, errors in one line, what is printed."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

User = Annotated[str | None, typer.Option("--user", "-u", help="User column: name, or position from 0.")]
Item = Annotated[str | None, typer.Option("--item", "-i", help="Item column: name, or position from 0.")]
Weight = Annotated[str | None, typer.Option("--weight", "-w", help="Weight column; default: each counts once.")]
Format = Annotated[str, typer.Option("--format", help="auto, csv, tsv, parquet, lightgcn or npz.")]
Key = Annotated[str | None, typer.Option("--key", help="Which array of an npz file.")]
Delimiter = Annotated[str | None, typer.Option("--delimiter", help="Of delimited text; default: found out.")]
NoHeader = Annotated[bool, typer.Option("--no-header", help="The first line is data, columns are positions.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary, no warnings.")]


@contextmanager
def one_line_errors(quiet: bool) -> Iterator[None]:
    """Our own errors in one line and exit code 2, Ctrl-C as exit code 130, warnings without their source line."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"baco: warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if quiet else "always", UserWarning)
        warnings.showwarning = show
        try:
            yield
        except (ValueError, TypeError, OSError, ImportError) as problem:
            typer.echo(f"baco: {' '.join(str(problem).split())}", err=True)
            raise typer.Exit(2) from None
        except MemoryError:
            typer.echo("baco: there is not enough memory for these interactions; drop rare ids first", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("baco: interrupted; unfinished files were not written", err=True)
            raise typer.Exit(130) from None


def check_target(path: Path, suffix: str, source: Path) -> None:
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


def say(facts: dict[str, Any], text: str, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
    elif not quiet:
        typer.echo(text)
