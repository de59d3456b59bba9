"""Recurrent spiking agents that drop in where a GRU was.

>>> import torch
>>> from grsn_rl import GRSN
>>> out, state = GRSN(48, 128)(torch.rand(5, 2, 48))  # as nn.GRU: time first, state in and out
>>> out.shape
torch.Size([5, 2, 128])
"""

from grsn_rl.agent import Agent
from grsn_rl.cells import GRSN, GRSNCell, LIFRecurrent
from grsn_rl.drqn import DRQN, DRQNConfig
from grsn_rl.energy import Energy, agent_energy, memory_energy
from grsn_rl.evaluate import EvalResult, evaluate
from grsn_rl.memory import MEMORIES, make_memory
from grsn_rl.mixers import MonotoneMixer, SumMixer, TeamNet
from grsn_rl.nets import RecurrentNet, RunningScale
from grsn_rl.ppo import PPO, PPOConfig
from grsn_rl.qmix import QMIX, VDN, QMIXConfig
from grsn_rl.replay import SequenceReplay
from grsn_rl.sac import SAC, SACConfig
from grsn_rl.sac_discrete import SACDiscrete, SACDiscreteConfig
from grsn_rl.statistics import bootstrap, iqm
from grsn_rl.td3 import TD3, TD3Config
from grsn_rl.twin import TwinCritic

__version__ = "0.1.0"

__all__ = [
    "DRQN",
    "GRSN",
    "MEMORIES",
    "PPO",
    "QMIX",
    "SAC",
    "TD3",
    "VDN",
    "Agent",
    "DRQNConfig",
    "Energy",
    "EvalResult",
    "GRSNCell",
    "LIFRecurrent",
    "MonotoneMixer",
    "PPOConfig",
    "QMIXConfig",
    "RecurrentNet",
    "RunningScale",
    "SACConfig",
    "SACDiscrete",
    "SACDiscreteConfig",
    "SequenceReplay",
    "SumMixer",
    "TD3Config",
    "TeamNet",
    "TwinCritic",
    "agent_energy",
    "bootstrap",
    "evaluate",
    "iqm",
    "make_memory",
    "memory_energy",
]
