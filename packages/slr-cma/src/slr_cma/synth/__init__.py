"""Synthetic paired data with known ceilings, faults, and order-chains of any recordings."""

from slr_cma.synth.chain import Chain, order_chain
from slr_cma.synth.faults import Faults, draw_faults
from slr_cma.synth.paired_sign import HARD, PairedSign, SignWorld

__all__ = ["HARD", "Chain", "Faults", "PairedSign", "SignWorld", "draw_faults", "order_chain"]
