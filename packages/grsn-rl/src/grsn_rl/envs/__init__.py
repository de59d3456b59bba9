"""Environments by name, many at once, fully or partly observed."""

from grsn_rl.envs.classic import CartPoleVec, PendulumVec, RepeatPreviousVec
from grsn_rl.envs.make import MASKS, describe, make
from grsn_rl.envs.partial import Partial, PartialObservation
from grsn_rl.envs.vector import GymVec, Step, VecEnv

__all__ = [
    "MASKS",
    "CartPoleVec",
    "GymVec",
    "Partial",
    "PartialObservation",
    "PendulumVec",
    "RepeatPreviousVec",
    "Step",
    "VecEnv",
    "describe",
    "make",
]
