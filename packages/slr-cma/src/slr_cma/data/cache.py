"""Convert once, then read samples from memory-mapped arrays in microseconds."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm import tqdm

from slr_cma._files import atomic_write
from slr_cma._sample import Batch, Sample
from slr_cma.data.aedat4 import read_aedat4
from slr_cma.data.binning import Binning, unit
from slr_cma.data.dvs_slr import DVSSLR, SENSOR, bin_recording, read_recording
from slr_cma.data.events import Recording
from slr_cma.data.splits import Key

__all__ = ["CachedSigns", "convert"]

SCHEMA = 1
#: the files of a cache: what their numbers are, and how many axes they have
KINDS: dict[str, tuple[Any, int]] = {"events": (np.uint16, 5), "frames": (np.uint8, 5), "mask": (np.bool_, 2)}


def convert(
    root: Path | str,
    out: Path | str,
    *,
    split: str = "all",
    workers: int = 1,
    progress: bool = True,
    **options: Any,
) -> CachedSigns:
    """Bin every recording once and write events.npy, frames.npy, mask.npy and index.json.

    Args:
        root: DVS-SLR's folder; or a table of own AEDAT4 recordings, a .csv with columns path (relative to the table),
            label, user and, if known, light and position.
        out: the cache's folder. Interrupted, a second call goes on; finished, it is opened if it was made the same
            way. split, options: as for :class:`DVSSLR` (binning, size, sort; users, on_missing ... for its folder).
        workers: threads that read and bin. progress: a bar where stderr is a terminal.
    Raises:
        ValueError: a damaged recording (named; what was converted stays), a folder with another conversion.
    """
    job = _from_table(Path(root), options) if Path(root).is_file() else _from_folder(root, split, options)
    out = Path(out)
    h, w = job.binning.shape(job.size)
    t, n, c = job.binning.n_bins, len(job.keys), 1 if job.binning.luma else 3
    described = {
        "schema": SCHEMA,
        "split": split,
        "binning": job.binning.to_dict(),
        "size": list(job.size),
        "classes": job.classes,
        "labels": [job.classes.index(key.label) for key in job.keys],
        "keys": [list(key) for key in job.keys],
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

    def one(i: int) -> None:
        found = bin_recording(job.read(i), job.binning, job.keys[i].stem)
        maps["events"][i], maps["frames"][i], maps["mask"][i] = found[:3]
        maps["done"][i] = True

    todo = [int(i) for i in np.flatnonzero(~maps["done"])]
    hidden = not (progress and sys.stderr.isatty())
    with (
        tqdm(total=n, initial=n - len(todo), desc="convert", unit="recording", disable=hidden) as bar,
        ThreadPoolExecutor(max(1, workers)) as pool,
    ):
        # a few at a time: after an error nothing more than these is begun
        for at in range(0, len(todo), max(1, workers)):
            part = todo[at : at + max(1, workers)]
            for each in [pool.submit(one, i) for i in part]:
                each.result()
            bar.update(len(part))
    for values in maps.values():
        values.flush()
    with atomic_write(index) as file:
        json.dump(described, file)
    plan.unlink()
    return CachedSigns(out)


class _Job(NamedTuple):
    """What to convert: a name for each recording, the classes, and how to read one."""

    keys: list[Key]
    classes: list[str]
    binning: Binning
    size: tuple[int, int]
    read: Callable[[int], Recording]


def _from_folder(root: Path | str, split: str, options: dict[str, Any]) -> _Job:
    kept = {k: v for k, v in options.items() if k not in ("compat", "modality", "transform")}
    data = DVSSLR(root, split, **kept)

    def read(i: int) -> Recording:
        return read_recording(data.files[i], size=data.size, sort=data.sort)

    return _Job([files.key for files in data.files], data.classes, data.binning, data.size, read)


def _from_table(path: Path, options: dict[str, Any]) -> _Job:
    given = dict(options)
    binning, size = given.pop("binning", None), given.pop("size", SENSOR)
    for name in ("sort", "on_missing"):
        given.pop(name, None)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, restval=""))
    except csv.Error as error:
        raise ValueError(f"{path} is no table of comma-separated values: {error}") from None
    if not rows or not {"path", "label", "user"} <= rows[0].keys():
        raise ValueError(f"{path} has columns {', '.join(rows[0]) if rows else 'none'}; expected path, label and user")
    missing = [row["path"] for row in rows if not (path.parent / row["path"]).is_file()]
    if missing:
        raise ValueError(f"{len(missing)} of {len(rows)} recordings in {path} are missing, such as {missing[0]}")

    def read(i: int) -> Recording:
        where = path.parent / rows[i]["path"]
        recording = read_aedat4(where)
        if recording.events.size != tuple(size):
            h, w = recording.events.size
            raise ValueError(f"{where}: the sensor has {w} x {h} pixels (W x H); pass size=({h}, {w})")
        return recording

    keys = [Key(row["user"], row["label"], row.get("light") or "", row.get("position") or "") for row in rows]
    fields = {**(binning.to_dict() if binning else {}), **given}
    return _Job(keys, sorted({key.label for key in keys}), Binning(**fields), size, read)


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
        self.path = path
        described = _read_index(index)
        self.classes: list[str] = described["classes"]
        self.binning: Binning = described["binning"]
        n = len(described["labels"])
        try:
            self._maps = {k: np.load(path / f"{k}.npy", mmap_mode="r") for k in KINDS}
        except Exception as error:
            # numpy evaluates the header of a file: a damaged one can raise anything
            raise ValueError(f"{path} is damaged ({error}); remove it and convert again") from None
        for name, values in self._maps.items():
            dtype, axes = KINDS[name]
            if values.dtype != dtype or values.ndim != axes or values.shape[:2] != (n, self.binning.n_bins):
                raise ValueError(
                    f"{path / name}.npy holds {values.dtype} {values.shape}; its index says {np.dtype(dtype)}, {axes} "
                    f"axes, {n} x {self.binning.n_bins} first; remove the folder and convert again"
                )
        self.keep = np.arange(n) if keep is None else np.asarray(keep)
        self._labels = np.asarray(described["labels"])
        self._keys: list[Key] = described["keys"]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each sample."""
        return self._labels[self.keep]

    @property
    def groups(self) -> NDArray[Any]:
        """User of each sample."""
        return np.array([self._keys[i].user for i in self.keep])

    @property
    def meta(self) -> list[dict[str, str]]:
        """user, label, light and position of each sample."""
        return [self._keys[i]._asdict() for i in self.keep]

    def part(self, split: str) -> CachedSigns:
        """The samples of a split's part, as :func:`split_keys` names them."""
        from slr_cma.data.splits import split_keys

        wanted = set(split_keys(split))
        keep = np.array([i for i in self.keep if self._keys[i] in wanted], int)
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
            torch.from_numpy(events.astype(np.float32)), torch.from_numpy(unit(frames)), torch.from_numpy(mask),
            torch.from_numpy(self._labels[at].astype(np.int64)),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, index: int) -> Sample:
        i = int(self.keep[index])
        return Sample(
            torch.from_numpy(self._maps["events"][i].astype(np.float32)),
            torch.from_numpy(unit(self._maps["frames"][i])),
            torch.from_numpy(np.array(self._maps["mask"][i])),
            int(self._labels[i]),
            self._keys[i]._asdict(),
        )


def _read_index(path: Path) -> dict[str, Any]:
    """What index.json says, checked; the binning as a :class:`Binning`."""
    try:
        described = dict(json.loads(path.read_text(encoding="utf-8")))
        if described.get("schema") == SCHEMA:
            crop = described["binning"]["crop"]
            described["binning"] = Binning(**{**described["binning"], "crop": None if crop is None else tuple(crop)})
            described["keys"] = [Key(*map(str, key)) for key in described["keys"]]
            labels, classes = np.asarray(described["labels"]), described["classes"]
            if len(described["keys"]) != len(labels) or not isinstance(classes, list):
                raise ValueError(f"{len(described['keys'])} keys for {len(labels)} labels")
            if labels.dtype.kind != "i" or not set(labels.tolist()) <= set(range(len(classes))):
                raise ValueError(f"labels outside 0..{len(classes) - 1}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); convert again") from None
    if described.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {described.get('schema')}, this version reads {SCHEMA}")
    return described
