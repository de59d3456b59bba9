"""A network with branches: modules over time, joined by edges; where edges meet, values add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

__all__ = ["INPUT", "OUTPUT", "NIRNetwork"]

INPUT = "input"
OUTPUT = "output"


class NIRNetwork(nn.Module):
    """Modules on [T, B, ...] and the edges between them, without cycles (put a loop into a ``Recurrent``).

    Args:
        modules: by name. edges: (from, to) pairs; "input" and "output" stand for the network's own.
    Raises:
        ValueError: an edge to a name that is not there, a module that nothing leads to or from, or a cycle.
    Example:
        >>> from torch import nn
        >>> skip = [("input", "a"), ("a", "output"), ("input", "output")]
        >>> NIRNetwork({"a": nn.Identity()}, skip)(torch.ones(2, 1, 3)).unique()
        tensor([2.])
    """

    def __init__(self, modules: Mapping[str, nn.Module], edges: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        names = {INPUT, *modules, OUTPUT}
        self.edges = list(dict.fromkeys(edges))
        for a, b in self.edges:
            if a not in names or b not in names or b == INPUT or a == OUTPUT:
                raise ValueError(f"edge {(a, b)} does not join two of {sorted(names)}, from 'input' to 'output'")
        for name in names:
            if name != OUTPUT and not any(a == name for a, _ in self.edges):
                raise ValueError(f"no edge leaves {name!r}; connect it or leave it out")
        self.order = self._sorted(list(modules))
        self.nodes = nn.ModuleDict(dict(modules))

    def sources(self, name: str) -> list[str]:
        """Names whose values add up to this one's input."""
        return [a for a, b in self.edges if b == name]

    def _sorted(self, names: list[str]) -> list[str]:
        done = {INPUT}
        order: list[str] = []
        while len(order) < len(names):
            ready = [n for n in names if n not in done and self.sources(n) and set(self.sources(n)) <= done]
            if not ready:
                left = [n for n in names if n not in done]
                raise ValueError(f"modules {left} form a cycle or have no input; a loop belongs into a Recurrent")
            done.update(ready)
            order += ready
        if not self.sources(OUTPUT):
            raise ValueError("no edge leads to 'output'")
        return order

    def total(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        """The input of a node: the sum of its sources."""
        first, *rest = (values[a] for a in self.sources(name))
        for other in rest:
            if other.shape != first.shape:
                raise ValueError(f"inputs of {name!r} differ in shape: {tuple(first.shape)} and {tuple(other.shape)}")
            first = first + other
        return first

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, B, ...]; returns [T, B, ...]."""
        values = {INPUT: x}
        for name in self.order:
            values[name] = self.nodes[name](self.total(name, values))
        return self.total(OUTPUT, values)
