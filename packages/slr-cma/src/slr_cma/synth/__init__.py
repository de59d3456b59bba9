"""Synthetic paired data with known ceilings, faults, order-chains, and a writer of the DVS-SLR layout."""

from slr_cma.synth.faults import Faults, draw_faults
from slr_cma.synth.paired_sign import HARD, PairedSign, SignWorld

__all__ = ["HARD", "Faults", "PairedSign", "SignWorld", "draw_faults"]
