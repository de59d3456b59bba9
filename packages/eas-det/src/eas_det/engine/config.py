"""What a training run is made of, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from eas_det.data import (
    Gen1,
    Mpx1,
    NCaltech101,
    RandomAugment,
    Rendering,
    RVTPreprocessed,
    SynthShapes,
)
from eas_det.data.sample import EventDetectionDataset

__all__ = ["TrainConfig", "make_dataset", "read_config"]

DATASETS = ("shapes", "gen1", "1mpx", "ncaltech101", "rvt")


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Args:
        model: arguments of EventDetector; num_classes comes from the data.
        data: {"name": one of shapes, gen1, 1mpx, ncaltech101, rvt, ...}; the rest are arguments of the dataset, with
            "root" for all but shapes.
        validation: the same, what differs from ``data``; None: no validation.
        rendering: arguments of Rendering. augment: arguments of RandomAugment; None: none.
        epochs, batch_size: of all processes together. lr: of Adam. schedule: "constant" as published, or "cosine" to
            zero after ``warmup`` epochs. weight_decay. clip: of the gradient's norm; 0: none.
        ema: decay of the averaged weights, which are evaluated and kept; it grows to this value over the first few
            thousand steps. 0: none.
        seed: of order, augmentation and weights. device: "cpu", "cuda", ...
        amp: bfloat16 where it is safe. workers: processes that load.
        checkpoint_every: steps between checkpoints; there is one after each epoch in any case.
        evaluate_every: epochs between evaluations.
    Source: Adam with lr 1e-3, constant, EMA 0.9998, seed 80: the published recipe for Gen1 (there with batch 64).
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=lambda: {"name": "shapes"})
    validation: Mapping[str, Any] | None = None
    rendering: Mapping[str, Any] = field(default_factory=dict)
    augment: Mapping[str, Any] | None = None
    epochs: int = 30
    batch_size: int = 64
    lr: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = 0.0
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.9998
    seed: int = 80
    device: str = "cpu"
    amp: bool = False
    workers: int = 0
    checkpoint_every: int = 1000
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0 or not 0 <= self.ema < 1:
            raise ValueError(
                f"epochs={self.epochs}, batch_size={self.batch_size}, lr={self.lr}, ema={self.ema} given; "
                "expected >= 1, >= 1, > 0 and 0 <= ema < 1"
            )
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule={self.schedule!r} given; expected 'constant' or 'cosine'")
        if self.checkpoint_every < 1 or self.evaluate_every < 1 or self.clip < 0 or self.warmup < 0:
            raise ValueError("checkpoint_every and evaluate_every are >= 1, clip and warmup >= 0")

    def rate(self, at: float) -> float:
        """Learning rate at epoch ``at``; a fraction counts."""
        if at < self.warmup:
            return self.lr * (at + 0.01) / self.warmup
        if self.schedule == "constant":
            return self.lr
        share = (at - self.warmup) / max(1e-9, self.epochs - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def read_config(source: TrainConfig | Mapping[str, Any] | str | PathLike[str]) -> TrainConfig:
    """A TrainConfig out of itself, a mapping, or a YAML or JSON file.

    Raises:
        ValueError: a key that TrainConfig does not have, or a file that is no mapping.
    """
    if isinstance(source, TrainConfig):
        return source
    if not isinstance(source, Mapping):
        import yaml

        path = Path(source)
        try:
            source = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
        if not isinstance(source, Mapping):
            raise ValueError(f"{path} holds {type(source).__name__}; expected keys of TrainConfig")
    known = [each.name for each in fields(TrainConfig)]
    unknown = [str(key) for key in source if key not in known]
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}; expected among {', '.join(known)}")
    return TrainConfig(**source)


def make_dataset(
    described: Mapping[str, Any],
    rendering: Mapping[str, Any],
    augment: Mapping[str, Any] | None = None,
    seed: int = 0,
    clean: bool = True,
) -> EventDetectionDataset:
    """The dataset that a configuration names.

    Raises:
        ValueError: an unknown name, or arguments that the dataset does not take.
    """
    options = dict(described)
    name = options.pop("name", None)
    if name not in DATASETS:
        raise ValueError(f"data.name={name!r} given; expected one of {', '.join(DATASETS)}")
    if "augment" in options or "rendering" in options:
        raise ValueError("augment and rendering are settings of their own, not of data")
    more: dict[str, Any] = {"clean": clean} | options
    kind: Any = {"gen1": Gen1, "1mpx": Mpx1, "ncaltech101": NCaltech101, "shapes": SynthShapes, "rvt": RVTPreprocessed}[
        name
    ]
    if name != "rvt":
        length = {} if name != "ncaltech101" or "window_us" in rendering else {"window_us": 0}
        more["rendering"] = Rendering(**{**rendering, **length})
        more["augment"] = None if augment is None else RandomAugment(**augment)
        more.setdefault("seed", seed)
    elif augment is not None:
        raise ValueError("RVT's files hold no events; set augment to null")
    try:
        made: EventDetectionDataset = kind(**more)
    except TypeError as error:
        raise ValueError(f"data: {error}") from None
    return made
