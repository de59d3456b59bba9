"""What an agent is worth: returns of whole episodes with an interval, firing, energy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from grsn_rl.algorithm import check_obs
from grsn_rl.cells import SpikingMemory
from grsn_rl.energy import Energy
from grsn_rl.envs.vector import VecEnv
from grsn_rl.statistics import bootstrap, mean_of
from grsn_rl.teams.team import TeamEnv

if TYPE_CHECKING:
    from grsn_rl.agent import Agent

__all__ = ["EvalResult", "energy_of", "evaluate"]


@dataclass(frozen=True)
class EvalResult:
    """Outcome of :func:`evaluate`.

    mean, std, low, high: of the episodes' returns, with a 95 % bootstrap interval of the mean. lengths: mean steps per
    episode. firing_rate: spikes per neuron and update; dead, saturated: fractions of neurons that never, and that
    always, fired (nan without spikes). energy_nJ: nanojoule per decision, whole agent (in a team, of one agent).
    won: share of the team's episodes that were won (None where there is nothing to win).
    """

    mean: float
    std: float
    low: float
    high: float
    lengths: float
    episodes: int
    firing_rate: float
    dead: float
    saturated: float
    energy_nJ: float
    won: float | None = None
    returns: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, without the single returns."""
        told = asdict(self)
        del told["returns"]
        return told

    def __str__(self) -> str:
        text = f"return {self.mean:.1f} [{self.low:.1f}, {self.high:.1f}] over {self.episodes} episodes"
        if np.isfinite(self.firing_rate):
            text += f", rate {self.firing_rate:.2f}, dead {self.dead:.0%}, saturated {self.saturated:.0%}"
        if self.won is not None:
            text += f", won {self.won:.0%}"
        return text + f", {self.energy_nJ:.1f} nJ per step"


def energy_of(agent: Agent, rate: float) -> Energy:
    """Energy of one decision at this firing rate (nan counts as zero: no spikes)."""
    return agent.algorithm.net.energy(0.0 if np.isnan(rate) else rate)


@torch.no_grad()
def evaluate(
    agent: Agent, env: VecEnv | str | None = None, episodes: int = 20, *, seed: int = 10_000, deterministic: bool = True
) -> EvalResult:
    """Whole episodes with everything frozen: weights, the observations' scale.

    Args:
        agent: the agent. env: environments (as many episodes at once as there are), a name, or None for the agent's own
            kind. episodes: how many at least; each environment's first ones count, all the same number,
            so that short episodes are not favoured.
        seed: of the environments; choose another than training's. deterministic: the most likely action.
    Raises:
        ValueError: an environment of another shape than the agent was trained on.
    """
    if episodes < 1:
        raise ValueError(f"episodes={episodes} given; at least one is needed")
    if env is None or isinstance(env, str):
        env = agent.make_env(min(episodes, 64), env)
    agent.check_env(env)
    rounds = -(-episodes // env.num_envs)
    memory = agent.algorithm.net.memory
    spiking = isinstance(memory, SpikingMemory)
    fired, updates = np.zeros(agent.algorithm.net.hidden), 0
    count = np.zeros(env.num_envs, np.int64)
    total, age = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
    returns: list[float] = []
    lengths: list[int] = []
    won: list[float] = []
    obs = env.reset(seed)
    check_obs(obs.reshape(len(obs), -1), env)
    state, start = None, np.ones(env.num_envs, bool)
    while (count < rounds).any():
        mask = {"available": env.available} if isinstance(env, TeamEnv) else {}
        action, state = agent.predict(obs, state, start, deterministic, **mask)
        if spiking and agent.last_output is not None:
            live = count < rounds
            fired += agent.last_output[live].sum(0)
            updates += int(live.sum())
        step = env.step(action)
        total += step.reward
        age += 1
        start = step.terminated | step.truncated
        for i in np.flatnonzero(start):
            if count[i] < rounds:
                returns.append(float(total[i]))
                lengths.append(int(age[i]))
                if (victory := getattr(step, "won", None)) is not None:
                    won.append(float(victory[i]))
            count[i] += 1
            total[i], age[i] = 0.0, 0
        obs = step.obs
        check_obs(obs.reshape(len(obs), -1), env)
    rates = fired / max(updates, 1)
    rate = float(rates.mean()) if spiking else float("nan")
    low, high = bootstrap(returns)
    return EvalResult(
        mean=float(np.mean(returns)), std=float(np.std(returns)), low=float(low), high=float(high),
        lengths=float(np.mean(lengths)), episodes=len(returns), firing_rate=rate,
        dead=float((rates == 0).mean()) if spiking else float("nan"),
        saturated=float((rates == 1).mean()) if spiking else float("nan"),
        energy_nJ=energy_of(agent, rate).nanojoule(), won=mean_of(won) if won else None, returns=tuple(returns),
    )  # fmt: skip
