"""Measure robustness so that nobody is fooled: batteries of attacks, the worst case per sample, a masking verdict."""

from spk_regularize.robustness.battery import BATTERIES, AttackSpec, make_battery
from spk_regularize.robustness.evaluate import evaluate_robustness
from spk_regularize.robustness.interval import wilson
from spk_regularize.robustness.layers import LayerSummary, summarise_layers
from spk_regularize.robustness.masking import MaskingItem, MaskingVerdict, masking_verdict
from spk_regularize.robustness.report import RobustnessReport

__all__ = [
    "BATTERIES",
    "AttackSpec",
    "LayerSummary",
    "MaskingItem",
    "MaskingVerdict",
    "RobustnessReport",
    "evaluate_robustness",
    "make_battery",
    "masking_verdict",
    "summarise_layers",
    "wilson",
]
