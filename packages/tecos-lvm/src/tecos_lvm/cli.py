"""The command ``tecos-lvm``: fit, evaluate, generate, convert. Thin over the library; datasets are npz files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Spike trains from the stimulus.", no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False)  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def _say(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({k: None if v != v else v for k, v in facts.items()}))
        return
    for name, value in facts.items():
        typer.echo(f"{name:<28}{value:.4f}" if isinstance(value, float) else f"{name:<28}{value}")


@app.command()
def fit(
    train: Annotated[Path, typer.Argument(help="Training data, npz with a stimulus.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model; a run found there goes on.")],
    val: Annotated[Path | None, typer.Option(help="Validation data, npz.")] = None,
    steps: Annotated[int, typer.Option(help="Gradient steps.")] = 1200,
    weight_decay: Annotated[float, typer.Option(help="About 1 for minutes of data, 0 for twenty.")] = 0.0,
    memory: Annotated[str, typer.Option(help="cascade, leaky, lif, alif, gru or none.")] = "cascade",
    seed: Annotated[int, typer.Option(help="Of start, clips and draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a model to TRAIN."""
    import torch

    from tecos_lvm import TeCoSConfig, TeCoSLVM, TrainConfig
    from tecos_lvm import fit as run
    from tecos_lvm.datasets import load_npz

    data = load_npz(train)
    if data.stimulus is None:
        raise ValueError(f"{train} has no stimulus; a model predicts from one")
    torch.manual_seed(seed)
    model = TeCoSLVM(TeCoSConfig(data.stimulus.shape[1:], data.n_neurons, data.dt_ms, memory=memory))
    config = TrainConfig(steps=steps, weight_decay=weight_decay, seed=seed)
    result = run(model, data, None if val is None else load_npz(val), config=config, run_dir=out)
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
    kind: Annotated[str, typer.Argument(help="onken or nwb.")],
    source: Annotated[Path, typer.Argument(help="The file.")],
    out: Annotated[Path, typer.Argument(help="Dataset to write, .npz.")],
    dt: Annotated[float, typer.Option(help="Bin in ms.")] = 5.0,
    stimulus: Annotated[str | None, typer.Option(help="onken: folder of frames; nwb: name of the series.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a recording into binned npz."""
    from tecos_lvm.datasets import load_nwb, load_onken, save_npz

    if kind not in ("onken", "nwb"):
        raise ValueError(f"kind {kind!r} is not known; choose onken or nwb")
    recording = load_onken(source, frames=stimulus) if kind == "onken" else load_nwb(source, stimulus=stimulus)
    data = recording.bin(dt)
    save_npz(out, data)
    _say(
        {"trials": data.n_trials, "bins": data.n_bins, "neurons": data.n_neurons, "silent": list(data.silent)}, as_json
    )


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
