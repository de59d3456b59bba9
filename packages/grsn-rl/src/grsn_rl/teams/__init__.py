"""Teams of agents: the protocol, games with known answers, skirmishes, and other people's tasks."""

from grsn_rl.teams.adapters import ParallelTeam, TupleTeam
from grsn_rl.teams.games import MATRICES, MatrixGame, TwoStepGame
from grsn_rl.teams.make import describe, make
from grsn_rl.teams.skirmish import MAPS, Skirmish
from grsn_rl.teams.team import TeamEnv, TeamStep

__all__ = [
    "MAPS",
    "MATRICES",
    "MatrixGame",
    "ParallelTeam",
    "Skirmish",
    "TeamEnv",
    "TeamStep",
    "TupleTeam",
    "TwoStepGame",
    "describe",
    "make",
]
