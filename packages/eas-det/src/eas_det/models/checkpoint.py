"""Detectors on disk: safetensors with a JSON beside it, nothing pickled."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from eas_det._files import atomic_write

from .detector import EventDetector

__all__ = ["load_detector", "save_detector"]

SCHEMA = 1


def save_detector(model: EventDetector, path: str | PathLike[str], **facts: Any) -> Path:
    """Write ``path`` (.safetensors) and, beside it, a .json with the network's configuration and ``facts``.

    Args:
        facts: what JSON can hold: classes, and how inputs are made (window_us, bins, ...), which load_detector returns.
    Returns:
        The path of the weights.
    """
    from safetensors.torch import save

    path = Path(path).with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    described = {"schema": SCHEMA, "config": model.config, **facts}
    weights = {name: each.detach().cpu().contiguous() for name, each in model.state_dict().items()}
    with atomic_write(path.with_suffix(".json")) as file:
        json.dump(described, file, indent=1)
    with atomic_write(path, "wb") as file:
        file.write(save(weights))
    return path


def load_detector(
    path: str | PathLike[str], model: EventDetector | None = None, *, embedding: nn.Module | None = None
) -> tuple[EventDetector, dict[str, Any]]:
    """Read what save_detector wrote.

    Args:
        path: of the .safetensors; its .json lies beside it.
        model: load the weights into this one instead of making one by the saved configuration.
        embedding: where the detector was made with a module of the caller's own.
    Returns:
        (the detector in eval mode, the facts saved with it).
    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: no such files of ours, a checkpoint of another variant than ``model``, or an embedding missing.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path).with_suffix(".safetensors")
    beside = path.with_suffix(".json")
    for each in (path, beside):
        if not each.is_file():
            raise FileNotFoundError(f"{each} does not exist; a saved detector is {path.name} with {beside.name}")
    try:
        described: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
        weights = load(path.read_bytes())
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is no detector written by save_detector: {error}") from None
    if (
        not isinstance(described, dict)
        or described.get("schema") != SCHEMA
        or not isinstance(described.get("config"), dict)
    ):
        raise ValueError(f"{beside} is not of schema {SCHEMA}; expected what save_detector writes")
    config = described.pop("config")
    described.pop("schema")
    if model is None:
        if config.get("embedding") is None and embedding is None:
            raise ValueError(f"{path.name} was made with an embedding of its own; pass embedding=")
        variant = config.get("variant", "")
        config["variant"] = variant if isinstance(variant, str) else tuple(variant)
        if config["embedding"] is None:
            config["embedding"] = embedding
        try:
            model = EventDetector(**config)
        except TypeError as error:
            raise ValueError(f"{beside} describes no detector of this version: {error}") from None
    else:
        other = {key: (config.get(key), value) for key, value in model.config.items() if config.get(key) != value}
        if other:
            told = ", ".join(f"{key}: {then!r} there, {now!r} here" for key, (then, now) in other.items())
            raise ValueError(f"{path.name} is a checkpoint of another detector ({told}); make the model alike")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path.name} does not fit the detector: {error}") from None
    return model.eval(), described
