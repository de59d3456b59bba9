"""Recurrent spiking agents that drop in where a GRU was.

>>> import torch
>>> from grsn_rl import GRSN
>>> out, state = GRSN(48, 128)(torch.rand(5, 2, 48))  # as nn.GRU: time first, state in and out
>>> out.shape
torch.Size([5, 2, 128])
"""

from grsn_rl.cells import GRSN, RLIF, GRSNCell
from grsn_rl.memory import MEMORIES, make_memory

__version__ = "0.1.0"

__all__ = ["GRSN", "MEMORIES", "RLIF", "GRSNCell", "make_memory"]
