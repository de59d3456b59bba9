"""The command ``tecos-lvm``: fit, evaluate, generate, report, convert, demo. Thin; datasets are npz files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False)  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
KINDS = ("onken", "nwb", "zheng", "pillow")


def _say(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({k: None if v != v else v for k, v in facts.items()}))
        return
    for name, value in facts.items():
        typer.echo(f"{name:<28}{value:.4f}" if isinstance(value, float) else f"{name:<28}{value}")


def _settings(path: Path) -> dict[str, Any]:
    """Tables data, model, train, loss of a TOML file; paths in it are relative to its folder."""
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is not TOML: {problem}") from None
    known = ("data", "model", "train", "loss")
    alien = sorted(set(found) - set(known))
    if alien or not all(isinstance(table, dict) for table in found.values()):
        raise ValueError(f"{path} has {', '.join(alien) or 'a value outside a table'}; expected the tables {known}")
    if "train" not in found.get("data", {}):
        raise ValueError(f"{path} names no training data; add [data] with train = 'file.npz'")
    return found


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tecos-lvm {version('tecos-lvm')}")
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Spike trains from the stimulus."""


@app.command()
def fit(
    source: Annotated[Path, typer.Argument(help="Training data (.npz with a stimulus), or settings (.toml).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model; a run found there goes on.")],
    val: Annotated[Path | None, typer.Option(help="Validation data, npz.")] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps; default 1200.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="About 1 for minutes of data, 0 for twenty.")] = None,
    memory: Annotated[str | None, typer.Option(help="cascade, leaky, lif, alif, gru or none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of start, clips and draws.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a model to SOURCE. Options win over the settings file."""
    import torch

    from tecos_lvm import TeCoSConfig, TeCoSLoss, TeCoSLVM, TrainConfig
    from tecos_lvm import fit as run
    from tecos_lvm.datasets import load_npz

    settings: dict[str, Any] = {"data": {"train": source.name}}
    if source.suffix == ".toml":
        settings = _settings(source)
    of_data = {name: source.parent / path for name, path in settings["data"].items()}
    data = load_npz(of_data["train"])
    val = val or of_data.get("val")
    if data.stimulus is None:
        raise ValueError(f"{of_data['train']} has no stimulus; a model predicts from one")
    given = {"steps": steps, "weight_decay": weight_decay, "seed": seed}
    recipe = {**settings.get("train", {}), **{name: v for name, v in given.items() if v is not None}}
    options = {**settings.get("model", {}), **({} if memory is None else {"memory": memory})}
    loss = TeCoSLoss(**settings["loss"]) if "loss" in settings else None
    config = TrainConfig(**recipe)
    torch.manual_seed(config.seed)
    model = TeCoSLVM(TeCoSConfig(data.stimulus.shape[1:], data.n_neurons, data.dt_ms, **options))
    result = run(model, data, None if val is None else load_npz(val), config=config, loss=loss, run_dir=out)
    model.save_pretrained(out / "model")
    _say(
        {"steps": result.steps, "seconds": result.seconds, "score": result.best_score, "model": str(out / "model")},
        as_json,
    )


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    data: Annotated[Path, typer.Argument(help="Repeated trials with their stimulus, npz.")],
    train: Annotated[Path, typer.Option(help="Training data, npz: the null model of bits per spike.")],
    samples: Annotated[int, typer.Option(help="Samples per stimulus.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Score MODEL on DATA, between another real trial and the best possible rate model."""
    from tecos_lvm import TeCoSLVM
    from tecos_lvm import evaluate as score
    from tecos_lvm.datasets import load_npz

    null = load_npz(train).spikes.mean(axis=(0, 1))
    _say(score(TeCoSLVM.from_pretrained(model), load_npz(data), null, n_samples=samples), as_json)


@app.command()
def report(
    data: Annotated[Path, typer.Argument(help="Repeated trials with their stimulus, npz.")],
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    html: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
    train: Annotated[
        Path | None, typer.Option(help="Training data, npz; default: rates of DATA as null model.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Samples per stimulus.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page: scores, spike statistics, rasters, trajectories, longer time scales."""
    from tecos_lvm import TeCoSLVM, write_report
    from tecos_lvm.datasets import load_npz

    found = load_npz(data)
    null = (found if train is None else load_npz(train)).spikes.mean(axis=(0, 1))
    scores = write_report(html, TeCoSLVM.from_pretrained(model), found, null, n_samples=samples).scores
    _say({"page": str(html), "cc": scores["cc"], "ceiling": scores["ceiling"]}, as_json)


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    movie: Annotated[Path, typer.Argument(help="Stimulus, .npy, one frame per bin.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Dataset to write, .npz.")],
    trials: Annotated[int, typer.Option(help="Trials.")] = 30,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Generate spike trains of a new MOVIE."""
    import numpy as np
    import torch

    from tecos_lvm import SpikeDataset, TeCoSLVM
    from tecos_lvm.datasets import save_npz

    found = TeCoSLVM.from_pretrained(model)
    frames = np.load(movie, allow_pickle=False)
    spikes = found.generate(frames, trials, generator=torch.Generator().manual_seed(seed))
    save_npz(out, SpikeDataset(spikes, found.config.dt_ms, frames))
    _say({"trials": trials, "bins": spikes.shape[1], "neurons": spikes.shape[2], "spikes": int(spikes.sum())}, as_json)


@app.command()
def convert(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    source: Annotated[Path, typer.Argument(help="The file; onken and pillow: or the folder.")],
    out: Annotated[Path, typer.Argument(help="Dataset to write, .npz; a folder of several recordings: a folder.")],
    dt: Annotated[float | None, typer.Option(help="Bin in ms; default 5, one frame for zheng and pillow.")] = None,
    stimulus: Annotated[str | None, typer.Option(help="onken: folder of frames; nwb: name of the series; zheng: "
                                                      "prefix of the keys.")] = None,
    part: Annotated[str, typer.Option(help="zheng: trn or tst.")] = "trn",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Turn a recording into binned npz."""
    from tecos_lvm import datasets

    if kind == "onken":
        if source.is_dir():
            found = datasets.load_onken_folder(source)
            out.mkdir(parents=True, exist_ok=True)
            for name, each in found.items():
                datasets.save_npz(out / f"{name}.npz", each.bin(dt or 5.0))
            _say({"recordings": sorted(found)}, as_json)
            return
        data = datasets.load_onken(source, frames=stimulus).bin(dt or 5.0)
    elif kind == "nwb":
        data = datasets.load_nwb(source, stimulus=stimulus).bin(dt or 5.0)
    elif kind == "zheng":
        data = datasets.load_zheng_hdf5(source, stimulus=stimulus or "mov3", part=part, dt_ms=dt or 1000 / 30)
    elif kind == "pillow":
        recording = datasets.load_pillow_rgc(source)
        data = recording.bin(dt or recording.meta["frame_ms"])
    else:
        raise ValueError(f"kind {kind!r} is not known; choose {', '.join(KINDS)}")
    datasets.save_npz(out, data)
    _say(
        {"trials": data.n_trials, "bins": data.n_bins, "neurons": data.n_neurons, "silent": list(data.silent)}, as_json
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the page and the model.")] = Path("demo"),
    steps: Annotated[int, typer.Option(help="Gradient steps.")] = 150,
    seed: Annotated[int, typer.Option(help="Of the cells, the movie and the fit.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit six generated cells and write the page about them: half a minute, no data needed."""
    from tecos_lvm import TeCoSRegressor, write_report
    from tecos_lvm.datasets import make_retina

    retina = make_retina(n_neurons=6, size=10, train_s=120, val_s=8, test_s=9, val_trials=10, test_trials=20, seed=seed)
    found = TeCoSRegressor(steps=steps, feature_dim=32, hidden_dim=48, weight_decay=1.0, checks=3, seed=seed)
    found.fit(retina.train, val=retina.val)
    out.mkdir(parents=True, exist_ok=True)
    found.model_.save_pretrained(out / "model")
    null = retina.train.spikes.mean(axis=(0, 1))
    scores = write_report(
        out / "report.html", found.model_, retina.test, null, title="Six generated cells: not a retina"
    ).scores
    _say({"page": str(out / "report.html"), "cc": scores["cc"], "ceiling": scores["ceiling"]}, as_json)


def main() -> None:
    """Entry point: our own errors are one line on stderr and exit code 2."""
    import warnings

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"tecos-lvm: warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        try:
            app()
        except (ValueError, TypeError, ImportError, OSError) as problem:
            typer.echo(f"tecos-lvm: {' '.join(str(problem).split())}", err=True)
            sys.exit(2)


if __name__ == "__main__":
    main()
