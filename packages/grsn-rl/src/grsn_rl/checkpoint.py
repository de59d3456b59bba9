"""One file that holds a whole agent: arrays as npz, everything else as JSON inside it. No pickle, written whole.

A nested state of dicts, lists, numbers, texts, tensors and arrays is flattened: each array gets an entry, and its place
in the JSON text says which.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["SCHEMA", "read", "write"]

SCHEMA = 1


def _pack(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, torch.Tensor):
        arrays[key := f"a{len(arrays)}"] = value.detach().cpu().numpy()
        return {"$tensor": key}
    if isinstance(value, np.ndarray):
        arrays[key := f"a{len(arrays)}"] = value
        return {"$array": key}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        # a pair list: an optimiser's state has whole numbers as keys, which JSON would turn into text
        return {"$dict": [[k, _pack(v, arrays)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_pack(v, arrays) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")


def _unpack(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(v, arrays) for v in value]
    if isinstance(value, dict):
        if "$dict" in value:
            return {k: _unpack(v, arrays) for k, v in value["$dict"]}
        if "$tensor" in value:
            return torch.from_numpy(arrays[value["$tensor"]])
        return arrays[value["$array"]]
    return value


def write(path: str | Path, state: dict[str, Any]) -> Path:
    """Replace ``path`` by the state, in one step: an interruption leaves the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    text = json.dumps({"schema": SCHEMA, "state": _pack(state, arrays)})
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, json=np.frombuffer(text.encode(), np.uint8), **arrays)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def read(path: str | Path) -> dict[str, Any]:
    """The state that ``write`` was given.

    Raises:
        FileNotFoundError: no such file. ValueError: not one of our checkpoints, or of another schema.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}; Agent.save(path) makes one, a run folder has checkpoints/last.npz"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        told = json.loads(arrays.pop("json").tobytes().decode())
        schema = told["schema"]
    # RuntimeError: zipfile's word for encryption, versions and compressions that it does not know
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is not an agent's checkpoint ({error}); Agent.save(path) writes one") from None
    if schema != SCHEMA:
        raise ValueError(
            f"{path} has schema {schema}, this version reads {SCHEMA}; load it with the version that wrote it"
        )
    state: dict[str, Any] = _unpack(told["state"], arrays)
    return state
