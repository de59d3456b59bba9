"""Two Q-functions on one memory of their own: the critic of the off-policy algorithms (Fujimoto et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from grsn_rl.memory import make_memory

__all__ = ["TwinCritic"]


class TwinCritic(nn.Module):
    """Observation and previous action -> encoder -> memory; beside it a shortcut of what is judged now; two heads.

        e = relu(W [obs, previous]);  m = memory(e);  z = [m, relu(W_s [obs, action])]
        Q_k = w_k relu(V_k relu(U_k z)),  k = 1, 2

    Args:
        obs_size, act_size: numbers per observation and per (one-hot) action. outputs: 1 where ``action`` enters the
            shortcut (continuous), else the number of actions, each with its own value. memory, hidden, layers, embed,
            shortcut, head, options: as in :class:`grsn_rl.RecurrentNet`; head is the width of both hidden layers.
    Source: the separate recurrent critic of the method's released code (arXiv 2404.15597), without its reward input.
    """

    def __init__(
        self,
        obs_size: int,
        act_size: int,
        outputs: int,
        *,
        memory: str = "grsn",
        hidden: int = 64,
        layers: int = 1,
        embed: int = 32,
        shortcut: int = 32,
        head: int = 64,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = nn.Linear(obs_size + act_size, embed)
        self.memory = make_memory(memory, embed, hidden, layers, **(options or {}))
        self.shortcut = nn.Linear(obs_size + (act_size if outputs == 1 else 0), shortcut)
        # both Q-functions at once; the first layer in two parts, so that a gradient for the action alone stays small
        self.first = nn.Linear(hidden, 2 * head)
        self.first_now = nn.Linear(shortcut, 2 * head, bias=False)
        self.second = nn.Parameter(torch.empty(2, head, head))
        self.second_bias = nn.Parameter(torch.zeros(2, 1, head))
        self.last = nn.Parameter(torch.empty(2, head, outputs))
        self.last_bias = nn.Parameter(torch.zeros(2, 1, outputs))
        for layer in (self.encoder, self.shortcut):
            nn.init.orthogonal_(layer.weight, 2**0.5)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.first.bias)
        for matrix in (*self.first.weight.chunk(2), *self.first_now.weight.chunk(2), *self.second):
            nn.init.orthogonal_(matrix, 2**0.5)
        nn.init.uniform_(self.last, -(head**-0.5), head**-0.5)

    def init_state(self, batch: int) -> Tensor:
        """The memory's zero state, [L, batch, S]."""
        state: Tensor = self.memory.init_state(batch)  # type: ignore[operator]
        return state

    def remember(self, obs: Tensor, previous: Tensor, state: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """obs [T, B, O], previous [T, B, A] -> what the memory puts out [T, B, H], and its state."""
        out: Tensor
        out, state = self.memory(torch.relu(self.encoder(torch.cat([obs, previous], -1))), state, keep=keep)
        return out, state

    def judge(self, out: Tensor, obs: Tensor, action: Tensor | None = None) -> Tensor:
        """Both values, [2, T, B, outputs], of the action [T, B, A] or, without one, of every action."""
        now = obs if action is None else torch.cat([obs, action], -1)
        steps, batch, _ = now.shape
        seen = self.shortcut(now).relu_().flatten(0, 1)
        z = self.first(out.flatten(0, 1)).addmm_(seen, self.first_now.weight.t()).relu_()
        z = z.view(steps * batch, 2, -1).transpose(0, 1)
        z = torch.baddbmm(self.second_bias, z, self.second).relu_()
        return torch.baddbmm(self.last_bias, z, self.last).view(2, steps, batch, -1)
