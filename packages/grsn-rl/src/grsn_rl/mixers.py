"""The shared network of a team's agents, and how their values become the team's: a sum, or a monotone mixture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from grsn_rl.energy import Energy, memory_energy
from grsn_rl.memory import make_memory

__all__ = ["MonotoneMixer", "SumMixer", "TeamNet"]


class TeamNet(nn.Module):
    """One network for every agent, told apart by a one-hot number.

        q = V memory(relu(W [obs, previous action, number])) + b

    Args:
        obs_size, actions, agents: sizes of the task. memory: a name of ``make_memory``; hidden, layers: its sizes;
        options: its further arguments. embed: width of the encoder.
    Source: the agent of Rashid et al. (2018), its GRU replaced by any memory.
    """

    def __init__(
        self,
        obs_size: int,
        actions: int,
        agents: int,
        *,
        memory: str = "grsn",
        hidden: int = 64,
        layers: int = 1,
        embed: int = 64,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.obs_size, self.act_size, self.agents = obs_size, actions, agents
        self.kind, self.hidden, self.embed, self.outputs = memory, hidden, embed, (actions,)
        self.encoder = nn.Linear(obs_size + actions + agents, embed)
        self.memory = make_memory(memory, embed, hidden, layers, **(options or {}))
        self.values = nn.Linear(hidden, actions)

    def init_state(self, batch: int) -> Tensor:
        """The memory's zero state, [L, batch, S]; a row per environment and agent, agents last."""
        state: Tensor = self.memory.init_state(batch)  # type: ignore[operator]
        return state

    def remember(self, obs: Tensor, previous: Tensor, state: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """obs [T, B * K, O], previous [T, B * K, A] -> what the memory puts out [T, B * K, H], and its state."""
        number = torch.eye(self.agents).repeat(obs.shape[1] // self.agents, 1).expand(len(obs), -1, -1)
        out: Tensor
        out, state = self.memory(torch.relu(self.encoder(torch.cat([obs, previous, number], -1))), state, keep=keep)
        return out, state

    def energy(self, rate: float) -> Energy:
        """One decision of one agent at this firing rate."""
        spiking = getattr(self.memory, "readout", None) == "spike"
        repeats = 4 if self.kind == "grsn-notap" else 1
        last = float(self.hidden * self.act_size)
        return Energy(
            {
                "encoder": (float((self.obs_size + self.act_size + self.agents) * self.embed), 0.0),
                "memory": memory_energy(
                    self.kind, self.embed, self.hidden, rate=rate,
                    layers=int(self.memory.num_layers),  # type: ignore[arg-type]
                    gate=getattr(self.memory, "gate", "input"),
                ),
                "values": (0.0, rate * repeats * last) if spiking else (last, 0.0),
            }
        )  # fmt: skip


class SumMixer(nn.Module):
    """Value decomposition (Sunehag et al. 2018): the team's value is the sum of the agents'."""

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """q [..., K], state [..., S] -> [...]."""
        return q.sum(-1)


class MonotoneMixer(nn.Module):
    """The mixer of QMIX: weights from the state, made positive, so that no agent's better value lowers the team's.

        W1 = |hyper(s)|, w2 = |hyper'(s)|;  q_team = elu(q W1 + b1(s)) w2 + v(s)

    Args:
        agents, state_size: sizes of the task. width: of the mixer's hidden layer. hyper: of the layers that make its
            weights.
    Source: Rashid et al. (2018), section 4.
    """

    def __init__(self, agents: int, state_size: int, width: int = 32, hyper: int = 64) -> None:
        super().__init__()
        self.agents, self.width = agents, width
        self.first = nn.Sequential(nn.Linear(state_size, hyper), nn.ReLU(), nn.Linear(hyper, agents * width))
        self.first_bias = nn.Linear(state_size, width)
        self.second = nn.Sequential(nn.Linear(state_size, hyper), nn.ReLU(), nn.Linear(hyper, width))
        self.value = nn.Sequential(nn.Linear(state_size, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """q [..., K], state [..., S] -> [...]."""
        first = self.first(state).abs().view(*q.shape, self.width)
        hidden = nn.functional.elu((q[..., None] * first).sum(-2) + self.first_bias(state))
        value: Tensor = (hidden * self.second(state).abs()).sum(-1) + self.value(state)[..., 0]
        return value
