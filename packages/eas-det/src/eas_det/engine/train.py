"""Training: seeded, resumable at any checkpoint, averaged weights, several processes."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eas_det._files import atomic_write
from eas_det.data.sample import EventDetectionDataset
from eas_det.losses import detection_loss
from eas_det.models.checkpoint import save_detector
from eas_det.models.detector import EventDetector, pad_targets

from .config import TrainConfig, make_dataset, read_config
from .evaluate import evaluate
from .loading import batches, processes

__all__ = ["History", "TrainConfig", "Trainer"]

_PARTS = ("loss", "iou_loss", "obj_loss", "cls_loss", "num_fg")


@dataclass
class History:
    """rows: one an epoch (epoch, step, mean losses, AP and AP50 of the validation where there is one, seconds). losses:
    of every step. best_epoch, best_ap: by validation; without one, the last epoch."""

    rows: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best_epoch: int = -1
    best_ap: float = -1.0
    seconds: float = 0.0


class Trainer:
    """Train a detector.

    Args:
        cfg: a TrainConfig, a mapping of its settings, or a YAML or JSON file with them.
        model, train, validation: what to use instead of what the configuration names. Best epochs are chosen on the
            validation set: never pass test data.
        folder: where config.json, metrics.csv, checkpoints/ and results.json go; None: nowhere.
        progress: a bar where stderr is a terminal.
    Raises:
        ValueError: settings that make no sense.

    The order and augmentation of an epoch depend on (seed, epoch) alone, so that a run which was killed and goes on
    equals one that was not, bit by bit on a CPU with the same number of threads. Under ``torchrun`` the processes share
    each batch (DistributedDataParallel; gloo, or nccl on CUDA) and the first one writes.
    """

    def __init__(
        self,
        cfg: TrainConfig | Mapping[str, Any] | str | PathLike[str],
        *,
        model: EventDetector | None = None,
        train: EventDetectionDataset | None = None,
        validation: EventDetectionDataset | None = None,
        folder: str | PathLike[str] | None = None,
        progress: bool = True,
    ) -> None:
        self.config = cfg = read_config(cfg)
        self.rank, self.ranks = processes(cfg.device)
        self.train = train if train is not None else make_dataset(cfg.data, cfg.rendering, cfg.augment, cfg.seed)
        if validation is None and train is None and cfg.validation is not None:
            described = {**cfg.data, **cfg.validation}
            if described == dict(cfg.data):
                raise ValueError("validation is the training data; give it another split, or another seed for shapes")
            validation = make_dataset(described, cfg.rendering, None, cfg.seed)
        self.validation = validation
        if not len(self.train):
            raise ValueError("the training data is empty")
        if model is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(cfg.seed)
                model = EventDetector(**{"num_classes": len(self.train.classes), **cfg.model})
        if model.num_classes < len(self.train.classes):
            raise ValueError(f"the data has {len(self.train.classes)} classes, the model {model.num_classes}")
        self.model = model.to(cfg.device)
        if model.spiking == "none":
            # a fifth faster on a CPU; neurons would turn everything round and back
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.folder = None if folder is None else Path(folder)
        self.progress = progress and self.rank == 0
        self.history = History()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay, fused=True)
        self.average = _Average(self.model, cfg.ema) if cfg.ema else None
        self._epoch = self._done = 0  # epoch, and steps done in it
        self._sums = dict.fromkeys(_PARTS, 0.0)

    def fit(self, *, resume: bool = True, stop_after: int | None = None, seconds: float | None = None) -> History:
        """Train to the end, or as long as there is time.

        Args:
            resume: go on from the folder's checkpoint, where there is one of the same configuration.
            stop_after: leave after so many steps in all, as an interruption would.
            seconds: leave after so many seconds of training in all, with a checkpoint.
        Returns:
            The history. The model holds the last weights; ``averaged()`` gives the ones that were evaluated.
        Raises:
            ValueError: the folder holds a run of another configuration, or the loss is no longer finite.
        """
        from tqdm import tqdm

        cfg = self.config
        if resume:
            self._read()
        wrapped: nn.Module = _Loss(self.model, cfg)
        if self.ranks > 1:
            wrapped = nn.parallel.DistributedDataParallel(wrapped)
        step = _Step(wrapped, self.optimiser, cfg)
        begun = time.perf_counter() - self.history.seconds
        size = min(cfg.batch_size, len(self.train)) // self.ranks
        if size < 1:
            raise ValueError(f"batch_size={cfg.batch_size} for {self.ranks} processes; expected at least one item each")
        with tqdm(total=cfg.epochs, initial=self._epoch, desc="epochs", disable=None if self.progress else True) as bar:
            while self._epoch < cfg.epochs:
                order = self._order(size)
                set_epoch = getattr(self.train, "set_epoch", None)
                if callable(set_epoch):
                    set_epoch(self._epoch)
                self.model.train()
                for batch in batches(self.train, order[self._done :], cfg.workers):
                    values = step(batch, cfg.rate(self._epoch + self._done / len(order)))
                    if self.average is not None:
                        self.average.update()
                    self._note(values)
                    self._done += 1
                    steps = len(self.history.losses)
                    self.history.seconds = time.perf_counter() - begun
                    if stop_after is not None and steps >= stop_after:
                        return self.history
                    enough = seconds is not None and self.history.seconds >= seconds
                    if enough or steps % cfg.checkpoint_every == 0:
                        self._write()
                    if enough:
                        return self.history
                self._close_epoch(begun)
                bar.update()
                bar.set_postfix({k: f"{v:.3f}" for k, v in self.history.rows[-1].items() if k in ("loss", "AP")})
        return self.history

    def averaged(self) -> EventDetector:
        """The model with averaged weights, in eval mode; without EMA the model itself."""
        return (self.model if self.average is None else self.average.model).eval()

    def _order(self, size: int) -> list[Tensor]:
        """The batches of this process in this epoch; a last one that is not full is left out."""
        generator = torch.Generator().manual_seed(_mix(self.config.seed, self._epoch))
        order = torch.randperm(len(self.train), generator=generator)
        whole = len(order) // (size * self.ranks) * size * self.ranks
        return list(torch.split(order[:whole][self.rank :: self.ranks], size))

    def _note(self, values: dict[str, float]) -> None:
        if not math.isfinite(values["loss"]):
            raise ValueError(
                f"the loss became {values['loss']} in epoch {self._epoch}; lower lr={self.config.lr}, or set clip. "
                "The last checkpoint is from before"
            )
        self.history.losses.append(values["loss"])
        for name in _PARTS:
            self._sums[name] += values[name]

    def _close_epoch(self, begun: float) -> None:
        cfg, history = self.config, self.history
        row: dict[str, float] = {"epoch": self._epoch, "step": len(history.losses)}
        row |= {name: value / max(1, self._done) for name, value in self._sums.items()}
        last = self._epoch + 1 == cfg.epochs
        if self.validation is not None and (last or (self._epoch + 1) % cfg.evaluate_every == 0):
            if self.ranks > 1:
                for each in self.averaged().buffers():  # each process has seen other samples
                    torch.distributed.broadcast(each, 0)
            found = evaluate(self.averaged(), self.validation, device=cfg.device, workers=cfg.workers)["coco"]
            row |= {"AP": found["AP"], "AP50": found["AP50"]}
        row["seconds"] = round(time.perf_counter() - begun, 2)
        history.rows.append(row)
        better = self.validation is None or row.get("AP", -1.0) > history.best_ap
        if better:
            history.best_epoch, history.best_ap = self._epoch, row.get("AP", math.nan)
        self._epoch, self._done, self._sums = self._epoch + 1, 0, dict.fromkeys(_PARTS, 0.0)
        self._write(better)

    def _facts(self) -> dict[str, Any]:
        return {"classes": list(self.train.classes), "rendering": dict(self.config.rendering)}

    def _settings(self) -> dict[str, Any]:
        told = {"config": self.config.to_dict(), "model": self.model.config, "items": len(self.train)}
        plain: dict[str, Any] = json.loads(json.dumps(told))
        return plain

    def _write(self, better: bool = False) -> None:
        """A valid state at every moment: each file is replaced in one step, the checkpoint last."""
        if self.folder is None or self.rank:
            return
        (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        history = self.history
        with atomic_write(self.folder / "config.json") as file:
            json.dump(self._settings(), file, indent=1)
        if history.rows:
            names = list(dict.fromkeys(name for row in history.rows for name in row))
            table = io.StringIO()
            writer = csv.DictWriter(table, names)
            writer.writeheader()
            writer.writerows(history.rows)
            with atomic_write(self.folder / "metrics.csv") as file:
                file.write(table.getvalue())
            best = None if math.isnan(history.best_ap) else history.best_ap
            with atomic_write(self.folder / "results.json") as file:
                json.dump({"best_epoch": history.best_epoch, "best_ap": best, "seconds": history.seconds}, file)
        if better:
            save_detector(self.averaged(), self.folder / "checkpoints" / "best", **self._facts())
        state = {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "optimiser": self.optimiser.state_dict(),
            "history": [history.rows, history.losses, history.best_epoch, history.best_ap, history.seconds],
            "at": [self._epoch, self._done],
            "sums": self._sums,
        }
        with atomic_write(self.folder / "checkpoints" / "last.pt", "wb") as file:
            torch.save(state, file)

    def _read(self) -> None:
        last = None if self.folder is None else self.folder / "checkpoints" / "last.pt"
        if last is None or self.folder is None or not last.is_file():
            return
        there = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        here = self._settings()
        different = [
            f"{part}.{key}"
            for part in ("config", "model")
            for key in here[part]
            if there.get(part, {}).get(key) != here[part][key]
        ]
        if there.get("items") != here["items"]:
            different.append("items")
        if different:
            raise ValueError(
                f"{self.folder} holds a run of another configuration ({', '.join(different)}); choose another folder, "
                "or pass resume=False to start over"
            )
        state = torch.load(last, map_location=self.config.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        rows, losses, epoch, ap, seconds = state["history"]
        self.history = History(rows, losses, epoch, ap, seconds)
        self._epoch, self._done = state["at"]
        self._sums = state["sums"]


class _Average:
    """Exponential moving average of the weights; buffers are copied."""

    def __init__(self, model: EventDetector, decay: float) -> None:
        import copy

        self.decay, self.updates = decay, 0
        self.source = model
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        # one call for the statistics and one for the counters: hundreds of small ones would cost more than the step
        self._buffers = []
        for dtype in {each.dtype for each in model.buffers()}:
            mine, theirs = ([b for b in net.buffers() if b.dtype == dtype] for net in (self.model, model))
            self._buffers.append((mine, theirs))

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        # young averages forget faster, so that the first steps do not weigh for long
        decay = self.decay * (1 - math.exp(-self.updates / 2000))
        torch._foreach_lerp_(list(self.model.parameters()), list(self.source.parameters()), 1 - decay)
        for mine, theirs in self._buffers:
            torch._foreach_copy_(mine, theirs)

    def state(self) -> dict[str, Any]:
        return {"updates": self.updates, "weights": self.model.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        self.model.load_state_dict(state["weights"])


class _Loss(nn.Module):
    """The loss as a forward pass, so that DistributedDataParallel sees it."""

    def __init__(self, model: EventDetector, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, x: Tensor, boxes: Tensor, labels: Tensor, mask: Tensor) -> dict[str, Tensor]:
        kind = torch.device(self.config.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.config.amp):
            predictions = self.model(x)
        return detection_loss(predictions, boxes, labels, mask)


class _Step:
    """One step: forward, backward, update."""

    def __init__(self, loss: nn.Module, optimiser: torch.optim.Optimizer, config: TrainConfig) -> None:
        self.loss, self.optimiser, self.config = loss, optimiser, config
        inner = loss.module if isinstance(loss, nn.parallel.DistributedDataParallel) else loss
        assert isinstance(inner, _Loss)
        self.model = inner.model

    def __call__(self, batch: Any, rate: float) -> dict[str, float]:
        device = self.config.device
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        targets = [each.to(device, non_blocking=True) for each in pad_targets(batch.targets, self.model.num_classes)]
        parts = self.loss(batch.counts.to(device, non_blocking=True), *targets)
        self.optimiser.zero_grad(set_to_none=True)
        parts["loss"].backward()
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimiser.step()
        return {name: float(parts[name].detach()) for name in _PARTS}


def _mix(*numbers: int) -> int:
    """One seed of several numbers, without collisions between neighbours."""
    return int(np.random.SeedSequence([n + 1 for n in numbers]).generate_state(1)[0])
