"""DVS-SLR: find its files, read a recording, load aligned samples."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from slr_cma._sample import Sample
from slr_cma.data.binning import Binning, align_frames, bin_events, shrink_frames, unit
from slr_cma.data.events import Events, Recording
from slr_cma.data.npz import read_npz
from slr_cma.data.official import official_pairs
from slr_cma.data.splits import LABELS, LIGHTS, POSITIONS, USERS, Key, split_keys

if TYPE_CHECKING:
    from slr_cma.data.cache import CachedSigns

__all__ = ["DVSSLR", "SENSOR", "Files", "bin_recording", "read_recording", "scan"]

#: DAVIS346, (H, W)
SENSOR = (260, 346)
Modality = Literal["both", "events", "frames"]


@dataclass(frozen=True)
class Files:
    """The two files of a recording."""

    key: Key
    events: Path
    frames: Path

    @property
    def missing(self) -> list[Path]:
        """Those that are not there."""
        return [path for path in (self.events, self.frames) if not path.is_file()]


def scan(root: Path | str, keys: Sequence[Key] | None = None) -> tuple[list[Files], list[Files]]:
    """Recordings that are complete, and those that are not, of ``keys`` (None: of all 5418).

    Nested, root/user/label/stem_event/stem_event.npz, or flat, root/stem_event.npz; stem_frame alike.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; give the one that holds user0, user1, ... (or the flat files)")
    here = set(os.listdir(root))

    def locate(key: Key, kind: str) -> tuple[Path, bool]:
        name = f"{key.stem}_{kind}"
        nested = root / key.user / key.label / name / f"{name}.npz"
        # most keys of a part of the dataset are missing: no look at the disk for these
        if key.user in here and nested.is_file():
            return nested, True
        return (root / f"{name}.npz", True) if f"{name}.npz" in here else (nested, False)

    present: list[Files] = []
    missing: list[Files] = []
    for key in split_keys("all") if keys is None else keys:
        (events, found), (frames, also) = locate(key, "event"), locate(key, "frame")
        (present if found and also else missing).append(Files(key, events, frames))
    return present, missing


def read_recording(files: Files, *, size: tuple[int, int] = SENSOR, sort: bool = False) -> Recording:
    """Both files of a recording, checked. size: (H, W) of the sensor; sort: mend events out of order."""
    e = read_npz(files.events, ("t", "x", "y", "p"))
    f = read_npz(files.frames, ("t", "imgs"))
    events = Events.from_arrays(e["t"], e["x"], e["y"], e["p"], size=size, sort=sort, where=str(files.events))
    times = np.asarray(f["t"]).astype(np.int64).reshape(-1)
    images = np.asarray(f["imgs"])
    if images.ndim not in (3, 4) or len(images) != len(times) or images.dtype != np.uint8:
        raise ValueError(
            f"{files.frames}: imgs are {images.dtype} {images.shape} with {len(times)} times; expected uint8 "
            "[N, H, W, 3] "
            "and as many times"
        )
    if tuple(images.shape[1:3]) != tuple(size):
        raise ValueError(
            f"{files.frames}: images are {images.shape[2]} x {images.shape[1]} (W x H), the sensor "
            f"{size[1]} x {size[0]}; "
            "give the size of the camera that recorded them"
        )
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        times, images = times[order], images[order]
    return Recording(events, times, images)


def bin_recording(
    recording: Recording, binning: Binning, where: str = "recording"
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int64]]:
    """Aligned counts [T, 2, h, w], images [T, C, h, w], mask [T], edges [T + 1] of a recording.

    A bin is paired with the newest image not after its end; bins past the end of the recording are masked.
    """
    edges, valid = binning.edges(recording, where)
    size = recording.events.size
    counts = bin_events(recording.events, edges, crop=binning.crop, down=binning.down)
    index = align_frames(recording.times, edges)
    mask = (np.arange(binning.n_bins) < valid) & (index >= 0)
    small = shrink_frames(
        recording.images[np.maximum(index, 0)], crop=binning.area(size), down=binning.down, luma=binning.luma
    )
    if binning.pad == "zero":
        small[~mask] = 0
    counts[~mask] = 0
    return counts, small, mask, edges


