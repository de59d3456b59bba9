"""Tensors and plain values in one npz file: nothing is pickled, and it appears whole or not at all."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baco._files import atomic_write

SCHEMA = 1


def save(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write tensors by name, with what JSON can hold beside them. bfloat16, which numpy lacks, goes as its bits."""
    kinds = {name: str(one.dtype).removeprefix("torch.") for name, one in tensors.items()}
    arrays = {name: _bits(one.detach().cpu()) for name, one in tensors.items()}
    header = {"format": "baco checkpoint", "schema": SCHEMA, "kinds": kinds, "values": values}
    with atomic_write(path, "wb") as file:
        np.savez(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save` wrote; ValueError where the file is something else, damaged, or of a newer schema."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        header = json.loads(str(arrays.pop("header")))
        if header["format"] != "baco checkpoint":
            raise KeyError("format")
        schema, kinds = int(header["schema"]), header["kinds"]
    except FileNotFoundError:
        raise
    # RuntimeError: zipfile's word for encryption, versions and compressions that it does not know
    except (
        KeyError, TypeError, ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error
    ) as problem:  # fmt: skip
        raise ValueError(f"{path} is not a baco checkpoint ({problem}); delete it to start afresh") from problem
    if schema > SCHEMA:
        raise ValueError(f"{path} has checkpoint schema {schema}; this version reads up to {SCHEMA}: upgrade baco")
    tensors = {}
    for name, array in arrays.items():
        kind = getattr(torch, kinds[name])
        tensor = torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
        tensors[name] = tensor.view(kind) if tensor.dtype != kind else tensor
    return tensors, header["values"]


def _bits(tensor: Tensor) -> Any:
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
