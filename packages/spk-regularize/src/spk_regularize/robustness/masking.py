"""Is it robustness, or does the gradient merely hide? Eleven checks, each with its number.

Items 1-6 and 9, 10 follow the checklists of Athalye et al. 2018 and Carlini et al. 2019; 7, 8 and 11 are our own. A
comparison of two attacks counts where it exceeds 3 points even at the lower end of its paired 95 % interval: small
samples alone raise no suspicion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spk_regularize.attacks import FGSM, PGD, Noise, Square, Transfer
from spk_regularize.attacks.base import Attack, batches, prepared
from spk_regularize.classifier import is_stochastic
from spk_regularize.robustness.interval import paired_lower, share
from spk_regularize.robustness.layers import summarise_layers

__all__ = ["MaskingItem", "MaskingVerdict", "masking_verdict"]

MARGIN = 0.03
UNBOUNDED = 0.05
ZERO_GRADIENTS = 0.01
LEAST_INSIDE = 0.05


@dataclass(frozen=True)
class MaskingItem:
    """One check: its number, what it asks, whether it was triggered, and the numbers in words."""

    number: int
    question: str
    triggered: bool
    reason: str


@dataclass(frozen=True)
class MaskingVerdict:
    """All checks (``items``) at one ``eps`` on ``n`` images; ``suspected`` if any was triggered; ``reasons``."""

    eps: float
    n: int
    items: tuple[MaskingItem, ...] = field(default_factory=tuple)

    @property
    def suspected(self) -> bool:
        """Whether any check was triggered."""
        return any(item.triggered for item in self.items)

    @property
    def reasons(self) -> list[str]:
        """What was triggered, with its numbers."""
        return [f"({item.number}) {item.reason}" for item in self.items if item.triggered]

    def __str__(self) -> str:
        if not self.suspected:
            return f"gradient masking suspected: no (11 checks, eps {self.eps:.4g}, {self.n} images)"
        return "gradient masking suspected: yes, because\n" + "\n".join(f"  {reason}" for reason in self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "eps": self.eps, "n": self.n, "suspected": self.suspected,
            "items": [asdict(item) for item in self.items],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MaskingVerdict:
        """From JSON."""
        return cls(values["eps"], values["n"], tuple(MaskingItem(**item) for item in values["items"]))


class _Probe:
    """Attacks on the same images, each run once."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, eps: float, options: dict[str, Any]) -> None:
        self.model, self.x, self.y, self.eps, self.options = model, x, y, eps, options

    def right(self, attack: Attack, x: Tensor | None = None) -> Tensor:
        """Which images are still named right."""
        adv = attack(self.x if x is None else x, self.y)
        with prepared(self.model, attack.seed), torch.no_grad():
            return (
                torch.cat([self.model(adv[rows]).argmax(1) for rows in batches(len(adv), attack.batch_size)]) == self.y
            )

    def pgd(self, steps: int, eps: float | None = None, grad: str = "native", **extra: Any) -> PGD:
        """PGD with the common options."""
        return PGD(self.model, self.eps if eps is None else eps, steps=steps, grad=grad, **self.options, **extra)


def masking_verdict(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    sources: Sequence[nn.Module] = (),
    steps: int = 20,
    long: int = 200,
    queries: int = 200,
    eot: int = 1,
    seed: int = 0,
    batch_size: int = 512,
) -> MaskingVerdict:
    """Run the eleven checks.

    Args:
        model, x, y: the classifier, images in [0, 1], labels; wrongly named images are left out. eps: the size at which
            the robustness is claimed. sources: independently trained models for check 2. steps: of the PGD that is
            compared; check 6 takes up to ``long``. queries: of Square. eot: draws per gradient. seed: of everything
            random.
            batch_size: images at once.
    Returns:
        :class:`MaskingVerdict`. No suspicion is no proof: it says that these checks found nothing.
    Raises:
        ValueError: eps <= 0, or no image is named right.
    """
    if not eps > 0:
        raise ValueError(f"eps={eps} given; the verdict speaks of an attack of some size > 0")
    with prepared(model, seed), torch.no_grad():
        good = torch.cat([model(x[rows]).argmax(1) for rows in batches(len(x), batch_size)]) == y
    x, y = x[good], y[good]
    if not len(x):
        raise ValueError("the model names no image right, so there is nothing to attack")
    probe = _Probe(model, x, y, eps, {"eot": eot, "seed": seed, "batch_size": batch_size})
    common = {"seed": seed, "batch_size": batch_size}
    pgd = probe.right(probe.pgd(steps))
    items = [
        _fgsm(probe, pgd, steps),
        _blackbox(probe, pgd, sources, queries, common),
        _unbounded(probe, steps),
        _noise(probe, pgd, common),
        _monotone(probe, pgd, steps),
        _more_steps(probe, long),
        _adaptive(probe, pgd, steps),
        _zeros(probe),
        _rising(probe, steps),
        _stochastic(model, eot),
        _inside(model, x, seed),
    ]
    return MaskingVerdict(eps, len(x), tuple(items))


def _points(a: Tensor) -> str:
    return f"{100 * share(a):.1f} %"


def _beats(stronger: Tensor, weaker: Tensor) -> bool:
    """Whether ``stronger`` leaves significantly fewer right."""
    return paired_lower(weaker, stronger)[1] > MARGIN


def _fgsm(probe: _Probe, pgd: Tensor, steps: int) -> MaskingItem:
    one = probe.right(FGSM(probe.model, probe.eps, **probe.options))
    return MaskingItem(
        1, "is PGD weaker than a single step?", _beats(one, pgd),
        f"PGD-{steps} leaves {_points(pgd)} right, FGSM {_points(one)}",
    )  # fmt: skip


