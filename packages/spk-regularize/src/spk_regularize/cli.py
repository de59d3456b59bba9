"""The command ``spk-regularize``: train | eval | curve | plot. Thin over the functions of the package."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Run = Annotated[Path, typer.Argument(help="Run folder of a training, or its model.npz.")]
DataName = Annotated[str, typer.Option("--data", help="digits, synthetic, mnist, cifar10, cifar100 or folder.")]
DataPath = Annotated[Path | None, typer.Option("--path", help="Where the data's files lie.")]
Battery = Annotated[str, typer.Option(help="quick, standard or full.")]
Count = Annotated[int, typer.Option("--n", help="Images attacked, drawn at random.")]
Seed = Annotated[int, typer.Option(help="Of everything random.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write.")]
Sources = Annotated[list[Path] | None, typer.Option("--source", help="Another trained run, for the transfer attack.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


def _size(text: str) -> float:
    """A number, or a fraction such as 8/255."""
    top, slash, bottom = text.strip().partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"eps {text!r} is no number; write 0.03 or 8/255") from None


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"spk-regularize {version('spk-regularize')}")
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Regularise spiking networks, and measure their robustness."""


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="JSON with data, model, train, evaluate.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; an interrupted run goes on there.")] = Path(
        "run"
    ),
    preset: Annotated[str | None, typer.Option(help="digits, mnist, vgg5-cifar10 or vgg11-cifar10.")] = None,
    reg: Annotated[str | None, typer.Option(help="Regularisers, e.g. 'mpd-sgr:eta=3 + rate-floor'.")] = None,
    method: Annotated[str | None, typer.Option(help="clean, at, trades or rat.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    path: DataPath = None,
    seed: Annotated[int | None, typer.Option(help="Of the training.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train, and evaluate where the configuration says so."""
    from spk_regularize import run

    if (config is None) == (preset is None):
        raise ValueError("give a configuration file or --preset, one of the two")
    settings = run.preset(preset) if preset is not None else _read(config)
    chosen = {"regularizer": reg, "method": method, "epochs": epochs, "seed": seed}
    settings.setdefault("train", {}).update({k: v for k, v in chosen.items() if v is not None})
    if path is not None:
        settings.setdefault("data", {})["path"] = str(path)
    report = run.run_config(settings, out, progress=not quiet)
    if report is None:
        typer.echo(json.dumps({"run": str(out)}) if as_json else f"trained; the model is {out / 'model.npz'}")
        return
    typer.echo(json.dumps(report.to_dict()) if as_json else report.table())


def _read(path: Path | None) -> dict[str, Any]:
    assert path is not None
    try:
        found = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds a {type(found).__name__}, expected an object with data, model, train")
    return found


def _evaluate(
    run: Path, name: str, path: Path | None, eps: list[float], battery: str, n: int, seed: int,
    sources: list[Path] | None, folder: Path | None, quiet: bool, masking: bool,
) -> Any:  # fmt: skip
    from spk_regularize.checkpoint import load_model
    from spk_regularize.data import load
    from spk_regularize.robustness import evaluate_robustness

    model = load_model(run)
    others = [load_model(each) for each in sources or []]
    images = load(name, path).test
    return evaluate_robustness(
        model, images, eps, battery=battery, sources=others, n=n, seed=seed, masking=masking, folder=folder,
        progress=not quiet,
    )  # fmt: skip


@app.command("eval")
def evaluate(
    run: Run,
    data: DataName = "digits",
    path: DataPath = None,
    eps: Annotated[list[str] | None, typer.Option(help="Size such as 8/255; may be given more than once.")] = None,
    battery: Battery = "standard",
    n: Count = 1000,
    seed: Seed = 0,
    source: Sources = None,
    masking: Annotated[bool, typer.Option(help="Give the verdict on gradient masking, too.")] = True,
    resume: Annotated[Path | None, typer.Option(help="Folder that keeps finished cells.")] = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Attack a trained model with a battery; print the table and the verdict."""
    sizes = [_size(e) for e in eps or ["8/255"]]
    report = _evaluate(run, data, path, sizes, battery, n, seed, source, resume, quiet, masking)
    if out is not None:
        report.to_json(out)
    typer.echo(json.dumps(report.to_dict()) if as_json else report.table())


@app.command()
def curve(
    run: Run,
    data: DataName = "digits",
    path: DataPath = None,
    most: Annotated[str, typer.Option("--eps", help="Largest size, such as 16/255.")] = "16/255",
    points: Annotated[int, typer.Option(help="Sizes, evenly spaced up to the largest.")] = 4,
    battery: Battery = "quick",
    n: Count = 200,
    seed: Seed = 0,
    source: Sources = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write (png, svg); JSON goes beside it.")] = Path(
        "curve.png"
    ),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy over eps, as a picture and as JSON."""
    from spk_regularize.plot import curves

    if points < 1:
        raise ValueError(f"points={points} given; expected at least one size")
    sizes = [_size(most) * (k + 1) / points for k in range(points)]
    report = _evaluate(run, data, path, sizes, battery, n, seed, source, None, quiet, False)
    out.parent.mkdir(parents=True, exist_ok=True)
    curves(report).figure.savefig(out, dpi=120)
    report.to_json(out.with_suffix(".json"))
    typer.echo(json.dumps(report.to_dict()) if as_json else report.table())


@app.command()
def plot(
    run: Run,
    data: DataName = "digits",
    path: DataPath = None,
    n: Count = 200,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path("pictures"),
    as_json: AsJson = False,
) -> None:
    """Potentials with the window shaded, and the overlap per layer and step."""
    from spk_regularize.checkpoint import load_model
    from spk_regularize.data import load
    from spk_regularize.plot import overlap_map, potential_histograms

    model = load_model(run)
    x = load(data, path).test.sample(n).x()
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "potentials.png", out / "overlap.png"]
    potential_histograms(model, x).savefig(written[0], dpi=120)
    overlap_map(model, x).figure.savefig(written[1], dpi=120)
    names = [str(p) for p in written]
    typer.echo(json.dumps({"written": names}) if as_json else "\n".join(names))


def main() -> None:
    """Entry point: our own errors are one line on stderr and exit code 2."""
    from spk_regularize.classifier import StateLeakError

    try:
        app()
    except (ValueError, TypeError, ImportError, OSError, StateLeakError) as error:
        print(f"spk-regularize: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
