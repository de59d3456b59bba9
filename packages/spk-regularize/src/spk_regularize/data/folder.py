"""Folders of images, one folder a class, plain or in a zip."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from spk_regularize.data.images import DataError, ImageSet

__all__ = ["read_image_folder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm")


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("reading pictures needs Pillow: pip install 'spk-regularize[images]'") from None
    return Image


def _decode(Image: Any, raw: bytes, name: str, mode: str) -> np.ndarray[Any, Any]:
    try:
        with Image.open(io.BytesIO(raw)) as picture:
            return np.asarray(picture.convert(mode))
    except Exception as error:
        raise DataError(f"{name}: not a picture that Pillow reads ({error})") from None


def read_image_folder(
    root: str | Path, part: str = "", *, grey: bool = False, limit: int | None = None, cache: str | Path | None = None
) -> ImageSet:
    """Pictures in ``root/part/<class>/*``; classes are the folders' names, sorted.

    Args:
        root: a folder, or a .zip of one. part: sub-folder such as "train"; "" for none. grey: one channel instead of
            three. limit: at most so many per class, the first by name. cache: .npz that is written once and read after.
    Raises:
        FileNotFoundError: nothing there. DataError: a broken picture, or sizes that differ.
    """
    root = Path(root)
    if cache is not None and Path(cache).is_file():
        with np.load(cache, allow_pickle=False) as stored:
            return _made(stored["images"], stored["labels"], int(stored["classes"]), f"{root.name} {part}".strip())
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit} given; expected at least one picture per class")
    Image, mode = _pillow(), "L" if grey else "RGB"
    images, labels, classes = [], [], []
    names: dict[str, list[str]] = {}
    archive: zipfile.ZipFile | None = None
    try:
        archive = zipfile.ZipFile(root) if root.is_file() else None
        if archive is not None:
            listed = [n for n in archive.namelist() if not n.endswith("/")]
        else:
            listed = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]
        for name in sorted(listed):
            path = PurePosixPath(name)
            if path.suffix.lower() in SUFFIXES and path.parent.parent.as_posix() == (part or "."):
                names.setdefault(path.parent.name, []).append(name)
        if not names:
            raise FileNotFoundError(f"no pictures under {root}/{part or ''}<class>/; expected {', '.join(SUFFIXES)}")
        classes = sorted(names)
        for label, each in enumerate(classes):
            for name in names[each][:limit]:
                raw = archive.read(name) if archive is not None else (root / name).read_bytes()
                images.append(_decode(Image, raw, name, mode))
                labels.append(label)
                if images[-1].shape != images[0].shape:
                    raise DataError(
                        f"{name}: is {images[-1].shape}, the first one {images[0].shape}; resize them first"
                    )
    except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DataError(f"{root.name}: not a whole zip file ({error})") from None
    finally:
        if archive is not None:
            archive.close()
    stacked, marks = np.stack(images), np.array(labels, np.int64)
    if cache is not None:
        temporary = Path(cache).with_suffix(".tmp.npz")
        np.savez_compressed(temporary, images=stacked, labels=marks, classes=len(classes))
        temporary.replace(cache)
    return _made(stacked, marks, len(classes), f"{root.name} {part}".strip())


def _made(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], classes: int, name: str) -> ImageSet:
    pixels = torch.from_numpy(images.copy())
    pixels = pixels[:, None] if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return ImageSet(pixels, torch.from_numpy(labels.copy()), classes, name=name)
