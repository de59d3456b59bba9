"""The command ``spk-neurons``: bench, info, check."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"spk-neurons {version('spk-neurons')}")
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Spiking neurons for PyTorch."""


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """Versions, and which backend runs and why."""
    import platform

    import torch

    import spk_neurons

    versions = {"spk-neurons": spk_neurons.__version__, "torch": torch.__version__, "python": platform.python_version()}
    for name in ("numba", "triton", "nir"):
        try:
            from importlib.metadata import version

            versions[name] = version(name)
        except ImportError:
            versions[name] = "not installed"
    report = spk_neurons.backend_report()
    if as_json:
        typer.echo(
            json.dumps({"versions": versions, "threads": torch.get_num_threads(), "backends": report.splitlines()})
        )
        return
    for name, value in versions.items():
        typer.echo(f"{name:<12}{value}")
    typer.echo(f"{'threads':<12}{torch.get_num_threads()}\n\n{report}")


@app.command()
def bench(
    steps: Annotated[int, typer.Option(help="Time steps T.")] = 64,
    neurons: Annotated[int, typer.Option(help="Neurons N.")] = 65536,
    rounds: Annotated[int, typer.Option(help="Timed rounds; the median is shown.")] = 7,
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Time LIF forward and backward on each backend and each installed peer, against the bandwidth floor."""
    from spk_neurons._bench import compare

    if min(steps, neurons, rounds, threads) < 1:
        raise ValueError(
            f"steps={steps}, neurons={neurons}, rounds={rounds}, threads={threads} given; all must be >= 1"
        )
    rows = compare(steps, neurons, rounds=rounds, threads=threads)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    floor = rows[0]["milliseconds"]
    typer.echo(
        f"T={steps}, N={neurons}, float32, {threads} thread(s); floor = 5 streams at the copy bandwidth of this run"
    )
    for row in rows:
        typer.echo(f"{row['name']:<28}{row['milliseconds']:>10.2f} ms{row['milliseconds'] / floor:>9.1f} x floor")


@app.command()
def check(
    neuron: Annotated[
        str, typer.Argument(help="module:Class, called without arguments; or a class of spk_neurons.")
    ] = "LIF",
    batch: Annotated[int, typer.Option(help="Batch size of the test.")] = 3,
    channels: Annotated[int, typer.Option(help="Channels of the test.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Run the neuron contract (check_neuron) on a neuron class."""
    import importlib

    import spk_neurons

    where, _, name = neuron.rpartition(":")
    try:
        module = importlib.import_module(where or "spk_neurons")
        cls = getattr(module, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot find {neuron!r}: {error}; give module:Class, e.g. spk_neurons:LIF") from None
    try:
        spk_neurons.check_neuron(cls(), (batch, channels))
    except AssertionError as error:
        raise ValueError(f"{neuron} breaks the contract: {error}") from None
    typer.echo(json.dumps({"neuron": neuron, "ok": True}) if as_json else f"{neuron}: ok")


def main() -> None:
    """Entry point: our own errors are one line on stderr and exit code 2."""
    try:
        app()
    except (ValueError, TypeError, ImportError, OSError) as error:
        print(f"spk-neurons: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
