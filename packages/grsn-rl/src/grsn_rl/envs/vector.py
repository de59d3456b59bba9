"""Many environments as arrays: CartPole and Pendulum in NumPy, and Gymnasium's behind the same few methods.

A :class:`VecEnv` steps N environments at once. One that ends is reset in the same step: ``obs`` is then the new
episode's first observation and ``final_obs`` the ended one's last. ``terminated`` is the task's own end, ``truncated``
the time limit's; only the first makes the future worth nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

__all__ = ["CartPoleVec", "GymVec", "PendulumVec", "Step", "VecEnv"]

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


class _NumpyEnv(VecEnv):
    """Shared by the two below: a state array, a step counter, one random generator."""

    state_size: int
    limit = 200

    def __init__(self, num_envs: int, limit: int | None = None) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} given; at least one environment is needed")
        self.num_envs = num_envs
        self.limit = limit or self.limit
        self._rng = np.random.default_rng()
        self._state = np.zeros((num_envs, self.state_size))
        self._age = np.zeros(num_envs, np.int64)

    def _start(self, count: int) -> NDArray[np.float64]:
        raise NotImplementedError

    def _observe(self, state: NDArray[np.float64]) -> Floats:
        raise NotImplementedError

    def _move(self, action: NDArray[Any]) -> tuple[NDArray[np.float64], Bools]:
        """Advance the state; reward and termination."""
        raise NotImplementedError

    def reset(self, seed: int | None = None) -> Floats:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._state = self._start(self.num_envs)
        self._age[:] = 0
        return self._observe(self._state)

    def step(self, action: NDArray[Any]) -> Step:
        reward, terminated = self._move(action)
        self._age += 1
        truncated = (self._age >= self.limit) & ~terminated
        final = self._observe(self._state)
        done = terminated | truncated
        obs = final
        if done.any():
            self._state[done] = self._start(int(done.sum()))
            self._age[done] = 0
            obs = self._observe(self._state)
        return Step(obs, reward.astype(np.float32), terminated, truncated, final)

    def get_state(self) -> dict[str, Any]:
        return {"state": self._state.copy(), "age": self._age.copy(), "rng": self._rng.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        self._state, self._age = state["state"].copy(), state["age"].copy()
        self._rng.bit_generator.state = state["rng"]


class CartPoleVec(_NumpyEnv):
    """Gymnasium's CartPole-v1 for N poles at once, with its equations, constants and limits.

    Args:
        num_envs: N. limit: steps per episode (200, as in the paper's environments; CartPole-v1 has 500).
    Observation: position, velocity, angle, angular velocity. Actions: 0 left, 1 right. Reward 1 per step.
    Source: the equations of Barto, Sutton and Anderson (1983) as Gymnasium integrates them (Euler, 0.02 s).
    """

    name = "CartPole"
    state_size = obs_size = 4
    actions, action_size = 2, 1
    x_limit, angle_limit = 2.4, 12 * 2 * np.pi / 360

    def _start(self, count: int) -> NDArray[np.float64]:
        return self._rng.uniform(-0.05, 0.05, (count, 4))

    def _observe(self, state: NDArray[np.float64]) -> Floats:
        return state.astype(np.float32)

    def _move(self, action: NDArray[Any]) -> tuple[NDArray[np.float64], Bools]:
        x, speed, angle, spin = self._state.T
        force = np.where(action == 1, 10.0, -10.0)
        cosine, sine = np.cos(angle), np.sin(angle)
        # pole: 0.1 kg, half its length 0.5 m; cart: 1 kg
        push = (force + 0.05 * np.square(spin) * sine) / 1.1
        turn = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * np.square(cosine) / 1.1))
        pull = push - 0.05 * turn * cosine / 1.1
        self._state = np.stack([x + 0.02 * speed, speed + 0.02 * pull, angle + 0.02 * spin, spin + 0.02 * turn], 1)
        out = (np.abs(self._state[:, 0]) > self.x_limit) | (np.abs(self._state[:, 2]) > self.angle_limit)
        return np.ones(self.num_envs), out


class PendulumVec(_NumpyEnv):
    """Gymnasium's Pendulum-v1 for N pendulums at once.

    Args:
        num_envs: N. limit: steps per episode.
    Observation: cosine and sine of the angle, angular velocity. Action in [-1, 1]: torque over 2 N m.
    Reward: -(angle^2 + 0.1 velocity^2 + 0.001 torque^2). Source: Gymnasium's Pendulum-v1.
    """

    name = "Pendulum"
    state_size, obs_size = 2, 3
    actions, action_size = None, 1

    def _start(self, count: int) -> NDArray[np.float64]:
        high = np.array([np.pi, 1.0])
        return self._rng.uniform(-high, high, (count, 2))

    def _observe(self, state: NDArray[np.float64]) -> Floats:
        angle, spin = state.T
        return np.stack([np.cos(angle), np.sin(angle), spin], 1).astype(np.float32)

    def _move(self, action: NDArray[Any]) -> tuple[NDArray[np.float64], Bools]:
        angle, spin = self._state.T
        torque = 2.0 * np.clip(np.asarray(action, np.float64).reshape(self.num_envs), -1.0, 1.0)
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        cost = wrapped**2 + 0.1 * spin**2 + 0.001 * torque**2
        spin = np.clip(spin + (15.0 * np.sin(angle) + 3.0 * torque) * 0.05, -8.0, 8.0)
        self._state = np.stack([angle + spin * 0.05, spin], 1)
        return -cost, np.zeros(self.num_envs, bool)


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
