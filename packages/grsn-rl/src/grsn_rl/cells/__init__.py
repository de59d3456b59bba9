"""Spiking memories with the signature of ``torch.nn.GRU``: :class:`GRSN`, :class:`GRSNCell`, :class:`LIFRecurrent`."""

from grsn_rl.cells.base import SpikingMemory
from grsn_rl.cells.grsn import GRSN, GRSNCell
from grsn_rl.cells.lif import LIFRecurrent

__all__ = ["GRSN", "GRSNCell", "LIFRecurrent", "SpikingMemory"]
