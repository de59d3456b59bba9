"""Training with BPR: early stopping, checkpoints that resume, one folder per run."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from baco._files import atomic_write
from baco.graph import BipartiteGraph, as_graph

from . import _checkpoint
from ._step import Recorded
from .evaluate import evaluate
from .recommenders import Recommender, bpr_loss

#: Batches brought to the device together.
_BATCHES_AT_ONCE = 1024
#: Settings with which a run may go on: they change how long it trains, or nothing that it computes.
_MAY_CHANGE = ("epochs", "minutes", "chunk", "patience", "cuda_graph")


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults are the BACO paper's recipe (appendix B.2); on a CPU see the guide's shorter one.

    Args:
        epochs: most epochs.
        batch_size: interactions per step, each with one item drawn uniformly as its negative.
        lr, weight_decay: of Adam.
        eval_every: epochs between validations.
        patience: epochs without a better validation before training stops.
        metric: validation metric, as `evaluate` names them.
        ks: cut-offs of the metrics that are recorded.
        seed: of the order of the interactions and of the negatives. Epoch e draws from a generator of its own, so a
            resumed run draws what the uninterrupted one would.
        chunk: users ranked at a time.
        minutes: stop after this long, at the end of an epoch, ready to be resumed; None: no limit.
        cuda_graph: on a GPU, record a step once and replay it, several times faster for small models. Turn it off for
            a model whose work depends on the values in a batch.
    """

    epochs: int = 1000
    batch_size: int = 1024
    lr: float = 1e-3
    weight_decay: float = 1e-8
    eval_every: int = 10
    patience: int = 50
    metric: str = "recall@20"
    ks: tuple[int, ...] = (10, 20, 50)
    seed: int = 0
    chunk: int = 1024
    minutes: float | None = None
    cuda_graph: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "eval_every", "patience", "chunk"):
            value = getattr(self, name)
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
        for name in ("lr", "weight_decay"):
            value = getattr(self, name)
            if not 0 <= value < math.inf or (name == "lr" and value == 0):
                raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
        known = [f"{kind}@{k}" for k in self.ks for kind in ("recall", "recall_all", "ndcg")]
        if self.metric not in known:
            raise ValueError(f"metric must be one of {', '.join(known)}, got {self.metric!r}")


@dataclass
class TrainResult:
    """What a run came to: its best epoch, the validation there, and one record per epoch.

    ``finished`` is False where ``minutes`` ran out; calling `Trainer.fit` again goes on.
    """

    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    finished: bool = False


