"""What each spiking layer does on clean images: rate, potential, overlap by formula and by count."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from spk_regularize.attacks.base import prepared
from spk_regularize.monitor import MembraneMonitor
from spk_regularize.stats import deviation, empirical_overlap, overlap

__all__ = ["LayerSummary", "summarise_layers"]


@dataclass(frozen=True)
class LayerSummary:
    """One layer: firing rate, mean and deviation of x = u - V_th, overlap by the Gaussian formula and counted.

    gamma: half width of the window, None where unknown; the overlaps are None then.
    """

    name: str
    rate: float
    mean: float
    std: float
    gamma: float | None
    overlap: float | None
    inside: float | None

    def to_dict(self) -> dict[str, float | str | None]:
        """For JSON."""
        return asdict(self)


@torch.no_grad()
def summarise_layers(model: nn.Module, x: Tensor, *, seed: int = 0, limit: int = 256) -> list[LayerSummary]:
    """Statistics of every spiking layer of a model, in evaluation mode.

    Args:
        model, x: the classifier and images in [0, 1], of which ``limit`` at most are used. seed: of the encoder.
    """
    with prepared(model, seed), torch.no_grad(), MembraneMonitor(model, ("potentials", "spikes")) as monitor:
        model(x[:limit])
    rows = []
    for trace in monitor.layers:
        values = trace.potentials.float()
        both: tuple[float | None, float | None] = (None, None)
        if trace.gamma is not None and values[0].numel() > 1:
            omega = overlap(trace.mean, deviation(trace.var), trace.gamma).mean()
            both = (float(omega), float(empirical_overlap(values, trace.gamma).mean()))
        rows.append(
            LayerSummary(
                trace.name,
                float(trace.fired.float().mean()),
                float(values.mean()),
                float(values.std(correction=0)),
                trace.gamma,
                *both,
            )
        )
    return rows