class DVSSLR(Dataset[Sample]):
    """The DVS-SLR dataset: 43 users, 21 signs, 3 lights, 2 positions.

    Args:
        root: its folder, nested or flat. split: see :func:`split_keys`; "all" for everything.
        modality: "both", "events", "frames". binning: how a recording becomes a sample; further keywords replace
            its fields (n_bins, bin_by, crop, down ...).
        users, labels, lights, positions: keep only these. relabel: class indices 0..k-1 of ``labels`` instead of the
            place in the list of 21. size: (H, W) of the sensor.
        compat: "official" gives what the dataset's own loader gives (full size, float, windows of ``dt`` ms, the
            last pair repeated); it costs 432 MB a sample.
        on_missing: "error" at construction, or "skip" incomplete recordings.
        sort: mend events that are out of order. transform: Sample -> Sample.
        cache_dir: bin every recording now (a progress bar tells), into a folder in there that the same choices find
            again; samples are then read from it in under a millisecond, without ``t_edges_ns`` in their meta.
    Raises:
        ValueError: unknown names, missing files (listed), nothing left, a damaged recording (with ``cache_dir``).
    """

    def __init__(
        self,
        root: Path | str,
        split: str = "subject:train",
        *,
        modality: Modality = "both",
        binning: Binning | None = None,
        users: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        lights: Sequence[str] | None = None,
        positions: Sequence[str] | None = None,
        relabel: bool = False,
        size: tuple[int, int] = SENSOR,
        compat: Literal["official"] | None = None,
        dt: int = 50,
        on_missing: Literal["error", "skip"] = "error",
        sort: bool = False,
        transform: Callable[[Sample], Sample] | None = None,
        cache_dir: Path | str | None = None,
        **fields: Any,
    ) -> None:
        if modality not in ("both", "events", "frames"):
            raise ValueError(f"modality={modality!r} given; expected 'both', 'events' or 'frames'")
        if compat not in (None, "official") or on_missing not in ("error", "skip"):
            raise ValueError(
                f"compat={compat!r}, on_missing={on_missing!r}: expected None or 'official'; 'error' or 'skip'"
            )
        if compat is not None and cache_dir is not None:
            raise ValueError(
                "cache_dir holds small binned samples, compat='official' gives full size: drop one of them"
            )
        chosen = {
            name: _known(name, values, there)
            for name, values, there in (
                ("users", users, USERS), ("labels", labels, LABELS), ("lights", lights, LIGHTS),
                ("positions", positions, POSITIONS),
            )
        }  # fmt: skip
        self.binning = Binning(**{**(binning.to_dict() if binning else {}), **fields})
        self.modality, self.compat, self.dt, self.size, self.sort = modality, compat, dt, size, sort
        self.transform = transform
        if compat is None:
            self.binning.area(size)
        keys = [
            k for k in split_keys(split)
            if k.user in chosen["users"] and k.label in chosen["labels"] and k.light in chosen["lights"]
            and k.position in chosen["positions"]
        ]  # fmt: skip
        present, missing = scan(root, keys)
        if missing and on_missing == "error":
            paths = [path for files in missing for path in files.missing]
            shown = ", ".join(str(path) for path in paths[:3])
            raise ValueError(
                f"{len(missing)} of {len(keys)} recordings are incomplete (missing {shown}"
                f"{' ...' if len(paths) > 3 else ''}); "
                "get them, narrow users/labels/lights/positions, or pass on_missing='skip'"
            )
        if not present:
            raise ValueError(f"no recording of split {split!r} is in {root}")
        self.files = present
        self.classes = list(chosen["labels"]) if relabel else list(LABELS)
        self.labels = np.array([self.classes.index(f.key.label) for f in present])
        self.cached: CachedSigns | None = None
        if cache_dir is not None:
            folder = _cache_folder(
                Path(cache_dir), split, [self.binning.to_dict(), size, sort, self.classes, [f.key for f in present]]
            )
            self.cached = DVSSLR.convert(
                root, folder, split=split, binning=self.binning, relabel=relabel, size=size, on_missing=on_missing,
                sort=sort, **chosen,
            )  # fmt: skip

    scan = staticmethod(scan)

    @staticmethod
    def convert(root: Path | str, out: Path | str, **options: Any) -> CachedSigns:
        """:func:`slr_cma.convert`, where one looks for it."""
        from slr_cma.data.cache import convert

        return convert(root, out, **options)

    @property
    def groups(self) -> list[str]:
        """The user of each sample."""
        return [f.key.user for f in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        sample = self._read(index) if self.cached is None else self.cached[index]
        if self.modality == "events":
            sample = replace(sample, frames=None)
        elif self.modality == "frames":
            sample = replace(sample, events=None)
        return sample if self.transform is None else self.transform(sample)

    def _read(self, index: int) -> Sample:
        files = self.files[index]
        recording = read_recording(files, size=self.size, sort=self.sort)
        where = files.key.stem
        meta: dict[str, Any] = files.key._asdict()
        if self.compat:
            counts, images = official_pairs(recording, dt=self.dt, where=where)
            e, f = torch.from_numpy(counts), torch.from_numpy(images)
            mask = torch.ones(len(counts), dtype=torch.bool)
        else:
            binned, small, valid, edges = bin_recording(recording, self.binning, where)
            e, f = torch.from_numpy(binned.astype(np.float32)), torch.from_numpy(unit(small))
            mask = torch.from_numpy(valid)
            meta["t_edges_ns"] = edges
        return Sample(e, f, mask, int(self.labels[index]), meta)


def _cache_folder(cache_dir: Path, split: str, choices: list[Any]) -> Path:
    """A folder of its own for everything that changes what a cache holds."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(choices).encode()).hexdigest()[:12]
    return cache_dir / f"{split.replace(':', '-')}-{digest}"


def _known(name: str, values: Sequence[str] | None, there: tuple[str, ...]) -> tuple[str, ...]:
    if values is None:
        return there
    unknown = [v for v in values if v not in there]
    if unknown or isinstance(values, str):
        raise ValueError(f"{name}={values!r}: {unknown[:1] or 'text'} not known; choose among {', '.join(there[:25])}")
    return tuple(values)