class Trainer:
    """Trains a recommender and leaves it with the weights of its best validation.

    Args:
        model: `Recommender`; move it to an accelerator beforehand.
        train, valid: interactions as `baco.BACO.fit` takes them, of equal shape. Without ``valid`` there is no early
            stopping, and the last epoch counts as the best.
        config: `TrainConfig`.
        folder: run folder: ``config.json``, ``metrics.csv``, ``checkpoints/last.npz`` and ``best.npz``,
            ``results.json``. A run that was interrupted there goes on from its last whole epoch. None: nothing is
            written.
        verbose: 1 shows a progress bar where stderr is a terminal.
        callback: called with each epoch's record.

    Under an initialised ``torch.distributed`` each rank takes its part of every batch and gradients are averaged:
    the result is that of one process, up to the order of sums. Rank 0 writes.

    Raises:
        ValueError: sizes that differ, or a folder that holds a run of another model or configuration.
    """

    def __init__(
        self,
        model: Recommender,
        train: Any,
        valid: Any = None,
        config: TrainConfig | None = None,
        *,
        folder: str | Path | None = None,
        verbose: int = 0,
        callback: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        self.model, self.config = model, config or TrainConfig()
        self.train = as_graph(train)
        self.valid = None if valid is None else as_graph(valid)
        for name, graph in (("train", self.train), ("valid", self.valid)):
            if graph is not None and (graph.n_users, graph.n_items) != (model.n_users, model.n_items):
                raise ValueError(
                    f"{name} has {graph.n_users} users and {graph.n_items} items, the model {model.n_users} and "
                    f"{model.n_items}; build all from the same row numbers"
                )
        self.folder = None if folder is None else Path(folder)
        self.verbose, self.callback = verbose, callback
        self.optimizers = _optimizers(model, self.config)
        self._batch: Callable[[Sequence[Tensor]], Tensor] = self._step
        if self.config.cuda_graph and _replayable(model, self.optimizers):
            self._batch = Recorded(self._step, self._forget)
        self.result = TrainResult()
        self._waited = 0  # epochs since the best validation

    def fit(self) -> TrainResult:
        """Train to the end, or on from the folder's last checkpoint. Ctrl-C loses the running epoch at most."""
        from tqdm import tqdm

        self._open_folder()
        config, result = self.config, self.result
        started = time.perf_counter()
        before = result.seconds
        first = len(result.history)
        pairs = _pairs(self.train)
        with tqdm(
            total=config.epochs, initial=first, desc="training", unit="epoch", disable=None if self.verbose else True
        ) as bar:
            for epoch in range(first + 1, config.epochs + 1):
                if result.finished or self._over(started):
                    break
                record = {"epoch": float(epoch), "loss": self._epoch(epoch, pairs)}
                if self.valid is not None and (epoch % config.eval_every == 0 or epoch == config.epochs):
                    self._validate(epoch, record)
                elif self.valid is not None:
                    self._waited += 1
                elif epoch == config.epochs:
                    self._keep_best(epoch, {})
                result.history.append(record)
                result.seconds = before + time.perf_counter() - started
                result.finished = epoch == config.epochs or self._waited >= config.patience
                self._write(epoch)
                bar.update()
                bar.set_postfix(loss=f"{record['loss']:.4f}", best=result.best_epoch, refresh=False)
                if self.callback is not None:
                    self.callback(record)
        if result.finished:
            self.restore_best()
        return result

    def _epoch(self, epoch: int, pairs: tuple[Tensor, Tensor]) -> float:
        """One pass over the interactions in random order; returns the mean loss."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        users, items = pairs
        order = torch.randperm(users.numel(), generator=generator)
        negatives = torch.randint(0, self.train.n_items, order.shape, generator=generator)
        device = next(self.model.parameters()).device
        size = self.config.batch_size
        self.model.train()
        losses, sizes = [], []
        for start in range(0, order.numel(), size * _BATCHES_AT_ONCE):
            part = order[start : start + size * _BATCHES_AT_ONCE]
            several = users[part], items[part], negatives[start : start + part.numel()]
            for batch in zip(*(torch.split(one.to(device), size) for one in several), strict=True):
                # waiting for each loss would leave an accelerator idle
                losses.append(self._batch(batch))
                sizes.append(batch[0].numel())
        total = sum(loss * size for loss, size in zip(torch.stack(losses).tolist(), sizes, strict=True))
        mean = float(total / order.numel())
        if not math.isfinite(mean):
            raise ValueError(
                f"the loss became {mean} in epoch {epoch}; lower lr={self.config.lr}, or the spread of the first rows"
            )
        return mean

    def _step(self, batch: Sequence[Tensor]) -> Tensor:
        """Move the parameters by one batch (users, positives, negatives); returns its loss."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        mine = [one[rank::world] for one in batch]
        self._forget()
        # a rank's share of the batch counts by its size, so that the sum over ranks is the batch's mean
        share = mine[0].numel() * world / batch[0].numel()
        positive, negative = self.model(*mine)
        # nothing may be left for the last ranks in a small batch: a zero that has gradients
        loss = bpr_loss(positive, negative) * share if share else positive.sum() + negative.sum()
        loss.backward()
        if world > 1:
            _average_gradients(self.model, world)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.detach()

    def _forget(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def _validate(self, epoch: int, record: dict[str, float]) -> None:
        config, result = self.config, self.result
        self.model.eval()
        found = evaluate(self.model, self.valid, seen=self.train, ks=config.ks, chunk=config.chunk)
        record.update(found)
        self._waited += 1
        if found[config.metric] > result.best.get(config.metric, -1.0):
            self._waited = 0
            self._keep_best(epoch, found)

    def _keep_best(self, epoch: int, found: dict[str, float]) -> None:
        self.result.best_epoch, self.result.best = epoch, found
        self._best = {name: one.detach().clone() for name, one in self.model.state_dict().items()}
        if self._writes:
            _checkpoint.save(self._checkpoints / "best.npz", self._best, {"epoch": epoch, "metrics": found})

    def restore_best(self) -> None:
        """Give the model the weights of its best validation so far, if there was one. A run that ended has done so."""
        if not hasattr(self, "_best") and self.folder is not None and (self._checkpoints / "best.npz").exists():
            self._best = _checkpoint.load(self._checkpoints / "best.npz")[0]
        if hasattr(self, "_best"):
            self.model.load_state_dict(self._best)

    def _over(self, started: float) -> bool:
        return self.config.minutes is not None and time.perf_counter() - started >= 60 * self.config.minutes

    # --- the run folder

    @property
    def _writes(self) -> bool:
        return self.folder is not None and not (dist.is_initialized() and dist.get_rank() > 0)

    @property
    def _checkpoints(self) -> Path:
        return Path(self.folder or ".") / "checkpoints"

    def _describe(self) -> dict[str, Any]:
        """What must be equal for a run to go on. How long to train may change, and where ranking is cut in chunks."""
        settings = {k: v for k, v in asdict(self.config).items() if k not in _MAY_CHANGE}
        shapes = {name: list(one.shape) for name, one in self.model.state_dict().items()}
        return json.loads(  # type: ignore[no-any-return]
            json.dumps({**settings, "model": type(self.model).__name__, "state": shapes, "edges": self.train.n_edges})
        )

    def _open_folder(self) -> None:
        """Make the folder, or take the run in it up again."""
        if self.folder is None or self.result.history:
            return
        last = self._checkpoints / "last.npz"
        if last.exists():
            tensors, values = _checkpoint.load(last)
            own = self._describe()
            other = [f"{name}={values['run'].get(name)!r}" for name in own if values["run"].get(name) != own[name]]
            if other:
                raise ValueError(
                    f"{self.folder} holds a run of another kind ({', '.join(other)[:300]}); name another folder, or "
                    "delete this one"
                )
            self.model.load_state_dict(_part(tensors, "model."))
            for number, optimizer in enumerate(self.optimizers):
                _restore(optimizer, _part(tensors, f"optimizer{number}."))
            self.result = TrainResult(**values["result"])
            self._waited = values["waited"]
            # a longer or more patient run may go on where a shorter one had ended
            done = len(self.result.history) >= self.config.epochs or self._waited >= self.config.patience
            self.result.finished = done
            return
        if self._writes:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / "config.json") as file:
                file.write(json.dumps({**asdict(self.config), "model": repr(self.model)}, indent=2) + "\n")

    def _write(self, epoch: int) -> None:
        """The state after an epoch; each file appears whole, the checkpoint last."""
        if not self._writes or self.folder is None:
            return
        tensors = {f"model.{name}": one for name, one in self.model.state_dict().items()}
        for number, optimizer in enumerate(self.optimizers):
            for place, state in optimizer.state_dict()["state"].items():
                for name, value in state.items():
                    tensors[f"optimizer{number}.{place}.{name}"] = torch.as_tensor(value)
        columns = sorted({name for record in self.result.history for name in record}, key=_column_order)
        lines = io.StringIO()
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.result.history)
        with atomic_write(self.folder / "metrics.csv") as file:
            file.write(lines.getvalue())
        summary = {name: value for name, value in asdict(self.result).items() if name != "history"}
        with atomic_write(self.folder / "results.json") as file:
            file.write(json.dumps({**summary, "epochs": epoch}, indent=2) + "\n")
        values = {"run": self._describe(), "result": asdict(self.result), "waited": self._waited}
        _checkpoint.save(self._checkpoints / "last.npz", tensors, values)


