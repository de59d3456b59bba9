"""Recurrent twin delayed deterministic policy gradients (Fujimoto et al. 2018), on sequences from a replay.

The target's action carries clipped noise; the actor and the targets move every ``delay`` updates of the critic. The
method's released code has ``delay=1``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from grsn_rl._checks import whole
from grsn_rl.envs.vector import VecEnv
from grsn_rl.offpolicy import PAPER, OffPolicy, OffPolicyConfig, follow

__all__ = ["TD3", "TD3Config"]


@dataclass(frozen=True)
class TD3Config(OffPolicyConfig):
    """Settings of :class:`TD3`.

    noise: standard deviation of what is added to actions in training. target_noise, target_clip: of what is added to
    the target's action, and its bound. delay: critic updates per update of the actor and the targets. Others:
    :class:`grsn_rl.offpolicy.OffPolicyConfig`.
    """

    noise: float = 0.1
    target_noise: float = 0.2
    target_clip: float = 0.5
    delay: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("delay", self.delay)
        for name in ("noise", "target_noise", "target_clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r} given; expected a number >= 0")


class TD3(OffPolicy):
    """See the module's text. Made by ``Agent.create(env, algo="td3")``; continuous actions alone.

    env: environments at once. memory: its name. config: the settings. seed: of weights and actions. options: of the
    memory.
    """

    name = "td3"
    Config = TD3Config
    presets: ClassVar[dict[str, dict[str, Any]]] = {"fast": {}, "paper": {**PAPER, "delay": 1}}
    logged: ClassVar[tuple[str, ...]] = ("critic_loss", "policy_loss", "q")
    config: TD3Config

    def __init__(self, env: VecEnv, memory: str, config: TD3Config, seed: int, options: dict[str, Any]) -> None:
        if env.actions is not None:
            raise NotImplementedError(
                f"{env.name} has discrete actions, td3 gives continuous ones; use algo='sac-discrete'"
            )
        super().__init__(env, memory, config, seed, options, heads=env.action_size, values=1)
        self.target_net = copy.deepcopy(self.net).requires_grad_(False)
        self.updates = 0
        self._policy_loss = 0.0

    def greedy(self, heads: tuple[Tensor, ...], deterministic: bool) -> NDArray[Any]:
        """Actions [N, A]: the policy's, or with the noise of training."""
        if deterministic:
            action: NDArray[Any] = heads[0].tanh().numpy()
            return action
        return self.explore(heads[0])

    def explore(self, head: Tensor) -> NDArray[Any]:
        noise = self.config.noise * torch.randn(head.shape, generator=self.random)
        action: NDArray[Any] = (head.tanh() + noise).clamp(-1, 1).numpy()
        return action

    def update(self) -> tuple[float, ...]:
        """The critic; every ``delay`` times the actor, then the targets."""
        c, batch = self.config, self.batch()
        now = self.late(batch)
        with torch.no_grad():
            later = self.unroll(self.target, batch, last=True)[1:]
            action = self.target_net.decide(self.unroll(self.target_net, batch, last=True)[1:], now.obs[1:])[0].tanh()
            noise = c.target_noise * torch.randn(action.shape, generator=self.random)
            action = (action + noise.clamp(-c.target_clip, c.target_clip)).clamp(-1, 1)
            follows = self.target.judge(later, now.obs[1:], action)[..., 0].amin(0)
            wanted = now.reward + c.gamma * (1 - now.terminated) * follows
        values = self.critic.judge(self.unroll(self.critic, batch, last=False), now.obs[:-1], now.action)[..., 0]
        critic_loss = self.learn_values(values, wanted, now.mask)
        self.updates += 1
        if self.updates % c.delay == 0:
            with torch.no_grad():
                judging = self.unroll(self.critic, batch, last=False)
            chosen = self.net.decide(self.unroll(self.net, batch, last=False), now.obs[:-1])[0].tanh()
            worth = self.critic.judge(judging, now.obs[:-1], chosen)[0, ..., 0]
            self._policy_loss = self.learn_policy(-worth, now.mask)
            follow(self.target, self.critic, c.tau)
            follow(self.target_net, self.net, c.tau)
        q = ((now.mask * values[0].detach()).sum() / now.mask.sum().clamp_min(1.0)).item()
        return critic_loss, self._policy_loss, q

    def modules(self) -> dict[str, Any]:
        return {**super().modules(), "target_net": self.target_net}

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "updates": self.updates, "policy_loss": self._policy_loss}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.updates, self._policy_loss = int(state["updates"]), float(state["policy_loss"])
