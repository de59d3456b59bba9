"""Other people's teams behind our protocol: PettingZoo's parallel environments, and Gymnasium ones with a tuple per
agent, such as level-based foraging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from grsn_rl._checks import choice, whole
from grsn_rl.envs.vector import Bools, Floats
from grsn_rl.teams.team import TeamEnv, TeamStep, check_available, team_reward

__all__ = ["ParallelTeam", "TupleTeam"]

REWARDS = ("sum", "mean", "team")


class _Seen(NamedTuple):
    obs: Floats
    state: Floats
    available: Bools


class _Listed(TeamEnv):
    """N environments in a list; a subclass says how one of them is begun and stepped."""

    resumable = False

    def __init__(self, make: Callable[[], Any], num_envs: int, name: str, limit: int, reward: str) -> None:
        self.envs = [make() for _ in range(whole("num_envs", num_envs))]
        self.num_envs, self.name, self.limit = num_envs, name, whole("limit", limit)
        self.how = choice("reward", reward, REWARDS)
        self._age = np.zeros(num_envs, np.int64)
        self._measure()
        self.available = np.ones((num_envs, self.agents, self.actions or 1), bool)
        self.state = np.zeros((num_envs, self.state_size), np.float32)

    def _measure(self) -> None:
        """Set agents, obs_size, state_size and actions from the spaces."""
        raise NotImplementedError

    def _begin(self, env: Any, seed: int | None) -> _Seen:
        raise NotImplementedError

    def _advance(self, env: Any, action: NDArray[Any]) -> tuple[_Seen, Any, bool, bool]:
        """What is seen, the reward as paid, terminated, truncated."""
        raise NotImplementedError

    def _spaces(self, seen: list[Any], act: list[Any]) -> None:
        for space in seen:
            if not isinstance(space, gym.spaces.Box):
                raise NotImplementedError(
                    f"{self.name}: an agent observes {type(space).__name__}; teams see Box spaces, so flatten it first"
                )
        for space in act:
            if not isinstance(space, gym.spaces.Discrete) or space.start != 0:
                raise NotImplementedError(
                    f"{self.name}: an agent acts in {space}; qmix and vdn choose among Discrete(n) actions"
                )
        self.agents = len(seen)
        self._sizes = [int(np.prod(space.shape)) for space in seen]
        self._counts = [int(space.n) for space in act]
        self.obs_size, self.actions = max(self._sizes), max(self._counts)

    def _pad(self, rows: list[Any]) -> Floats:
        """Observations of each agent, or None, as [K, O], filled up with zeros."""
        obs = np.zeros((self.agents, self.obs_size), np.float32)
        for i, row in enumerate(rows):
            if row is not None:
                obs[i, : self._sizes[i]] = np.asarray(row, np.float32).reshape(-1)
        return obs

    def _usual(self) -> Bools:
        """[K, A]: what each agent's space has."""
        return np.arange(max(self._counts))[None, :] < np.array(self._counts)[:, None]

    def reset(self, seed: int | None = None) -> Floats:
        self._age[:] = 0
        seen = [self._begin(env, None if seed is None else seed + i) for i, env in enumerate(self.envs)]
        self.state, self.available = np.stack([s.state for s in seen]), np.stack([s.available for s in seen])
        return np.stack([s.obs for s in seen])

    def step(self, action: NDArray[Any]) -> TeamStep:  # type: ignore[override]
        action = np.asarray(action)
        check_available(self, self.available, action)
        self._age += 1
        now, last = [], []
        reward = np.zeros(self.num_envs, np.float32)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        for i, env in enumerate(self.envs):
            seen, paid, over, cut = self._advance(env, action[i])
            reward[i] = team_reward(paid, self.agents, self.how, self.name)
            terminated[i], truncated[i] = over, (cut or self._age[i] >= self.limit) and not over
            last.append(seen)
            if terminated[i] or truncated[i]:
                self._age[i] = 0
                seen = self._begin(env, None)
            now.append(seen)
        self.state, self.available = np.stack([s.state for s in now]), np.stack([s.available for s in now])
        return TeamStep(
            np.stack([s.obs for s in now]), reward, terminated, truncated, np.stack([s.obs for s in last]),
            np.stack([s.state for s in last]), np.stack([s.available for s in last]),
        )  # fmt: skip

    def close(self) -> None:
        for env in self.envs:
            env.close()