def _pairs(graph: BipartiteGraph) -> tuple[Tensor, Tensor]:
    users = np.repeat(np.arange(graph.n_users, dtype=np.int64), np.diff(graph.user_ptr))
    return torch.from_numpy(users), torch.from_numpy(graph.user_items.astype(np.int64))


def _optimizers(model: Recommender, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Adam, and for tables with sparse gradients SparseAdam, which knows no weight decay."""
    tables = [table for table in (model.users, model.items) if getattr(table, "sparse", False)]
    sparse = [parameter for table in tables for parameter in table.parameters() if parameter.requires_grad]
    ids = {id(one) for one in sparse}
    dense = [one for one in model.parameters() if one.requires_grad and id(one) not in ids]
    made: list[torch.optim.Optimizer] = []
    if dense:
        # a recorded step needs the step counts on the device
        on_gpu = dense[0].is_cuda
        made.append(torch.optim.Adam(dense, lr=config.lr, weight_decay=config.weight_decay, capturable=on_gpu))
    if sparse:
        made.append(torch.optim.SparseAdam(sparse, lr=config.lr))
    if not made:
        raise ValueError("the model has no parameter to train; from_pretrained(freeze=True) froze them?")
    return made


def _replayable(model: Recommender, optimizers: list[torch.optim.Optimizer]) -> bool:
    """Whether a CUDA graph can hold a step: one process, everything on one GPU, no sparse gradient."""
    alone = not dist.is_initialized() or dist.get_world_size() == 1
    dense = [type(one) for one in optimizers] == [torch.optim.Adam]
    return alone and dense and all(one.is_cuda for one in model.parameters())


def _average_gradients(model: Recommender, world: int) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


def _restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Moments and step counts, as Adam keeps them; SparseAdam counts its steps in plain numbers."""
    own = optimizer.state_dict()
    state: dict[int, dict[str, Any]] = {}
    for name, one in tensors.items():
        place, key = name.split(".", 1)
        plain = key == "step" and isinstance(optimizer, torch.optim.SparseAdam)
        state.setdefault(int(place), {})[key] = int(one) if plain else one
    optimizer.load_state_dict({"state": state, "param_groups": own["param_groups"]})


def _column_order(name: str) -> tuple[int, str]:
    return ({"epoch": 0, "loss": 1}.get(name, 2), name)
