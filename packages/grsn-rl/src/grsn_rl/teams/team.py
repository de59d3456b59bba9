"""Many teams as arrays: what QMIX and VDN act in.

A :class:`TeamEnv` steps N environments at once, each with the same K agents, and pays every team one reward. As in
:class:`grsn_rl.envs.VecEnv`, one that ends is reset in the same step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grsn_rl.envs.vector import Bools, Floats, VecEnv

__all__ = ["TeamEnv", "TeamStep", "check_available", "team_reward"]


class TeamStep(NamedTuple):
    """What one step of N teams of K agents gives.

    obs: [N, K, O], a new episode's first where one ended; final_obs, final_state, final_available hold where it ended.
    reward: [N]. terminated: the task's own end; truncated: the time limit's. won: where an episode ended in victory;
    None for tasks that cannot be won.
    """

    obs: Floats
    reward: Floats
    terminated: Bools
    truncated: Bools
    final_obs: Floats
    final_state: Floats
    final_available: Bools
    won: Bools | None = None


class TeamEnv(VecEnv):
    """N environments of one kind, K agents in each.

    Attributes:
        agents: K. obs_size: floats per agent. state_size: floats of what the mixer sees in training. actions: of each
            agent. limit: steps of the longest episode. state: present global states [N, S]. available: which actions
            each agent has now, [N, K, A]; every agent has at least one (a dead one to do nothing).
    """

    agents: int
    state_size: int
    limit: int
    state: Floats
    available: Bools
    action_size = 1

    @property
    def shape(self) -> list[int | None]:
        """Numbers that an agent is made for."""
        return [self.obs_size, self.actions, self.action_size, self.agents, self.state_size]

    def step(self, action: NDArray[Any]) -> TeamStep:  # type: ignore[override]
        """action: int [N, K], each among the agent's available ones."""
        raise NotImplementedError


def check_available(env: TeamEnv, available: NDArray[Any], action: NDArray[Any] | None = None) -> None:
    """ValueError naming the environment and agent without an action, or with one that is not available."""
    none = ~available.any(-1)
    if none.any():
        where, who = np.argwhere(none)[0]
        raise ValueError(
            f"agent {who} of environment {where} ({env.name}) has no available action; give every agent at least one, "
            "a dead agent the one that does nothing"
        )
    if action is None:
        return
    if action.shape != available.shape[:2]:
        raise ValueError(
            f"action has shape {action.shape}, expected {available.shape[:2]}: one per environment and agent"
        )
    if ((action < 0) | (action >= available.shape[2])).any():
        where, who = np.argwhere((action < 0) | (action >= available.shape[2]))[0]
        raise ValueError(
            f"agent {who} of environment {where} ({env.name}) chose {action[where, who]}; actions are "
            f"0..{available.shape[2] - 1}"
        )
    allowed = np.take_along_axis(available, action[..., None], -1)[..., 0]
    if not allowed.all():
        where, who = np.argwhere(~allowed)[0]
        raise ValueError(
            f"agent {who} of environment {where} ({env.name}) chose {action[where, who]}, which is not available; "
            f"it has {np.flatnonzero(available[where, who]).tolist()}"
        )


def team_reward(reward: Any, agents: int, how: str, name: str) -> float:
    """One number for the team from what an environment paid.

    Args:
        reward: a number, or one per agent. how: "sum" or "mean" of the agents'; "team": it must be one number already.
    Raises:
        ValueError: rewards per agent where one for the team is expected, or the other way round.
    """
    paid = np.asarray(reward, np.float64).reshape(-1)
    if how == "team":
        if paid.size != 1:
            raise ValueError(
                f"{name} pays {paid.size} rewards, one per agent, where one for the team is expected; pass "
                "reward='sum' or 'mean'"
            )
        return float(paid[0])
    if paid.size != agents:
        raise ValueError(
            f"{name} pays {paid.size} rewards for {agents} agents; pass reward='team' where it pays the team as one"
        )
    return float(paid.sum() if how == "sum" else paid.mean())
