"""The outcome of an evaluation: accuracies with intervals, the worst case per sample, the verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spk_regularize.robustness.interval import wilson
from spk_regularize.robustness.masking import MaskingVerdict

__all__ = ["RobustnessReport"]

SCHEMA = 1


@dataclass
class RobustnessReport:
    """Which images stay right under which attack.

    settings: everything that a repetition needs. names: the attacks. eps: sizes, increasing. clean: right without an
    attack, bool [n]. right: {(attack, eps): bool [n]}, an image counts where it is right clean and attacked. masking:
    the verdict, or None. layers: rows of :func:`summarise_layers`. seconds: spent here; not part of the JSON, so that
    two runs of one configuration write the same file.
    """

    settings: dict[str, Any]
    names: list[str]
    eps: list[float]
    clean: Tensor
    right: dict[tuple[str, float], Tensor]
    masking: MaskingVerdict | None = None
    layers: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def n(self) -> int:
        """Images attacked."""
        return len(self.clean)

    def accuracy(self, name: str, eps: float) -> float:
        """Accuracy under one attack, in [0, 1]."""
        if (name, eps) not in self.right:
            raise KeyError(f"no attack {name!r} at eps={eps}; there are {self.names} at {self.eps}")
        return float(self.right[name, eps].double().mean())

    @property
    def clean_accuracy(self) -> float:
        """Accuracy without an attack."""
        return float(self.clean.double().mean())

    def worst(self, eps: float) -> Tensor:
        """Right under every attack up to ``eps``, bool [n]: what a smaller perturbation broke stays broken."""
        out = self.clean.clone()
        for (_, size), right in self.right.items():
            if size <= eps:
                out &= right
        return out

    @property
    def worst_case(self) -> dict[float, float]:
        """Accuracy in the worst case per sample, by eps; never rises with eps, never exceeds any attack's."""
        return {size: float(self.worst(size).double().mean()) for size in self.eps}

    def interval(self, right: Tensor) -> tuple[float, float]:
        """Wilson 95 % interval."""
        return wilson(int(right.sum()), len(right))

    def rows(self) -> list[dict[str, Any]]:
        """One per attack and eps, then the worst case: name, eps, accuracy, low, high."""
        found = [("clean", 0.0, self.clean)]
        found += [(name, size, self.right[name, size]) for size in self.eps for name in self.names]
        found += [("WORST CASE", size, self.worst(size)) for size in self.eps]
        rows = []
        for name, size, right in found:
            low, high = self.interval(right)
            rows.append(
                {"attack": name, "eps": size, "accuracy": float(right.double().mean()), "low": low, "high": high}
            )
        return rows

    def table(self) -> str:
        """Markdown: attacks by eps, in per cent with the interval; the worst case last; then the verdict."""
        head = ["attack", *(f"eps {size:.4g}" for size in self.eps)]
        lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * len(self.eps)]

        def cell(right: Tensor) -> str:
            low, high = self.interval(right)
            return f"{100 * float(right.double().mean()):.1f} [{100 * low:.1f}, {100 * high:.1f}]"

        lines.append("| " + " | ".join(["clean", *[cell(self.clean)] * len(self.eps)]) + " |")
        for name in self.names:
            lines.append("| " + " | ".join([name, *(cell(self.right[name, size]) for size in self.eps)]) + " |")
        worst = [f"**{cell(self.worst(size))}**" for size in self.eps]
        lines.append("| " + " | ".join(["**worst case per sample**", *worst]) + " |")
        told = f"{self.n} images, Wilson 95 % intervals, battery {self.settings.get('battery')}"
        verdict = "" if self.masking is None else f"\n\n{self.masking}"
        return "\n".join(lines) + f"\n\n{told}{verdict}\n"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the seconds."""
        return {
            "schema": SCHEMA,
            "settings": self.settings,
            "rows": self.rows(),
            "clean": _text(self.clean),
            "right": [{"attack": a, "eps": e, "right": _text(r)} for (a, e), r in self.right.items()],
            "masking": None if self.masking is None else self.masking.to_dict(),
            "layers": self.layers,
        }

    def to_json(self, path: str | Path) -> Path:
        """Write ``to_dict`` in one step."""
        path = Path(path)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n")
        temporary.replace(path)
        return path

    @classmethod
    def from_json(cls, path: str | Path) -> RobustnessReport:
        """Read a report back.

        Raises: ValueError: not a report of this schema.
        """
        try:
            data = json.loads(Path(path).read_text())
            if data["schema"] != SCHEMA:
                raise ValueError(f"schema {data['schema']}, this version reads {SCHEMA}")
            right = {(row["attack"], row["eps"]): _bits(row["right"]) for row in data["right"]}
            names = list(dict.fromkeys(name for name, _ in right))
            sizes = sorted({size for _, size in right})
            verdict = None if data["masking"] is None else MaskingVerdict.from_dict(data["masking"])
            return cls(data["settings"], names, sizes, _bits(data["clean"]), right, verdict, data["layers"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{Path(path).name} is no robustness report ({error})") from None

    def plot(self, ax: Any = None) -> Any:
        """Accuracy over eps per attack; see :func:`spk_regularize.plot.curves`."""
        from spk_regularize.plot import curves

        return curves(self, ax=ax)


def _text(right: Tensor) -> str:
    return "".join("1" if v else "0" for v in right.tolist())


def _bits(text: str) -> Tensor:
    return torch.tensor([c == "1" for c in text], dtype=torch.bool)
