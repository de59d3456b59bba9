"""NIR graphs as our networks: chains, branches, and a neuron with feedback."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from spk_neurons.layers import TimeDistributed
from spk_neurons.neurons import IF, LI, LIF, CuBaLIF, Neuron
from spk_neurons.nir.network import INPUT, OUTPUT, NIRNetwork
from spk_neurons.nir.write import KEY, load
from spk_neurons.recurrent import Recurrent

__all__ = ["from_nir"]

Edges = list[tuple[str, str]]


def from_nir(
    graph: Any,
    dt: float | None = None,
    *,
    reset: Literal["hard", "soft", "none"] | None = None,
    method: Literal["euler", "zoh"] = "euler",
    backend: str = "auto",
) -> nn.Sequential | NIRNetwork:
    """Read a NIR graph (or a ``.nir`` file) as a network for inputs [T, B, ...].

    Args:
        graph: ``nir.NIRGraph`` or a path. dt: seconds per step; None: as written by :func:`to_nir`.
        reset: how neurons reset; None: as the metadata says, else "hard" with a warning.
        method: "euler" (decay 1 - dt/tau) or "zoh" (exp(-dt/tau)).
        backend: of the neurons.
    Returns:
        ``nn.Sequential`` for a chain, :class:`NIRNetwork` where branches meet; layers carry the nodes' names ("."
        becomes "_"). A neuron whose spikes return to it through layers is a ``Recurrent``, with a delay of one step.
    Raises:
        ImportError: nir is missing. ValueError: a node or a loop that our modules cannot express, several inputs or
            outputs, dt missing or above a time constant.
    """
    nir = load()
    if method not in ("euler", "zoh"):
        raise ValueError(f"method={method!r} is not known; choose 'euler' or 'zoh'")
    if not isinstance(graph, nir.NIRGraph):
        graph = nir.read(graph)
    nodes, edges = _flat(graph)
    for kind, found in (("Input", _of_kind(nodes, "Input")), ("Output", _of_kind(nodes, "Output"))):
        if len(found) != 1:
            raise ValueError(f"the graph has {len(found)} nodes {kind}; a network here has one")
    ends = {_of_kind(nodes, "Input")[0]: INPUT, _of_kind(nodes, "Output")[0]: OUTPUT}
    reader = _Reader(dt, reset, method, backend)
    loops, edges = _loops(nodes, edges)
    inside = {name for path in loops.values() for name in path}
    label = {name: ends.get(name, _label(name)) for name in nodes}
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for name, node in nodes.items():
        if name in ends or name in inside:
            continue
        if label[name] in modules:
            raise ValueError(f"two nodes are called {label[name]!r} once '.' is '_'; rename one")
        module = reader.module(node)
        if name in loops:
            back = [reader.module(nodes[step], one_step=True) for step in loops[name]]
            module = Recurrent(module, back[0] if len(back) == 1 else nn.Sequential(*back))  # type: ignore[arg-type]
        modules[label[name]] = module
    network = NIRNetwork(modules, [(label[a], label[b]) for a, b in edges])
    chain = [INPUT, *network.order, OUTPUT]
    if sorted(network.edges) == sorted(pairwise(chain)):
        return nn.Sequential(OrderedDict((name, modules[name]) for name in network.order))
    return network


def _label(name: str) -> str:
    return name.replace(".", "_")


def _of_kind(nodes: dict[str, Any], kind: str) -> list[str]:
    return [name for name, node in nodes.items() if type(node).__name__ == kind]


def _flat(graph: Any, prefix: str = "") -> tuple[dict[str, Any], Edges]:
    """Nodes and edges with subgraphs dissolved: their own inputs and outputs become plain edges."""
    nodes: dict[str, Any] = {}
    edges: Edges = [(prefix + a, prefix + b) for a, b in dict.fromkeys(graph.edges)]
    for name, node in graph.nodes.items():
        full = prefix + name
        if type(node).__name__ != "NIRGraph":
            nodes[full] = node
            continue
        inner, inner_edges = _flat(node, full + ".")
        ports = {p: kind for kind in ("Input", "Output") for p in _of_kind(inner, kind)}
        nodes |= {k: n for k, n in inner.items() if k not in ports}
        first = [b for a, b in inner_edges if ports.get(a) == "Input"]
        last = [a for a, b in inner_edges if ports.get(b) == "Output"]
        outer, edges = edges, [e for e in inner_edges if e[0] not in ports and e[1] not in ports]
        for a, b in outer:
            edges += [(x, y) for x in (last if a == full else [a]) for y in (first if b == full else [b])]
    return nodes, edges


def _reach(edges: Edges, start: str) -> set[str]:
    """Names that can be reached from start by at least one edge."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        here = ahead.pop()
        for a, b in edges:
            if a == here and b not in found:
                found.add(b)
                ahead.append(b)
    return found


