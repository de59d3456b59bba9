"""One flag for the agent's memory: gated spikes, plain spikes, GRU, LSTM, none.

Every memory is called the same way, ``out, state = memory(x, state, keep)``, time first, its state one tensor
[L, B, S]; ``keep`` [T, B] is 0 where an episode starts.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from grsn_rl._checks import choice
from grsn_rl.cells import GRSN, LIFRecurrent

__all__ = ["MEMORIES", "GateMemory", "NoMemory", "make_memory"]

#: what ``make_memory`` knows
MEMORIES = ("grsn", "lif", "gru", "lstm", "none", "grsn-notap")


class GateMemory(nn.Module):
    """``nn.GRU`` or ``nn.LSTM`` behind the common call; an episode may start anywhere inside a sequence.

    Episodes inside a batch become rows of a packed sequence of their own, so the library's kernel runs once, with no
    loop over steps. An LSTM's two states lie side by side in one tensor.

    Args:
        kind: "gru" or "lstm". input_size, hidden_size, num_layers: as in torch.
    """

    def __init__(self, kind: str, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.kind = choice("kind", kind, ("gru", "lstm"))
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.rnn: nn.GRU | nn.LSTM = (nn.GRU if kind == "gru" else nn.LSTM)(input_size, hidden_size, num_layers)

    @property
    def state_size(self) -> int:
        return self.hidden_size * (2 if self.kind == "lstm" else 1)

    def init_state(self, batch: int) -> Tensor:
        """Zero state [L, batch, S]."""
        return next(self.parameters()).new_zeros(self.num_layers, batch, self.state_size)

    def _run(self, x: Any, state: Tensor) -> tuple[Any, Tensor]:
        if isinstance(self.rnn, nn.GRU):
            out, after = self.rnn(x, state)
            return out, after
        h, c = state.chunk(2, -1)
        out, pair = self.rnn(x, (h.contiguous(), c.contiguous()))
        return out, torch.cat(pair, -1)

    def forward(self, x: Tensor, state: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [T, B, I], state [L, B, S], keep [T, B] or None -> out [T, B, H], state."""
        if keep is None:
            return self._run(x, state)
        state = state * keep[0].to(state.dtype)[None, :, None]
        if len(keep) == 1 or bool((keep[1:] != 0).all()):
            return self._run(x, state)
        steps, batch = keep.shape
        starts = keep == 0
        starts[0] = True
        column, row = starts.t().nonzero(as_tuple=True)  # segments, by environment and then by time
        following = torch.cat([row[1:], row.new_tensor([steps])])
        last_of_column = torch.cat([column[1:] != column[:-1], column.new_tensor([True], dtype=torch.bool)])
        lengths = torch.where(last_of_column, steps, following) - row
        order = lengths.argsort(descending=True, stable=True)
        column, row, lengths, ends = column[order], row[order], lengths[order], last_of_column[order]
        step = torch.arange(int(lengths[0]))
        alive = step[:, None] < lengths[None, :]  # [longest, segments], ever fewer
        sizes = alive.sum(1)
        source = ((row + step[:, None]) * batch + column)[alive]
        packed = nn.utils.rnn.PackedSequence(x.reshape(steps * batch, -1)[source], sizes)
        begin = state[:, column] * (row == 0).to(state.dtype)[None, :, None]
        out, after = self._run(packed, begin)
        back = torch.empty_like(source)
        back[source] = torch.arange(len(source))
        # each environment's last segment carries its state on
        final = torch.empty(batch, dtype=torch.long)
        final[column[ends]] = ends.nonzero()[:, 0]
        return out.data[back].view(steps, batch, -1), after[:, final]


class NoMemory(nn.Module):
    """A feed-forward layer in the memory's place: relu(W x + b). Its state is an empty tensor."""

    state_size = 0

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.hidden_size, self.num_layers = hidden_size, num_layers
        sizes = [input_size, *[hidden_size] * num_layers]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def init_state(self, batch: int) -> Tensor:
        """An empty state [L, batch, 0]."""
        return next(self.parameters()).new_zeros(self.num_layers, batch, 0)

    def forward(self, x: Tensor, state: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [T, B, I] -> relu [T, B, H], the state as it came."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x, state


def make_memory(kind: str, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any) -> nn.Module:
    """A memory by name.

    Args:
        kind: "grsn"; "lif", leaky integrate-and-fire; "gru"; "lstm"; "none"; "grsn-notap", GRSN with four spiking
            substeps per environment step and their mean as output.
        input_size, hidden_size, num_layers: sizes. options: further arguments of the spiking classes
            (:class:`grsn_rl.GRSN`, :class:`grsn_rl.LIFRecurrent`); the others take none.
    Returns:
        A module with ``forward(x, state, keep=None) -> (out, state)``, ``init_state(batch)`` and ``state_size``.
    Raises:
        ValueError: an unknown name. TypeError: options where there are none.
    """
    choice("memory", kind, MEMORIES)
    makers: dict[str, Callable[[], nn.Module]] = {
        "grsn": lambda: GRSN(input_size, hidden_size, num_layers, **options),
        "grsn-notap": lambda: GRSN(input_size, hidden_size, num_layers, **{"substeps": 4, **options}),
        "lif": lambda: LIFRecurrent(input_size, hidden_size, num_layers, **options),
        "gru": lambda: GateMemory("gru", input_size, hidden_size, num_layers),
        "lstm": lambda: GateMemory("lstm", input_size, hidden_size, num_layers),
        "none": lambda: NoMemory(input_size, hidden_size, num_layers),
    }
    if options and kind in ("gru", "lstm", "none"):
        raise TypeError(
            f"memory {kind!r} takes no options, got {', '.join(options)}; they belong to the spiking memories"
        )
    return makers[kind]()