def _blackbox(
    probe: _Probe, pgd: Tensor, sources: Sequence[nn.Module], queries: int, common: dict[str, Any]
) -> MaskingItem:
    tried: dict[str, Tensor] = {}
    if probe.x.dim() == 4:
        tried[f"Square ({queries} queries)"] = probe.right(Square(probe.model, probe.eps, queries=queries, **common))
    if sources:
        tried["transfer"] = probe.right(Transfer(probe.model, probe.eps, sources=sources, **common))
    told = ", ".join(f"{name} {_points(right)}" for name, right in tried.items()) or "no black box could run"
    return MaskingItem(
        2, "does a black box beat the gradient?", any(_beats(right, pgd) for right in tried.values()),
        f"PGD with the native gradient leaves {_points(pgd)} right, {told}",
    )  # fmt: skip


def _unbounded(probe: _Probe, steps: int) -> MaskingItem:
    right = probe.right(probe.pgd(max(steps, 50), eps=1.0, alpha=0.05))
    return MaskingItem(
        3, "does an unbounded attack fail?", share(right) > UNBOUNDED,
        f"at eps = 1 PGD leaves {_points(right)} right, expected about 0",
    )  # fmt: skip


def _noise(probe: _Probe, pgd: Tensor, common: dict[str, Any]) -> MaskingItem:
    right = probe.right(Noise(probe.model, probe.eps, draws=1, **common))
    return MaskingItem(
        4, "does random noise beat the gradient?", _beats(right, pgd),
        f"noise leaves {_points(right)} right, PGD {_points(pgd)}",
    )  # fmt: skip


def _monotone(probe: _Probe, pgd: Tensor, steps: int) -> MaskingItem:
    half = probe.right(probe.pgd(steps, eps=probe.eps / 2))
    twice = probe.right(probe.pgd(steps, eps=min(1.0, 2 * probe.eps)))
    return MaskingItem(
        5, "does a larger eps help the model?", _beats(half, pgd) or _beats(pgd, twice),
        f"PGD at eps / 2, eps, 2 eps leaves {_points(half)}, {_points(pgd)}, {_points(twice)} right",
    )  # fmt: skip


def _more_steps(probe: _Probe, long: int) -> MaskingItem:
    # a fixed step size, so that more steps are more attack
    alpha = probe.eps / 4
    few, more, most = (probe.right(probe.pgd(k, alpha=alpha)) for k in (10, 50, long))
    falls = _beats(more, few) and _beats(most, more)
    return MaskingItem(
        6, "does the accuracy keep falling with more steps?", falls,
        f"PGD with 10, 50, {long} steps leaves {_points(few)}, {_points(more)}, {_points(most)} right",
    )  # fmt: skip


def _adaptive(probe: _Probe, pgd: Tensor, steps: int) -> MaskingItem:
    tried = {grad: probe.right(probe.pgd(steps, grad=grad)) for grad in ("assg", "wide2")}
    told = ", ".join(f"{grad} {_points(right)}" for grad, right in tried.items())
    return MaskingItem(
        7, "does an adaptive gradient beat the native one?", any(_beats(right, pgd) for right in tried.values()),
        f"PGD-{steps} with the native gradient leaves {_points(pgd)} right, {told}",
    )  # fmt: skip


def _zeros(probe: _Probe) -> MaskingItem:
    attack = probe.pgd(1)
    with prepared(probe.model, attack.seed):
        parts = batches(len(probe.x), attack.batch_size)
        grads = [attack.query(probe.x[rows], probe.y[rows]).grad for rows in parts]
    zero = torch.cat([(g.flatten(1) == 0).all(1) for g in grads])
    return MaskingItem(
        8, "are input gradients exactly zero?", share(zero) > ZERO_GRADIENTS,
        f"{_points(zero)} of the images have an input gradient of exactly zero",
    )  # fmt: skip


def _rising(probe: _Probe, steps: int) -> MaskingItem:
    attack = probe.pgd(steps, early_stop=False, random_start=False)
    attack(probe.x[: attack.batch_size], probe.y[: attack.batch_size])
    first, last = attack.history[0], attack.history[-1]
    return MaskingItem(
        9, "does the loss stay flat along the attack?", last <= first + 0.01 * abs(first),
        f"the loss goes from {first:.3g} to {last:.3g} along PGD-{steps}",
    )  # fmt: skip


def _stochastic(model: nn.Module, eot: int) -> MaskingItem:
    return MaskingItem(
        10, "is a stochastic model attacked by single draws?", is_stochastic(model) and eot < 2,
        f"the model is {'stochastic' if is_stochastic(model) else 'deterministic'}, gradients average {eot} draw(s)",
    )  # fmt: skip


def _inside(model: nn.Module, x: Tensor, seed: int) -> MaskingItem:
    rows = [row for row in summarise_layers(model, x, seed=seed) if row.inside is not None]
    lowest = min(rows, key=lambda row: row.inside or 0.0, default=None)
    told = "no layer has a known window"
    if lowest is not None and lowest.inside is not None:
        told = f"layer {lowest.name!r} has {100 * lowest.inside:.1f} % of its potentials inside the gradient's window"
    return MaskingItem(
        11, "are the neurons outside the surrogate's window?",
        lowest is not None and lowest.inside is not None and lowest.inside < LEAST_INSIDE, told,
    )  # fmt: skip
