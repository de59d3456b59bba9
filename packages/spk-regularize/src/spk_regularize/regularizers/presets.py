"""Regularisers by name, as configurations and the command line write them, and a combination that works."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from spk_regularize.regularizers.base import Compose, Regularizer, Schedule
from spk_regularize.regularizers.gradient import InputGradient, SparsityReg
from spk_regularize.regularizers.mpd_sgr import MPDSGR, ExpectedSG, MeanSG
from spk_regularize.regularizers.perturbation import MPPD
from spk_regularize.regularizers.potentials import IMLoss, RMPLoss, ThresholdGuard
from spk_regularize.regularizers.rate import RateFloor, SpikeRate, SynapticOps
from spk_regularize.regularizers.weights import LipschitzRows, ParsevalOrtho

__all__ = ["NAMES", "from_text", "robust_preset"]

PRESET_WEIGHT_DECAY = 5e-3


def robust_preset(gradient: float = 0.3, floor: float = 30.0, mean_sg: float = 0.0) -> Compose:
    """Input-gradient l1 + rate floor (+ mean surrogate gradient); train it with ``weight_decay=5e-3``.

    Args: gradient: weight of the input gradient's l1 norm. floor: weight of the rate floor at 0.24. mean_sg: weight of
    the mean surrogate gradient, off. What each part gives is measured against strong attacks in the documentation
    (benchmarks, table "remedies").
    """
    parts: list[Regularizer] = [InputGradient(gradient, warmup=0.5)]
    if floor:
        parts.append(RateFloor(0.24, floor, schedule=Schedule("linear", 0.5)))
    if mean_sg:
        parts.append(MeanSG(mean_sg, warmup=0.5))
    return Compose(*parts)


NAMES: dict[str, Callable[..., Regularizer]] = {
    "mpd-sgr": MPDSGR,
    "expected-sg": ExpectedSG,
    "mean-sg": MeanSG,
    "threshold-guard": ThresholdGuard,
    "im": IMLoss,
    "rmp": RMPLoss,
    "sr": SparsityReg,
    "input-gradient": InputGradient,
    "parseval": ParsevalOrtho,
    "lipschitz": LipschitzRows,
    "spike-rate": SpikeRate,
    "rate-floor": RateFloor,
    "mppd": MPPD,
    "synops": SynapticOps,
    "robust": robust_preset,
}


def from_text(text: str) -> Compose:
    """Regularisers from text: ``"mpd-sgr:eta=3,target=0.2 + rate-floor"``.

    Args: text: names of :data:`NAMES` joined by ``+``, each with ``:name=value,...``; values are JSON or words.
    Raises: ValueError: an unknown name or argument.
    """
    parts = []
    for piece in filter(None, (p.strip() for p in text.split("+"))):
        name, _, rest = piece.partition(":")
        if name not in NAMES:
            raise ValueError(f"regulariser {name!r} is not known; choose some of {', '.join(NAMES)}")
        options: dict[str, Any] = {}
        for pair in filter(None, (p.strip() for p in rest.split(","))):
            key, equals, value = pair.partition("=")
            if not equals:
                raise ValueError(f"{pair!r} in {piece!r} is no name=value")
            try:
                options[key.strip()] = json.loads(value)
            except json.JSONDecodeError:
                options[key.strip()] = value.strip()
        try:
            parts.append(NAMES[name](**options))
        except TypeError as error:
            raise ValueError(f"{piece!r}: {error}") from None
    return Compose(*parts)
