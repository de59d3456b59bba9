"""Paired samples held as arrays: a dataset that gives whole batches without copying sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from slr_cma._sample import Batch, Sample, collate

__all__ = ["ArrayDataset", "Transform"]

#: changes a whole data set for one epoch: (events, frames, epoch) -> (events, frames), arrays [n, T, C, H, W]
Transform = Callable[[NDArray[Any] | None, NDArray[Any] | None, int], tuple[NDArray[Any] | None, NDArray[Any] | None]]


class ArrayDataset(Dataset[Sample]):
    """Events and frames as arrays.

    Args:
        events: counts [n, T, 2, H, W] or None. frames: [n, T, C, H, W] or None; at least one of the two.
        labels: [n] integers. mask: [n, T] bool; None: all steps are valid. groups: [n], subjects.
        epoch_transform: applied to the whole arrays before each epoch (see :meth:`set_epoch`).
    Raises:
        ValueError: lengths or T that differ, values that are not finite, negative labels.
    """

    def __init__(
        self,
        events: NDArray[Any] | None,
        frames: NDArray[Any] | None,
        labels: NDArray[Any] | Sequence[int],
        *,
        mask: NDArray[np.bool_] | None = None,
        groups: NDArray[Any] | Sequence[Any] | None = None,
        epoch_transform: Transform | None = None,
    ) -> None:
        given = {name: x for name, x in (("events", events), ("frames", frames)) if x is not None}
        if not given:
            raise ValueError("give events, frames or both")
        self.labels = np.asarray(labels)
        if self.labels.ndim != 1 or not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(f"labels are {self.labels.dtype} {self.labels.shape}; expected integers [n]")
        if len(self.labels) and self.labels.min() < 0:
            raise ValueError(f"label {self.labels.min()} is negative; expected class indices from 0")
        n, bins = len(self.labels), next(iter(given.values())).shape[1]
        for name, x in given.items():
            if x.ndim != 5 or len(x) != n or x.shape[1] != bins:
                raise ValueError(f"{name} have shape {x.shape}; expected [n={n}, T={bins}, C, H, W]")
            if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
                raise ValueError(f"{name} hold NaN or infinity; clean them before training or diagnosing")
        if mask is not None and mask.shape != (n, bins):
            raise ValueError(f"mask has shape {mask.shape}; expected [n={n}, T={bins}]")
        self._clean = (events, frames)
        self.events, self.frames = events, frames
        self.mask = np.ones((n, bins), bool) if mask is None else mask.astype(bool)
        self.groups = None if groups is None else np.asarray(groups)
        self.epoch_transform = epoch_transform

    @classmethod
    def from_dataset(cls, data: Dataset[Sample]) -> ArrayDataset:
        """All samples of a dataset in memory; its ``groups``, if it has some, come along."""
        if isinstance(data, cls):
            return data
        batch = collate([data[i] for i in range(len(data))])  # type: ignore[arg-type]
        events, frames = (None if x is None else x.transpose(0, 1).numpy() for x in (batch.events, batch.frames))
        groups = getattr(data, "groups", None)
        return cls(events, frames, batch.labels.numpy(), mask=batch.mask.T.numpy(), groups=groups)

    @property
    def n_classes(self) -> int:
        """Largest label plus one."""
        return int(self.labels.max()) + 1

    def set_epoch(self, epoch: int) -> None:
        """Draw this epoch's transform; nothing where there is none."""
        if self.epoch_transform is not None:
            self.events, self.frames = self.epoch_transform(*self._clean, epoch)

    def subset(self, index: NDArray[Any]) -> ArrayDataset:
        """The samples of ``index``, without a transform."""
        events, frames = (None if x is None else x[index] for x in self._clean)
        groups = None if self.groups is None else self.groups[index]
        return ArrayDataset(events, frames, self.labels[index], mask=self.mask[index], groups=groups)

    def batch(self, index: NDArray[Any] | Tensor) -> Batch:
        """Samples ``index`` as one :class:`Batch`, time first."""
        index = np.asarray(index)

        def take(x: NDArray[Any] | None) -> Tensor | None:
            return None if x is None else torch.from_numpy(x[index].swapaxes(0, 1).astype(np.float32, order="C"))

        mask = torch.from_numpy(self.mask[index].T.copy())
        return Batch(take(self.events), take(self.frames), mask, torch.from_numpy(self.labels[index].astype(np.int64)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        events, frames = (
            None if x is None else torch.from_numpy(np.asarray(x[index], np.float32))
            for x in (self.events, self.frames)
        )
        meta = {} if self.groups is None else {"group": self.groups[index]}
        return Sample(events, frames, torch.from_numpy(self.mask[index]), int(self.labels[index]), meta)
