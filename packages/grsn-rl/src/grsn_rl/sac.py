"""Recurrent soft actor-critic for continuous actions (Haarnoja et al. 2018), after the layout of Ni et al. (2022).

Per update the actor is unrolled once, for the target and its own loss; the critic once with gradient and once, after
its step, without: its memory does not depend on the new action, so the policy's gradient passes only through the heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grsn_rl.envs.vector import VecEnv
from grsn_rl.offpolicy import OffPolicy, OffPolicyConfig, follow

__all__ = ["SAC", "SACConfig", "Temperature", "squashed"]

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class SACConfig(OffPolicyConfig):
    """Settings of :class:`SAC`.

    target_entropy: what the temperature steers to; None is minus the number of actions' numbers. Others:
    :class:`grsn_rl.offpolicy.OffPolicyConfig`.
    """

    target_entropy: float | None = None


class Temperature(nn.Module):
    """The weight alpha of the entropy, learned through its logarithm with Adam.

    target: entropy that alpha steers the policy to. lr: of its optimiser.
    """

    def __init__(self, target: float, lr: float) -> None:
        super().__init__()
        self.target = target
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.optimiser = torch.optim.Adam([self.log_alpha], lr)

    def value(self) -> float:
        """alpha."""
        return self.log_alpha.detach().exp().item()

    def learn(self, entropy: float) -> None:
        """More weight where the policy's entropy is below the target, less where it is above."""
        self.optimiser.zero_grad()
        (self.log_alpha.exp() * (entropy - self.target)).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def modules_by_name(self) -> dict[str, Any]:
        """What an algorithm stores of it."""
        return {"temperature": self, "temperature_optimiser": self.optimiser}


def squashed(head: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A draw of tanh(N(mean, std)) and its log-density.

    Args:
        head: mean and log std side by side, [..., 2A]; the log std is clipped to [-20, 2].
    Returns:
        action [..., A] in (-1, 1), log-density [...].
    """
    mean, log_std = head.chunk(2, -1)
    log_std = log_std.clamp(-20.0, 2.0)
    noise = torch.randn(mean.shape, generator=generator)
    before = mean + log_std.exp() * noise
    # log(1 - tanh(u)^2) without cancellation
    bend = 2.0 * (math.log(2.0) - before - torch.nn.functional.softplus(-2.0 * before))
    return before.tanh(), (-0.5 * noise.square() - log_std - 0.5 * LOG_2PI - bend).sum(-1)


class SAC(OffPolicy):
    """See the module's text. Made by ``Agent.create(env, algo="sac")``; continuous actions alone.

    env: environments at once. memory: its name. config: the settings. seed: of weights and actions. options: of the
    memory.
    """

    name = "sac"
    Config = SACConfig
    logged: ClassVar[tuple[str, ...]] = ("critic_loss", "policy_loss", "q", "alpha", "entropy")
    config: SACConfig

    def __init__(self, env: VecEnv, memory: str, config: SACConfig, seed: int, options: dict[str, Any]) -> None:
        if env.actions is not None:
            raise NotImplementedError(
                f"{env.name} has discrete actions, sac draws continuous ones; use algo='sac-discrete'"
            )
        super().__init__(env, memory, config, seed, options, heads=2 * env.action_size, values=1)
        target = -float(env.action_size) if config.target_entropy is None else config.target_entropy
        self.temperature = Temperature(target, config.lr)

    def greedy(self, heads: tuple[Tensor, ...], deterministic: bool) -> NDArray[Any]:
        """Actions [N, A]: tanh of the mean, or a draw."""
        if deterministic:
            mean: NDArray[Any] = heads[0].chunk(2, -1)[0].tanh().numpy()
            return mean
        return self.explore(heads[0])

    def explore(self, head: Tensor) -> NDArray[Any]:
        action: NDArray[Any] = squashed(head, self.random)[0].numpy()
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
        action, density = squashed(self.net.decide(acting, now.obs)[0], self.random)
        with torch.no_grad():
            follows = self.target.judge(later[1:], now.obs[1:], action[1:])[..., 0].amin(0) - alpha * density[1:]
            wanted = now.reward + c.gamma * (1 - now.terminated) * follows
        values = self.critic.judge(judging, now.obs[:-1], now.action)[..., 0]
        critic_loss = self.learn_values(values, wanted, now.mask)

        with torch.no_grad():
            judging = self.unroll(self.critic, batch, last=False)
        worth = self.critic.judge(judging, now.obs[:-1], action[:-1])[..., 0].amin(0)
        policy_loss = self.learn_policy(alpha * density[:-1] - worth, now.mask)

        follow(self.target, self.critic, c.tau)
        count = now.mask.sum().clamp_min(1.0)
        entropy = -((now.mask * density[:-1].detach()).sum() / count).item()
        self.temperature.learn(entropy)
        q = ((now.mask * values[0].detach()).sum() / count).item()
        return critic_loss, policy_loss, q, alpha, entropy

    def modules(self) -> dict[str, Any]:
        return {**super().modules(), **self.temperature.modules_by_name()}
