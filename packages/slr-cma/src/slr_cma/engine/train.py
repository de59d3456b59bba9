"""Training: seeded, resumable, with mixed precision and several processes; one folder per run."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from slr_cma._files import atomic_write
from slr_cma._sample import Batch, Sample, collate
from slr_cma.engine.checkpoint import save_model
from slr_cma.models.net import CMANet

__all__ = ["History", "TrainConfig", "batches", "predict", "train"]


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
        epochs, batch_size, lr, weight_decay, clip (of the gradient's norm; 0: none), label_smoothing, tet.
        schedule: "cosine" after ``warmup`` epochs, or "onecycle". seed: of order, dropout and augmentation.
        device: "cpu", "cuda", ... amp: mixed precision (bfloat16 on a CPU, float16 with scaling on CUDA).
        workers: processes that load samples; arrays in memory need none.
    """

    epochs: int = 100
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-4
    clip: float = 2.0
    label_smoothing: float = 0.05
    tet: float = 0.0
    schedule: Literal["cosine", "onecycle"] = "cosine"
    warmup: int = 5
    seed: int = 0
    device: str = "cpu"
    amp: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.lr <= 0:
            raise ValueError(
                f"epochs={self.epochs}, batch_size={self.batch_size}, lr={self.lr}: expected >= 1, >= 2 (batch norm), > 0"  # noqa: E501
            )
        if self.schedule not in ("cosine", "onecycle"):
            raise ValueError(f"schedule={self.schedule!r} given; expected 'cosine' or 'onecycle'")

    def rate(self, at: float) -> float:
        """Learning rate at epoch ``at`` (a fraction counts)."""
        if self.schedule == "onecycle":
            # up for a quarter, down for the rest, both along a cosine; from lr/25, to lr/10000
            peak = 0.25 * self.epochs
            if at < peak:
                return self.lr * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * at / peak)))
            return self.lr * (1e-4 + (1 - 1e-4) * 0.5 * (1 + math.cos(math.pi * (at - peak) / (self.epochs - peak))))
        warmup = min(self.warmup, self.epochs // 4)
        if at < warmup:
            return self.lr * (at + 1e-2) / warmup
        return self.lr * 0.5 * (1 + math.cos(math.pi * (at - warmup) / max(1e-9, self.epochs - warmup)))


@dataclass
class History:
    """Rows per epoch (epoch, loss, train accuracy, validation accuracy, seconds) and the best one by validation."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_accuracy: float = -1.0
    seconds: float = 0.0


def batches(
    data: Dataset[Sample], size: int, *, order: Tensor | None = None, workers: int = 0, least: int = 1
) -> Iterator[Batch]:
    """Batches of a dataset; arrays are cut whole, other datasets go through a DataLoader.

    Args:
        order: indices; None: as they stand. least: a last batch with fewer samples is left out.
    """
    if order is None:
        order = torch.arange(len(data))  # type: ignore[arg-type]
    cut = getattr(data, "batch", None)
    if callable(cut):
        for index in torch.split(order, size):
            if len(index) >= least:
                yield cut(index)
        return
    loader: DataLoader[Any] = DataLoader(
        Subset(data, order.tolist()),
        batch_size=size,
        collate_fn=collate,
        num_workers=workers,
        # without one it would draw its seed from the network's random stream
        generator=torch.Generator(),
    )
    for batch in loader:
        if len(batch.labels) >= least:
            yield batch


@torch.no_grad()
def predict(
    net: CMANet, data: Dataset[Sample], *, batch_size: int = 64, device: str = "cpu", workers: int = 0
) -> tuple[Tensor, Tensor]:
    """Logits [n, K] and labels [n] of a dataset, in eval mode.

    Args:
        net, data: the network and its samples. batch_size, device, workers: of the loader; the result is the same.
    """
    was = net.training
    net.eval()
    try:
        logits, labels = [], []
        for batch in batches(data, batch_size, workers=workers):
            moved = batch.to(device)
            logits.append(net(moved.events, moved.frames, moved.mask).float().cpu())
            labels.append(batch.labels)
    finally:
        net.train(was)
    if not logits:
        raise ValueError("the dataset is empty: nothing to predict")
    return torch.cat(logits), torch.cat(labels)


class _Loss(nn.Module):
    """The loss as a forward pass, so that DistributedDataParallel sees it."""

    def __init__(self, net: CMANet, config: TrainConfig) -> None:
        super().__init__()
        self.net, self.config = net, config

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.net.loss(
            batch.events, batch.frames, batch.labels, batch.mask,
            label_smoothing=self.config.label_smoothing, tet=self.config.tet,
        )  # fmt: skip


def train(
    net: CMANet,
    data: Dataset[Sample],
    validation: Dataset[Sample] | None = None,
    config: TrainConfig | None = None,
    *,
    folder: Path | str | None = None,
    resume: bool = True,
    classes: list[str] | None = None,
    binning: dict[str, Any] | None = None,
    progress: bool = True,
    stop_after: int | None = None,
) -> History:
    """Train a network in place.

    Args:
        data, validation: datasets of :class:`Sample`; an ``ArrayDataset`` is quickest, an ``Augmented`` one changes
            its samples every epoch. The best epoch is chosen on ``validation`` (without one: the last epoch); never
            pass test data here. net: trained where it is.
        folder: where config.json, metrics.csv, checkpoints/last.pt (resume), checkpoints/best.safetensors and
            results.json go. resume: go on from checkpoints/last.pt where there is one with the same configuration.
        classes, binning: written beside the model, as for :func:`save_model`.
        progress: a bar where stderr is a terminal. stop_after: leave after this epoch (as an interruption would).
    Returns:
        The history. The network holds the last epoch's weights; the best ones are in the folder.
    Raises:
        ValueError: too few samples, labels the network has no class for, a folder of another configuration.

    One seed gives one result on one CPU thread count: order, dropout and augmentation of an epoch depend on
    (seed, epoch) alone, so an interrupted run that is resumed equals one that was not. Under ``torchrun`` the
    processes share each batch (DistributedDataParallel, gloo or nccl) and the first one writes.
    """
    config = config or TrainConfig()
    size = len(data)  # type: ignore[arg-type]
    if size < 2:
        raise ValueError(f"{size} training sample(s); batch norm needs at least 2")
    most = int(np.max(getattr(data, "labels", [0])))
    if most >= net.config.n_classes:
        raise ValueError(f"label {most} is in the data, but the network has {net.config.n_classes} classes")
    rank, ranks = _join_processes(config)
    net.to(config.device)
    wrapped: nn.Module = _Loss(net, config)
    if ranks > 1:
        wrapped = nn.parallel.DistributedDataParallel(wrapped)
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    kind = torch.device(config.device).type
    scaler = torch.amp.GradScaler(kind, enabled=config.amp and kind == "cuda")
    history, start = History(), 0
    run = _Folder(Path(folder), config, net, rank) if folder is not None else None
    if run is not None and resume:
        start = run.read(net, optimiser, scaler, history, config.device)
    begun = time.perf_counter() - history.seconds
    bar = _bar(range(start, config.epochs), progress and rank == 0)
    for epoch in bar:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mix(config.seed, epoch, rank))
            order = torch.randperm(size, generator=torch.Generator().manual_seed(_mix(config.seed, epoch, -1)))
            loss, accuracy = _epoch(wrapped, data, order[rank::ranks], optimiser, scaler, config, epoch, ranks)
        row = {"epoch": epoch, "loss": loss, "train": accuracy}
        if not math.isfinite(loss):
            raise ValueError(f"the loss became {loss} in epoch {epoch}; lower lr={config.lr} or clip={config.clip}")
        if validation is not None:
            logits, labels = predict(net, validation, device=config.device, workers=config.workers)
            row["validation"] = (logits.argmax(1) == labels).double().mean().item()
        history.seconds = time.perf_counter() - begun
        row["seconds"] = round(history.seconds, 2)
        history.rows.append(row)
        better = row.get("validation", math.inf) > history.best_accuracy or validation is None
        if better:
            history.best_epoch, history.best_accuracy = epoch, row.get("validation", float("nan"))
        if run is not None and rank == 0:
            run.write(net, optimiser, scaler, history, better, classes, binning)
        bar.set_postfix({k: f"{v:.3f}" for k, v in row.items() if k in ("loss", "train", "validation")})
        if stop_after is not None and epoch >= stop_after:
            break
    return history


def _epoch(
    wrapped: nn.Module,
    data: Dataset[Sample],
    order: Tensor,
    optimiser: torch.optim.Optimizer,
    scaler: Any,
    config: TrainConfig,
    epoch: int,
    ranks: int,
) -> tuple[float, float]:
    wrapped.train()
    set_epoch = getattr(data, "set_epoch", None)
    if callable(set_epoch):
        set_epoch(epoch)
    share = max(2, config.batch_size // ranks)
    count = max(1, sum(len(part) >= 2 for part in torch.split(order, share)))
    kind = torch.device(config.device).type
    total = right = seen = 0.0
    for step, batch in enumerate(batches(data, share, order=order, workers=config.workers, least=2)):
        moved = batch.to(config.device)
        for group in optimiser.param_groups:
            group["lr"] = config.rate(epoch + step / count)
        dtype = torch.float16 if kind == "cuda" else torch.bfloat16
        with torch.autocast(kind, dtype=dtype, enabled=config.amp):
            loss, logits = wrapped(moved)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if config.clip:
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(wrapped.parameters(), config.clip)
        scaler.step(optimiser)
        scaler.update()
        total += loss.item() * len(batch.labels)
        right += float((logits.argmax(1).cpu() == batch.labels).sum())
        seen += len(batch.labels)
    return total / max(1, seen), right / max(1, seen)


def _mix(*numbers: int) -> int:
    """One seed of several numbers, without collisions between neighbours."""
    return int(np.random.SeedSequence([n + 1 for n in numbers]).generate_state(1)[0])


def _bar(epochs: range, wanted: bool) -> Any:
    from tqdm import tqdm

    return tqdm(epochs, desc="epochs", disable=not (wanted and sys.stderr.isatty()))


def _join_processes(config: TrainConfig) -> tuple[int, int]:
    """Rank and number of processes; joins the group that ``torchrun`` describes."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks == 1:
        return 0, 1
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if config.device.startswith("cuda") else "gloo")
    return torch.distributed.get_rank(), ranks


