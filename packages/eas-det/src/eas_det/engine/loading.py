"""Batches out of any dataset, in a given order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from eas_det.data.sample import Batch, EventDetectionDataset, collate

__all__ = ["batches", "processes"]


def batches(data: EventDetectionDataset, order: list[Tensor], workers: int = 0) -> Iterator[Batch]:
    """A Batch for each tensor of indices; datasets with a ``batch`` method make it whole."""
    cut = getattr(data, "batch", None)
    if callable(cut):
        for index in order:
            yield cut(index)
        return
    if not workers:
        for index in order:
            yield collate([data[each] for each in index.tolist()])
        return
    loader: DataLoader[Any] = DataLoader(
        data,  # type: ignore[arg-type]
        batch_sampler=[index.tolist() for index in order],
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        # without one it would draw its seed from the global random stream
        generator=torch.Generator(),
    )
    yield from loader


def processes(device: str) -> tuple[int, int]:
    """Rank and number of processes; joins the group that ``torchrun`` describes."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks == 1:
        return 0, 1
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return torch.distributed.get_rank(), ranks
