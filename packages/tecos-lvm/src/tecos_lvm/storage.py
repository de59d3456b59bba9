"""A model on disk: a folder of ``config.json`` and ``weights.npz``, no pickle in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tecos_lvm.datasets.files import write_bytes

if TYPE_CHECKING:
    from tecos_lvm.model import TeCoSLVM

__all__ = ["read", "save"]

SCHEMA = 1


def save(model: TeCoSLVM, folder: str | Path) -> None:
    """Write a model; every file is whole at every moment."""
    if model.config.encoder == "custom":
        raise ValueError("a model with your own features cannot be rebuilt from a file; save its state_dict yourself")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    write_bytes(folder / "weights.npz", lambda file: np.savez(file, **arrays))
    text = json.dumps({"schema": SCHEMA, "kind": "tecos_lvm.TeCoSLVM", "config": model.config.to_dict()}, indent=1)
    write_bytes(folder / "config.json", lambda file: file.write(text.encode()))


def read(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights of a folder, not yet fitted together."""
    folder = Path(folder)
    for name in ("config.json", "weights.npz"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; give a folder written by save_pretrained")
    try:
        head = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        schema, settings = head["schema"], dict(head["config"])
        # opened here: np.load leaves the file open where it is damaged
        with (folder / "weights.npz").open("rb") as file, np.load(file, allow_pickle=False) as found:
            weights = {name: torch.from_numpy(found[name].copy()) for name in found.files}
    except Exception as problem:
        raise ValueError(f"{folder} does not hold a readable model ({problem})") from None
    if schema != SCHEMA:
        raise ValueError(f"{folder} has schema {schema}; this version reads schema {SCHEMA}")
    return settings, weights
