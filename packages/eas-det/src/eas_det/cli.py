"""The command ``eas-det``: decode, info, bin, synth, bench; train, eval, predict, profile."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import commands

app = typer.Typer(no_args_is_help=True, add_completion=False)

File = Annotated[Path, typer.Argument(help="A recording: .dat, .raw, .bin, .es, .aedat4, .h5, .npy, .npz, .csv.")]
Format = Annotated[str, typer.Option("--format", help="auto, or the format's name.")]
Start = Annotated[int | None, typer.Option("--from", help="First microsecond.")]
End = Annotated[int | None, typer.Option("--to", help="End, microseconds; not included.")]
Repair = Annotated[str | None, typer.Option("--repair", help="sort or cummax, where time decreases.")]
Truncate = Annotated[bool, typer.Option("--truncate", help="End before the first defect instead of failing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
_ENDS = (-(2**62), 2**62)


def _reader(file: Path, form: str, start: int | None, end: int | None, repair: str | None, truncate: bool) -> Any:
    from .io import open_events

    limits = None
    if start is not None or end is not None:
        limits = (_ENDS[0] if start is None else start, _ENDS[1] if end is None else end)
    errors = "truncate" if truncate else "raise"
    return open_events(file, form, t_range=limits, repair=repair, errors=errors)  # type: ignore[arg-type]


def _say(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' '):<14}{value:,}" if isinstance(value, int) else f"{name:<14}{value}")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"eas-det {version('eas-det')}")
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Event cameras: recordings in, boxes out."""


@app.command()
def info(
    file: File,
    format: Format = "auto",  # noqa: A002
    repair: Repair = None,
    truncate: Truncate = False,
    as_json: AsJson = False,
) -> None:
    """What a recording holds."""
    reader = _reader(file, format, None, None, repair, truncate)
    count = on = 0
    for part in reader:
        count += len(part)
        on += int(part.p.sum())
    size = reader.sensor_size
    facts: dict[str, Any] = {"file": file.name, "format": reader.format, "events": count}
    facts |= {"sensor": None if size is None else f"{size[0]}x{size[1]}", "first_us": reader.t_first}
    facts |= {"last_us": reader.t_last, "duration_us": reader.duration}
    facts |= {"on_share": round(on / count, 6) if count else None}
    _say(facts, as_json)


@app.command()
def decode(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to: .dat, .npz, .npy or .csv.")],
    format: Format = "auto",  # noqa: A002
    start: Start = None,
    end: End = None,
    repair: Repair = None,
    truncate: Truncate = False,
    as_json: AsJson = False,
) -> None:
    """Convert a recording."""
    import numpy as np

    from ._files import atomic_write
    from .io import write_dat, write_npz

    suffix = out.suffix.lower()
    if suffix not in (".dat", ".npz", ".npy", ".csv"):
        raise ValueError(f"--out {out} given; expected a name that ends in .dat, .npz, .npy or .csv")
    if out.exists() and out.samefile(file):
        raise ValueError(f"--out {out} is the recording itself; name another file")
    events = _reader(file, format, start, end, repair, truncate).read()
    if suffix == ".dat":
        write_dat(out, events)
    elif suffix == ".npz":
        write_npz(out, events)
    elif suffix == ".npy":
        with atomic_write(out, "wb") as binary:
            np.save(binary, events.to_structured())
    else:
        with atomic_write(out) as text:
            text.write("t,x,y,p\n")
            np.savetxt(text, events.to_structured(), fmt="%d", delimiter=",")
    _say({"events": len(events), "written": str(out)}, as_json)


@app.command("bin")
def bin_command(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="Array to write, .npy.")],
    bins: Annotated[int, typer.Option(help="Time bins.")] = 4,
    kind: Annotated[str, typer.Option(help="counts, voxel, surface, cube or stacked.")] = "counts",
    format: Format = "auto",  # noqa: A002
    start: Start = None,
    end: End = None,
    repair: Repair = None,
    truncate: Truncate = False,
    as_json: AsJson = False,
) -> None:
    """Make a tensor out of a recording."""
    import numpy as np

    from . import representations as made
    from ._files import atomic_write

    kinds = {
        "counts": made.micro_counts,
        "voxel": made.voxel_grid,
        "surface": made.time_surface,
        "cube": made.voxel_cube,
        "stacked": made.stacked_histogram,
    }
    if kind not in kinds:
        raise ValueError(f"--kind {kind} given; expected one of {', '.join(kinds)}")
    if out.suffix.lower() != ".npy":
        raise ValueError(f"--out {out} given; expected a name that ends in .npy")
    events = _reader(file, format, start, end, repair, truncate).read()
    make: Any = kinds[kind]
    array = make(events, bins, start, end)
    with atomic_write(out, "wb") as binary:
        np.save(binary, array)
    _say({"events": len(events), "shape": str(list(array.shape)), "written": str(out)}, as_json)


@app.command()
def synth(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set.")],
    level: Annotated[str, typer.Option(help="easy, medium or hard.")] = "medium",
    clips: Annotated[int, typer.Option(help="Number of clips.")] = 16,
    seed: Annotated[int, typer.Option(help="Same seed, same clips.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Simulate clips with exact boxes: .dat recordings and _bbox.npy labels. Goes on where it was interrupted."""
    from .synth import EventShapes, make_dataset

    folder = make_dataset(level, clips, out, seed, progress=not as_json)
    _say({"clips": clips, "digest": EventShapes(level, clips, seed).digest, "written": str(folder)}, as_json)


@app.command()
def bench(
    events: Annotated[int, typer.Option(help="Number of events.")] = 2_000_000,
    rounds: Annotated[int, typer.Option(help="Timed rounds; the median is shown.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Time decoding and binning on this machine."""
    from ._bench import rates

    if min(events, rounds) < 1:
        raise ValueError(f"events={events}, rounds={rounds} given; expected >= 1")
    found = rates(events, rounds)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        typer.echo(f"{name:<28}{value / 1e6:>9.1f} million events/s")


commands.add_to(app)


def main() -> None:
    """Entry point: our own errors are one line on stderr and exit code 2."""
    try:
        app()
    except (ValueError, TypeError, ImportError, OSError) as error:
        print(f"eas-det: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
