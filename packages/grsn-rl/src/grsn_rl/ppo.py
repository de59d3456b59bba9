"""Recurrent proximal policy optimisation (Schulman et al. 2017), whole sequences as minibatches.

One file, top to bottom: settings, acting, advantages, update. N environments act for T steps; the memory's state at the
start of the rollout is kept, and each minibatch unrolls the T steps of some environments from it, episodes starting
wherever they did (``keep``). Nothing is cut into pieces, and acting and training run the same network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grsn_rl._checks import positive, whole
from grsn_rl.algorithm import Algorithm, check_obs
from grsn_rl.envs.vector import VecEnv
from grsn_rl.nets import RecurrentNet, one_hot

__all__ = ["PPO", "PPOConfig"]


@dataclass(frozen=True)
class PPOConfig:
    """Settings of :class:`PPO`; the defaults are ours.

    horizon: steps per rollout and environment. epochs, minibatches: passes over it, parts of it (by environment).
    lr: of Adam; anneal_steps: it falls linearly to zero over so many steps, None keeps it. gamma, lam: discount and
    the trace of the advantages. clip: of the probability ratio. entropy, value: weights of these losses. max_norm: of
    the gradient. hidden, layers, embed, shortcut, head: sizes of :class:`grsn_rl.RecurrentNet`.
    """

    horizon: int = 32
    epochs: int = 4
    minibatches: int = 4
    lr: float = 2e-3
    anneal_steps: int | None = None
    gamma: float = 0.99
    lam: float = 0.95
    clip: float = 0.2
    entropy: float = 0.0
    value: float = 0.5
    max_norm: float = 0.5
    hidden: int = 64
    layers: int = 1
    embed: int = 32
    shortcut: int = 32
    head: int = 64

    def __post_init__(self) -> None:
        for name in ("horizon", "epochs", "minibatches", "hidden", "layers", "embed", "shortcut", "head"):
            whole(name, getattr(self, name))
        for name in ("lr", "clip", "max_norm"):
            positive(name, getattr(self, name))
        if not (0 < self.gamma <= 1 and 0 <= self.lam <= 1):
            raise ValueError(f"gamma={self.gamma}, lam={self.lam} given; expected gamma in (0, 1] and lam in [0, 1]")
        if self.anneal_steps is not None:
            whole("anneal_steps", self.anneal_steps)


class PPO(Algorithm):
    """See the module's text. Made by ``Agent.create(env, algo="ppo")``.

    env: environments at once. memory: its name. config: the settings. seed: of weights and actions. options: of the
    memory.
    """

    name = "ppo"
    Config = PPOConfig

    def __init__(self, env: VecEnv, memory: str, config: PPOConfig, seed: int, options: dict[str, Any]) -> None:
        super().__init__(env, seed)
        self.config = config
        if env.num_envs < config.minibatches:
            raise ValueError(
                f"minibatches={config.minibatches} given for {env.num_envs} environments; a minibatch is made of whole "
                "environments, so pass fewer, or more environments"
            )
        act = env.actions or env.action_size
        self.net = RecurrentNet(
            env.obs_size, act, (act, 1), memory=memory, hidden=config.hidden, layers=config.layers, embed=config.embed,
            shortcut=config.shortcut, head=config.head, options=options,
        )  # fmt: skip
        # a nearly even policy at the start
        nn.init.orthogonal_(self.net.heads[0].weight, 0.01)  # type: ignore[arg-type]
        nn.init.zeros_(self.net.heads[0].bias)  # type: ignore[arg-type]
        # a Gaussian policy's spread, one number per action
        self.log_std = nn.Parameter(torch.full((act,), -0.5)) if env.actions is None else None
        self.trained = [*self.net.parameters(), *([] if self.log_std is None else [self.log_std])]
        self.optimiser = torch.optim.Adam(self.trained, config.lr, eps=1e-5, fused=True)

    # acting

    def _sample(self, head: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and their log-probabilities from one step's policy head [N, A]."""
        if self.log_std is None:
            logp = torch.log_softmax(head, -1)
            uniform = torch.rand(head.shape[0], generator=self.random)
            action = (logp.exp().cumsum(-1) < uniform[:, None]).sum(-1).clamp_max(head.shape[-1] - 1)
            return action, logp.gather(-1, action[:, None])[:, 0]
        noise = torch.randn(head.shape, generator=self.random)
        action = head + self.log_std.exp() * noise
        return action, self._log_prob(head, action)

    def _log_prob(self, head: Tensor, action: Tensor) -> Tensor:
        if self.log_std is None:
            return torch.log_softmax(head, -1).gather(-1, action[..., None])[..., 0]
        z = (action - head) / self.log_std.exp()
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def _entropy(self, head: Tensor) -> Tensor:
        if self.log_std is None:
            logp = torch.log_softmax(head, -1)
            return -(logp.exp() * logp).sum(-1).mean()
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()

    def greedy(self, heads: tuple[Tensor, ...], deterministic: bool) -> NDArray[Any]:
        """Actions [N] or [N, A] from the heads of one step."""
        head = heads[0]
        if deterministic:
            chosen = head.argmax(-1) if self.log_std is None else head
        else:
            chosen = self._sample(head)[0]
        result: NDArray[Any] = chosen.numpy() if self.log_std is None else chosen.clamp(-1, 1).numpy()
        return result

    # learning

    def iterate(self) -> dict[str, float]:
        """One rollout and its update; numbers for the log."""
        if self.config.anneal_steps is not None:
            left = max(0.0, 1.0 - self.steps / self.config.anneal_steps)
            self.optimiser.param_groups[0]["lr"] = self.config.lr * left
        batch = self.collect()
        return {**self.update(*batch), "lr": self.optimiser.param_groups[0]["lr"]}

    @torch.no_grad()
    def collect(self) -> tuple[dict[str, Tensor], Tensor]:
        """Act for ``horizon`` steps: time-major tensors [T, N, ...], and the memory's state at their start."""
        c, env = self.config, self.env
        self.begin()
        self.start_counting()
        start = self.memory_state.clone()
        rows: dict[str, list[Tensor]] = {k: [] for k in ("obs", "previous", "keep", "action", "logp", "value")}
        reward = np.zeros((c.horizon, env.num_envs), np.float32)
        ended, after = np.zeros((2, c.horizon, env.num_envs), np.float32)
        for t in range(c.horizon):
            obs, previous, keep = self.scaled(), self.previous, self.keep
            out, state = self.net.remember(obs[None], previous[None], self.memory_state, keep[None])
            head, value = self.net.decide(out, obs[None])
            self.count_spikes(out, state)
            action, logp = self._sample(head[0])
            for key, item in zip(rows, (obs, previous, keep, action, logp, value[0, :, 0]), strict=True):
                rows[key].append(item)
            chosen = action.numpy()
            step = env.step(chosen)
            check_obs(step.final_obs, env)
            reward[t] = step.reward
            done = step.terminated | step.truncated
            ended[t] = done
            seen = one_hot(chosen, env.actions)
            if step.truncated.any():
                # the time limit is not the end of the task: what would have followed is still worth its value
                final = torch.from_numpy(self.scale(step.final_obs))
                (_, beyond), _ = self.net(final[None], seen[None], state)
                after[t] = np.where(step.truncated, beyond[0, :, 0].numpy(), 0.0)
            self.advance(step, seen, state)
        (_, last), _ = self.net(self.scaled()[None], self.previous[None], self.memory_state, self.keep[None])
        batch = {k: torch.stack(v) for k, v in rows.items()}
        values = np.concatenate([batch["value"].numpy(), last[0, :, :1].T.numpy()])
        advantage = advantages(reward, values, ended, after, c.gamma, c.lam)
        batch["advantage"] = torch.from_numpy(advantage)
        batch["target"] = torch.from_numpy(advantage + values[:-1])
        return batch, start

    def update(self, batch: dict[str, Tensor], start: Tensor) -> dict[str, float]:
        """``epochs`` passes over the rollout, in minibatches of whole environments."""
        c = self.config
        totals = np.zeros(5)
        for _ in range(c.epochs):
            for rows in torch.randperm(self.env.num_envs, generator=self.random).chunk(c.minibatches):
                part = {k: v[:, rows] for k, v in batch.items()}
                (head, value), _ = self.net(part["obs"], part["previous"], start[:, rows], part["keep"])
                ratio = (self._log_prob(head, part["action"]) - part["logp"]).exp()
                advantage = part["advantage"]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - c.clip, 1 + c.clip)
                policy = -torch.min(ratio * advantage, clipped * advantage).mean()
                worth = 0.5 * (value[..., 0] - part["target"]).square().mean()
                entropy = self._entropy(head)
                loss = policy + c.value * worth - c.entropy * entropy
                self.optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.trained, c.max_norm)
                self.optimiser.step()
                with torch.no_grad():
                    moved = ((ratio - 1).abs() > c.clip).float().mean()
                    totals += [float(x) for x in (policy, worth, entropy, moved, (ratio - 1 - ratio.log()).mean())]
        names = ("policy_loss", "value_loss", "entropy", "clipped", "kl")
        return dict(zip(names, totals / (c.epochs * c.minibatches), strict=True))


def advantages(
    reward: NDArray[np.float32],
    values: NDArray[np.float32],
    ended: NDArray[np.float32],
    after: NDArray[np.float32],
    gamma: float,
    lam: float,
) -> NDArray[np.float32]:
    """Generalised advantage estimates (Schulman et al. 2016) over episodes that end, or are cut, anywhere.

    Args:
        reward, ended: [T, N]; ended is 1 where an episode ends or is cut at that step. values: [T + 1, N], the last row
            that of the observation after the rollout. after: [T, N], the value of a cut episode's last observation,
            0 elsewhere. gamma, lam: discount and trace.
    Returns:
        advantages [T, N].
    """
    result = np.zeros_like(reward)
    trace = np.zeros(reward.shape[1], np.float32)
    for t in range(len(reward) - 1, -1, -1):
        follows = np.where(ended[t] > 0, after[t], values[t + 1])
        trace = reward[t] + gamma * follows - values[t] + gamma * lam * (1 - ended[t]) * trace
        result[t] = trace
    return result
