"""Gen1 and 1 Mpx as the pipeline of RVT stores them: stacked histograms of 50 ms in HDF5."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eas_det.boxes import BOX_DTYPE, clean_boxes, make_boxes
from eas_det.errors import DecodeError

from .sample import Sample, to_corners

__all__ = ["RVTPreprocessed"]

_FOLDER = "event_representations_v2/stacked_histogram_dt=50_nbins=10"
_FILES = {"event_representations.h5": False, "event_representations_ds2_nearest.h5": True}
_CLASSES = {"gen1": ("car", "pedestrian"), "1mpx": ("pedestrian", "two-wheeler", "car")}
_BINS = 10


class RVTPreprocessed:
    """Slices of 50 ms with 10 sub-bins and two polarities, summed to counts of 50 ms (extra ``h5``).

    A sequence's folder holds, below the representation's folder, [N, 20, H, W] uint8 (channel = polarity x 10 +
    sub-bin, counts clipped at 255), ``timestamps_us.npy`` [N] (the end of each slice) and
    ``objframe_idx_2_repr_idx.npy`` [M] (the slice that ends at each labelled moment); ``labels_v2/labels.npz`` holds
    all boxes and, as ``objframe_idx_2_label_idx`` [M], where those of each moment begin.

    Args:
        root: the folder that holds train, val and test. split: one of them.
        dataset: "gen1" or "1mpx". bins: slices before the label; 4 are 200 ms.
        clean: see Recordings.
    Raises:
        ImportError: h5py is not installed. FileNotFoundError: no sequence there.
        DecodeError: a sequence whose files do not fit together.
        ValueError: another dataset, or bins < 1.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: str = "train",
        dataset: str = "gen1",
        *,
        bins: int = 4,
        clean: bool = True,
    ) -> None:
        try:
            import h5py  # noqa: F401
        except ImportError:
            raise ImportError("RVT's files need h5py: pip install 'eas-det[h5]'") from None
        if dataset not in _CLASSES or bins < 1:
            raise ValueError(f"dataset={dataset!r}, bins={bins} given; expected {' or '.join(_CLASSES)}, and bins >= 1")
        self.classes, self.bins, self.clean = _CLASSES[dataset], bins, clean
        folder = Path(root) / split
        self.names = sorted(each.parent.parent.name for each in folder.glob("*/labels_v2/labels.npz"))
        if not self.names:
            raise FileNotFoundError(f"no */labels_v2/labels.npz in {folder}")
        self._sequences = [_Sequence(folder / name) for name in self.names]
        self._open: dict[tuple[int, int], Any] = {}
        self._items = [
            (number, moment) for number, each in enumerate(self._sequences) for moment in range(len(each.slices))
        ]
        height, width = self._sequences[0].size
        self.sensor_size = (width, height)

    def __len__(self) -> int:
        return len(self._items)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def _data(self, number: int) -> Any:
        # a handle does not outlive a fork: each process has its own
        key = (os.getpid(), number)
        if key not in self._open:
            import h5py

            self._open[key] = h5py.File(self._sequences[number].path, "r")["data"]
        return self._open[key]

    def __getitem__(self, index: int) -> Sample:
        """Item ``index``; slices before the recording's first are empty."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        number, moment = self._items[index % len(self)]
        sequence = self._sequences[number]
        last = int(sequence.slices[moment])
        first = max(0, last + 1 - self.bins)
        stacked = np.asarray(self._data(number)[first : last + 1])
        fine = stacked.reshape(len(stacked), 2, _BINS, *stacked.shape[2:]).sum(2, dtype=np.float32)
        counts = np.zeros((self.bins, *fine.shape[1:]), np.float32)
        counts[self.bins - len(fine) :] = fine
        boxes = sequence.boxes_at(moment)
        boxes = boxes[boxes["class_id"] < len(self.classes)]
        if self.clean:
            boxes = clean_boxes(boxes, self.sensor_size)
        return Sample(
            torch.from_numpy(counts),
            to_corners(boxes),
            torch.from_numpy(boxes["class_id"].astype(np.int64)),
            int(sequence.times[last]),
            self.names[number],
            torch.zeros(len(boxes), dtype=torch.bool),
            torch.full((len(boxes),), torch.nan),
        )


class _Sequence:
    """The small files of one sequence, checked against each other."""

    def __init__(self, folder: Path) -> None:
        import h5py

        made = folder / _FOLDER
        self.path = next((made / name for name in _FILES if (made / name).is_file()), made / "event_representations.h5")
        if not self.path.is_file():
            raise DecodeError(self.path, None, f"is missing; expected one of {', '.join(_FILES)}")
        self.half = _FILES[self.path.name]
        labels = folder / "labels_v2" / "labels.npz"
        try:
            with h5py.File(self.path, "r") as file:
                shape = file["data"].shape
            self.times = np.load(made / "timestamps_us.npy", allow_pickle=False)
            self.slices = np.load(made / "objframe_idx_2_repr_idx.npy", allow_pickle=False)
            with np.load(labels, allow_pickle=False) as archive:
                self._labels, self._first = archive["labels"], archive["objframe_idx_2_label_idx"]
        except (OSError, KeyError, ValueError, EOFError) as error:
            raise DecodeError(folder, None, f"its files cannot be read ({error})") from None
        if len(shape) != 4 or shape[1] != 2 * _BINS:
            raise DecodeError(self.path, None, f"data has shape {shape}; expected [N, {2 * _BINS}, H, W]")
        if len(self.times) != shape[0]:
            raise DecodeError(self.path, None, f"{len(self.times)} times for {shape[0]} slices")
        if len(self.slices) != len(self._first) or (len(self.slices) and not 0 <= self.slices.max() < shape[0]):
            raise DecodeError(
                labels, None, f"{len(self._first)} moments, {len(self.slices)} places in {shape[0]} slices"
            )
        if self._labels.dtype.names is None or "class_id" not in self._labels.dtype.names:
            raise DecodeError(labels, None, f"labels have type {self._labels.dtype}; expected records of boxes")
        self.size = (int(shape[2]), int(shape[3]))

    def boxes_at(self, moment: int) -> Any:
        """Records of BOX_DTYPE, at the slices' resolution."""
        first = int(self._first[moment])
        last = int(self._first[moment + 1]) if moment + 1 < len(self._first) else len(self._labels)
        there = self._labels[first:last]
        out = make_boxes(len(there))
        for name in BOX_DTYPE.names or ():
            if name in there.dtype.names:
                out[name] = there[name]
        if self.half:
            for name in ("x", "y", "w", "h"):
                out[name] /= np.float32(2)
        return out
