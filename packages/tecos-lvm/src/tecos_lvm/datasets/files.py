"""Plain files: a versioned npz of a dataset, and the frame folders of the Dryad archive."""

from __future__ import annotations

import json
import os
import re
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tecos_lvm._checks import Array
from tecos_lvm.recording import SpikeDataset

__all__ = ["load_npz", "read_frames", "save_npz"]

SCHEMA = 1


def write_bytes(path: Path, write: Any) -> None:
    """Write beside ``path``, then rename: never half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_npz(path: str | Path, data: SpikeDataset) -> None:
    """Write a dataset: packed spikes, stimulus, names; no pickle inside.

    Args:
        path: ends in .npz. data: what is written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"the output {path} must end in .npz")
    head = {
        "schema": SCHEMA,
        "kind": "tecos_lvm.SpikeDataset",
        "dt_ms": data.dt_ms,
        "shape": list(data.spikes.shape),
        "neuron_ids": list(data.neuron_ids),
        "meta": data.meta,
    }
    arrays: dict[str, Array] = {
        "head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
        "spikes": np.packbits(data.spikes.reshape(-1)),
    }
    if data.stimulus is not None:
        arrays["stimulus"] = data.stimulus
    write_bytes(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def load_npz(path: str | Path) -> SpikeDataset:
    """Read what :func:`save_npz` wrote.

    Raises:
        ValueError: not such a file, damaged, or of a later schema.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    try:
        # opened here: np.load leaves the file open where it is damaged
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        head = json.loads(bytes(arrays["head"]).decode())
        shape = tuple(int(n) for n in head["shape"])
        schema, dt_ms, ids = head["schema"], float(head["dt_ms"]), tuple(head["neuron_ids"])
        packed = arrays["spikes"]
    # RuntimeError: zipfile's word for encryption, versions and compressions that it does not know
    except (
        OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error
    ) as problem:  # fmt: skip
        raise ValueError(f"{path} is not a dataset written by save_npz, or it is damaged ({problem})") from None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}; this version reads schema {SCHEMA}")
    size = 1
    for n in shape:
        size *= n  # exact: a hostile shape must not wrap around
    if len(shape) != 3 or min(shape) < 0 or packed.dtype != np.uint8 or packed.size != (size + 7) // 8:
        raise ValueError(f"{path}: {packed.size} bytes of spikes do not fit the shape {shape}; the file is damaged")
    spikes = np.unpackbits(packed, count=size).reshape(shape)
    return SpikeDataset(spikes, dt_ms, arrays.get("stimulus"), ids, dict(head.get("meta") or {}))


def _natural(path: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def read_frames(
    folder: str | Path, *, shape: tuple[int, int] = (360, 360), size: int | None = None, pattern: str = "*.raw"
) -> Array:
    """The frames of a Dryad stimulus folder: one raw uint8 file each, columns first as MATLAB writes.

    Args:
        folder: ``Stimuli/Movie1``, ``Movie2``, ``Gratings`` (360 x 360) or ``NaturalImages`` (``shape=(256, 256)``).
        shape: rows and columns of a frame.
        size: average down to size x size (area weights); None keeps the frame.
        pattern: which files, in the order of the numbers in their names.
    Returns:
        Frames [F, H, W]: uint8, or float32 where they were averaged.
    Raises:
        ValueError, FileNotFoundError: no file, or one whose size does not fit.
    """
    folder = Path(folder)
    files = sorted(folder.glob(pattern), key=_natural)
    if not files:
        raise FileNotFoundError(f"{folder} holds no {pattern}; give a folder of the Dryad archive's Stimuli")
    down = None if size is None else (_averager(shape[0], size), _averager(shape[1], size))
    frames = []
    for path in files:
        if path.stat().st_size != shape[0] * shape[1]:
            raise ValueError(
                f"{path} has {path.stat().st_size} bytes; a frame of {shape[0]} x {shape[1]} has {shape[0] * shape[1]}"
            )
        frame = np.fromfile(path, dtype=np.uint8).reshape(shape, order="F")
        frames.append(frame if down is None else (down[0] @ frame @ down[1].T).astype(np.float32))
    return np.stack(frames)


def _averager(n: int, size: int) -> Array:
    """[size, n], each row the share of every pixel in one target pixel."""
    if not 1 <= size <= n:
        raise ValueError(f"size={size} given for frames of {n} pixels; use 1 to {n}")
    edges = np.linspace(0, n, size + 1)
    left = np.maximum(edges[:-1, None], np.arange(n)[None])
    right = np.minimum(edges[1:, None], np.arange(1, n + 1)[None])
    cover = np.clip(right - left, 0, None)
    return np.asarray(cover / cover.sum(axis=1, keepdims=True))
