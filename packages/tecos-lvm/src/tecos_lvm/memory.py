"""Sensory memories: one step each, an explicit state, no size that depends on time.

``step(drive [B, D], state) -> (h [B, size], state)``. The drive is linear in features and latent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tecos_lvm.config import TeCoSConfig
from tecos_lvm.features import gain_linear

__all__ = ["Memory", "make_memory"]

State = tuple[Tensor, ...]


def _spread_decay(n: int) -> Tensor:
    """Logits of decays whose 1 - decay is log-spaced from 0.5 to 0.02, in random order."""
    a = 1 - torch.logspace(math.log10(0.5), math.log10(0.02), n)
    return torch.logit(a)[torch.randperm(n)]


class Memory(nn.Module):
    """Base. ``size``: width of h; ``widths``: of the state's parts."""

    size: int
    widths: tuple[int, ...]

    def read(self, state: State) -> Tensor:
        """h of a state, without a step."""
        raise NotImplementedError

    def step(self, drive: Tensor, state: State) -> State:
        """The next state."""
        raise NotImplementedError


class Cascade(Memory):
    """Two leaky stages per unit: v = a v + sqrt(1 - a^2) drive, w = a2 w + (1 - a2) v; h = layer norm of both.

    Differences of the second stage's alpha-shaped responses make the biphasic kernels of visual neurons.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.size, self.widths = 2 * n, (n, n)
        self.decay, self.decay2 = nn.Parameter(_spread_decay(n)), nn.Parameter(_spread_decay(n))

    def read(self, state: State) -> Tensor:
        return F.layer_norm(torch.cat(state, dim=-1), (self.size,))

    def step(self, drive: Tensor, state: State) -> State:
        a, a2 = torch.sigmoid(self.decay), torch.sigmoid(self.decay2)
        v = a * state[0] + torch.sqrt(1 - a * a) * drive
        return v, a2 * state[1] + (1 - a2) * v


class Leaky(Memory):
    """The first stage of the cascade alone."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.size, self.widths = n, (n,)
        self.decay = nn.Parameter(_spread_decay(n))

    def read(self, state: State) -> Tensor:
        return F.layer_norm(state[0], (self.size,))

    def step(self, drive: Tensor, state: State) -> State:
        a = torch.sigmoid(self.decay)
        return (a * state[0] + torch.sqrt(1 - a * a) * drive,)


class Spiking(Memory):
    """Recurrent LIF (decay 0.9, hard reset) that hands out its spikes; adaptive: the threshold rises with them."""

    def __init__(self, n: int, adaptive: bool) -> None:
        super().__init__()
        self.size, self.widths = n, (n, n, n)  # potential, spikes, adaptation
        self.recurrent = gain_linear(n, n, 0.5, None)
        self.adaptive = adaptive

    def read(self, state: State) -> Tensor:
        return state[1]

    def step(self, drive: Tensor, state: State) -> State:
        from spk_neurons.scan import spike
        from spk_neurons.surrogate import Gaussian

        v, s, b = state
        v = 0.9 * v * (1 - s) + drive + self.recurrent(s)
        threshold = 1 + 1.8 * b if self.adaptive else 1.0
        s = spike(v - threshold, Gaussian(0.3))
        return v, s, 0.99 * b + 0.01 * s


class Gated(Memory):
    """A gated recurrent unit, for comparison: not spiking, not leaky."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.size, self.widths = n, (n,)
        self.cell = nn.GRUCell(n, n)

    def read(self, state: State) -> Tensor:
        return state[0]

    def step(self, drive: Tensor, state: State) -> State:
        return (self.cell(drive, state[0]),)


class Nothing(Memory):
    """h = 0 for ever: what the conditioning is worth."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.size, self.widths = n, (n,)

    def read(self, state: State) -> Tensor:
        return state[0]

    def step(self, drive: Tensor, state: State) -> State:
        return state


def make_memory(config: TeCoSConfig) -> Memory:
    """The memory named in the config."""
    n = config.hidden_dim
    kinds: dict[str, Memory] = {}
    if config.memory in ("lif", "alif"):
        return Spiking(n, config.memory == "alif")
    kinds = {"cascade": Cascade(n), "leaky": Leaky(n), "gru": Gated(n), "none": Nothing(n)}
    return kinds[config.memory]
