"""A run's folder: config.json, metrics.csv, tb/, checkpoints/last.npz. Valid at every moment, resumed exactly there."""

from __future__ import annotations

import csv
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grsn_rl.agent import Agent

__all__ = ["LAST", "Run", "interruptible", "read_metrics", "write_whole"]

#: a run's checkpoint, in its folder
LAST = Path("checkpoints") / "last.npz"


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a question, ``stopped()``; the second one interrupts as usual.

    Signals reach the main thread alone; elsewhere nothing changes.
    """
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


class Run:
    """The folder of one training run.

    Args:
        folder: made if it is not there. agent: whose run it is; rows of metrics.csv that lie after its present step are
            dropped, because training goes over them again. tensorboard: write tb/ where tensorboard is installed.
    Raises:
        ValueError: the folder holds a run of another configuration.
    """

    def __init__(self, folder: str | Path, agent: Agent, *, tensorboard: bool = True) -> None:
        self.folder = Path(folder)
        self._agent_config = {**agent.config, "settings": agent.settings()}
        path = self.folder / "config.json"
        text = json.dumps(self._agent_config, indent=1, sort_keys=True) + "\n"
        if path.is_file() and json.loads(path.read_text()) != json.loads(text):
            raise ValueError(
                f"{self.folder} holds a run of another configuration; choose another folder, or resume that one"
            )
        if agent.steps == 0 and (self.folder / LAST).is_file():
            raise ValueError(
                f"{self.folder} holds a run already; `grsn-rl resume {self.folder}` goes on, or choose another"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
        self._csv: Any = None
        self._writer: Any = None
        self._fields: list[str] = []
        self._begin = agent.steps
        self._tensorboard = tensorboard

    def __enter__(self) -> Run:
        path = self.folder / "metrics.csv"
        rows = [row for row in _rows(path) if float(row["steps"]) <= self._begin] if path.is_file() else []
        self._fields = list(rows[0]) if rows else []
        if rows:
            write_whole(path, "\n".join([",".join(self._fields), *(",".join(row.values()) for row in rows)]) + "\n")
        elif path.is_file():
            path.unlink()
        self._csv = path.open("a", newline="")
        if self._tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self.folder / "tb"), purge_step=self._begin or None)
            except ImportError:
                self._writer = None
        return self

    def __exit__(self, *error: object) -> None:
        self._csv.close()
        if self._writer is not None:
            self._writer.close()

    def log(self, numbers: dict[str, Any], speed: float) -> None:
        """One row: equal runs write equal rows, so the speed goes to TensorBoard alone."""
        if not self._fields:
            self._fields = list(numbers)
            self._csv.write(",".join(self._fields) + "\n")
        self._csv.write(",".join(_cell(numbers.get(f, "")) for f in self._fields) + "\n")
        self._csv.flush()
        if self._writer is not None:
            for name, value in {**numbers, "speed": speed}.items():
                if name != "steps" and value == value:
                    self._writer.add_scalar(name, value, numbers["steps"])

    def save(self, agent: Agent) -> None:
        """Replace the checkpoint."""
        agent.save(self.folder / LAST)


def _cell(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step: an interruption leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values() and None not in row]


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """Rows of a run's metrics.csv as numbers (nan where empty); a last line cut short is left out."""
    return [{k: float(v) if v else float("nan") for k, v in row.items()} for row in _rows(Path(folder) / "metrics.csv")]
