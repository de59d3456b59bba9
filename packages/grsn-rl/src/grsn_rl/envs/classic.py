"""CartPole, Pendulum and RepeatPrevious as array operations: thousands of steps cost what one costs in Gymnasium."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grsn_rl._checks import whole
from grsn_rl.envs.vector import Bools, Floats, Step, VecEnv

__all__ = ["CartPoleVec", "PendulumVec", "RepeatPreviousVec"]


class _NumpyEnv(VecEnv):
    """Shared by those below: a state array, a step counter, one random generator."""

    state_size: int
    limit = 200

    def __init__(self, num_envs: int, limit: int | None = None) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} given; at least one environment is needed")
        self.num_envs = num_envs
        self.limit = limit or type(self).limit
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


class RepeatPreviousVec(_NumpyEnv):
    """POPGym's RepeatPrevious for N decks at once: name the suit of the card seen k - 1 steps ago.

    Args:
        num_envs: N. limit: steps per episode where it should end before the deck does.
        decks: of 52 cards each. k: 1 asks for the card in sight, 4 (POPGym's easy task) for the one three steps ago.
    Observation: the suit, one of four, as a one-hot row. Actions: 0 to 3. Reward: right 1, wrong -1, over the number
    of cards that are asked for, so that returns lie in [-1, 1] and a guess is worth -0.5.
    Source: Morad et al. (2023), POPGym.
    """

    name = "RepeatPrevious"
    obs_size = actions = 4
    action_size = 1
    limit = 10**9

    def __init__(self, num_envs: int, limit: int | None = None, *, decks: int = 1, k: int = 4) -> None:
        self.state_size, self.k = 52 * whole("decks", decks), whole("k", k)
        if k >= self.state_size:
            raise ValueError(f"k={k} given for {self.state_size} cards; it must be smaller")
        super().__init__(num_envs, limit)

    def _start(self, count: int) -> NDArray[np.float64]:
        suits = np.arange(self.state_size, dtype=np.float64) % 4
        return self._rng.permuted(np.broadcast_to(suits, (count, self.state_size)), axis=1)

    def _observe(self, state: NDArray[np.float64]) -> Floats:
        suit = np.take_along_axis(state, self._age[:, None], 1)
        row: Floats = (suit == np.arange(4)).astype(np.float32)
        return row

    def _move(self, action: NDArray[Any]) -> tuple[NDArray[np.float64], Bools]:
        asked = self._age + 1 - self.k
        wanted = np.take_along_axis(self._state, np.maximum(asked, 0)[:, None], 1)[:, 0]
        reward = np.where(action == wanted, 1.0, -1.0) * (asked >= 0) / (self.state_size - self.k)
        return reward, self._age + 2 == self.state_size