class ParallelTeam(_Listed):
    """PettingZoo's parallel API: dictionaries by agent.

    Args:
        make: a function without arguments that makes one environment. num_envs: N. name: for messages. limit: steps
            after which an episode is cut. reward: "sum" or "mean" of the agents' rewards, or "team" for one number.
    The state is the environment's ``state()``, or the agents' observations side by side where it has none. An agent
    that left sees zeros and has action 0 alone; masks come from ``info["action_mask"]`` where an environment tells one.
    Raises:
        NotImplementedError: observations that are not Box, or actions that are not Discrete.
    """

    def _measure(self) -> None:
        env = self.envs[0]
        self._names = list(env.possible_agents)
        self._spaces([env.observation_space(a) for a in self._names], [env.action_space(a) for a in self._names])
        env.reset(seed=0)
        try:
            self.state_size, self._own_state = int(np.asarray(env.state()).size), True
        except (NotImplementedError, AttributeError):
            self.state_size, self._own_state = self.agents * self.obs_size, False

    def _seen(self, env: Any, obs: dict[str, Any], info: dict[str, Any]) -> _Seen:
        padded = self._pad([obs.get(a) for a in self._names])
        state = np.asarray(env.state(), np.float32).reshape(-1) if self._own_state else padded.reshape(-1)
        available = self._usual()
        for i, name in enumerate(self._names):
            told = info.get(name) or {}
            if name not in env.agents:
                available[i] = np.arange(len(available[i])) == 0
            elif "action_mask" in told:
                available[i, : self._counts[i]] = np.asarray(told["action_mask"], bool)
        return _Seen(padded, state, available)

    def _begin(self, env: Any, seed: int | None) -> _Seen:
        obs, info = env.reset(seed=seed)
        return self._seen(env, obs, info)

    def _advance(self, env: Any, action: NDArray[Any]) -> tuple[_Seen, Any, bool, bool]:
        chosen = {a: int(x) for a, x in zip(self._names, action, strict=True) if a in env.agents}
        obs, reward, terminated, truncated, info = env.step(chosen)
        cut = any(truncated.values())
        over = all(terminated.values()) and not cut
        paid = [float(reward.get(a, 0.0)) for a in self._names]
        if self.how == "team" and len(set(paid)) == 1:
            paid = paid[:1]  # everyone is told the team's reward
        return self._seen(env, obs, info), paid, over, cut or (not env.agents and not over)


class TupleTeam(_Listed):
    """Gymnasium environments whose observations, actions and rewards are one entry per agent.

    Args: as in :class:`ParallelTeam`. The state is the agents' observations side by side.
    """

    def _measure(self) -> None:
        env = self.envs[0]
        seen, act = env.observation_space, env.action_space
        if not isinstance(seen, gym.spaces.Tuple) or not isinstance(act, gym.spaces.Tuple):
            raise NotImplementedError(
                f"{self.name}: spaces {type(seen).__name__} and {type(act).__name__} given, expected Tuple, an entry "
                "per agent"
            )
        self._spaces(list(seen), list(act))
        self.state_size = self.agents * self.obs_size

    def _seen(self, obs: Any) -> _Seen:
        padded = self._pad(list(obs))
        return _Seen(padded, padded.reshape(-1), self._usual())

    def _begin(self, env: Any, seed: int | None) -> _Seen:
        return self._seen(env.reset(seed=seed)[0])

    def _advance(self, env: Any, action: NDArray[Any]) -> tuple[_Seen, Any, bool, bool]:
        obs, reward, terminated, truncated, _ = env.step(tuple(int(a) for a in action))
        return self._seen(obs), reward, bool(np.all(terminated)), bool(np.all(truncated))
