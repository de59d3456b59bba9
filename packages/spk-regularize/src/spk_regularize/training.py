"""Train a spiking classifier: plainly, adversarially, with any regulariser; stop and resume at any time."""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spk_neurons import use_backend
from spk_regularize.attacks import PGD
from spk_regularize.attacks.base import batches, check_logits, prepared
from spk_regularize.data.images import ImageSet
from spk_regularize.monitor import MembraneMonitor
from spk_regularize.regularizers import Compose, ParsevalOrtho, Regularizer, from_text

__all__ = ["RobustTrainer", "TrainConfig", "TrainResult", "accuracy", "select_on_validation"]

Method = Literal["clean", "at", "trades", "rat"]
SCHEMA = 1


@dataclass(frozen=True)
class TrainConfig:
    """How to train; every field is a plain number or text, so that it goes into ``config.json``.

    method: "clean"; "at": cross-entropy on PGD images; "trades": clean plus ``beta`` times the divergence to PGD
    images; "rat": "at" with Parseval steps. eps, attack_steps, alpha: of the PGD inside (alpha None: eps / steps).
    regularizer: text as for :func:`from_text`. clip: of the gradient's norm, None: none. ramp: penalties grow over this
    share of the training (None: each regulariser's own schedule). optimizer: "sgd" (momentum, cosine) or "adam".
    epochs, batch_size, lr, momentum, weight_decay: as usual. flip, crop: augmentation, crop in pixels. seed: of all.
    """

    method: Method = "clean"
    epochs: int = 10
    batch_size: int = 50
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float | None = 5.0
    optimizer: Literal["sgd", "adam"] = "sgd"
    regularizer: str = ""
    ramp: float | None = None
    eps: float = 8 / 255
    attack_steps: int = 2
    alpha: float | None = None
    beta: float = 6.0
    flip: bool = False
    crop: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("clean", "at", "trades", "rat"):
            raise ValueError(f"method={self.method!r} is not known; choose 'clean', 'at', 'trades' or 'rat'")
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f"optimizer={self.optimizer!r} is not known; choose 'sgd' or 'adam'")
        for name in ("epochs", "batch_size", "attack_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} given; expected at least 1")
        if not (self.lr > 0 and self.eps >= 0 and self.weight_decay >= 0):
            raise ValueError(
                f"lr={self.lr}, eps={self.eps}, weight_decay={self.weight_decay} given; expected > 0, >= 0"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """From a JSON object; ValueError names unknown keys."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"training options {unknown} are not known; choose some of {', '.join(sorted(known))}")
        return cls(**values)


@dataclass
class TrainResult:
    """What a training left: one row per epoch, and the seconds it took."""

    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def last(self) -> dict[str, float]:
        """The last epoch's row."""
        return self.history[-1]


@torch.no_grad()
def accuracy(model: nn.Module, data: ImageSet, *, batch_size: int = 512, seed: int = 0) -> float:
    """Share of images of ``data`` that the model names right, in evaluation mode.

    batch_size: images at once. seed: of the encoder.
    """
    right = 0
    with prepared(model, seed):
        for rows in batches(len(data), batch_size):
            z = model(data.x(rows))
            check_logits(z, len(data.labels[rows]))
            right += int((z.argmax(1) == data.labels[rows]).sum())
    return right / max(1, len(data))


class _Divergence(PGD):
    """PGD that maximises the divergence from the clean answer, as TRADES does inside."""

    def _batch(self, x: Tensor, y: Tensor, target: Tensor | None, noise: list[Tensor]) -> Tensor:
        with torch.no_grad():
            self._clean = self.model(x).softmax(1)
        return super()._batch(x, y, target, noise)

    def losses(self, z: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
        return nn.functional.kl_div(z.log_softmax(1), self._clean, reduction="none").sum(1)


class RobustTrainer:
    """Trains one model by one configuration.

    Args:
        model: images [B, ...] in [0, 1] to logits. config: how. regularizer: instead of the configuration's text.
    ``fit`` may be interrupted; called again with the same folder it goes on after the last whole epoch and ends with
    the same weights as an uninterrupted run on CPU.
    """

    def __init__(
        self, model: nn.Module, config: TrainConfig | None = None, regularizer: Regularizer | None = None
    ) -> None:
        self.model, self.config = model, config or TrainConfig()
        parts = [regularizer if regularizer is not None else from_text(self.config.regularizer)]
        if self.config.method == "rat":
            parts.append(ParsevalOrtho())
        self.regularizer = Compose(*parts)
        if self.config.ramp is not None:
            for part in self.regularizer.terms():
                part.schedule.law, part.schedule.over = "linear", self.config.ramp
        # built once: it says early whether the model can be watched
        self.monitor = MembraneMonitor(model, self.regularizer) if self.regularizer.needs else None

    def fit(
        self,
        train: ImageSet,
        validation: ImageSet | None = None,
        *,
        folder: str | Path | None = None,
        progress: bool = False,
        stop_after: int | None = None,
    ) -> TrainResult:
        """Train.

        Args: train, validation: images; the validation accuracies go into the history. folder: run folder with
        ``config.json``, ``metrics.csv``, ``checkpoints/last.pt``. progress: a bar. stop_after: end after this many
        epochs in all, resumable.
        Raises: ValueError: a folder of another configuration, an empty data set, a loss that is not finite.
        """
        if not len(train):
            raise ValueError("the training set is empty")
        config, result, first = self.config, TrainResult(), 0
        optimizer = self._optimizer()
        run = None if folder is None else Path(folder)
        if run is not None:
            first = self._resume(run, optimizer, result)
        end = config.epochs if stop_after is None else min(stop_after, config.epochs)
        with torch.random.fork_rng(devices=[]):
            for epoch in _bar(range(first, end), progress):
                start = time.perf_counter()
                torch.manual_seed(config.seed * 100_003 + epoch)
                row = self._epoch(epoch, train, optimizer)
                if validation is not None and len(validation):
                    row["val_clean"] = accuracy(self.model, validation)
                row["seconds"] = time.perf_counter() - start
                result.history.append(row)
                result.seconds += row["seconds"]
                if run is not None:
                    self._save(run, epoch, optimizer, result)
        return result

    def _optimizer(self) -> torch.optim.Optimizer:
        wanted = [p for p in self.model.parameters() if p.requires_grad]
        if not wanted:
            raise ValueError(f"{type(self.model).__name__} has no trainable parameter")
        c = self.config
        if c.optimizer == "adam":
            return torch.optim.Adam(wanted, c.lr, weight_decay=c.weight_decay)
        return torch.optim.SGD(wanted, c.lr, momentum=c.momentum, weight_decay=c.weight_decay)

    def _epoch(self, epoch: int, train: ImageSet, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        c = self.config
        self.model.train()
        order = torch.randperm(len(train))
        parts = [order[rows] for rows in batches(len(train), c.batch_size)]
        # a last batch of one sample has no variance
        parts = [rows for rows in parts if len(rows) > 1 or len(parts) == 1]
        sums: dict[str, float] = {}
        for step, rows in enumerate(parts):
            at = (epoch + step / len(parts)) / c.epochs
            for group in optimizer.param_groups:
                group["lr"] = c.lr * 0.5 * (1 + math.cos(math.pi * at))
            self.regularizer.at(at)
            x = _augment(train.x(rows), c.flip, c.crop)
            got = self.step(x, train.labels[rows], optimizer, seed=c.seed * 1_000_003 + epoch * len(parts) + step)
            for name, value in got.items():
                sums[name] = sums.get(name, 0.0) + value / len(parts)
        return {"epoch": float(epoch + 1), "lr": optimizer.param_groups[0]["lr"], **sums}

    def adversarial(self, x: Tensor, y: Tensor, seed: int) -> Tensor:
        """The images that adversarial training sees."""
        c = self.config
        kind = _Divergence if c.method == "trades" else PGD
        alpha = c.eps / c.attack_steps if c.alpha is None else c.alpha
        attack = kind(self.model, c.eps, steps=c.attack_steps, alpha=alpha, keep="last", seed=seed)
        return attack(x, y)

    def step(self, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer, *, seed: int = 0) -> dict[str, float]:
        """One step of training on one batch; returns its losses."""
        c, reg = self.config, self.regularizer
        x_adv = x if c.method == "clean" else self.adversarial(x, y, seed)
        inputs = x if c.method == "trades" else x_adv
        with ExitStack() as stack:
            if reg.second_order:
                stack.enter_context(use_backend("reference"))
                inputs = inputs.detach().requires_grad_()
            if self.monitor is not None:
                self.monitor.clear()
                stack.enter_context(self.monitor)
            logits = self.model(inputs)
        check_logits(logits, len(x))
        task = nn.functional.cross_entropy(logits, y)
        if c.method == "trades":
            other = self.model(x_adv).log_softmax(1)
            task = task + c.beta * nn.functional.kl_div(other, logits.softmax(1), reduction="batchmean")
        with use_backend("reference") if reg.second_order else nullcontext():
            penalty = reg(self.monitor, model=self.model, x=inputs, y=y, logits=logits, x_perturbed=_other(x, x_adv))
        loss = task + penalty if penalty.requires_grad else task
        if not bool(torch.isfinite(loss)):
            raise ValueError(f"the loss became {float(loss.detach())}; use a smaller lr or weight")
        optimizer.zero_grad()
        loss.backward()
        if c.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), c.clip)
        optimizer.step()
        reg.post_step(self.model)
        right = float((logits.detach().argmax(1) == y).double().mean())
        return {"loss": float(loss.detach()), "task": float(task.detach()), "train_accuracy": right, **reg.last}

    def _resume(self, run: Path, optimizer: torch.optim.Optimizer, result: TrainResult) -> int:
        described = {"schema": SCHEMA, "train": asdict(self.config), "model": getattr(self.model, "config", None)}
        run.mkdir(parents=True, exist_ok=True)
        path = run / "config.json"
        if path.is_file():
            before = json.loads(path.read_text())
            if before != json.loads(json.dumps(described)):
                raise ValueError(f"{run} holds a run of another configuration; give another folder, or delete it")
        else:
            _write(path, json.dumps(described, indent=2) + "\n")
        last = run / "checkpoints" / "last.pt"
        if not last.is_file():
            return 0
        stored = torch.load(last, weights_only=True)
        self.model.load_state_dict(stored["model"])
        optimizer.load_state_dict(stored["optimizer"])
        result.history[:] = stored["history"]
        result.seconds = stored["seconds"]
        return int(stored["epoch"]) + 1

    def _save(self, run: Path, epoch: int, optimizer: torch.optim.Optimizer, result: TrainResult) -> None:
        folder = run / "checkpoints"
        folder.mkdir(exist_ok=True)
        state = {
            "schema": SCHEMA, "epoch": epoch, "model": self.model.state_dict(), "optimizer": optimizer.state_dict(),
            "history": result.history, "seconds": result.seconds, "config": getattr(self.model, "config", None),
        }  # fmt: skip
        torch.save(state, folder / "last.tmp")
        os.replace(folder / "last.tmp", folder / "last.pt")
        names = list(dict.fromkeys(name for row in result.history for name in row))
        with (run / "metrics.tmp").open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(result.history)
        os.replace(run / "metrics.tmp", run / "metrics.csv")


def _other(x: Tensor, x_adv: Tensor) -> Tensor | None:
    return None if x is x_adv else x_adv


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _bar(epochs: range, progress: bool) -> Iterator[int]:
    if not progress:
        yield from epochs
        return
    from tqdm import tqdm

    yield from tqdm(epochs, desc="epochs", unit="epoch", disable=None)


def _augment(x: Tensor, flip: bool, crop: int) -> Tensor:
    """Random shifts by up to ``crop`` pixels (edges are zero), then mirror images."""
    if crop:
        padded = nn.functional.pad(x, (crop,) * 4)
        # drawn on the CPU, so that every device sees the same shifts
        shifts = torch.randint(0, 2 * crop + 1, (2, len(x), 1, 1)).to(x.device)
        rows = torch.arange(len(x), device=x.device).reshape(-1, 1, 1)
        height, width = (torch.arange(size, device=x.device) for size in x.shape[2:])
        x = padded[rows, :, shifts[0] + height[:, None], shifts[1] + width].permute(0, 3, 1, 2).contiguous()
    if flip:
        x = torch.where((torch.rand(len(x)) < 0.5).to(x.device).reshape(-1, 1, 1, 1), x.flip(3), x)
    return x


def select_on_validation(
    make_model: Callable[[], nn.Module],
    configs: Sequence[TrainConfig],
    train: ImageSet,
    validation: ImageSet,
    *,
    eps: float,
    score: Callable[[nn.Module, ImageSet, float], float] | None = None,
    least_clean: float = 0.0,
) -> tuple[TrainConfig, list[dict[str, Any]]]:
    """Train each configuration and choose by validation images; the test set has no part in it.

    Args: make_model: a fresh model. configs: candidates. train, validation: images to train and to choose on. eps:
    size of the attack. score: (model, images, eps) to a
    number, larger is better; None: accuracy under PGD-10, the lower of native and adaptive gradient. least_clean: a
    candidate must keep this clean accuracy.
    Returns: the best configuration, and a row per candidate with ``clean`` and ``score``.
    """
    if not configs:
        raise ValueError("no configuration to choose from")
    rows: list[dict[str, Any]] = []
    for config in configs:
        model = make_model()
        RobustTrainer(model, config).fit(train)
        clean = accuracy(model, validation)
        rows.append({"config": config, "clean": clean, "score": (score or worst_of_two)(model, validation, eps)})
    allowed = [row for row in rows if row["clean"] >= least_clean] or rows
    best: TrainConfig = max(allowed, key=lambda row: float(row["score"]))["config"]
    return best, rows


def worst_of_two(model: nn.Module, data: ImageSet, eps: float) -> float:
    """Accuracy under PGD-10, per sample the worse of native and adaptive gradient."""
    x, y = data.x(), data.labels
    right = torch.ones(len(y), dtype=torch.bool)
    for grad in ("native", "assg"):
        adv = PGD(model, eps, steps=10, grad=grad)(x, y)
        with prepared(model, 0), torch.no_grad():
            right &= model(adv).argmax(1) == y
    return float(right.double().mean())
