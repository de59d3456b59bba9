"""A whole run from one configuration: data, model, training, evaluation; equal files give equal reports on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spk_regularize.checkpoint import save_model
from spk_regularize.data import Split, load
from spk_regularize.models import build_model
from spk_regularize.robustness import RobustnessReport, evaluate_robustness
from spk_regularize.training import RobustTrainer, TrainConfig

__all__ = ["PRESETS", "preset", "run_config"]

PRESETS: dict[str, dict[str, Any]] = {
    "digits": {
        "data": {"name": "digits", "validation": 0.18},
        "model": {"name": "cnn"},
        "train": {"epochs": 10, "eps": 0.1, "ramp": 0.5},
        "evaluate": {"eps": [0.05, 0.1], "battery": "quick"},
    },
    "mnist": {
        "data": {"name": "mnist"},
        "model": {"name": "cnn"},
        "train": {"epochs": 10, "eps": 0.1, "ramp": 0.5},
        "evaluate": {"eps": [0.05, 0.1]},
    },
    "vgg5-cifar10": {
        "data": {"name": "cifar10"},
        "model": {
            "name": "vgg5", "mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010],
        },
        "train": {"epochs": 60, "batch_size": 64, "flip": True, "crop": 4, "eps": 2 / 255},
        "evaluate": {"eps": [2 / 255, 4 / 255, 8 / 255]},
    },
    "vgg11-cifar10": {
        "data": {"name": "cifar10"},
        "model": {
            "name": "vgg11", "steps": 8, "mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010],
        },
        "train": {"epochs": 200, "batch_size": 64, "flip": True, "crop": 4, "eps": 2 / 255},
        "evaluate": {"eps": [8 / 255]},
    },
}  # fmt: skip


def preset(name: str) -> dict[str, Any]:
    """A configuration by name, as a copy."""
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} is not known; choose one of {', '.join(PRESETS)}")
    found: dict[str, Any] = json.loads(json.dumps(PRESETS[name]))
    return found


def _data(config: dict[str, Any]) -> Split:
    try:
        return load(**config["data"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"'data' in the configuration does not fit ({error}); expected name, path, seed ...") from None


def run_config(config: dict[str, Any], folder: str | Path, *, progress: bool = False) -> RobustnessReport | None:
    """Train, save, evaluate.

    Args:
        config: objects "data" (as for :func:`load`), "model" (:func:`build_model`), "train" (:class:`TrainConfig`) and,
            optionally, "evaluate" (eps, battery, n, seed ...). folder: the run folder; an interrupted run goes on
            there. progress: bars.
    Returns:
        The report on the test images, also in ``results.json``; None without "evaluate".
    Raises:
        ValueError: keys that are not known, a folder of another configuration.
    """
    unknown = sorted(set(config) - {"data", "model", "train", "evaluate"})
    if unknown:
        raise ValueError(f"{unknown} in the configuration are not known; expected data, model, train, evaluate")
    folder, split = Path(folder), _data(config)
    train = TrainConfig.from_dict(config.get("train", {}))
    options = {
        "shape": split.train.shape,
        "classes": split.train.classes,
        "seed": train.seed,
        **config.get("model", {}),
    }
    try:
        model = build_model(**options)
    except TypeError as error:
        raise ValueError(f"'model' in the configuration does not fit ({error})") from None
    RobustTrainer(model, train).fit(split.train, split.validation, folder=folder, progress=progress)
    save_model(model, folder / "model.npz")
    if "evaluate" not in config:
        return None
    try:
        report = evaluate_robustness(
            model, split.test, folder=folder / "evaluation", progress=progress, **config["evaluate"]
        )
    except TypeError as error:
        raise ValueError(f"'evaluate' in the configuration does not fit ({error})") from None
    report.to_json(folder / "results.json")
    return report
