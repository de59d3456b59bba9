"""Images for a machine that has neither the data folder nor Pillow: a part of CIFAR-10 and MNIST in a few megabytes.

    python packages/spk-regularize/benchmarks/packed.py FOLDER [--per-class N]

CIFAR-10 (a JPEG copy) is held as JPEG holds it: brightness at full, colour at half the resolution. FOLDER can then
stand for SPK_DATA in reproduce.py, and FOLDER/images/cifar10.npz.xz is what gpu.py reads.
"""

from __future__ import annotations

import argparse
import gzip
import lzma
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spk_regularize.data import ImageSet, read_image_folder, read_mnist

MNIST = {"train": ("train", 6000), "test": ("t10k", 1000)}


def _squeeze(images: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """[N, 3, 32, 32] RGB to brightness [N, 32, 32] and colour [N, 2, 16, 16], uint8."""
    r, g, b = np.moveaxis(images.astype(np.float32), 1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    colour = np.stack([128 + (b - y) / 1.772, 128 + (r - y) / 1.402], 1)
    half = colour.reshape(len(y), 2, 16, 2, 16, 2).mean((3, 5))
    return tuple(v.round().clip(0, 255).astype(np.uint8) for v in (y, half))  # type: ignore[return-value]


def _restore(y: np.ndarray[Any, Any], colour: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    c = colour.repeat(2, axis=2).repeat(2, axis=3).astype(np.float32) - 128
    light = y.astype(np.float32)
    r, b = light + 1.402 * c[:, 1], light + 1.772 * c[:, 0]
    g = (light - 0.299 * r - 0.114 * b) / 0.587
    return np.stack([r, g, b], 1).round().clip(0, 255).astype(np.uint8)


def pack(root: Path, path: Path, per_class: int, test: int) -> None:
    """Write training and test images of CIFAR-10; differences along the rows, which xz packs well."""
    arrays: dict[str, Any] = {}
    for part, limit in (("train", per_class), ("test", test)):
        found = read_image_folder(root, part, limit=limit)
        y, colour = _squeeze(found.images.numpy())
        arrays |= {f"{part}_y": np.diff(y, axis=2, prepend=0), f"{part}_c": np.diff(colour, axis=3, prepend=0)}
        arrays[f"{part}_labels"] = found.labels.numpy().astype(np.uint8)
    with lzma.open(path, "wb", preset=4) as file:
        np.savez(file, **arrays)


def unpack(path: Path) -> dict[str, ImageSet]:
    """Training and test images."""
    found = {}
    with lzma.open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
        for part in ("train", "test"):
            y = stored[f"{part}_y"].cumsum(axis=2, dtype=np.uint8)
            colour = stored[f"{part}_c"].cumsum(axis=3, dtype=np.uint8)
            labels = torch.from_numpy(stored[f"{part}_labels"].astype(np.int64))
            found[part] = ImageSet(torch.from_numpy(_restore(y, colour)), labels, 10, name=f"CIFAR-10 {part}")
    return found


def first(images: ImageSet, per_class: int) -> ImageSet:
    """The first so many images of each class."""
    rows = [(images.labels == c).nonzero()[:per_class, 0] for c in range(images.classes)]
    return images.take(torch.cat(rows).sort().values)


def pack_mnist(root: Path, folder: Path) -> None:
    """The first images of each part, as IDX files."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, (stem, count) in MNIST.items():
        found = read_mnist(root, part).take(slice(0, count))
        for kind, code, array in (("images-idx3", 3, found.images[:, 0]), ("labels-idx1", 1, found.labels)):
            head = np.array([0x800 + code, *array.shape], ">i4").tobytes()
            with gzip.open(folder / f"{stem}-{kind}-ubyte.gz", "wb") as file:
                file.write(head + array.numpy().astype(np.uint8).tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-class", type=int, default=2000, help="training images of CIFAR-10 per class")
    args = parser.parse_args()
    source, images = Path(os.environ["SPK_DATA"]) / "images", args.folder / "images"
    pack_mnist(source / "mnist", images / "mnist")
    pack(source / "cifar10_jpeg.zip", images / "cifar10.npz.xz", args.per_class, 100)


if __name__ == "__main__":
    main()