class _Folder:
    """The files of one run."""

    def __init__(self, path: Path, config: TrainConfig, net: CMANet, rank: int) -> None:
        self.path = path
        self.settings = json.loads(json.dumps({"train": asdict(config), "net": net.to_dict()}))
        if rank == 0:
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        self.last = path / "checkpoints" / "last.pt"

    def read(self, net: CMANet, optimiser: torch.optim.Optimizer, scaler: Any, history: History, device: str) -> int:
        """Load what is there; the epoch to begin with."""
        if not self.last.is_file():
            return 0
        there = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        different = [
            f"{part}.{key}"
            for part, values in self.settings.items()
            for key in values
            if there.get(part, {}).get(key) != values[key]
        ]
        if different:
            raise ValueError(
                f"{self.path} holds a run with another configuration ({', '.join(different)}); choose another folder, "
                "or pass resume=False to start over"
            )
        state = torch.load(self.last, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        scaler.load_state_dict(state["scaler"])
        history.rows[:] = state["rows"]
        history.best_epoch, history.best_accuracy = state["best"]
        history.seconds = state["seconds"]
        return len(history.rows)

    def write(
        self,
        net: CMANet,
        optimiser: torch.optim.Optimizer,
        scaler: Any,
        history: History,
        better: bool,
        classes: list[str] | None,
        binning: dict[str, Any] | None,
    ) -> None:
        """A valid state at every moment: each file is replaced in one step, the checkpoint last."""
        with atomic_write(self.path / "config.json") as file:
            json.dump(self.settings, file, indent=1)
        table = io.StringIO()
        writer = csv.DictWriter(table, fieldnames=list(history.rows[0]))
        writer.writeheader()
        writer.writerows(history.rows)
        with atomic_write(self.path / "metrics.csv") as file:
            file.write(table.getvalue())
        if better:
            save_model(net, self.path / "checkpoints" / "best", classes=classes, binning=binning)
        state = {
            "net": net.state_dict(),
            "optimiser": optimiser.state_dict(),
            "scaler": scaler.state_dict(),
            "rows": history.rows,
            "best": (history.best_epoch, history.best_accuracy),
            "seconds": history.seconds,
        }
        with atomic_write(self.path / "results.json") as file:
            best = None if math.isnan(history.best_accuracy) else history.best_accuracy
            told = {"best_epoch": history.best_epoch, "best_validation": best, "seconds": history.seconds}
            json.dump(told, file, indent=1)
        with atomic_write(self.last, "wb") as file:
            torch.save(state, file)
