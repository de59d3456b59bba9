"""The network all algorithms share: encoder, memory, a shortcut past the memory, heads; and the observation's scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grsn_rl.energy import Energy, agent_energy
from grsn_rl.memory import make_memory

__all__ = ["RecurrentNet", "RunningScale", "one_hot"]


def one_hot(action: NDArray[Any], actions: int | None) -> Tensor:
    """Previous actions as the network sees them: int [N] -> one-hot [N, A]; float [N, A] as it is."""
    if actions is None:
        return torch.as_tensor(action, dtype=torch.float32).reshape(len(action), -1)
    return torch.nn.functional.one_hot(torch.as_tensor(action, dtype=torch.long), actions).float()


class RunningScale:
    """Mean and variance of all observations seen; ``scale(obs)`` centres, divides and clips at +-10.

    size: numbers per observation.

    Updated while acting in training alone, saved with the agent, frozen in evaluation. Merging by batches after Chan,
    Golub and LeVeque (1983), in float64.
    """

    def __init__(self, size: int) -> None:
        self.count, self.mean, self.moment = 0.0, np.zeros(size), np.zeros(size)
        self._refresh()

    def _refresh(self) -> None:
        deviation = np.sqrt(self.moment / max(self.count, 1.0)) if self.count > 1 else np.ones_like(self.mean)
        self._centre = self.mean.astype(np.float32)
        self._factor = (1.0 / np.maximum(deviation, 1e-4)).astype(np.float32)

    def update(self, obs: NDArray[np.float32]) -> None:
        """Take in a batch [N, O]."""
        n = len(obs)
        mean, total = obs.mean(0, dtype=np.float64), self.count + n
        shift = mean - self.mean
        self.moment += np.square(obs - mean).sum(0) + np.square(shift) * self.count * n / total
        self.mean += shift * n / total
        self.count = total
        self._refresh()

    def __call__(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = np.clip((obs - self._centre) * self._factor, -10.0, 10.0)
        return scaled

    def get_state(self) -> dict[str, Any]:
        """Arrays that ``set_state`` takes."""
        return {"count": self.count, "mean": self.mean.copy(), "moment": self.moment.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""
        self.count, self.mean, self.moment = float(state["count"]), state["mean"].copy(), state["moment"].copy()
        self._refresh()


class RecurrentNet(nn.Module):
    """Observation and previous action -> encoder -> memory; beside it a shortcut of the observation; then heads.

        e = relu(W [obs, previous]);  m = memory(e);  z = [m, relu(W_s obs)];  out_k = W_k tanh(V_k z)

    Args:
        obs_size, act_size: numbers per observation and per (one-hot) action. outputs: size of each head.
        memory: a name of ``make_memory``; hidden, layers: its sizes; options: its further arguments.
        embed: width of the encoder. shortcut: width past the memory. head: width of each head's hidden layer.
    """

    def __init__(
        self,
        obs_size: int,
        act_size: int,
        outputs: tuple[int, ...],
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
        self.obs_size, self.act_size, self.outputs = obs_size, act_size, tuple(outputs)
        self.kind, self.hidden, self.embed, self.shortcut_size, self.head_size = memory, hidden, embed, shortcut, head
        self.encoder = nn.Linear(obs_size + act_size, embed)
        self.memory = make_memory(memory, embed, hidden, layers, **(options or {}))
        self.shortcut = nn.Linear(obs_size, shortcut)
        # the heads' hidden layers are one matrix: one product instead of one per head
        self.neck = nn.Linear(hidden + shortcut, head * len(self.outputs))
        self.heads = nn.ModuleList(nn.Linear(head, size) for size in self.outputs)
        for layer in (self.encoder, self.shortcut, self.neck):
            nn.init.orthogonal_(layer.weight, 2**0.5)
            nn.init.zeros_(layer.bias)

    def init_state(self, batch: int) -> Tensor:
        """The memory's zero state, [L, batch, S]."""
        state: Tensor = self.memory.init_state(batch)  # type: ignore[operator]
        return state

    def remember(self, obs: Tensor, previous: Tensor, state: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """obs [T, B, O], previous [T, B, A] -> what the memory puts out [T, B, H], and its state."""
        out: Tensor
        out, state = self.memory(torch.relu(self.encoder(torch.cat([obs, previous], -1))), state, keep=keep)
        return out, state

    def decide(self, out: Tensor, obs: Tensor) -> tuple[Tensor, ...]:
        """What each head says, [T, B, size]."""
        z = torch.cat([out, torch.relu(self.shortcut(obs))], -1)
        parts = torch.tanh(self.neck(z)).chunk(len(self.outputs), -1)
        return tuple(head(part) for head, part in zip(self.heads, parts, strict=True))

    def forward(
        self, obs: Tensor, previous: Tensor, state: Tensor, keep: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Heads [T, B, size] and the new state; keep [T, B] is 0 where an episode starts."""
        out, state = self.remember(obs, previous, state, keep)
        return self.decide(out, obs), state

    def energy(self, rate: float) -> Energy:
        """One decision at this firing rate."""
        return agent_energy(
            self.kind, obs=self.obs_size, act=self.act_size, outputs=self.outputs[0], hidden=self.hidden,
            embed=self.embed, layers=int(self.memory.num_layers), shortcut=self.shortcut_size,  # type: ignore[arg-type]
            head=self.head_size, rate=rate, gate=getattr(self.memory, "gate", "input"),
            readout=getattr(self.memory, "readout", "spike"),
        )  # fmt: skip
