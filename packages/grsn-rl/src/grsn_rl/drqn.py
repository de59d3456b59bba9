"""Deep recurrent Q-learning (Hausknecht and Stone 2015) with double targets, on sequences from a replay.

One file, top to bottom: settings, acting, learning. Windows of episodes are unrolled from a zero state or from the one
stored while acting, after ``burn_in`` steps that only warm the memory up (Kapturowski et al. 2019).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grsn_rl._checks import choice, positive, whole
from grsn_rl.envs.vector import VecEnv
from grsn_rl.nets import RecurrentNet
from grsn_rl.offpolicy import follow
from grsn_rl.replaying import SingleAgent

__all__ = ["DRQN", "DRQNConfig"]


@dataclass(frozen=True)
class DRQNConfig:
    """Settings of :class:`DRQN`.

    capacity: of the replay in steps. batch, length: windows per update, steps per window. burn_in: of them without
    loss. replay_state: "zero" or "stored". learning_starts: steps before the first update. every: environment steps
    (of all environments together) per update. lr, gamma, max_norm: as usual. tau: share of the new weights in the
    target network per update. epsilon, final_epsilon, epsilon_steps: random actions fall linearly over so many steps.
    hidden, layers, embed, shortcut, head: sizes as in PPO.
    """

    capacity: int = 100_000
    batch: int = 32
    length: int = 32
    burn_in: int = 0
    replay_state: str = "zero"
    learning_starts: int = 1000
    every: int = 16
    lr: float = 1e-3
    gamma: float = 0.99
    max_norm: float = 10.0
    tau: float = 0.01
    epsilon: float = 1.0
    final_epsilon: float = 0.05
    epsilon_steps: int = 10_000
    hidden: int = 64
    layers: int = 1
    embed: int = 32
    shortcut: int = 32
    head: int = 64

    def __post_init__(self) -> None:
        for name in (
            "capacity",
            "batch",
            "length",
            "every",
            "epsilon_steps",
            "hidden",
            "layers",
            "embed",
            "shortcut",
            "head",
        ):
            whole(name, getattr(self, name))
        for name in ("lr", "max_norm", "tau"):
            positive(name, getattr(self, name))
        choice("replay_state", self.replay_state, ("zero", "stored"))
        whole("learning_starts", self.learning_starts, 0)
        if not 0 <= self.burn_in < self.length:
            raise ValueError(
                f"burn_in={self.burn_in}, length={self.length} given; some steps must be left to learn from"
            )
        if not (0 < self.gamma <= 1 and 0 <= self.final_epsilon <= self.epsilon <= 1):
            raise ValueError(
                f"gamma={self.gamma}, epsilon={self.epsilon}, final_epsilon={self.final_epsilon} given; expected gamma "
                "in (0, 1] and 0 <= final_epsilon <= epsilon <= 1"
            )


class DRQN(SingleAgent):
    """See the module's text. Made by ``Agent.create(env, algo="drqn")``; discrete actions alone.

    env: environments at once. memory: its name. config: the settings. seed: of weights and actions. options: of the
    memory.
    """

    name = "drqn"
    Config = DRQNConfig

    def __init__(self, env: VecEnv, memory: str, config: DRQNConfig, seed: int, options: dict[str, Any]) -> None:
        super().__init__(env, seed)
        if env.actions is None:
            raise NotImplementedError(
                f"{env.name} has continuous actions, drqn chooses among discrete ones; use algo='ppo'"
            )
        self.config = config
        self.net = RecurrentNet(
            env.obs_size, env.actions, (env.actions,), memory=memory, hidden=config.hidden, layers=config.layers,
            embed=config.embed, shortcut=config.shortcut, head=config.head, options=options,
        )  # fmt: skip
        self.target = copy.deepcopy(self.net).requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.net.parameters(), config.lr, fused=True)
        stored = {"state": tuple(self.net.init_state(1)[:, 0].shape)} if config.replay_state == "stored" else {}
        self.replay = self.make_replay(config.capacity, **stored)

    @property
    def epsilon(self) -> float:
        """Probability of a random action now."""
        c = self.config
        return max(c.final_epsilon, c.epsilon + (c.final_epsilon - c.epsilon) * self.steps / c.epsilon_steps)

    def greedy(self, heads: tuple[Tensor, ...], deterministic: bool) -> NDArray[Any]:
        """Actions [N] of highest value; not deterministic: with the final share of random ones."""
        action: NDArray[Any] = heads[0].argmax(-1).numpy()
        return action if deterministic else self._explore(action, self.config.final_epsilon)

    def _explore(self, action: NDArray[Any], epsilon: float) -> NDArray[Any]:
        blind = self.draws.random(len(action)) < epsilon
        return np.where(blind, self.draws.integers(0, self.env.actions or 1, len(action)), action)

    def iterate(self) -> dict[str, float]:
        """A few steps in every environment and the updates they pay for; numbers for the log."""
        self.begin()
        steps = max(1, -(-self.config.every // self.env.num_envs)) * 8
        self.start_counting()
        losses = []
        for _ in range(steps):
            self.act()
            self.due += self.env.num_envs
            while self.due >= self.config.every:
                self.due -= self.config.every
                if self.steps >= self.config.learning_starts and len(self.replay):
                    losses.append(self.update())
        numbers = np.mean(losses, 0) if losses else np.array([np.nan, np.nan])
        return {"loss": float(numbers[0]), "q": float(numbers[1]), "epsilon": self.epsilon}

    def choose(self, out: Tensor, seen: Tensor) -> NDArray[Any]:
        return self._explore(self.net.decide(out, seen)[0][0].argmax(-1).numpy(), self.epsilon)

    def more(self, i: int, before: Tensor) -> dict[str, Any]:
        return {"state": (before[:, i] * self.keep[i]).numpy()} if self.config.replay_state == "stored" else {}

    def values(self, net: RecurrentNet, batch: dict[str, Tensor], state: Tensor) -> Tensor:
        """Q of every observation of the windows and of the one after the last: [length + 1, B, A]."""
        # what followed each step, not the next row: behind a short episode's end the rows repeat
        obs = torch.cat([batch["obs"][:1], batch["after"]])
        done = torch.nn.functional.one_hot(batch["action"], net.act_size).float()
        previous = torch.cat([batch["previous"][:1], done])
        with torch.no_grad():
            warm = self.config.burn_in
            if warm:
                _, state = net.remember(obs[:warm], previous[:warm], state, None)
        heads, _ = net(obs[warm:], previous[warm:], state)
        q: Tensor = heads[0]
        return q

    def batch(self) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Windows as the network sees them, their mask [length, B], the state they start from."""
        arrays, mask = self.replay.sample(self.config.batch, self.config.length, self.draws)
        for key in ("obs", "after"):
            arrays[key] = self.scale(arrays[key])
        batch = {k: torch.from_numpy(v) for k, v in arrays.items()}
        state = self.net.init_state(self.config.batch)
        if self.config.replay_state == "stored":
            state = batch.pop("state")[0].transpose(0, 1).contiguous()
        return batch, torch.from_numpy(mask), state

    def update(self) -> tuple[float, float]:
        """One step of the optimiser; the loss and the mean value of the actions taken."""
        c = self.config
        batch, mask, state = self.batch()
        q = self.values(self.net, batch, state)
        with torch.no_grad():
            later = self.values(self.target, batch, state)
            best = q.argmax(-1, keepdim=True)
            follows = later.gather(-1, best)[1:, :, 0]
            reward, terminated = batch["reward"][c.burn_in :], batch["terminated"][c.burn_in :]
            wanted = reward + c.gamma * (1 - terminated) * follows
        taken = q[:-1].gather(-1, batch["action"][c.burn_in :, :, None])[..., 0]
        weight = mask[c.burn_in :]
        count = weight.sum().clamp_min(1.0)
        loss = (weight * (taken - wanted).square()).sum() / count
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), c.max_norm)
        self.optimiser.step()
        follow(self.target, self.net, c.tau)
        return loss.item(), ((weight * taken.detach()).sum() / count).item()

    def modules(self) -> dict[str, Any]:
        return {**super().modules(), "target": self.target}
