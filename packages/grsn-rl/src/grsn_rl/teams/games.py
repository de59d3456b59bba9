"""Games whose best play is known: matrices of payoffs, and the game in two steps of Rashid et al. (2018)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grsn_rl._checks import whole
from grsn_rl.teams.team import TeamEnv, TeamStep, check_available

__all__ = ["MATRICES", "MatrixGame", "TwoStepGame"]

#: payoffs [actions of agent 1, actions of agent 2]. Source: Claus and Boutilier (1998), k = -100 in "penalty"
MATRICES: dict[str, list[list[float]]] = {
    "climbing": [[11, -30, 0], [-30, 7, 6], [0, 0, 5]],
    "penalty": [[-100, 0, 10], [0, 2, 0], [10, 0, -100]],
}


class _Game(TeamEnv):
    """Shared by both: a small state number per environment, shown one-hot to everyone, no chance."""

    states: int

    def __init__(self, num_envs: int) -> None:
        self.num_envs = whole("num_envs", num_envs)
        self.obs_size = self.state_size = self.states
        self.available = np.ones((num_envs, self.agents, self.actions or 1), bool)
        self._place = np.zeros(num_envs, np.int64)

    def _play(self, place: NDArray[np.int64], action: NDArray[np.int64]) -> tuple[Any, Any, Any]:
        """Next states, rewards, and where the game is over."""
        raise NotImplementedError

    def _see(self) -> NDArray[np.float32]:
        self.state = np.eye(self.states, dtype=np.float32)[self._place]
        return np.repeat(self.state[:, None], self.agents, 1)

    def reset(self, seed: int | None = None) -> NDArray[np.float32]:
        self._place[:] = 0
        return self._see()

    def step(self, action: NDArray[Any]) -> TeamStep:  # type: ignore[override]
        action = np.asarray(action)
        check_available(self, self.available, action)
        self._place, reward, over = self._play(self._place, action)
        final, final_state = self._see(), self.state
        self._place = np.where(over, 0, self._place)
        no = np.zeros(self.num_envs, bool)
        return TeamStep(
            self._see(), np.asarray(reward, np.float32), over, no, final, final_state, self.available.copy()
        )

    def get_state(self) -> dict[str, Any]:
        return {"place": self._place.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        self._place = state["place"].copy()
        self._see()


class MatrixGame(_Game):
    """One move, then the payoff.

    Args:
        payoff: [A] * K, every agent with the same number of actions; or a name of ``MATRICES``. num_envs: N.
    Example:
        >>> import numpy as np
        >>> game = MatrixGame("climbing", 1)
        >>> game.step(np.array([[0, 0]])).reward
        array([11.], dtype=float32)
    """

    states = limit = 1

    def __init__(self, payoff: str | ArrayLike, num_envs: int = 1) -> None:
        if isinstance(payoff, str):
            if payoff not in MATRICES:
                raise ValueError(f"no matrix is named {payoff!r}; choose one of {', '.join(MATRICES)}, or pass payoffs")
            self.name, payoff = f"matrix:{payoff}", MATRICES[payoff]
        else:
            self.name = "matrix"
        self.payoff = np.asarray(payoff, np.float64)
        if self.payoff.ndim < 1 or len(set(self.payoff.shape)) != 1 or not np.isfinite(self.payoff).all():
            raise ValueError(
                f"payoffs of shape {self.payoff.shape} given; expected finite numbers [A, ..., A], an axis per agent"
            )
        self.agents, self.actions = self.payoff.ndim, self.payoff.shape[0]
        super().__init__(num_envs)

    def _play(self, place: NDArray[np.int64], action: NDArray[np.int64]) -> tuple[Any, Any, Any]:
        return place, self.payoff[tuple(action.T)], np.ones(self.num_envs, bool)


class TwoStepGame(_Game):
    """Agent 1's first action leads to 2A, where every payoff is 7, or to 2B: [[0, 1], [1, 8]].

    The best play is worth 8. A sum of values per agent cannot tell that of 2B apart, fits 6.5 and takes 7.

    Args:
        num_envs: N.
    Source: Rashid et al. (2018), table 1.
    """

    name = "two-step"
    states, agents, actions, limit = 3, 2, 2, 2

    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(num_envs)

    def _play(self, place: NDArray[np.int64], action: NDArray[np.int64]) -> tuple[Any, Any, Any]:
        payoff = np.array([[0.0, 1.0], [1.0, 8.0]])[action[:, 0], action[:, 1]]
        reward = np.where(place == 0, 0.0, np.where(place == 1, 7.0, payoff))
        return np.where(place == 0, 1 + action[:, 0], place), reward, place > 0
