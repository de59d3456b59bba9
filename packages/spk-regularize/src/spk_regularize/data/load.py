"""Data by name, split into training, validation and test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from spk_regularize.data.cifar import read_cifar
from spk_regularize.data.folder import read_image_folder
from spk_regularize.data.idx import read_mnist
from spk_regularize.data.images import ImageSet, Split
from spk_regularize.data.synthetic import synthetic_margin

__all__ = ["digits", "load"]


def digits() -> ImageSet:
    """scikit-learn's 1,797 handwritten digits, [1, 8, 8], values 0 to 16. ImportError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("the digits come with scikit-learn: pip install 'spk-regularize[digits]'") from None
    found = load_digits()
    images = torch.from_numpy(found.images.astype("uint8"))[:, None]
    return ImageSet(images, torch.from_numpy(found.target.astype("int64")), 10, scale=16.0, name="digits")


def _parts(path: Path | None, read: Callable[[Path, str], ImageSet], name: str) -> tuple[ImageSet, ImageSet]:
    if path is None:
        raise ValueError(f"data {name!r} is read from files; give their folder (nothing is downloaded)")
    return read(path, "train"), read(path, "test")


def load(
    name: str,
    path: str | Path | None = None,
    *,
    seed: int = 0,
    validation: float = 0.1,
    train: int | None = None,
    test: int | None = None,
) -> Split:
    """Data by name.

    Args:
        name: digits, synthetic, mnist (IDX files), cifar10, cifar100 (unpacked folders), or folder (pictures in
            ``train/<class>`` and ``test/<class>``, plain or .zip). path: where the files lie.
        seed: of the split. validation: share of the training images that every choice is made on, per class.
        train, test: at most so many images of each, drawn at random (validation is taken off before).
    Returns:
        :class:`Split`. digits have no official split: 396 test images are drawn with seed 0 always.
    Raises:
        ValueError, FileNotFoundError, DataError: an unknown name, files that are missing or broken.
    """
    where = None if path is None else Path(path)
    if name == "digits":
        first, last = digits().stratified(397 / 1797, seed=0)
    elif name == "synthetic":
        # one plane for both
        whole = synthetic_margin(3000, seed=0).data
        first, last = whole.take(slice(0, 2000)), whole.take(slice(2000, None))
    elif name == "mnist":
        first, last = _parts(where, read_mnist, name)
    elif name in ("cifar10", "cifar100"):
        classes = int(name[5:])
        first, last = _parts(where, lambda p, part: read_cifar(p, part, classes=classes), name)
    elif name == "folder":
        first, last = _parts(where, read_image_folder, name)
    else:
        known = "digits, synthetic, mnist, cifar10, cifar100, folder"
        raise ValueError(f"data {name!r} is not known; choose one of {known}")
    rest, held = first.stratified(validation, seed=seed)
    if train is not None:
        rest = rest.sample(train, seed=seed)
    if test is not None:
        last = last.sample(test, seed=0)
    return Split(rest, held, last)
