"""What SAC, SAC-discrete and TD3 share: acting into a replay of whole episodes, windows of it, targets that follow.

Actor and critic have a memory each. A window starts from a zero state, ``burn_in`` steps of it only warm the memories
up. The last observation of a window is there too, so that every step has a next value.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grsn_rl._checks import positive, whole
from grsn_rl.envs.vector import VecEnv
from grsn_rl.nets import RecurrentNet
from grsn_rl.replaying import SingleAgent
from grsn_rl.twin import TwinCritic

__all__ = ["PAPER", "Batch", "OffPolicy", "OffPolicyConfig", "follow"]

#: vector steps per row of the log
ROUND = 32

#: the released code's settings for CartPole and Pendulum; the network's heads and inputs stay ours
PAPER: dict[str, Any] = {
    "capacity": 1_000_000, "batch": 32, "length": 64, "updates_per_step": 1.0, "lr": 3e-4, "gamma": 0.9, "tau": 0.005,
    "hidden": 128, "embed": 48, "shortcut": 48, "head": 128,
}  # fmt: skip


@dataclass(frozen=True)
class OffPolicyConfig:
    """Settings that the off-policy algorithms share; the defaults are the preset "fast".

    capacity: of the replay in steps. batch, length: windows per update, steps per window. burn_in: of them without
    loss. learning_starts: steps of random actions before the first update. updates_per_step: per environment step.
    lr: of all optimisers (Adam). gamma: discount. tau: share of the new weights in the target networks per update.
    reward_scale: factor on what is learned from (returns are told as they are): values of about one are learned
    soonest.
    hidden, layers, embed, shortcut, head: sizes of :class:`grsn_rl.RecurrentNet` (actor) and
    :class:`grsn_rl.TwinCritic`.
    """

    capacity: int = 100_000
    batch: int = 32
    length: int = 32
    burn_in: int = 0
    learning_starts: int = 1000
    updates_per_step: float = 0.25
    lr: float = 1e-3
    gamma: float = 0.99
    tau: float = 0.02
    reward_scale: float = 1.0
    hidden: int = 64
    layers: int = 1
    embed: int = 32
    shortcut: int = 32
    head: int = 64

    def __post_init__(self) -> None:
        for name in ("capacity", "batch", "length", "hidden", "layers", "embed", "shortcut", "head"):
            whole(name, getattr(self, name))
        for name in ("lr", "updates_per_step", "reward_scale"):
            positive(name, getattr(self, name))
        whole("learning_starts", self.learning_starts, 0)
        if not 0 <= self.burn_in < self.length:
            raise ValueError(
                f"burn_in={self.burn_in}, length={self.length} given; some steps must be left to learn from"
            )
        if not (0 < self.gamma <= 1 and 0 < self.tau <= 1):
            raise ValueError(f"gamma={self.gamma}, tau={self.tau} given; expected both in (0, 1]")


class Batch(NamedTuple):
    """Windows as tensors, time first. ``obs`` and ``previous`` have one step more than the rest, at the end."""

    obs: Tensor
    previous: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    mask: Tensor


@torch.no_grad()
def follow(target: nn.Module, net: nn.Module, tau: float) -> None:
    """Move the target's weights a share ``tau`` towards the network's."""
    torch._foreach_lerp_(list(target.parameters()), list(net.parameters()), tau)


class OffPolicy(SingleAgent):
    """Base of :class:`SAC`, :class:`SACDiscrete` and :class:`TD3`."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"fast": {}, "paper": PAPER}
    #: keys of what ``update`` tells
    logged: ClassVar[tuple[str, ...]]
    config: OffPolicyConfig

    def __init__(
        self,
        env: VecEnv,
        memory: str,
        config: OffPolicyConfig,
        seed: int,
        options: dict[str, Any],
        *,
        heads: int,
        values: int,
    ) -> None:
        super().__init__(env, seed)
        self.config = config
        self.act_size = env.actions or env.action_size
        sizes: dict[str, Any] = {
            "memory": memory, "hidden": config.hidden, "layers": config.layers, "embed": config.embed,
            "shortcut": config.shortcut, "head": config.head, "options": options,
        }  # fmt: skip
        self.net = RecurrentNet(env.obs_size, self.act_size, (heads,), **sizes)
        self.critic = TwinCritic(env.obs_size, self.act_size, values, **sizes)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.net.parameters(), config.lr, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), config.lr, fused=True)
        self.replay = self.make_replay(config.capacity)

    # what a subclass defines

    def explore(self, head: Tensor) -> NDArray[Any]:
        """Actions of training from one step's head [N, heads]."""
        raise NotImplementedError

    def update(self) -> tuple[float, ...]:
        """One step of every optimiser; the numbers named in ``logged``."""
        raise NotImplementedError

    # acting

    def iterate(self) -> dict[str, float]:
        """Some steps in every environment and the updates they pay for; numbers for the log."""
        self.begin()
        self.start_counting()
        told = []
        for _ in range(ROUND):
            self.act()
            if self.steps > self.config.learning_starts and len(self.replay):
                self.due += self.env.num_envs * self.config.updates_per_step
            while self.due >= 1:
                self.due -= 1
                told.append(self.update())
        means = np.mean(told, 0) if told else np.full(len(self.logged), np.nan)
        return {name: float(mean) for name, mean in zip(self.logged, means, strict=True)}

    def blind(self) -> NDArray[Any]:
        """Random actions, before there is anything to learn from."""
        n = self.env.num_envs
        if self.env.actions:
            return self.draws.integers(0, self.env.actions, n)
        return self.draws.uniform(-1, 1, (n, self.act_size)).astype(np.float32)

    def choose(self, out: Tensor, seen: Tensor) -> NDArray[Any]:
        return (
            self.blind() if self.steps < self.config.learning_starts else self.explore(self.net.decide(out, seen)[0][0])
        )

    # learning

    def batch(self) -> Batch:
        """Windows as the networks see them."""
        c = self.config
        arrays, mask = self.replay.sample(c.batch, c.length, self.draws)
        # what followed each step, not the next row: behind a short episode's end the rows repeat
        obs = self.scale(np.concatenate([arrays["obs"][:1], arrays["after"]]))
        action = torch.from_numpy(arrays["action"])
        if self.env.actions:
            action = torch.nn.functional.one_hot(action, self.env.actions).float()
        previous = torch.cat([torch.from_numpy(arrays["previous"][:1]), action])
        reward = self.config.reward_scale * torch.from_numpy(arrays["reward"])
        terminated = torch.from_numpy(arrays["terminated"])
        return Batch(torch.from_numpy(obs), previous, action, reward, terminated, torch.from_numpy(mask))

    def unroll(self, net: RecurrentNet | TwinCritic, batch: Batch, last: bool) -> Tensor:
        """What the net's memory puts out after the burn-in, [length - burn_in (+ 1 with the last step), B, H]."""
        warm, end = self.config.burn_in, len(batch.obs) if last else -1
        state = net.init_state(batch.obs.shape[1])
        if warm:
            with torch.no_grad():
                _, state = net.remember(batch.obs[:warm], batch.previous[:warm], state, None)
        return net.remember(batch.obs[warm:end], batch.previous[warm:end], state, None)[0]

    def late(self, batch: Batch) -> Batch:
        """The batch without its burn-in."""
        return Batch(*(t[self.config.burn_in :] for t in batch))

    def learn_values(self, values: Tensor, wanted: Tensor, mask: Tensor) -> float:
        """One step of the critic towards ``wanted`` [T, B]; values [2, T, B]. The loss of both together."""
        count = mask.sum().clamp_min(1.0)
        loss = (mask * (values - wanted).square()).sum() / count
        self.critic_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_optimiser.step()
        return loss.item()

    def learn_policy(self, losses: Tensor, mask: Tensor) -> float:
        """One step of the actor against the mean of ``losses`` [T, B]; the critic's gradient is not computed."""
        loss = (mask * losses).sum() / mask.sum().clamp_min(1.0)
        self.optimiser.zero_grad()
        loss.backward(inputs=list(self.net.parameters()))  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return loss.item()

    # storing

    def modules(self) -> dict[str, Any]:
        return {
            **super().modules(), "critic": self.critic, "critic_optimiser": self.critic_optimiser,
            "target": self.target,
        }  # fmt: skip
