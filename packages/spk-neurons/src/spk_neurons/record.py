"""Look inside a network while it runs: spikes, potentials with their graph, or streaming statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spk_neurons.neurons import Neuron
from spk_neurons.stats import Stats, StatsRequest

__all__ = ["LayerRecord", "Recording", "record"]


@dataclass
class LayerRecord:
    """What one neuron layer did in one call: s [T, ...]; h, v if asked for; stats if asked for; the state after it."""

    s: Tensor | None = None
    h: Tensor | None = None
    v: Tensor | None = None
    stats: Stats | None = None
    state: Any = None


class Recording:
    """Records by layer name: ``rec["1"].h``; ``rec.calls["1"]`` lists all calls, the last one is ``rec["1"]``.

    Made by :func:`record`, whose arguments ``names``, ``stats``, ``keep_spikes`` and ``detach`` it holds.
    """

    def __init__(self, names: tuple[str, ...], stats: StatsRequest | None, keep_spikes: bool, detach: bool) -> None:
        self.names, self.stats = names, stats
        self._keep_spikes, self._detach = keep_spikes, detach
        self._layer: dict[int, str] = {}
        self.calls: dict[str, list[LayerRecord]] = {}

    def put(self, module: nn.Module, s: Tensor, out: Any) -> None:
        """Called by a neuron after it ran."""

        def keep(t: Tensor | None) -> Tensor | None:
            return t.detach() if t is not None and self._detach else t

        row = LayerRecord(keep(s) if self._keep_spikes else None, keep(out.h), keep(out.v), out.stats, out.state)
        self.calls.setdefault(self._layer[id(module)], []).append(row)

    def __getitem__(self, layer: str) -> LayerRecord:
        if layer not in self.calls:
            raise KeyError(
                f"nothing recorded for layer {layer!r}; recorded: {', '.join(self.calls) or 'none (run the net)'}"
            )
        return self.calls[layer][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def keys(self) -> list[str]:
        """Layer names, in the order of their first call."""
        return list(self.calls)

    def items(self) -> list[tuple[str, LayerRecord]]:
        """(layer name, last record) pairs."""
        return [(name, rows[-1]) for name, rows in self.calls.items()]

    def values(self) -> list[LayerRecord]:
        """The last record of each layer."""
        return [rows[-1] for rows in self.calls.values()]


@contextmanager
def record(
    net: nn.Module,
    *names: str,
    stats: bool | StatsRequest = False,
    layers: list[str] | None = None,
    detach: bool = False,
) -> Iterator[Recording]:
    """Record inside the ``with`` block.

    Args:
        net: a network (or one neuron, whose layer name is "").
        names: out of "s" (spikes), "h" (potential before the reset), "v" (after). With ``stats`` and only "h" named,
            statistics of h are taken and h itself is not stored.
        stats: True for mean and variance per step and channel, or a :class:`StatsRequest`; differentiable.
        layers: names of the layers to watch; None: all neurons.
        detach: drop the graph of what is kept.
    Yields:
        :class:`Recording`, usable after the block.
    Raises:
        ValueError: unknown name or layer, no neuron in the net, or another recording running on it.
    """
    unknown = [n for n in names if n not in ("s", "h", "v")]
    if unknown:
        raise ValueError(f"cannot record {unknown}; choose from 's' (spikes), 'h' (before the reset), 'v' (after)")
    request = StatsRequest() if stats is True else (stats or None)
    kept = tuple(n for n in names if n in ("h", "v"))
    if request is not None:
        kept = tuple(n for n in kept if n != "h")
    found = {
        name: m for name, m in net.named_modules() if isinstance(m, Neuron) and not getattr(m, "carries_inner", False)
    }
    if layers is not None:
        missing = [name for name in layers if name not in found]
        if missing:
            raise ValueError(f"no neuron layer {missing}; this net has {list(found)}")
        found = {name: found[name] for name in layers}
    if not found:
        raise ValueError(f"{type(net).__name__} holds no neuron of spk_neurons, so there is nothing to record")
    if any(m._recorder is not None for m in found.values()):
        raise ValueError("this net is being recorded already; leave the other record block first")
    recording = Recording(kept, request, "s" in names or not (names or request), detach)
    for name, m in found.items():
        recording._layer[id(m)] = name
        m._recorder = recording
    try:
        yield recording
    finally:
        for m in found.values():
            m._recorder = None
