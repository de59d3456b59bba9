"""Convert once, then read samples from memory-mapped arrays in microseconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch.utils.data import Dataset

from slr_cma._files import atomic_write
from slr_cma._sample import Batch, Sample
from slr_cma.data.binning import Binning
from slr_cma.data.dvs_slr import DVSSLR, bin_recording, read_recording

__all__ = ["CachedSigns", "convert"]

SCHEMA = 1


def convert(
    root: Path | str, out: Path | str, *, split: str = "all", progress: bool = True, **options: Any
) -> CachedSigns:
    """Bin every recording of DVS-SLR once and write events.npy, frames.npy, mask.npy and index.json.

    Args:
        root, split: as for :class:`DVSSLR`; ``options`` too (binning, users, on_missing ...).
        out: the cache's folder. Interrupted, a second call goes on; finished, it is opened if it was made the same
            way. progress: a bar where stderr is a terminal.
    Raises:
        ValueError: a damaged recording (named; what was converted stays), a folder with another conversion.
    """
    from tqdm import tqdm

    data = DVSSLR(root, split, **{k: v for k, v in options.items() if k not in ("compat", "modality", "transform")})
    out = Path(out)
    h, w = data.binning.shape(data.size)
    t, n, c = data.binning.n_bins, len(data), 1 if data.binning.luma else 3
    described = {
        "schema": SCHEMA,
        "split": split,
        "binning": data.binning.to_dict(),
        "size": list(data.size),
        "classes": data.classes,
        "labels": data.labels.tolist(),
        "keys": [list(files.key) for files in data.files],
    }
    index, plan = out / "index.json", out / "plan.json"
    if index.is_file():
        there = json.loads(index.read_text(encoding="utf-8"))
        if there != described:
            raise ValueError(f"{out} holds another conversion; choose another folder, or remove this one")
        return CachedSigns(out)
    out.mkdir(parents=True, exist_ok=True)
    if plan.is_file() and json.loads(plan.read_text(encoding="utf-8")) == described:
        mode: Any = "r+"
    elif plan.is_file():
        raise ValueError(f"{out} holds another, unfinished conversion; choose another folder, or remove this one")
    else:
        mode = "w+"
    shapes = {
        "events": (np.uint16, (n, t, 2, h, w)),
        "frames": (np.uint8, (n, t, c, h, w)),
        "mask": (np.bool_, (n, t)),
        "done": (np.bool_, (n,)),
    }
    maps = {
        name: open_memmap(out / f"{name}.npy", mode=mode, dtype=dtype, shape=shape)
        for name, (dtype, shape) in shapes.items()
    }
    with atomic_write(plan) as file:
        json.dump(described, file)
    for i in tqdm(range(n), desc="convert", unit="recording", disable=not (progress and sys.stderr.isatty())):
        if maps["done"][i]:
            continue
        files = data.files[i]
        counts, small, mask, _ = bin_recording(
            read_recording(files, size=data.size, sort=data.sort), data.binning, files.key.stem
        )
        maps["events"][i], maps["frames"][i], maps["mask"][i] = counts, small, mask
        maps["done"][i] = True
    for each in maps.values():
        each.flush()
    with atomic_write(index) as file:
        json.dump(described, file)
    plan.unlink()
    return CachedSigns(out)


class CachedSigns(Dataset[Sample]):
    """Samples of a cache written by :func:`convert`.

    Args:
        path: its folder. keep: indices of samples to use; None: all.
    Raises:
        ValueError: no finished cache, files whose shapes do not fit its index.
    """

    def __init__(self, path: Path | str, keep: NDArray[Any] | None = None) -> None:
        path = Path(path)
        index = path / "index.json"
        if not index.is_file():
            state = "an unfinished conversion; run it again to go on" if (path / "plan.json").is_file() else "no cache"
            raise ValueError(f"{path} holds {state}; `slr-cma convert` makes one")
        described = json.loads(index.read_text(encoding="utf-8"))
        if described.get("schema") != SCHEMA:
            raise ValueError(f"{index} has schema {described.get('schema')}, this version reads {SCHEMA}")
        self.path = path
        self.binning = Binning(**{**described["binning"], "crop": _tuple(described["binning"]["crop"])})
        self.classes: list[str] = described["classes"]
        n = len(described["labels"])
        try:
            self._maps = {k: np.load(path / f"{k}.npy", mmap_mode="r") for k in ("events", "frames", "mask")}
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}); remove it and convert again") from None
        for name, values in self._maps.items():
            if values.shape[:2] != (n, self.binning.n_bins):
                raise ValueError(f"{path / name}.npy has shape {values.shape}, its index {n} x {self.binning.n_bins}")
        self.keep = np.arange(n) if keep is None else np.asarray(keep)
        self._labels = np.asarray(described["labels"])
        self._keys = described["keys"]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each sample."""
        return self._labels[self.keep]

    @property
    def groups(self) -> NDArray[Any]:
        """User of each sample."""
        return np.array([self._keys[i][0] for i in self.keep])

    @property
    def meta(self) -> list[dict[str, str]]:
        """user, label, light and position of each sample."""
        return [dict(zip(("user", "label", "light", "position"), self._keys[i], strict=True)) for i in self.keep]

    def part(self, split: str) -> CachedSigns:
        """The samples of a split's part, as :func:`split_keys` names them."""
        from slr_cma.data.splits import split_keys

        wanted = {tuple(key) for key in split_keys(split)}
        keep = np.array([i for i in self.keep if tuple(self._keys[i]) in wanted], int)
        if not len(keep):
            raise ValueError(f"no sample of {split!r} is in {self.path}")
        return CachedSigns(self.path, keep)

    def arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """events, frames (uint8) and mask of the samples, [n, T, ...]."""
        if len(self.keep) == len(self._labels):
            return self._maps["events"], self._maps["frames"], self._maps["mask"]
        return tuple(self._maps[k][self.keep] for k in ("events", "frames", "mask"))

    def batch(self, index: NDArray[Any] | torch.Tensor) -> Batch:
        """Samples ``index`` as one batch, time first."""
        at = self.keep[np.asarray(index)]
        events, frames, mask = (np.stack([self._maps[k][i] for i in at], 1) for k in ("events", "frames", "mask"))
        return Batch(
            torch.from_numpy(events.astype(np.float32)), torch.from_numpy(frames).float() / 255, torch.from_numpy(mask),
            torch.from_numpy(self._labels[at].astype(np.int64)),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, index: int) -> Sample:
        i = int(self.keep[index])
        meta = dict(zip(("user", "label", "light", "position"), self._keys[i], strict=True))
        return Sample(
            torch.from_numpy(self._maps["events"][i].astype(np.float32)),
            torch.from_numpy(np.array(self._maps["frames"][i])).float() / 255,
            torch.from_numpy(np.array(self._maps["mask"][i])),
            int(self._labels[i]),
            meta,
        )


def _tuple(value: list[int] | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value)
