"""QMIX (Rashid et al. 2018) and value decomposition networks (Sunehag et al. 2018): teams that share one reward.

One file, top to bottom: settings, acting, learning. All agents are one recurrent network; a mixer turns the values of
their actions into the team's, which the team's reward teaches. Whole episodes are unrolled from a zero state.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grsn_rl._checks import positive, whole
from grsn_rl.algorithm import RECENT, check_obs
from grsn_rl.envs.vector import VecEnv
from grsn_rl.mixers import MonotoneMixer, SumMixer, TeamNet
from grsn_rl.nets import RunningScale, one_hot
from grsn_rl.replay import SequenceReplay
from grsn_rl.replaying import Replaying
from grsn_rl.statistics import mean_of
from grsn_rl.teams.make import make
from grsn_rl.teams.team import TeamEnv, check_available

__all__ = ["QMIX", "VDN", "QMIXConfig"]

#: vector steps per row of the log
ROUND = 32


@dataclass(frozen=True)
class QMIXConfig:
    """Settings of :class:`QMIX` and :class:`VDN`; the defaults are the preset "paper".

    capacity: of the replay in steps. batch: episodes per update. updates_per_episode: updates per finished episode.
    lr: of Adam. gamma: discount. trace: lambda of the returns the values learn, 0 for one step. max_norm: of the
    gradient. sync_every: updates between copies into the target networks. epsilon, final_epsilon, epsilon_steps: random
    actions fall linearly over so many steps. hidden, layers, embed: sizes of :class:`grsn_rl.mixers.TeamNet`.
    width, hyper: of :class:`grsn_rl.mixers.MonotoneMixer`.
    """

    capacity: int = 100_000
    batch: int = 32
    updates_per_episode: float = 1.0
    lr: float = 5e-4
    gamma: float = 0.99
    trace: float = 0.0
    max_norm: float = 10.0
    sync_every: int = 200
    epsilon: float = 1.0
    final_epsilon: float = 0.05
    epsilon_steps: int = 50_000
    hidden: int = 64
    layers: int = 1
    embed: int = 64
    width: int = 32
    hyper: int = 64

    def __post_init__(self) -> None:
        for name in ("capacity", "batch", "sync_every", "epsilon_steps", "hidden", "layers", "embed", "width", "hyper"):
            whole(name, getattr(self, name))
        for name in ("updates_per_episode", "lr", "max_norm"):
            positive(name, getattr(self, name))
        if not (0 < self.gamma <= 1 and 0 <= self.trace <= 1):
            raise ValueError(
                f"gamma={self.gamma}, trace={self.trace} given; expected gamma in (0, 1] and trace in [0, 1]"
            )
        if not 0 <= self.final_epsilon <= self.epsilon <= 1:
            raise ValueError(
                f"epsilon={self.epsilon}, final_epsilon={self.final_epsilon} given; expected "
                "0 <= final_epsilon <= epsilon <= 1"
            )


class QMIX(Replaying):
    """See the module's text. Made by ``Agent.create(env, algo="qmix")``; teams with discrete actions alone.

    env: environments at once. memory: its name. config: the settings. seed: of weights and actions. options: of the
    memory.
    """

    name = "qmix"
    Config = QMIXConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        # the recipe of pymarl2, as it is known in the field
        "pymarl2": {"lr": 1e-3, "trace": 0.6, "epsilon_steps": 100_000, "batch": 128},
    }
    make_env = staticmethod(make)
    env: TeamEnv
    net: TeamNet  # type: ignore[assignment]

    def __init__(self, env: VecEnv, memory: str, config: QMIXConfig, seed: int, options: dict[str, Any]) -> None:
        if not isinstance(env, TeamEnv):
            raise NotImplementedError(
                f"{env.name} has one agent, {self.name} trains teams of grsn_rl.teams; use algo='ppo' or 'drqn'"
            )
        super().__init__(env, seed)
        self.config = config
        actions = env.actions or 0
        if config.capacity < env.limit + 1:
            raise ValueError(
                f"capacity={config.capacity} given, an episode of {env.name} takes up to {env.limit + 1} rows; raise it"
            )
        self.net = TeamNet(
            env.obs_size, actions, env.agents, memory=memory, hidden=config.hidden, layers=config.layers,
            embed=config.embed, options=options,
        )  # fmt: skip
        self.mixer = self.make_mixer()
        self.target = copy.deepcopy(nn.ModuleList([self.net, self.mixer])).requires_grad_(False)
        self.trained = [*self.net.parameters(), *self.mixer.parameters()]
        self.optimiser = torch.optim.Adam(self.trained, config.lr, fused=True)
        self.state_scale = RunningScale(env.state_size)
        self.replay = SequenceReplay(
            config.capacity,
            {
                # a row per step, and one for where the episode ended (live = 0)
                "obs": (env.agents, env.obs_size), "state": (env.state_size,), "available": (env.agents, actions),
                "action": (env.agents,), "reward": (), "terminated": (), "live": (),
            },
            whole_numbers=("action",),
        )  # fmt: skip
        self.updates = 0
        self.won: deque[float] = deque(maxlen=RECENT)

    def make_mixer(self) -> nn.Module:
        """What turns the agents' values into the team's."""
        return MonotoneMixer(self.env.agents, self.env.state_size, self.config.width, self.config.hyper)

    # acting

    @property
    def epsilon(self) -> float:
        """Probability of a random action now."""
        c = self.config
        return max(c.final_epsilon, c.epsilon + (c.final_epsilon - c.epsilon) * self.steps / c.epsilon_steps)

    def begin(self) -> None:
        """Start the environments, once."""
        if self.started:
            return
        env = self.env
        self.obs = env.reset(self.seed)
        self._look(self.obs, env.state)
        rows = env.num_envs * env.agents
        self.memory_state = self.net.init_state(rows)
        self.previous = torch.zeros(rows, env.actions or 0)
        self.keep = torch.zeros(rows)
        self._return = np.zeros(env.num_envs)
        self._age = np.zeros(env.num_envs, np.int64)
        self.started = True

    def _look(self, obs: NDArray[Any], state: NDArray[Any]) -> None:
        check_obs(obs.reshape(len(obs), -1), self.env)
        check_available(self.env, self.env.available)
        self.scale.update(obs.reshape(-1, self.env.obs_size))
        self.state_scale.update(state)

    def choose(self, q: Tensor, available: NDArray[np.bool_], epsilon: float) -> NDArray[Any]:
        """Actions [N, K] among the available ones: the most valued, or with probability epsilon any."""
        shape = available.shape
        best: NDArray[Any] = np.where(available, q.numpy().reshape(shape), -np.inf).argmax(-1)
        if epsilon == 0:
            return best
        any_of = np.where(available, self.draws.random(shape), -1.0).argmax(-1)
        mixed: NDArray[Any] = np.where(self.draws.random(shape[:2]) < epsilon, any_of, best)
        return mixed

    def iterate(self) -> dict[str, float]:
        """Some steps in every environment and the updates that finished episodes pay for; numbers for the log."""
        self.begin()
        self.start_counting()
        told = []
        for _ in range(ROUND):
            self.due += self.act() * self.config.updates_per_episode
            while self.due >= 1:
                self.due -= 1
                told.append(self.update())
        loss, q = np.mean(told, 0) if told else (np.nan, np.nan)
        return {"loss": float(loss), "q": float(q), "epsilon": self.epsilon, "won": mean_of(self.won)}

    @torch.no_grad()
    def act(self) -> int:
        """One step in every environment; episodes that end go into the replay. How many did."""
        env, obs, state, available = self.env, self.obs, self.env.state, self.env.available
        seen = torch.from_numpy(self.scale(obs)).view(-1, env.obs_size)
        out, memory_state = self.net.remember(seen[None], self.previous[None], self.memory_state, self.keep[None])
        self.count_spikes(out, memory_state)
        action = self.choose(self.net.values(out[0]), available, self.epsilon)
        step = env.step(action)
        if step.reward.shape != (env.num_envs,):
            raise ValueError(
                f"{env.name} pays rewards of shape {step.reward.shape}; {self.name} learns from one per team, "
                f"{(env.num_envs,)}: sum or average those of the agents"
            )
        check_obs(step.final_obs.reshape(env.num_envs, -1), env)
        for i, rows in enumerate(self.pending):
            rows.append(
                {
                    "obs": obs[i], "state": state[i], "available": available[i], "action": action[i],
                    "reward": step.reward[i], "terminated": float(step.terminated[i]), "live": 1.0,
                }
            )  # fmt: skip
        done = step.terminated | step.truncated
        for i in np.flatnonzero(done).tolist():
            end = {
                "obs": step.final_obs[i], "state": step.final_state[i], "available": step.final_available[i],
                "action": np.zeros(env.agents, np.int64), "reward": 0.0, "terminated": 1.0, "live": 0.0,
            }  # fmt: skip
            self.store(i, end)
        self._after(step.obs, step.reward, done, one_hot(action.reshape(-1), env.actions), memory_state)
        if step.won is not None:
            self.won.extend(step.won[done].astype(float).tolist())
        return int(done.sum())

    def _after(
        self, obs: NDArray[Any], reward: NDArray[Any], done: NDArray[np.bool_], seen: Tensor, memory_state: Tensor
    ) -> None:
        """Take a step's outcome in."""
        self._return += reward
        self._age += 1
        self.returns.extend(self._return[done].tolist())
        self.lengths.extend(self._age[done].tolist())
        self.episodes += int(done.sum())
        self._return[done], self._age[done] = 0.0, 0
        self.obs = obs
        self._look(obs, self.env.state)
        self.keep = torch.from_numpy(np.repeat(~done, self.env.agents)).float()
        self.previous, self.memory_state = seen * self.keep[:, None], memory_state
        self.steps += self.env.num_envs

    def predict(
        self,
        obs: NDArray[Any],
        state: tuple[NDArray[Any], ...] | None,
        episode_start: NDArray[Any] | bool | None,
        deterministic: bool,
        available: NDArray[Any] | None,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...], NDArray[Any]]:
        """As ``Agent.predict``, for obs [N, K, O] or [K, O]; actions [N, K], the state, the mean spikes."""
        env = self.env
        obs = np.asarray(obs, np.float32)
        single = obs.ndim == 2
        teams = obs[None] if single else obs
        if teams.shape[1:] != (env.agents, env.obs_size):
            raise ValueError(
                f"obs has shape {obs.shape}, the team was trained on [N, {env.agents}, {env.obs_size}]: environments, "
                "agents, numbers"
            )
        check_obs(teams.reshape(len(teams), -1), env)
        n = len(teams)
        allowed = np.ones((n, env.agents, env.actions or 0), bool)
        if available is not None:
            given = np.asarray(available, bool)
            if given.shape[-2:] != allowed.shape[1:] or given.size != allowed.size:
                raise ValueError(f"available has shape {given.shape}, expected {allowed.shape}")
            allowed = given.reshape(allowed.shape)
            check_available(env, allowed)
        rows = n * env.agents
        if state is None:
            memory, previous = self.net.init_state(rows), torch.zeros(rows, env.actions or 0)
        else:
            memory, previous = (torch.from_numpy(np.asarray(s, np.float32)) for s in state)
            if memory.shape[1] != rows:
                raise ValueError(
                    f"state is of {memory.shape[1]} agents, obs of {rows}; pass None to start, or matching rows"
                )
        start = np.zeros(n, bool) if episode_start is None else np.broadcast_to(np.asarray(episode_start, bool), (n,))
        keep = torch.from_numpy(np.repeat(~start, env.agents)).float()
        previous = previous * keep[:, None]
        seen = torch.from_numpy(self.scale(teams)).view(1, rows, -1)
        out, memory = self.net.remember(seen, previous[None], memory, keep[None])
        epsilon = 0.0 if deterministic else self.config.final_epsilon
        action = self.choose(self.net.values(out[0]), allowed, epsilon)
        after = one_hot(action.reshape(-1), env.actions)
        fired = self.spikes(out, memory).view(n, env.agents, -1).mean(1).numpy()
        return (action[0] if single else action), (memory.numpy(), after.numpy()), fired

    # learning

    def update(self) -> tuple[float, float]:
        """One step of the optimiser; the loss and the mean value of what the teams did."""
        c, env = self.config, self.env
        arrays, mask = self.replay.sample(c.batch, env.limit + 1, self.draws)
        longest = int(mask.any(1).sum())
        batch = {k: v[:longest] for k, v in arrays.items()}
        weight = torch.from_numpy(mask[: longest - 1] * batch["live"][:-1])
        obs, state = torch.from_numpy(self.scale(batch["obs"])), torch.from_numpy(self.state_scale(batch["state"]))
        action, reward, terminated = (torch.from_numpy(batch[k]) for k in ("action", "reward", "terminated"))
        allowed = torch.from_numpy(batch["available"]) > 0
        rows = c.batch * env.agents
        seen = obs.view(longest, rows, -1)
        done = nn.functional.one_hot(action[:-1], env.actions or 0).float().view(longest - 1, rows, -1)
        previous = torch.cat([torch.zeros_like(done[:1]), done])
        start = self.net.init_state(rows)

        def values(net: TeamNet) -> Tensor:
            out, _ = net.remember(seen, previous, start, None)
            each: Tensor = net.values(out).view(*allowed.shape)
            return each

        q = values(self.net)
        team = self.mixer(q[:-1].gather(-1, action[:-1, ..., None])[..., 0], state[:-1])
        with torch.no_grad():
            target_net, target_mixer = self.target
            best = q.masked_fill(~allowed, -torch.inf).argmax(-1, keepdim=True)
            later = values(target_net).gather(-1, best)[1:, ..., 0]  # type: ignore[arg-type]
            follows = target_mixer(later, state[1:])
            wanted = traced(reward[:-1], terminated[:-1], follows, weight, c.gamma, c.trace)
        count = weight.sum().clamp_min(1.0)
        loss = (weight * (team - wanted).square()).sum() / count
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, c.max_norm)
        self.optimiser.step()
        self.updates += 1
        if self.updates % c.sync_every == 0:
            self.target.load_state_dict(nn.ModuleList([self.net, self.mixer]).state_dict())
        return loss.item(), ((weight * team.detach()).sum() / count).item()

    # storing

    def modules(self) -> dict[str, Any]:
        return {**super().modules(), "mixer": self.mixer, "target": self.target}

    def get_state(self) -> dict[str, Any]:
        return {
            **super().get_state(), "updates": self.updates, "won": list(self.won),
            "state_scale": self.state_scale.get_state(),
        }  # fmt: skip

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.state_scale.set_state(state["state_scale"])
        self.updates, self.won = int(state["updates"]), deque(state["won"], RECENT)


class VDN(QMIX):
    """Value decomposition: QMIX with a sum in the mixer's place. Made by ``Agent.create(env, algo="vdn")``."""

    name = "vdn"

    def make_mixer(self) -> nn.Module:
        return SumMixer()


def traced(reward: Tensor, terminated: Tensor, follows: Tensor, weight: Tensor, gamma: float, trace: float) -> Tensor:
    """What each step's value should be: one-step targets, or with a trace lambda-returns; all tensors [T, B].

    Args:
        follows: the value after each step. weight: 1 where a step belongs to its episode; the last such step has no
            later return and takes the one-step target. gamma, trace: discount and lambda.
    """
    one = reward + gamma * (1 - terminated) * follows
    if trace == 0:
        return one
    result = one.clone()
    for t in range(len(one) - 2, -1, -1):
        mixed = (1 - trace) * follows[t] + trace * result[t + 1]
        result[t] = torch.where(weight[t + 1] > 0, reward[t] + gamma * (1 - terminated[t]) * mixed, one[t])
    return result
