"""Recurrent soft actor-critic for discrete actions (Christodoulou 2019): expectations in place of draws.

The critic gives a value per action, so the policy's loss needs no reparametrised draw; otherwise as in ``sac``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from grsn_rl._checks import fraction
from grsn_rl.envs.vector import VecEnv
from grsn_rl.offpolicy import OffPolicy, OffPolicyConfig, follow
from grsn_rl.sac import Temperature

__all__ = ["SACDiscrete", "SACDiscreteConfig"]


@dataclass(frozen=True)
class SACDiscreteConfig(OffPolicyConfig):
    """Settings of :class:`SACDiscrete`.

    target_entropy: what the temperature steers to, as a share of the even policy's entropy, in (0, 1). Others:
    :class:`grsn_rl.offpolicy.OffPolicyConfig`.
    """

    target_entropy: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("target_entropy", self.target_entropy)


class SACDiscrete(OffPolicy):
    """See the module's text. Made by ``Agent.create(env, algo="sac-discrete")``; discrete actions alone.

    env: environments at once. memory: its name. config: the settings. seed: of weights and actions. options: of the
    memory.
    """

    name = "sac-discrete"
    Config = SACDiscreteConfig
    logged: ClassVar[tuple[str, ...]] = ("critic_loss", "policy_loss", "q", "alpha", "entropy")
    config: SACDiscreteConfig

    def __init__(self, env: VecEnv, memory: str, config: SACDiscreteConfig, seed: int, options: dict[str, Any]) -> None:
        if env.actions is None:
            raise NotImplementedError(
                f"{env.name} has continuous actions, sac-discrete chooses among discrete ones; use algo='sac'"
            )
        super().__init__(env, memory, config, seed, options, heads=env.actions, values=env.actions)
        self.temperature = Temperature(config.target_entropy * math.log(env.actions), config.lr)

    def greedy(self, heads: tuple[Tensor, ...], deterministic: bool) -> NDArray[Any]:
        """Actions [N]: the most likely, or a draw."""
        if deterministic:
            best: NDArray[Any] = heads[0].argmax(-1).numpy()
            return best
        return self.explore(heads[0])

    def explore(self, head: Tensor) -> NDArray[Any]:
        # the largest of log-probabilities with Gumbel noise is a draw
        uniform = torch.rand(head.shape, generator=self.random).clamp_min(1e-30)
        action: NDArray[Any] = (head - torch.log(-torch.log(uniform))).argmax(-1).numpy()
        return action

    def update(self) -> tuple[float, ...]:
        """Critic, actor, targets, temperature, in this order."""
        c, batch = self.config, self.batch()
        alpha = self.temperature.value()
        acting = self.unroll(self.net, batch, last=True)
        with torch.no_grad():
            later = self.unroll(self.target, batch, last=True)
        judging = self.unroll(self.critic, batch, last=False)
        now = self.late(batch)
        density = torch.log_softmax(self.net.decide(acting, now.obs)[0], -1)
        policy = density.exp()
        with torch.no_grad():
            values = self.target.judge(later[1:], now.obs[1:]).amin(0)
            follows = (policy[1:] * (values - alpha * density[1:])).sum(-1)
            wanted = now.reward + c.gamma * (1 - now.terminated) * follows
        values = (self.critic.judge(judging, now.obs[:-1]) * now.action).sum(-1)
        critic_loss = self.learn_values(values, wanted, now.mask)

        with torch.no_grad():
            judging = self.unroll(self.critic, batch, last=False)
            worth = self.critic.judge(judging, now.obs[:-1]).amin(0)
        losses = (policy[:-1] * (alpha * density[:-1] - worth)).sum(-1)
        policy_loss = self.learn_policy(losses, now.mask)

        follow(self.target, self.critic, c.tau)
        count = now.mask.sum().clamp_min(1.0)
        expected = -(policy[:-1] * density[:-1]).detach().sum(-1)
        entropy = ((now.mask * expected).sum() / count).item()
        self.temperature.learn(entropy)
        q = ((now.mask * values[0].detach()).sum() / count).item()
        return critic_loss, policy_loss, q, alpha, entropy

    def modules(self) -> dict[str, Any]:
        return {**super().modules(), **self.temperature.modules_by_name()}
