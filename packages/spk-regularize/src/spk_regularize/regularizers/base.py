"""What all regularisers share: a weight with a schedule, the layers' values, composition."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spk_regularize.monitor import LayerTrace, MembraneMonitor

__all__ = ["Compose", "Regularizer", "Schedule"]

Law = Literal["constant", "linear", "cosine"]


class Schedule:
    """The share of a weight that applies after a share ``progress`` of the training, from 0 to 1.

    Args:
        law: "constant", "linear" (up to 1 after ``over``) or "cosine" (half a cosine up to 1 after ``over``).
        over: share of the training in which it grows, in [0, 1].
    Example:
        >>> Schedule("linear", 0.1)(0.05), Schedule("cosine", 1.0)(0.5)
        (0.5, 0.5)
    """

    def __init__(self, law: Law = "constant", over: float = 0.1) -> None:
        if law not in ("constant", "linear", "cosine"):
            raise ValueError(f"law={law!r} is not known; choose 'constant', 'linear' or 'cosine'")
        if not 0 <= over <= 1:
            raise ValueError(f"over={over} given; expected a share of the training in [0, 1]")
        self.law, self.over = law, over

    def __call__(self, progress: float) -> float:
        if self.law == "constant" or self.over == 0 or progress >= self.over:
            return 1.0
        share = max(0.0, progress) / self.over
        return share if self.law == "linear" else 0.5 * (1 - math.cos(math.pi * share))


class Regularizer(nn.Module):
    """Base: ``regularizer(monitor)`` is the weighted penalty, a scalar with graph.

    Args:
        weight: eta, what the penalty is multiplied with. schedule: how it grows; see ``progress``.

    A subclass sets ``needs`` (what the monitor must keep), and defines ``value(layers, **context)``, the plain penalty,
    or ``layer(trace)``, averaged over layers. ``context`` is what :class:`RobustTrainer` has at hand: ``model``, ``x``,
    ``y``, ``logits``. ``post_step(model)`` runs after each step of the optimiser.
    """

    needs: tuple[str, ...] = ()
    #: asks for second derivatives: the model runs on neurons that have them
    second_order = False

    def __init__(self, weight: float = 1.0, schedule: Schedule | None = None) -> None:
        super().__init__()
        if not (isinstance(weight, (int, float)) and math.isfinite(weight)):
            raise ValueError(f"weight={weight!r} given; expected a finite number")
        self.weight, self.schedule, self.progress = float(weight), schedule or Schedule(), 1.0

    @property
    def active_weight(self) -> float:
        """The weight now: the schedule at ``progress``."""
        return self.weight * self.schedule(self.progress)

    def at(self, progress: float) -> Regularizer:
        """Say how much of the training is over, in [0, 1]; returns itself."""
        self.progress = progress
        return self

    def layer(self, trace: LayerTrace) -> Tensor:
        """Penalty of one layer, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define layer(trace) or value(layers)")

    def value(self, layers: Sequence[LayerTrace], **context: Any) -> Tensor:
        """The penalty without its weight, a scalar."""
        return torch.stack([self.layer(trace) for trace in layers]).mean()

    def per_layer(self, monitor: MembraneMonitor) -> dict[str, float]:
        """The penalty of each layer by name, without the weight."""
        with torch.no_grad():
            return {trace.name: float(self.layer(trace)) for trace in monitor.layers}

    def forward(self, monitor: MembraneMonitor | None = None, **context: Any) -> Tensor:
        """weight * penalty; a monitor is needed where ``needs`` is not empty."""
        weight = self.active_weight
        if weight == 0.0:
            # no graph at all, so that a weight of zero changes no bit of a training
            return torch.zeros(())
        if self.needs and monitor is None:
            raise ValueError(f"{type(self).__name__} reads {self.needs}; pass the MembraneMonitor that saw the forward")
        return weight * self.value(monitor.layers if monitor is not None and self.needs else (), **context)

    def post_step(self, model: nn.Module) -> None:
        """Nothing, unless a subclass changes parameters after the optimiser."""

    def terms(self) -> Iterator[Regularizer]:
        """Itself; the parts of a composition."""
        yield self

    def extra_repr(self) -> str:
        return f"weight={self.weight:g}"


class Compose(Regularizer):
    """A sum of regularisers.

    Args: parts: any regularisers; none at all is a penalty of zero.
    ``last`` holds the weighted value of each part of the last call, by class name.
    """

    def __init__(self, *parts: Regularizer) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.last: dict[str, float] = {}

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What any part with a weight needs."""
        return tuple(sorted({need for part in self.terms() if part.weight for need in part.needs}))

    @property
    def second_order(self) -> bool:  # type: ignore[override]
        """Whether any part with a weight asks for second derivatives."""
        return any(part.second_order for part in self.terms() if part.weight)

    def at(self, progress: float) -> Regularizer:
        for part in self.terms():
            part.at(progress)
        return self

    def terms(self) -> Iterator[Regularizer]:
        for part in self.parts:
            assert isinstance(part, Regularizer)
            yield from part.terms()

    def forward(self, monitor: MembraneMonitor | None = None, **context: Any) -> Tensor:
        """The sum of the weighted parts."""
        total: Tensor = torch.zeros(())
        self.last = {}
        for part in self.terms():
            value = part(monitor, **context)
            self.last[type(part).__name__] = self.last.get(type(part).__name__, 0.0) + float(value.detach())
            if part.active_weight:
                total = total + value
        return total

    def post_step(self, model: nn.Module) -> None:
        for part in self.terms():
            part.post_step(model)
