"""The commands of the detector: train, eval, predict, profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["add_to"]

Model = Annotated[Path, typer.Argument(help="A checkpoint: best.safetensors, with its .json beside it.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def train(
    config: Annotated[Path, typer.Argument(help="YAML or JSON with the settings of TrainConfig.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; goes on where it was interrupted.")],
    restart: Annotated[bool, typer.Option(help="Start over, whatever the folder holds.")] = False,
    root: Annotated[Path | None, typer.Option(help="Folder of the data set, instead of the configuration's.")] = None,
    device: Annotated[str | None, typer.Option(help="Instead of the configuration's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a detector. Under torchrun several processes share each batch."""
    from dataclasses import replace

    from .engine import Trainer
    from .engine.config import read_config

    settings = read_config(config)
    if root is not None:
        settings = replace(settings, data={**settings.data, "root": str(root)})
    if device is not None:
        settings = replace(settings, device=device)
    trainer = Trainer(settings, folder=out, progress=not as_json)
    history = trainer.fit(resume=not restart)
    if trainer.rank:
        return
    row = history.rows[-1]
    told: dict[str, Any] = {"epochs": len(history.rows), "loss": round(row["loss"], 4), "AP": row.get("AP")}
    told |= {"best_epoch": history.best_epoch, "written": str(out / "checkpoints" / "best.safetensors")}
    _say(told, as_json)


def evaluate(
    model: Model,
    data: Annotated[str, typer.Option(help="shapes, gen1, 1mpx, ncaltech101 or rvt.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test.")] = None,
    options: Annotated[
        str, typer.Option(help='More of the data set, as JSON: \'{"level": "hard", "n": 100}\'.')
    ] = "{}",
    protocol: Annotated[str, typer.Option(help="coco, prophesee, or both.")] = "both",
    preset: Annotated[str | None, typer.Option(help="gen1, 1mpx, ...; by default by the data set.")] = None,
    device: Device = "cpu",
    workers: Annotated[int, typer.Option(help="Processes that load.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Average precision on a data set, by plain COCO and by Prophesee's protocol."""
    from .engine import evaluate as run
    from .engine.config import make_dataset
    from .models import load_detector

    if protocol not in ("coco", "prophesee", "both"):
        raise ValueError(f"--protocol {protocol} given; expected coco, prophesee or both")
    net, facts = load_detector(model)
    try:
        more = json.loads(options)
    except json.JSONDecodeError as error:
        raise ValueError(f"--options is no JSON ({error})") from None
    described: dict[str, Any] = {"name": data, **more}
    described |= {} if root is None else {"root": root}
    described |= {} if split is None else {"split": split}
    made = make_dataset(described, facts.get("rendering", {}), clean=False)
    if preset is None and protocol != "coco":
        preset = {"gen1": "gen1", "1mpx": "1mpx_half"}.get(data)
    chosen = None if protocol == "coco" else preset
    if protocol == "prophesee" and chosen is None:
        raise ValueError(f"--data {data} has no preset of its own; pass --preset")
    found = run(net.to(device), made, preset=chosen, device=device, workers=workers, progress=not as_json)
    if protocol == "prophesee":
        found.pop("coco")
    if as_json:
        typer.echo(json.dumps(found))
        return
    for part, values in found.items():
        for name, value in values.items():
            shown = " ".join(f"{each:.4f}" for each in value) if isinstance(value, list) else f"{value:.4f}"
            typer.echo(f"{part:<12}{name:<12}{shown}")


def predict(
    model: Model,
    file: Annotated[Path, typer.Argument(help="A recording of any format.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Boxes to write, .npy as Prophesee's.")],
    video: Annotated[Path | None, typer.Option(help="Also an animation, .gif.")] = None,
    hop: Annotated[int | None, typer.Option(help="Microseconds between detections; by default the window.")] = None,
    conf: Annotated[float, typer.Option(help="Lowest score.")] = 0.3,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, where the file does not say.")] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Find objects in a recording."""
    from .boxes import save_boxes
    from .data import Rendering
    from .io import open_events
    from .models import load_detector
    from .stream import detect_recording, to_boxes

    if out.suffix.lower() != ".npy":
        raise ValueError(f"--out {out} given; expected a name that ends in .npy")
    net, facts = load_detector(model)
    rendering = Rendering(**facts.get("rendering", {}))
    sensor = None
    if size is not None:
        try:
            width, height = (int(each) for each in size.lower().split("x"))
        except ValueError:
            raise ValueError(f"--size {size} given; expected WIDTHxHEIGHT, as 304x240") from None
        sensor = (width, height)
    reader = open_events(file, sensor_size=sensor)
    window = rendering.window_us or max(1, reader.duration)
    found = list(
        detect_recording(
            net.to(device), reader, window, hop, bins=rendering.bins, kind=rendering.kind, conf=conf
        )
    )  # fmt: skip
    boxes = to_boxes(found)
    save_boxes(out, boxes)
    if video is not None:
        from .viz import animate

        animate(video, reader.read(), boxes, classes=facts.get("classes"))
    told = {"times": len(found), "boxes": len(boxes), "written": str(out)}
    _say(told | ({} if video is None else {"video": str(video)}), as_json)


def profile(
    model: Annotated[
        str, typer.Argument(help="A checkpoint, or a variant with what spikes: s/full, m/backbone, nano/none.")
    ],
    file: Annotated[Path | None, typer.Option(help="A recording to feed; by default sparse random counts.")] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of random counts.")] = "304x240",
    as_json: AsJson = False,
) -> None:
    """Operations, input rates and an estimate of energy, layer by layer."""
    import torch

    from .data import Rendering
    from .energy import profile as run
    from .io import open_events
    from .models import EventDetector, load_detector

    trained = Path(model).with_suffix(".safetensors").exists() or Path(model).suffix == ".safetensors"
    if trained:
        net, facts = load_detector(model)
        rendering = Rendering(**facts.get("rendering", {}))
    else:
        variant, _, spiking = model.partition("/")
        torch.manual_seed(0)
        net, rendering = EventDetector(variant, spiking=spiking or "backbone"), Rendering()  # type: ignore[arg-type]
    if file is not None:
        reader = open_events(file)
        end = (reader.t_last or 0) + 1
        counts = rendering(reader.slice(end - (rendering.window_us or end), end), end)[None]
    else:
        try:
            width, height = (int(each) for each in size.lower().split("x"))
        except ValueError:
            raise ValueError(f"--size {size} given; expected WIDTHxHEIGHT, as 304x240") from None
        bins = 1 if rendering.kind == "stacked" else rendering.bins
        shape = (1, bins, rendering.channels, height, width)
        counts = torch.poisson(torch.full(shape, 0.1), generator=torch.Generator().manual_seed(0))
    if not trained:
        # fresh norms have seen nothing, and behind them no neuron fires
        norms = [each for each in net.modules() if isinstance(each, torch.nn.BatchNorm2d)]
        for each in norms:
            each.momentum = 1.0
        with torch.no_grad():
            net.train()(counts)
    table = run(net, counts)
    typer.echo(json.dumps({**table.to_dict(), "trained": trained}) if as_json else str(table))
    if not as_json and not trained:
        typer.echo("random weights: rates of a trained network differ")


def _say(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' '):<14}{value}")


def add_to(app: typer.Typer) -> None:
    """Put the commands into the application."""
    app.command()(train)
    app.command("eval")(evaluate)
    app.command()(predict)
    app.command()(profile)
