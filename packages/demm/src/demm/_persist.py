"""Write fitted models as JSON and npz, and read them back, without pickle."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demm._features import FeatureMap

SCHEMA = 1
ARRAYS = (
    "labels_",
    "relation_weights_",
    "relation_weights_history_",
    "energy_per_relation_",
    "energies_history_",
    "energy_history_",
    "features_",
    "embedding_",
    "cluster_centers_",
    "_norms",
    "_eigenvalues",
    "_degrees",
)
PLAIN = (
    "relation_names_",
    "energy_",
    "n_iter_",
    "converged_",
    "inertia_",
    "timings_",
    "n_features_in_",
    "n_iter_sinkhorn_",
    "_stage2_seed",
    "_drawn",
)
MAP_ARRAYS = ("idf", "offset", "factor", "mean", "components")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.random.RandomState):
        return None  # a generator's state belongs to the process that used it
    return value


def write_folder(folder: str | os.PathLike[str], files: dict[str, Any]) -> None:
    """Write npz, npy and json files beside the target, then rename the folder: never half of it.

    Args:
        files: name -> dict of arrays (``.npz``), array (``.npy``) or JSON value (``.json``).
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and (not target.is_dir() or any(target.iterdir())) and not _is_ours(target):
        raise ValueError(f"{target} exists and is not a folder written by demm; choose another name")
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, content in files.items():
            if name.endswith(".npz"):
                np.savez(temporary / name, **content)
            elif name.endswith(".npy"):
                np.save(temporary / name, content, allow_pickle=False)
            else:
                text = json.dumps(content, indent=1) + "\n"
                (temporary / name).write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "model.json").exists() or (folder / "store.json").exists())


def save_model(model: Any, folder: str | os.PathLike[str]) -> None:
    """Write ``model.json`` (settings, scalars) and ``arrays.npz``."""
    arrays = {name: getattr(model, name) for name in ARRAYS if getattr(model, name, None) is not None}
    fitted: FeatureMap | None = model._feature_map if hasattr(model, "_feature_map") else None
    features = None
    if fitted is not None:
        features = {"kind": fitted.kind, "n_features": fitted.n_features}
        for name in MAP_ARRAYS:
            value = getattr(fitted, name)
            if value is not None:
                arrays[f"features.{name}"] = value
    description = {
        "schema": SCHEMA,
        "class": type(model).__name__,
        "parameters": {key: _plain(value) for key, value in model.get_params(deep=False).items()},
        "results": {name: _plain(getattr(model, name)) for name in PLAIN if hasattr(model, name)},
        "features": features,
    }
    write_folder(folder, {"model.json": description, "arrays.npz": arrays})


def read_model(folder: str | os.PathLike[str], classes: Mapping[str, type]) -> Any:
    """The estimator of one of ``classes`` that ``save_model`` wrote.

    Raises:
        FileNotFoundError: no model there. ValueError: not a model of this format.
    """
    place = Path(folder)
    try:
        description = json.loads((place / "model.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{place / 'model.json'} is not there; expected a folder written by save()") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{place / 'model.json'} is not JSON: {error}") from error
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        raise ValueError(f"{place}: got schema {description.get('schema')!r}, expected {SCHEMA}")
    if description.get("class") not in classes:
        raise ValueError(f"{place}: got class {description.get('class')!r}, expected one of {', '.join(classes)}")
    model = classes[description["class"]](**description["parameters"])
    for name, value in description["results"].items():
        if name in PLAIN:
            setattr(model, name, value)
    model._feature_map = None
    model._eigenvalues = None
    with np.load(place / "arrays.npz", allow_pickle=False) as arrays:
        for name in ARRAYS:
            if name in arrays:
                setattr(model, name, arrays[name])
        if description["features"] is not None:
            model._feature_map = FeatureMap(
                description["features"]["kind"],
                description["features"]["n_features"],
                **{name: arrays[f"features.{name}"] for name in MAP_ARRAYS if f"features.{name}" in arrays},
            )
    return model
