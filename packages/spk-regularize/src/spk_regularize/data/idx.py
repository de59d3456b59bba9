"""IDX files (MNIST, Fashion-MNIST), plain or .gz."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spk_regularize.data.images import DataError, ImageSet

__all__ = ["read_idx", "read_mnist"]

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx(path: str | Path) -> Tensor:
    """One IDX file of unsigned bytes: magic 0x000008 and the number of axes, their sizes, the values.

    Args: path: a file, .gz or not. Returns: uint8, of the shape that the header states.
    Raises: DataError: another magic number, sizes that do not fit the file. FileNotFoundError.
    """
    path = Path(path)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: not a whole gzip file ({error})") from None
    if len(raw) < 4 or raw[:2] != b"\0\0":
        raise DataError(f"{path.name}: byte 0 holds {raw[:4].hex()!r}, expected the IDX magic 000008xx")
    if raw[2] != 8:
        raise DataError(f"{path.name}: byte 2 says type {raw[2]:#04x}, expected 0x08 (unsigned bytes)")
    axes = raw[3]
    head = 4 + 4 * axes
    if axes < 1 or len(raw) < head:
        raise DataError(f"{path.name}: byte 3 says {axes} axes, but the header ends at byte {len(raw)} of {head}")
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes)]
    count = 1
    for size in shape:
        count *= size
    if len(raw) - head != count:
        raise DataError(f"{path.name}: from byte {head} there are {len(raw) - head} values, {shape} needs {count}")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=head).reshape(shape).copy())


def read_mnist(folder: str | Path, part: str = "train") -> ImageSet:
    """MNIST or Fashion-MNIST from its four files (with or without .gz).

    Args: folder: where they lie. part: "train" or "test".
    Raises: FileNotFoundError: names the file. DataError: images and labels that do not fit.
    """
    if part not in FILES:
        raise ValueError(f"part={part!r} is not known; choose 'train' or 'test'")
    found = []
    for name in FILES[part]:
        path = next((p for p in (Path(folder) / name, Path(folder) / f"{name}.gz") if p.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"{Path(folder) / name}(.gz) is missing; put the four files of MNIST there (they are not downloaded)"
            )
        found.append(read_idx(path))
    images, labels = found
    if images.dim() != 3 or labels.dim() != 1 or len(images) != len(labels):
        raise DataError(f"images {tuple(images.shape)} and labels {tuple(labels.shape)} do not belong together")
    return ImageSet(images[:, None], labels.long(), 10, name=f"MNIST {part}")