def _loops(nodes: dict[str, Any], edges: Edges) -> tuple[dict[str, list[str]], Edges]:
    """For each neuron in a loop, the layers its spikes pass on the way back; and the edges without the loops."""
    reach = {name: _reach(edges, name) for name in nodes}
    looped = [name for name in nodes if name in reach[name]]
    loops: dict[str, list[str]] = {}
    done: set[str] = set()
    closed: set[tuple[str, str]] = set()
    for name in looped:
        if name in done:
            continue
        members = [m for m in looped if m in reach[name] and name in reach[m]]
        done.update(members)
        neurons = [m for m in members if type(nodes[m]).__name__ in ("LIF", "IF", "LI", "CubaLIF")]
        if len(neurons) != 1:
            raise ValueError(
                f"the loop through {members} holds {len(neurons)} neurons; a loop of one neuron and stateless layers "
                "can be read (Recurrent)"
            )
        head = neurons[0]
        path: list[str] = []
        here = head
        while not path or here != head:
            ahead = [b for a, b in edges if a == here and b in members]
            alone = here == head or sum(here in edge for edge in edges) == 2
            if len(ahead) != 1 or not alone:
                raise ValueError(f"the feedback of {head!r} branches at {here!r}; a single path of layers can be read")
            here = ahead[0]
            path.append(here)
        # the path ends at the neuron itself
        path.pop()
        if not path:
            raise ValueError(f"{head!r} feeds back to itself without a layer; put a Linear into the loop")
        loops[head] = path
        closed |= set(pairwise([head, *path, head]))
    return loops, [edge for edge in edges if edge not in closed]


def _plain(a: Any) -> Any:
    """One number if all neurons agree, else a tensor (float64 numbers stay exact)."""
    array = np.asarray(a, dtype=np.float64)
    first = array.reshape(-1)[0] if array.size else 0.0
    return float(first) if bool((array == first).all()) else torch.from_numpy(array)


def _torch(a: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(a)).float()


def _text(value: Any) -> Any:
    # strings come back from a file as bytes
    return value.decode() if isinstance(value, bytes) else value


