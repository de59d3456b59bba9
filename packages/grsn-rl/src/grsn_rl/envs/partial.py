"""What the agent does not get to see: masked, noisy, flickering and late observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from grsn_rl._checks import whole
from grsn_rl.envs.vector import Floats, Step, VecEnv

__all__ = ["Partial", "PartialObservation"]


class Partial(VecEnv):
    """A vector environment seen through a mask, noise, flicker and delay, in this order.

    Args:
        env: the environment. mask: indices of the observation that are kept; None keeps all.
        noise: standard deviation of Gaussian noise added to each number. flicker: probability that a whole observation
            arrives as zeros. delay: steps by which observations come late (the first one fills the gap).
    Raises:
        ValueError: an index that is not there, a probability outside [0, 1), a negative number.
    """

    def __init__(
        self,
        env: VecEnv,
        mask: Sequence[int] | None = None,
        *,
        noise: float = 0.0,
        flicker: float = 0.0,
        delay: int = 0,
        name: str | None = None,
    ) -> None:
        indices = list(range(env.obs_size)) if mask is None else [int(i) for i in mask]
        if not indices or min(indices) < 0 or max(indices) >= env.obs_size:
            raise ValueError(
                f"mask={mask} given; {env.name} observes {env.obs_size} numbers: name some of 0..{env.obs_size - 1}"
            )
        if not (noise >= 0 and 0 <= flicker < 1):
            raise ValueError(f"noise={noise}, flicker={flicker} given; expected noise >= 0 and flicker in [0, 1)")
        self.env, self.mask, self.noise, self.flicker = env, np.array(indices), float(noise), float(flicker)
        self.delay = whole("delay", delay, 0)
        self.num_envs, self.actions, self.action_size = env.num_envs, env.actions, env.action_size
        self.obs_size, self.resumable, self.name = len(indices), env.resumable, name or env.name
        self._rng = np.random.default_rng()
        self._past = np.zeros((self.delay + 1, self.num_envs, self.obs_size), np.float32)

    def _see(self, obs: Floats) -> Floats:
        obs = obs[:, self.mask]
        if self.noise:
            obs = obs + self.noise * self._rng.standard_normal(obs.shape, np.float32)
        if self.flicker:
            obs = obs * (self._rng.random(len(obs)) >= self.flicker)[:, None]
        return obs.astype(np.float32, copy=False)

    def reset(self, seed: int | None = None) -> Floats:
        if seed is not None:
            self._rng = np.random.default_rng([seed, 1])
        self._past[:] = self._see(self.env.reset(seed))
        first: Floats = self._past[-1].copy()
        return first

    def step(self, action: NDArray[Any]) -> Step:
        step = self.env.step(action)
        done = step.terminated | step.truncated
        seen = self._see(step.final_obs)
        if not (self.delay or done.any()):
            return step._replace(obs=seen, final_obs=seen)
        self._past = np.concatenate([self._past[1:], seen[None]])
        final = self._past[0].copy()
        if done.any():
            # the new episode's first observation fills its own past
            self._past[:, done] = self._see(step.obs)[done]
        return step._replace(obs=self._past[0].copy(), final_obs=final)

    def get_state(self) -> dict[str, Any]:
        inner = self.env.get_state()
        return {"env": inner, "rng": self._rng.bit_generator.state, "past": self._past.copy()} if inner else {}

    def set_state(self, state: dict[str, Any]) -> None:
        self.env.set_state(state["env"])
        self._rng.bit_generator.state = state["rng"]
        self._past = state["past"].copy()

    def close(self) -> None:
        self.env.close()


class PartialObservation(gym.ObservationWrapper[Any, Any, Any]):
    """The same for one Gymnasium environment with flat Box observations: ``PartialObservation(env, [0, 2])``.

    Args: as :class:`Partial`.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        mask: Sequence[int] | None = None,
        *,
        noise: float = 0.0,
        flicker: float = 0.0,
        delay: int = 0,
    ) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"observations are {space}; flatten them first with gymnasium.wrappers.FlattenObservation")
        self._view = Partial(_One(int(space.shape[0])), mask, noise=noise, flicker=flicker, delay=delay)
        keep = self._view.mask
        low, high = space.low[keep], space.high[keep]
        if noise:
            low, high = np.full_like(low, -np.inf), np.full_like(high, np.inf)
        if flicker:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        inner = self._view.env
        assert isinstance(inner, _One)
        inner.now[0] = obs
        return self._view.reset(seed)[0], info

    def observation(self, observation: Any) -> Any:
        inner = self._view.env
        assert isinstance(inner, _One)
        inner.now[0] = observation
        return self._view.step(np.zeros(1)).obs[0]


class _One(VecEnv):
    """The observation of one environment, as a vector environment of one row."""

    def __init__(self, size: int) -> None:
        self.num_envs, self.obs_size, self.actions, self.action_size, self.name = 1, size, 1, 1, "environment"
        self.now = np.zeros((1, size), np.float32)

    def reset(self, seed: int | None = None) -> Floats:
        return self.now.copy()

    def step(self, action: NDArray[Any]) -> Step:
        no = np.zeros(1, bool)
        return Step(self.now.copy(), np.zeros(1, np.float32), no, no, self.now.copy())
