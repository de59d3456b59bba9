"""Many environments at once behind a few methods, and Gymnasium's among them.

A :class:`VecEnv` steps N environments at once. One that ends is reset in the same step: ``obs`` is then the new
episode's first observation and ``final_obs`` the ended one's last. ``terminated`` is the task's own end, ``truncated``
the time limit's; only the first makes the future worth nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

__all__ = ["GymVec", "Step", "VecEnv"]

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


class Step(NamedTuple):
    """What one step of N environments gives: arrays of N rows. ``final_obs`` holds where an episode ended."""

    obs: Floats
    reward: Floats
    terminated: Bools
    truncated: Bools
    final_obs: Floats


class VecEnv:
    """N environments of one kind.

    Attributes:
        num_envs, name: how many and which. obs_size: floats per observation. actions: number of discrete actions, or
            None where actions are continuous; action_size: numbers per continuous action, given in [-1, 1].
        resumable: whether ``get_state`` holds everything that decides the future.
    """

    name = ""
    resumable = True
    num_envs: int
    obs_size: int
    actions: int | None
    action_size: int

    @property
    def shape(self) -> list[int | None]:
        """Numbers that an agent is made for."""
        return [self.obs_size, self.actions, self.action_size]

    def reset(self, seed: int | None = None) -> Floats:
        """Start N new episodes; with a seed, always the same ones."""
        raise NotImplementedError

    def step(self, action: NDArray[Any]) -> Step:
        """action: int [N], or float [N, action_size] in [-1, 1]."""
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        """Arrays and JSON values that ``set_state`` takes; empty where the environment cannot tell."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""

    def close(self) -> None:
        """Free what the environments hold."""


class GymVec(VecEnv):
    """Any Gymnasium environment with Box or Discrete observations and Box or Discrete actions, N of them.

    Args:
        make: a function without arguments that makes one environment. num_envs: N. name: for messages and checkpoints.
    Raises:
        NotImplementedError: a space that is not supported; the message says which and what to do.
    Resuming: Gymnasium cannot store an environment's state, so a resumed run starts new episodes.
    """

    resumable = False

    def __init__(self, make: Any, num_envs: int, name: str = "") -> None:
        self._envs = [make() for _ in range(num_envs)]
        self.num_envs, self.name = num_envs, name or str(getattr(self._envs[0].spec, "id", "environment"))
        seen, act = self._envs[0].observation_space, self._envs[0].action_space
        self.obs_size = _observation_size(seen, self.name)
        self._one_hot = isinstance(seen, gym.spaces.Discrete)
        self._first = 0
        if isinstance(act, gym.spaces.Discrete):
            self.actions, self.action_size, self._first = int(act.n), 1, int(act.start)
        elif isinstance(act, gym.spaces.Box):
            if not (np.isfinite(act.low).all() and np.isfinite(act.high).all()):
                raise ValueError(
                    f"{self.name}: its actions range over [{act.low.min()}, {act.high.max()}]; wrap it with "
                    "gymnasium.wrappers.RescaleAction, which gives finite bounds"
                )
            self.actions, self.action_size = None, int(np.prod(act.shape))
            self._low, self._high, self._shape = act.low, act.high, act.shape
        else:
            raise NotImplementedError(
                f"{self.name}: actions of kind {type(act).__name__} are not supported; agents act in Discrete or Box "
                "spaces, so map a MultiDiscrete one to Discrete with a wrapper that enumerates its combinations"
            )

    def _flat(self, obs: Any) -> Floats:
        if self._one_hot:
            row = np.zeros(self.obs_size, np.float32)
            row[int(obs) - int(self._envs[0].observation_space.start)] = 1.0
            return row
        return np.asarray(obs, np.float32).reshape(-1)

    def reset(self, seed: int | None = None) -> Floats:
        seeds = [None if seed is None else seed + i for i in range(self.num_envs)]
        return np.stack([self._flat(env.reset(seed=s)[0]) for env, s in zip(self._envs, seeds, strict=True)])

    def _given(self, action: Any) -> Any:
        if self.actions is not None:
            return int(action) + self._first
        scaled = self._low + (np.clip(action, -1, 1).reshape(self._shape) + 1) / 2 * (self._high - self._low)
        return scaled.astype(np.float32)

    def step(self, action: NDArray[Any]) -> Step:
        results = [env.step(self._given(a)) for env, a in zip(self._envs, action, strict=True)]
        final = np.stack([self._flat(r[0]) for r in results])
        terminated = np.array([bool(r[2]) for r in results])
        truncated = np.array([bool(r[3]) for r in results]) & ~terminated
        obs = final.copy()
        for i in np.flatnonzero(terminated | truncated):
            obs[i] = self._flat(self._envs[i].reset()[0])
        return Step(obs, np.array([r[1] for r in results], np.float32), terminated, truncated, final)

    def close(self) -> None:
        for env in self._envs:
            env.close()


def _observation_size(space: Any, name: str) -> int:
    if isinstance(space, gym.spaces.Box):
        return int(np.prod(space.shape))
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gym.spaces.Dict):
        raise NotImplementedError(
            f"{name}: observations are a Dict ({', '.join(space)}); wrap it with gymnasium.wrappers.FlattenObservation"
        )
    raise NotImplementedError(
        f"{name}: observations of kind {type(space).__name__} are not supported; agents see Box or Discrete spaces, so "
        "flatten it with gymnasium.wrappers.FlattenObservation"
    )