class _Reader:
    """Nodes to modules, with one choice of dt, reset, method and backend."""

    def __init__(self, dt: float | None, reset: str | None, method: str, backend: str) -> None:
        self.dt, self.reset, self.method, self.backend = dt, reset, method, backend

    def module(self, node: Any, *, one_step: bool = False) -> nn.Module:
        """The module of a node, on [T, B, ...]; for ``one_step`` on [B, ...], as in a feedback."""
        kind = type(node).__name__
        if kind in ("LIF", "IF", "LI", "CubaLIF"):
            return self.neuron(node, kind)
        layer = _layer(node, kind)
        return layer if one_step or isinstance(layer, nn.Linear) else TimeDistributed(layer)

    def step(self, meta: dict[str, Any]) -> float:
        if self.dt is None and "dt" not in meta:
            raise ValueError("give dt=, seconds per step: the graph does not say it")
        step = float(meta["dt"] if self.dt is None else self.dt)
        if "dt" in meta and not math.isclose(float(meta["dt"]), step):
            warnings.warn(
                f"the graph was written with dt={meta['dt']}, read with dt={step}: the discrete dynamics differ",
                stacklevel=5,
            )
        return step

    def share(self, tau: Any, step: float) -> Any:
        """1 - decay of a time constant."""
        tau = np.asarray(tau, np.float64)
        if self.method == "zoh":
            return -np.expm1(-step / tau)
        if np.any(step > tau * (1 + 1e-12)):
            raise ValueError(f"dt={step} exceeds a time constant of {tau.min():g} s; use method='zoh' or a smaller dt")
        return np.minimum(step / tau, 1.0)

    def neuron(self, node: Any, kind: str) -> Neuron:
        meta = dict((getattr(node, "metadata", None) or {}).get(KEY, {}))
        step = self.step(meta)
        r = np.asarray(node.r, np.float64)
        if kind == "LI":
            share = self.share(node.tau, step)
            if np.any(np.asarray(node.v_leak) != 0):
                raise ValueError("nir.LI with a leak potential cannot be read: LI has none")
            return LI(decay=_plain(1 - share), gain=_plain(r * share), backend=self.backend)
        chosen: Any = self.reset or _text(meta.get("reset"))
        if chosen is None:
            warnings.warn(
                "the graph does not say how neurons reset; taking reset='hard'. Pass reset='soft' if it was made by a "
                "library that subtracts: a wrong choice costs accuracy silently", stacklevel=4,
            )  # fmt: skip
            chosen = "hard"
        threshold, v_reset = _plain(node.v_threshold), _reset_value(node, chosen)
        common: dict[str, Any] = {"fire": _text(meta.get("fire", "gt")), "backend": self.backend}
        if kind == "IF":
            return IF(threshold, chosen, v_reset=v_reset, gain=_plain(r * step), **common)
        if kind == "LIF":
            share = self.share(node.tau, step)
            return LIF(
                decay=_plain(1 - share), gain=_plain(r * share), bias=_plain(np.asarray(node.v_leak) * share),
                threshold=threshold, reset=chosen, v_reset=v_reset, **common,
            )  # fmt: skip
        share, syn = self.share(node.tau_mem, step), self.share(node.tau_syn, step)
        # ours adds x to the current where NIR adds w_in x dt / tau_syn: the gain makes up for it
        options = {"gain": _plain(r * share * np.asarray(node.w_in) * syn), "decay_syn": _plain(1 - syn), **common}
        v_leak = _plain(node.v_leak)
        if not isinstance(v_leak, Tensor) and v_leak == 0:
            return CuBaLIF(decay=_plain(1 - share), threshold=threshold, reset=chosen, v_reset=v_reset, **options)
        if isinstance(v_leak, Tensor) or v_leak != v_reset:
            raise ValueError("nir.CubaLIF with a leak potential other than 0 and its reset cannot be read")
        return CuBaLIF(_plain(1 / share), threshold=threshold, reset=chosen, v_reset=v_reset, **options)


def _reset_value(node: Any, reset: str) -> float:
    given = getattr(node, "v_reset", None)
    value = _plain(0.0 if given is None else given)
    if isinstance(value, Tensor):
        raise ValueError("v_reset differs between neurons, which LIF does not support")
    return float(value) if reset == "hard" else 0.0


def _ints(v: Any) -> Any:
    return v if isinstance(v, (str, int)) else tuple(int(i) for i in np.atleast_1d(v))


def _layer(node: Any, kind: str) -> nn.Module:
    if kind in ("Linear", "Affine"):
        weight = _torch(node.weight)
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=kind == "Affine")
        linear.weight.data = weight
        if kind == "Affine":
            linear.bias.data = _torch(node.bias)
        return linear
    if kind in ("Conv1d", "Conv2d"):
        weight = _torch(node.weight)
        cls: Any = nn.Conv1d if kind == "Conv1d" else nn.Conv2d
        conv: nn.Module = cls(
            weight.shape[1] * int(node.groups), weight.shape[0], tuple(weight.shape[2:]), stride=_ints(node.stride),
            padding=_ints(node.padding), dilation=_ints(node.dilation), groups=int(node.groups),
        )  # fmt: skip
        conv.weight.data, conv.bias.data = weight, _torch(node.bias)
        return conv
    if kind == "Flatten":
        # a sample's axes: the batch axis comes before them
        start, end = int(node.start_dim), int(node.end_dim)
        return nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)
    if kind == "AvgPool2d":
        return nn.AvgPool2d(_ints(node.kernel_size), _ints(node.stride), _ints(node.padding))
    if kind == "SumPool2d" and not np.any(node.padding):
        return nn.LPPool2d(1, _ints(node.kernel_size), _ints(node.stride))
    raise ValueError(
        f"nir.{kind} cannot be read; supported: Linear, Affine, Conv1d/2d, Flatten, pools, LIF, IF, LI, CubaLIF"
    )
