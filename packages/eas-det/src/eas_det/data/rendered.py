"""A dataset rendered once, in memory or in a file: the network never waits for events to be binned."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eas_det._files import atomic_write
from eas_det.errors import DecodeError
from eas_det.models.detector import Targets

from .sample import Batch, EventDetectionDataset, Sample

__all__ = ["Rendered"]


class Rendered:
    """Counts of all items in one tensor, served by the batch.

    Args:
        counts: [N, bins, C, H, W] of any type, on any device; float32 when served.
        samples: N samples, of which all but the counts are kept.
        classes: names by label.
        symmetric: each batch is mirrored and transposed by chance, counts and boxes alike: for square frames of
            things that have no upright. What is drawn depends on (seed, epoch, first index of the batch).
        seed: of that.
    Raises:
        ValueError: no item, numbers that differ, or frames that are not square where ``symmetric`` is set.
    """

    def __init__(
        self,
        counts: Tensor,
        samples: Sequence[Sample],
        classes: Sequence[str],
        *,
        symmetric: bool = False,
        seed: int = 0,
    ) -> None:
        if not len(samples) or counts.dim() != 5 or len(counts) != len(samples):
            raise ValueError(
                f"counts {tuple(counts.shape)} for {len(samples)} samples; expected [N >= 1, bins, C, H, W]"
            )
        height, width = counts.shape[-2:]
        if symmetric and height != width:
            raise ValueError(f"frames of {width}x{height} given; symmetric=True transposes, which needs square ones")
        self.counts, self.classes, self.sensor_size = counts, tuple(classes), (int(width), int(height))
        self.symmetric, self.seed, self.epoch = symmetric, seed, 0
        nothing = torch.empty(0)
        self._samples = [each._replace(counts=nothing) for each in samples]
        self._targets = [each.targets for each in self._samples]

    @classmethod
    def of(cls, data: EventDetectionDataset, dtype: torch.dtype = torch.float32, **options: Any) -> Rendered:
        """Every item of a dataset, in order.

        Args: dtype: of the stored counts: float32, float16, or uint8 for whole numbers to 255. options: see Rendered.
        Raises: ValueError: an empty dataset, or counts that uint8 cannot hold.
        """
        if not len(data):
            raise ValueError("the dataset is empty: nothing to render")
        samples = []
        counts = torch.empty((len(data), *data[0].counts.shape), dtype=dtype)
        for place in range(len(data)):
            sample = data[place]
            x = sample.counts
            if dtype == torch.uint8 and not bool(((x >= 0) & (x <= 255) & (x == x.round())).all()):
                raise ValueError(f"item {place} has counts that uint8 cannot hold; use dtype=torch.float32")
            counts[place] = x
            samples.append(sample._replace(counts=x[:0]))
        return cls(counts, samples, data.classes, **options)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        """Item ``index``, as it is."""
        return self._samples[index]._replace(counts=self.counts[index].float())

    def labels_at(self, index: int) -> Sample:
        """Item ``index`` without its counts."""
        return self._samples[index]

    def set_epoch(self, epoch: int) -> None:
        """Draw other symmetries."""
        self.epoch = epoch

    def batch(self, index: Tensor) -> Batch:
        """The items ``index`` [B] as one Batch, on the counts' device; changed by a symmetry where that is set."""
        counts = self.counts[index.to(self.counts.device)].float()
        targets = [self._targets[each] for each in index.tolist()]
        if not self.symmetric:
            return Batch(counts, targets)
        draw = np.random.default_rng([self.seed, self.epoch, int(index[0])]).integers(0, 2, 3)
        flips = [axis for axis, wanted in ((-1, draw[0]), (-2, draw[1])) if wanted]
        if flips:
            counts = counts.flip(flips)
        if draw[2]:
            counts = counts.transpose(-1, -2).contiguous()
        moved = _changed(torch.cat([each.boxes for each in targets]), self.sensor_size[0], draw)
        parts = torch.split(moved, [len(each.labels) for each in targets])
        return Batch(counts, [Targets(box, each.labels) for box, each in zip(parts, targets, strict=True)])

    def to(self, device: torch.device | str) -> Rendered:
        """The same with the counts on a device."""
        return self._like(self.counts.to(device), self._samples)

    def subset(self, index: Sequence[int] | NDArray[Any]) -> Rendered:
        """Some of the items."""
        return self._like(self.counts[torch.as_tensor(index)], [self._samples[int(each)] for each in index])

    def _like(self, counts: Tensor, samples: Sequence[Sample]) -> Rendered:
        return Rendered(counts, samples, self.classes, symmetric=self.symmetric, seed=self.seed)

    def save(self, path: str | PathLike[str]) -> None:
        """Write an .npz; the file appears whole or not at all."""
        number = [len(each.labels) for each in self._samples]
        parts = {
            name: [getattr(each, name) for each in self._samples] for name in ("boxes", "labels", "ignore", "speed")
        }
        with atomic_write(Path(path), "wb") as file:
            held: dict[str, Any] = {name: torch.cat(each).numpy() for name, each in parts.items()}
            np.savez(
                file,
                counts=self.counts.cpu().numpy(),
                number=np.array(number, np.int64),
                t=np.array([each.t_label for each in self._samples], np.int64),
                recording=np.array([each.recording_id for each in self._samples]),
                classes=np.array(self.classes),
                **held,
            )

    @classmethod
    def load(cls, path: str | PathLike[str], **options: Any) -> Rendered:
        """Read what save wrote. Args: options: see Rendered. Raises: DecodeError: no such file of ours."""
        path = Path(path)
        try:
            with path.open("rb") as source, np.load(source, allow_pickle=False) as file:
                held = {name: file[name] for name in file.files}
            ends = np.cumsum(held["number"])
            parts = {
                name: [torch.from_numpy(each) for each in np.split(held[name], ends[:-1])]
                for name in ("boxes", "labels", "ignore", "speed")
            }
            samples = [
                Sample(torch.empty(0), box, label, int(t), str(name), ignore, speed)
                for box, label, t, name, ignore, speed in zip(
                    parts["boxes"], parts["labels"], held["t"], held["recording"], parts["ignore"], parts["speed"],
                    strict=True,
                )
            ]  # fmt: skip
            return cls(torch.from_numpy(held["counts"]), samples, [str(each) for each in held["classes"]], **options)
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged archive makes numpy raise almost anything
            raise DecodeError(path, None, f"is not what Rendered.save writes ({error})") from None


def _changed(boxes: Tensor, side: int, draw: NDArray[Any]) -> Tensor:
    """Corners under mirror images in x and y, then a transposition."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    if draw[0]:
        x1, x2 = side - x2, side - x1
    if draw[1]:
        y1, y2 = side - y2, side - y1
    return torch.stack([y1, x1, y2, x2] if draw[2] else [x1, y1, x2, y2], -1)
