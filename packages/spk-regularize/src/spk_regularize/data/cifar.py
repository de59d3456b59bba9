"""CIFAR-10 and CIFAR-100, in their Python (pickle) and binary forms."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spk_regularize.data.images import DataError, ImageSet

__all__ = ["load_restricted", "read_cifar"]

ROW = 3 * 32 * 32
# what numpy arrays are made of, under the names of old and new numpy; nothing else may be called
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
}  # fmt: skip


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which has no place in image data")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_restricted(raw: bytes, name: str) -> Any:
    """Unpickle what holds arrays, numbers, texts and containers alone.

    Raises: DataError: anything else, or a broken file.
    """
    try:
        return _Restricted(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:
        raise DataError(f"{name}: not a CIFAR batch, refused ({error})") from None


def _pickled(path: Path, fine: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    found = load_restricted(path.read_bytes(), path.name)
    if not isinstance(found, dict):
        raise DataError(f"{path.name}: holds a {type(found).__name__}, expected a dict of a CIFAR batch")
    key = b"fine_labels" if fine else b"labels"
    data, labels = found.get(b"data"), found.get(key)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != ROW or labels is None:
        raise DataError(f"{path.name}: no data [N, {ROW}] with {key.decode()}, but {sorted(map(repr, found))}")
    if data.dtype != np.uint8 or len(labels) != len(data):
        raise DataError(f"{path.name}: data are {data.dtype} [{len(data)}] with {len(labels)} labels, expected uint8")
    return data, np.asarray(labels, np.int64)


def _binary(path: Path, fine: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    raw, heads = path.read_bytes(), 2 if fine else 1
    if not raw or len(raw) % (ROW + heads):
        whole = len(raw) // (ROW + heads) * (ROW + heads)
        raise DataError(f"{path.name}: from byte {whole} there is no whole record of {heads} + {ROW} bytes")
    rows = np.frombuffer(raw, np.uint8).reshape(-1, ROW + heads)
    return rows[:, heads:], rows[:, heads - 1].astype(np.int64)


def read_cifar(folder: str | Path, part: str = "train", *, classes: int = 10) -> ImageSet:
    """CIFAR from an unpacked folder, in either form.

    Args: folder: with ``data_batch_1`` ... and ``test_batch`` (CIFAR-100: ``train``, ``test``), with or without
    ``.bin``. part: "train" or "test". classes: 10 or 100 (fine labels).
    Raises: FileNotFoundError, DataError: pickles may hold arrays alone; anything else is refused unread.
    """
    if part not in ("train", "test") or classes not in (10, 100):
        raise ValueError(f"part={part!r}, classes={classes} given; expected 'train' or 'test', 10 or 100")
    names = (
        [part] if classes == 100 else [f"data_batch_{i}" for i in range(1, 6)] if part == "train" else ["test_batch"]
    )
    images, labels = [], []
    for name in names:
        plain, binary = Path(folder) / name, Path(folder) / f"{name}.bin"
        if not (plain.is_file() or binary.is_file()):
            raise FileNotFoundError(f"{plain}(.bin) is missing; unpack CIFAR-{classes} there (it is not downloaded)")
        data, found = _binary(binary, classes == 100) if binary.is_file() else _pickled(plain, classes == 100)
        if len(found) and (found.min() < 0 or found.max() >= classes):
            raise DataError(f"{name}: labels lie in [{found.min()}, {found.max()}], expected below {classes}")
        images.append(data)
        labels.append(found)
    pixels = torch.from_numpy(np.concatenate(images).reshape(-1, 3, 32, 32).copy())
    return ImageSet(pixels, torch.from_numpy(np.concatenate(labels)), classes, name=f"CIFAR-{classes} {part}")
