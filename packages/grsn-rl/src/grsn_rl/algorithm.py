"""What every algorithm has: environments, a network, the scale of observations, where each episode stands, a random
state; and how all of it is stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grsn_rl.cells import SpikingMemory
from grsn_rl.envs.make import make
from grsn_rl.envs.vector import Step, VecEnv
from grsn_rl.nets import RecurrentNet, RunningScale

__all__ = ["Algorithm", "check_obs"]

RECENT = 50


def check_obs(obs: NDArray[Any], env: VecEnv) -> None:
    """ValueError naming the first environment whose observation is not finite."""
    if not np.isfinite(obs).all():
        bad = int(np.flatnonzero(~np.isfinite(obs).all(-1))[0])
        raise ValueError(
            f"environment {bad} of {env.num_envs} ({env.name}) gave the observation {obs[bad].tolist()}; observations "
            "must be finite, so look for a division by zero or an unbounded state in it"
        )


class Algorithm:
    """Base of :class:`PPO` and :class:`DRQN`."""

    name: ClassVar[str]
    Config: ClassVar[type[Any]]
    #: settings by name, for ``Agent.create(..., preset=name)``
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    #: what an environment's name means
    make_env: Callable[..., VecEnv] = staticmethod(make)
    net: RecurrentNet
    optimiser: torch.optim.Optimizer

    def __init__(self, env: VecEnv, seed: int) -> None:
        self.env, self.seed = env, seed
        self.random = torch.Generator().manual_seed(seed)
        self.scale = RunningScale(env.obs_size)
        self.steps = self.episodes = 0
        self.started = False
        #: mean spikes per neuron of the last rollout, [H]; None for a memory without spikes
        self.fired: Tensor | None = None
        self._counted = 0
        self.returns: deque[float] = deque(maxlen=RECENT)
        self.lengths: deque[int] = deque(maxlen=RECENT)

    # where every environment stands

    def begin(self) -> None:
        """Start the environments, once."""
        if self.started:
            return
        env = self.env
        self.obs = env.reset(self.seed)
        check_obs(self.obs, env)
        self.scale.update(self.obs)
        self.memory_state = self.net.init_state(env.num_envs)
        self.previous = torch.zeros(env.num_envs, env.actions or env.action_size)
        self.keep = torch.zeros(env.num_envs)  # 0: an episode starts
        self._return = np.zeros(env.num_envs)
        self._age = np.zeros(env.num_envs, np.int64)
        self.started = True

    def scaled(self) -> Tensor:
        """The present observations as the network sees them, [N, O]."""
        return torch.from_numpy(self.scale(self.obs))

    def advance(self, step: Step, seen: Tensor, state: Tensor) -> None:
        """Take a step's outcome in: statistics, the next observation, the memory's state, the previous action."""
        done = step.terminated | step.truncated
        self._return += step.reward
        self._age += 1
        if done.any():
            check_obs(step.obs, self.env)
            self.returns.extend(self._return[done].tolist())
            self.lengths.extend(self._age[done].tolist())
            self.episodes += int(done.sum())
            self._return[done], self._age[done] = 0.0, 0
        self.obs = step.obs
        self.scale.update(self.obs)
        self.keep = torch.from_numpy(~done).float()
        self.previous = seen * self.keep[:, None]
        self.memory_state = state
        self.steps += self.env.num_envs

    def start_counting(self) -> None:
        """Forget the spikes counted so far."""
        self.fired, self._counted = None, 0

    def spikes(self, out: Tensor, state: Tensor) -> Tensor:
        """Spikes of one step [N, H] from what the memory put out [1, N, H] and its state; ``out`` where none are."""
        memory = self.net.memory
        return memory.spikes(out, state) if isinstance(memory, SpikingMemory) else out[0]

    def count_spikes(self, out: Tensor, state: Tensor) -> None:
        """Add one step's spikes, as a mean over the environments: out [1, N, H] and the state after it."""
        if isinstance(self.net.memory, SpikingMemory):
            mean = self.spikes(out, state).mean(0)
            self._counted += 1
            before = mean if self.fired is None else self.fired
            self.fired = before + (mean - before) / self._counted

    # what a subclass defines

    def iterate(self) -> dict[str, float]:
        """Act a little, learn a little; numbers for the log."""
        raise NotImplementedError

    def greedy(self, heads: tuple[Tensor, ...], deterministic: bool) -> NDArray[Any]:
        """Actions from the heads of one step."""
        raise NotImplementedError

    def modules(self) -> dict[str, Any]:
        """Whatever has a ``state_dict``."""
        return {"net": self.net, "optimiser": self.optimiser}

    # storing everything

    def get_state(self) -> dict[str, Any]:
        """All that decides the future: tensors, arrays and plain values, nested."""
        state: dict[str, Any] = {
            "steps": self.steps,
            "episodes": self.episodes,
            "started": self.started,
            "random": self.random.get_state(),
            "scale": self.scale.get_state(),
            "modules": {name: module.state_dict() for name, module in self.modules().items()},
            "returns": list(self.returns),
            "lengths": list(self.lengths),
        }
        if getattr(self, "log_std", None) is not None:
            state["log_std"] = self.log_std.detach().clone()  # type: ignore[attr-defined]
        if self.started:
            state["now"] = {
                "obs": self.obs,
                "memory": self.memory_state,
                "previous": self.previous,
                "keep": self.keep,
                "return": self._return,
                "age": self._age,
            }
            state["env"] = self.env.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``; new episodes start where the environments could not store theirs."""
        self.steps, self.episodes = int(state["steps"]), int(state["episodes"])
        self.random.set_state(state["random"])
        self.scale.set_state(state["scale"])
        for name, module in self.modules().items():
            module.load_state_dict(state["modules"][name])
        if "log_std" in state:
            with torch.no_grad():
                self.log_std.copy_(state["log_std"])  # type: ignore[attr-defined]
        self.returns, self.lengths = deque(state["returns"], RECENT), deque(state["lengths"], RECENT)
        self.started = False
        if not state["started"]:
            return
        if not state["env"]:
            # a foreign environment: its episodes cannot go on, so they start anew, with a seed of their own
            seed, self.seed = self.seed, self.seed + 1 + self.steps
            scale = self.scale.get_state()
            self.begin()
            self.scale.set_state(scale)
            self.seed = seed
            return
        self.begin()
        self.scale.set_state(state["scale"])
        self.env.set_state(state["env"])
        now = state["now"]
        self.obs = now["obs"]
        self.memory_state, self.previous, self.keep = now["memory"], now["previous"], now["keep"]
        self._return, self._age = now["return"], now["age"]
