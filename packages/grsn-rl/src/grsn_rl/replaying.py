"""Acting into a replay of whole episodes: what DRQN, the actor-critics and the teams' algorithms share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grsn_rl.algorithm import Algorithm, check_obs
from grsn_rl.envs.vector import VecEnv
from grsn_rl.nets import one_hot
from grsn_rl.replay import SequenceReplay

__all__ = ["Replaying", "SingleAgent"]


class Replaying(Algorithm):
    """Base of the algorithms that learn from stored episodes: env, seed as in :class:`Algorithm`."""

    replay: SequenceReplay

    def __init__(self, env: VecEnv, seed: int) -> None:
        super().__init__(env, seed)
        self.draws = np.random.default_rng([seed, 2])
        #: steps of the episodes that have not ended, by environment
        self.pending: list[list[dict[str, Any]]] = [[] for _ in range(env.num_envs)]
        #: updates that the steps taken have paid for
        self.due = 0.0

    def store(self, i: int, *end: dict[str, Any]) -> None:
        """Environment i's episode goes into the replay, with a row for its end where one is given."""
        rows = [*self.pending[i], *end]
        self.replay.add({k: np.stack([row[k] for row in rows]) for k in rows[0]})
        self.pending[i] = []

    def get_state(self) -> dict[str, Any]:
        return {
            **super().get_state(), "replay": self.replay.get_state(), "pending": self.pending, "due": self.due,
            "draws": self.draws.bit_generator.state,
        }  # fmt: skip

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.replay.set_state(state["replay"])
        self.due = float(state["due"])
        self.draws.bit_generator.state = state["draws"]
        # episodes that cannot go on are not whole
        self.pending = state["pending"] if not state["started"] or state["env"] else [[] for _ in self.pending]


class SingleAgent(Replaying):
    """Base of those with one agent per environment."""

    def make_replay(self, capacity: int, **more: tuple[int, ...]) -> SequenceReplay:
        """A replay of what was seen and done in every step, what came of it, and ``more`` fields by shape."""
        env = self.env
        return SequenceReplay(
            capacity,
            {
                # after: the observation that followed, also where an episode ended
                "obs": (env.obs_size,), "after": (env.obs_size,), "action": () if env.actions else (env.action_size,),
                "reward": (), "terminated": (), "previous": (env.actions or env.action_size,), **more,
            },
            whole_numbers=("action",) if env.actions else (),
        )  # fmt: skip

    def choose(self, out: Tensor, seen: Tensor) -> NDArray[Any]:
        """Actions of training, from the memory's output and the scaled observations, both [1, N, ...]."""
        raise NotImplementedError

    def more(self, i: int, before: Tensor) -> dict[str, Any]:
        """Further fields of environment i's step; ``before`` is the memory's state before it."""
        return {}

    @torch.no_grad()
    def act(self) -> None:
        """One step in every environment; episodes that end go into the replay."""
        env, before = self.env, self.memory_state
        seen = self.scaled()
        out, state = self.net.remember(seen[None], self.previous[None], before, self.keep[None])
        self.count_spikes(out, state)
        action = self.choose(out, seen[None])
        step = env.step(action)
        check_obs(step.final_obs, env)
        for i, rows in enumerate(self.pending):
            rows.append(
                {
                    "obs": self.obs[i], "after": step.final_obs[i], "action": action[i], "reward": step.reward[i],
                    "terminated": float(step.terminated[i]), "previous": self.previous[i].numpy(),
                    **self.more(i, before),
                }
            )  # fmt: skip
        self.advance(step, one_hot(action, env.actions), state)
        for i in np.flatnonzero(step.terminated | step.truncated).tolist():
            self.store(i)
