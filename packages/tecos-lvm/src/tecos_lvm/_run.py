"""The folder of a run: config.json, metrics.csv, checkpoints/last.pt and checkpoints/best/, results.json.

Every file is whole at every moment; nothing in them is a pickle that reading would execute.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tecos_lvm.datasets.files import write_bytes

if TYPE_CHECKING:
    from tecos_lvm.model import TeCoSLVM

__all__ = ["RunFolder"]

SCHEMA = 1


class RunFolder:
    """Files of one run.

    Args:
        path: the folder. settings: what a run must share with the one found there to go on with it; plain values.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        self.path = Path(path)
        self.last = self.path / "checkpoints" / "last.pt"
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))

    def read(self) -> dict[str, Any] | None:
        """The state that :meth:`write` left, or None.

        Raises:
            ValueError: not readable, or of another run.
        """
        if not self.last.is_file():
            return None
        try:
            state = torch.load(self.last, weights_only=True)
            settings = json.loads(state["settings"])
        except Exception as problem:
            raise ValueError(
                f"{self.last} is not a readable checkpoint ({type(problem).__name__}); remove it to start anew"
            ) from None
        if state.get("schema") != SCHEMA:
            raise ValueError(f"{self.last} is not a checkpoint of this version; remove it to start anew")
        different = [part for part, values in self.settings.items() if settings.get(part) != values]
        if different:
            raise ValueError(
                f"{self.last} is of another run ({', '.join(different)} differ); give a new run_dir, or remove it"
            )
        return dict(state)

    def start(self) -> None:
        """Write the configuration."""
        from tecos_lvm import __version__

        self.last.parent.mkdir(parents=True, exist_ok=True)
        self._json("config.json", {"schema": SCHEMA, "kind": "tecos_lvm.fit", "version": __version__, **self.settings})

    def keep(self, model: TeCoSLVM) -> None:
        """The best weights so far, as ``from_pretrained`` reads them; your own features are in last.pt alone."""
        if model.config.encoder != "custom":
            model.save_pretrained(self.last.parent / "best")

    def write(self, state: dict[str, Any], history: list[dict[str, float]]) -> None:
        """Metrics, then the state to go on from."""
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, ["step", "seconds", "train_loss", "score"])
        writer.writeheader()
        writer.writerows(history)
        write_bytes(self.path / "metrics.csv", lambda file: file.write(table.getvalue().encode()))
        whole = {"schema": SCHEMA, "settings": json.dumps(self.settings), **state}
        write_bytes(self.last, lambda file: torch.save(whole, file))

    def finish(self, facts: dict[str, Any]) -> None:
        """Write what came out."""
        self._json("results.json", {"schema": SCHEMA, **facts})

    def _json(self, name: str, facts: dict[str, Any]) -> None:
        text = json.dumps(facts, indent=1) + "\n"
        write_bytes(self.path / name, lambda file: file.write(text.encode()))
