"""Trained classifiers in files: weights and configuration, no pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spk_regularize.classifier import SpikingClassifier
from spk_regularize.models import build_model

__all__ = ["load_model", "save_model"]

SCHEMA = 1


def save_model(model: SpikingClassifier, path: str | Path) -> Path:
    """Write weights and ``model.config`` to the .npz at ``path``, in one step.

    Raises: ValueError: the model was not made by :func:`build_model`, so nothing says how to build it again.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, dict):
        raise ValueError("the model has no config; only models of build_model can be saved, use torch.save for others")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = np.array(json.dumps({"schema": SCHEMA, "model": config}))
    arrays: dict[str, Any] = {f"w/{k}": v.detach().cpu().numpy() for k, v in model.state_dict().items()}
    temporary = path.with_name(path.name + ".tmp.npz")
    np.savez_compressed(temporary, config=head, **arrays)
    temporary.replace(path)
    return path


def load_model(path: str | Path) -> SpikingClassifier:
    """Read what :func:`save_model` wrote, or the run folder of a training (its ``model.npz``).

    Args: path: of the file or folder.
    Returns: the classifier in evaluation mode.
    Raises: FileNotFoundError; ValueError: not such a file.
    """
    path = Path(path)
    path = path / "model.npz" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; train a model with `spk-regularize train` first")
    try:
        with np.load(path, allow_pickle=False) as stored:
            head = json.loads(str(stored["config"]))
            weights = {k[2:]: torch.from_numpy(np.array(stored[k])) for k in stored.files if k.startswith("w/")}
        if head["schema"] != SCHEMA:
            raise ValueError(f"schema {head['schema']}, this version reads {SCHEMA}")
        model = build_model(**head["model"], seed=0)
        model.load_state_dict(weights)
    except (KeyError, OSError, RuntimeError, TypeError, json.JSONDecodeError, ValueError) as error:
        raise ValueError(f"{path.name} is no model of this package ({error})") from None
    return model.eval()
