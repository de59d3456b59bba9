"""Which attacks a battery holds. An attack is described by text and numbers, so that a report can repeat it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from spk_regularize.attacks import APGD, BIM, FGSM, MIFGSM, PGD, RFGSM, SAPGD, Attack, Noise, Square, Transfer

__all__ = ["BATTERIES", "AttackSpec", "make_battery"]

KINDS: dict[str, Callable[..., Attack]] = {
    "fgsm": FGSM, "rfgsm": RFGSM, "pgd": PGD, "bim": BIM, "mifgsm": MIFGSM, "apgd": APGD, "sapgd": SAPGD,
    "square": Square, "noise": Noise, "transfer": Transfer,
}  # fmt: skip
GRADIENT = ("fgsm", "rfgsm", "pgd", "bim", "mifgsm", "apgd", "sapgd")


@dataclass(frozen=True)
class AttackSpec:
    """One attack of a battery.

    name: what the report calls it. kind: out of KINDS. options: its arguments. target: None, or k: towards the k-th
    other class (class (y + k) mod K).
    """

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    target: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"attack {self.kind!r} is not known; choose one of {', '.join(KINDS)}")

    def make(
        self, model: nn.Module, eps: float, *, sources: Sequence[nn.Module], eot: int, seed: int, batch_size: int
    ) -> Attack:
        """The attack itself."""
        options: dict[str, Any] = {"seed": seed, "batch_size": batch_size, **self.options}
        if self.kind in GRADIENT:
            options["eot"] = eot
        if self.kind == "transfer":
            options["sources"] = list(sources)
        return KINDS[self.kind](model, eps, **options)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "kind": self.kind, "options": dict(self.options), "target": self.target}


def _pgd(steps: int, grad: str, **options: Any) -> AttackSpec:
    return AttackSpec(f"PGD-{steps} {grad}", "pgd", {"steps": steps, "grad": grad, **options})


QUICK = (AttackSpec("FGSM", "fgsm"), _pgd(20, "native"), _pgd(20, "assg"))


def _standard(steps: int, long: int, queries: int, **options: Any) -> tuple[AttackSpec, ...]:
    grads = ("native", "wide2", "wide4", "atan", "sigmoid", "assg", "assg85", "assg90")
    auto = {"steps": steps, "grad": "assg", **options}
    return (
        AttackSpec("noise uniform", "noise"),
        AttackSpec("noise gaussian", "noise", {"kind": "gaussian"}),
        AttackSpec("FGSM", "fgsm"),
        *(_pgd(steps, grad, **options) for grad in grads),
        AttackSpec("APGD-CE assg", "apgd", {**auto, "loss": "ce"}),
        AttackSpec("APGD-DLR assg", "apgd", {**auto, "loss": "dlr"}),
        AttackSpec("SA-PGD assg", "sapgd", {"steps": long, "grad": "assg", **options}),
        AttackSpec("transfer", "transfer"),
        AttackSpec("Square", "square", {"queries": queries}),
    )


FULL = (
    *_standard(1000, 1000, 5000, restarts=5),
    *(
        AttackSpec(f"APGD-T{k} assg", "apgd", {"steps": 100, "grad": "assg", "loss": "dlr"}, target=k)
        for k in range(1, 10)
    ),
)
BATTERIES: dict[str, tuple[AttackSpec, ...]] = {"quick": QUICK, "standard": _standard(50, 100, 500), "full": FULL}


def make_battery(battery: str | Sequence[AttackSpec], *, sources: bool, classes: int) -> list[AttackSpec]:
    """The attacks of a battery that can run: transfer needs a source, targets need that many classes.

    Raises: ValueError: an unknown battery, no attack, or two of one name.
    """
    if isinstance(battery, str):
        if battery not in BATTERIES:
            raise ValueError(f"battery={battery!r} is not known; choose one of {', '.join(BATTERIES)}, or a list")
        specs: Sequence[AttackSpec] = BATTERIES[battery]
    else:
        specs = battery
    chosen = [s for s in specs if (sources or s.kind != "transfer") and (s.target is None or s.target < classes)]
    names = [s.name for s in chosen]
    if not names:
        raise ValueError("the battery holds no attack that can run")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the battery holds {twice} twice; give each attack a name of its own")
    return chosen
