"""The command ``slr-cma``: convert, info, diagnose, train, eval, robustness, demo. Thin over the API."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from slr_cma.data.cache import CachedSigns

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Seed = Annotated[int, typer.Option(help="Seed of everything drawn.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
Split = Annotated[str, typer.Option(help="NAME:PART, such as subject:test, or all.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"slr-cma {version('slr-cma')}")
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Signs from paired events and frames; whether a dataset needs time."""


@app.command()
def convert(
    root: Annotated[Path, typer.Argument(help="Folder of DVS-SLR, or a .csv of AEDAT4 files (path, label, user).")],
    out: Annotated[Path, typer.Argument(help="Folder of the cache to write.")],
    bins: Annotated[int, typer.Option(help="Time bins T.")] = 24,
    by: Annotated[str, typer.Option(help="frame_clock, time or count.")] = "frame_clock",
    down: Annotated[int, typer.Option(help="Pixels that become one, each way.")] = 4,
    no_crop: Annotated[
        bool, typer.Option("--no-crop", help="The whole sensor instead of the central 256 x 256.")
    ] = False,
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Leave incomplete recordings out.")] = False,
    sort: Annotated[bool, typer.Option("--sort", help="Mend events out of order.")] = False,
    workers: Annotated[int, typer.Option(help="Threads.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Bin every recording once into a memory-mapped cache; goes on where it was interrupted."""
    from slr_cma.data import convert as run

    options: dict[str, Any] = {"n_bins": bins, "bin_by": by, "down": down, "sort": sort}
    if no_crop:
        options["crop"] = None
    cache = run(root, out, on_missing="skip" if skip_missing else "error", workers=workers, **options)
    _say({"cache": str(out), "recordings": len(cache), "bins": bins}, as_json)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A cache, or the folder of DVS-SLR.")], as_json: AsJson = False
) -> None:
    """What is in a cache, or which recordings of DVS-SLR a folder holds."""
    import numpy as np

    from slr_cma.data import CachedSigns, scan

    if (path / "index.json").is_file() or (path / "plan.json").is_file():
        cache = CachedSigns(path)
        told: dict[str, Any] = {
            "recordings": len(cache),
            "users": len(set(cache.groups)),
            "classes": len(set(cache.labels.tolist())),
            "binning": cache.binning.to_dict(),
            "events per recording": float(np.mean([cache.arrays()[0][i].sum() for i in range(min(50, len(cache)))])),
        }
    else:
        present, missing = scan(path)
        if not present and not any(path.iterdir()):
            raise ValueError(f"{path} is empty; expected a cache, or a folder with recordings of DVS-SLR")
        told = {
            "complete": len(present),
            "missing or incomplete": len(missing),
            "users": len({f.key.user for f in present}),
            "labels": len({f.key.label for f in present}),
            "first missing": [str(p) for f in missing[:3] for p in f.missing],
        }
    _say(told, as_json)


@app.command()
def diagnose(
    path: Annotated[Path, typer.Argument(help="A cache, or an .npz with arrays.")],
    data: Annotated[str, typer.Option(help="npz: name of the recordings [n, T, C, H, W].")] = "X",
    labels: Annotated[str, typer.Option(help="npz: name of the labels [n].")] = "Y",
    split: Annotated[str | None, typer.Option(help="npz: name of the split [n], 0 train, 1 test.")] = None,
    groups: Annotated[str | None, typer.Option(help="npz: name of the groups (subjects) [n].")] = None,
    modality: Annotated[str, typer.Option(help="Cache: events or frames.")] = "events",
    tiers: Annotated[str, typer.Option(help="Some of 0, 1, 2, with commas.")] = "0,1",
    permutations: Annotated[int, typer.Option(help="Label permutations.")] = 200,
    html: Annotated[Path | None, typer.Option(help="Report to write, .html.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Does this dataset need time? Probes, controls, and a sentence."""
    import numpy as np

    from slr_cma.data import CachedSigns
    from slr_cma.data.npz import read_npz
    from slr_cma.diagnostics import temporal_report

    try:
        wanted = tuple(int(t) for t in tiers.split(","))
    except ValueError:
        raise ValueError(f"--tiers {tiers} given; expected some of 0, 1, 2 with commas") from None
    parts: Any = None
    if path.is_dir():
        if modality not in ("events", "frames"):
            raise ValueError(f"--modality {modality} given; expected events or frames")
        cache = CachedSigns(path)
        x, y = cache.arrays()[modality == "frames"], cache.labels
        g: Any = cache.groups
    else:
        names = tuple(name for name in (data, labels, split, groups) if name is not None)
        arrays = read_npz(path, names)
        x, y = arrays[data], arrays[labels]
        if np.issubdtype(y.dtype, np.floating) and np.array_equal(y, np.rint(y)):
            y = y.astype(np.int64)
        g = arrays[groups] if groups is not None else None
        if split is not None:
            side = arrays[split]
            parts = (np.flatnonzero(side == 0), np.flatnonzero(side == 1))
    report = temporal_report(
        x, y, groups=g, split=parts, tiers=wanted, n_perm=permutations, seed=seed, progress=not as_json
    )
    if html is not None:
        report.to_html(html)
    typer.echo(report.to_json() if as_json else report.to_markdown())


@app.command()
def train(
    cache: Annotated[Path, typer.Argument(help="Cache made by slr-cma convert.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")],
    fusion: Annotated[str, typer.Option(help="cma, concat, add, gated, xattn, early, late, events, frames.")] = "cma",
    allocate: Annotated[str, typer.Option(help="cma: cross, joint, self, complementary, none.")] = "cross",
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 16,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    channels: Annotated[str, typer.Option(help="Channels of the stages.")] = "32,64,128,128",
    split: Annotated[str, typer.Option(help="Train and validate on this split's parts.")] = "subject",
    augment: Annotated[bool, typer.Option("--augment", help="Shift, scale, thin and light the samples anew.")] = False,
    amp: Annotated[bool, typer.Option("--amp", help="Mixed precision.")] = False,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train on a cache; resumes where it stopped. Under torchrun the processes share the work."""
    import torch

    from slr_cma.data import Augmented, CachedSigns, check_leakage
    from slr_cma.engine.train import TrainConfig
    from slr_cma.engine.train import train as fit
    from slr_cma.models.net import CMANet

    signs = CachedSigns(cache)
    training = signs.part(f"{split}:train")
    validation = signs.part(f"{split}:val") if split == "subject" else None
    if validation is not None:
        check_leakage(training.groups, validation.groups)
    torch.manual_seed(seed)
    sample = training[0]
    assert sample.events is not None
    assert sample.frames is not None
    net = CMANet(
        len(signs.classes), size=tuple(sample.events.shape[-2:]), in_channels=(2, sample.frames.shape[1]),
        channels=tuple(int(c) for c in channels.split(",")), fusion=fusion,
        attention={"allocate": allocate} if fusion == "cma" else {},
    )  # fmt: skip
    config = TrainConfig(epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, device=device, amp=amp)
    history = fit(
        net, Augmented(training, seed=seed) if augment else training, validation, config, folder=out,
        classes=signs.classes, binning=signs.binning.to_dict(),
    )  # fmt: skip
    _say({"run": str(out), "epochs": len(history.rows), **history.rows[-1], "best epoch": history.best_epoch}, as_json)


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model: run/checkpoints/best.safetensors.")],
    cache: Annotated[Path, typer.Argument(help="Cache to evaluate on.")],
    split: Split = "subject:test",
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Accuracy, per light and position, over the length of a recording, energy."""
    from slr_cma.engine import evaluate as run

    net, signs = _model(model, cache, split)
    told = run(net.to(device), signs, device=device, full=True).to_dict()
    if not as_json:
        told.pop("confusion")
        told["energy"] = {k: v for k, v in told["energy"].items() if k != "rows"}
    _say(told, as_json)


@app.command()
def robustness(
    model: Annotated[Path, typer.Argument(help="Model: run/checkpoints/best.safetensors.")],
    cache: Annotated[Path, typer.Argument(help="Cache to evaluate on.")],
    split: Split = "subject:test",
    severities: Annotated[str, typer.Option(help="Some of 1 to 5, with commas.")] = "1,3,5",
    seeds: Annotated[int, typer.Option(help="Draws of each corruption.")] = 3,
    against: Annotated[Path | None, typer.Option(help="Model whose errors count as 100 %.")] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Accuracy under every corruption, with a missing modality, and of the user who fares worst."""
    from slr_cma.engine import mean_corruption_error, robustness_suite

    def rows_of(path: Path) -> list[dict[str, Any]]:
        net, signs = _model(path, cache, split)
        return robustness_suite(
            net.to(device), signs, severities=[int(s) for s in severities.split(",")], seeds=seeds, device=device,
            progress=sys.stderr.isatty(),
        )  # fmt: skip

    rows = rows_of(model)
    error = None if against is None else mean_corruption_error(rows, rows_of(against))
    if as_json:
        typer.echo(json.dumps({"rows": rows, "mean corruption error": error}))
        return
    for row in rows:
        typer.echo(
            f"{row['corruption']:<28}{row['severity']:>2}  {row['accuracy']:.3f}  ({-row['drop']:+.3f})  worst user "
            f"{row['worst_group_accuracy']:.3f}"
        )
    if error is not None:
        typer.echo(f"mean corruption error, % of {against}: {error:.1f}")


@app.command()
def demo(
    n: Annotated[int, typer.Option(help="Training samples.")] = 500,
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 10,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Generated signs: events alone, frames alone, and fused, against their ceilings."""
    from slr_cma.engine.demo import run

    told = run(n=n, epochs=epochs, seed=seed, progress=not as_json)
    if as_json:
        typer.echo(json.dumps(told))
        return
    for name in ("events", "frames", "both"):
        typer.echo(f"{name:<8} accuracy {told['accuracy'][name]:.3f}   ceiling {told['ceilings'][name]:.3f}")


def _model(model: Path, cache: Path, split: str) -> tuple[Any, CachedSigns]:
    from slr_cma.data import CachedSigns
    from slr_cma.engine import load_model

    signs = CachedSigns(cache)
    net, _ = load_model(model, binning=signs.binning.to_dict())
    return net, signs if split == "all" else signs.part(split)


def _say(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(told))
        return
    for name, value in told.items():
        typer.echo(f"{name:<24}{value}")


def main() -> None:
    """Entry point: our own errors are one line on stderr and exit code 2; warnings are a line each."""
    warnings.showwarning = lambda message, *_, **__: print(f"slr-cma: warning: {message}", file=sys.stderr)  # noqa: T201
    try:
        app()
    except (ValueError, TypeError, ImportError, OSError) as error:
        print(f"slr-cma: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
