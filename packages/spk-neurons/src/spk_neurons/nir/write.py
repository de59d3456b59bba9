"""Our networks as NIR graphs.

Continuous parameters are written so that reading them back with the same dt gives the numbers of our transition:
tau = dt / (1 - decay), r = gain tau / dt, v_leak = bias tau / dt. What NIR cannot say (soft reset, fire on >=, dt)
goes into each node's metadata.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spk_neurons.layers import TimeDistributed
from spk_neurons.neurons import LI, LIF, CuBaLIF, Neuron, NoisyLIF
from spk_neurons.nir.network import INPUT, OUTPUT, NIRNetwork
from spk_neurons.recurrent import Recurrent

__all__ = ["KEY", "VERSION", "load", "to_nir"]

#: our entry in a node's metadata, and the version of what is in it
KEY = "spk_neurons"
VERSION = 1

SUPPORTED = "Linear, Conv1d/2d, Flatten, AvgPool2d, LPPool2d(1), IF, LIF, PLIF, LI, CuBaLIF, Recurrent"


def load() -> Any:
    """The package nir.

    Raises:
        ImportError: with the line that installs it.
    """
    try:
        import nir  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise ImportError("NIR exchange needs the package nir: pip install 'spk-neurons[nir]'") from None
    return nir


@torch.no_grad()
def to_nir(net: nn.Module, dt: float = 1e-3, sample: Tensor | None = None) -> Any:
    """Write a network as a NIR graph.

    Args:
        net: one neuron, ``nn.Sequential`` or :class:`NIRNetwork` (branches) of Linear, Conv1d/2d, Flatten, pooling,
            IF, LIF, PLIF, LI, CuBaLIF and ``Recurrent`` (a cycle: neuron ``x.lif``, feedback ``x.w_rec``);
            ``TimeDistributed`` and nesting are fine.
        dt: seconds per step. sample: an input [T, B, ...] from which the shapes are read.
    Returns:
        ``nir.NIRGraph``; parameters are exact, reset kind, firing rule and dt are in each neuron's metadata.
    Raises:
        ImportError: nir is missing. ValueError: no sample, or a part that NIR cannot express.
    """
    nir = load()
    if sample is None:
        raise ValueError("give sample=, an input [T, B, ...]: NIR needs every layer's shape")
    if not dt > 0:
        raise ValueError(f"dt={dt} given; expected seconds per step, > 0")
    writer = _Writer(nir, dt)
    writer.nodes[INPUT] = nir.Input({INPUT: np.array(sample.shape[2:])})
    ends, y = writer.add("0" if not isinstance(net, nn.Sequential) else "", net, [INPUT], sample[0])
    writer.nodes[OUTPUT] = nir.Output({OUTPUT: np.array(y.shape[1:])})
    writer.join(ends, OUTPUT)
    return nir.NIRGraph(writer.nodes, writer.edges)


class _Writer:
    """Nodes and edges so far; every ``add`` takes the names that lead into a module and returns those that leave it."""

    def __init__(self, nir: Any, dt: float) -> None:
        self.nir, self.dt = nir, dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def join(self, sources: list[str], target: str) -> None:
        self.edges += [(a, target) for a in sources]

    def put(self, name: str, node: Any, sources: list[str]) -> list[str]:
        if name in self.nodes:
            raise ValueError(f"two parts of the network are called {name!r}; rename one")
        self.nodes[name] = node
        self.join(sources, name)
        return [name]

    def add(self, name: str, m: nn.Module, sources: list[str], x: Tensor) -> tuple[list[str], Tensor]:
        """Write a module for input x [B, ...] of one step; returns the last names and the output's example."""
        if isinstance(m, TimeDistributed):
            return self.add(name, m.module, sources, x)
        if isinstance(m, nn.Sequential):
            for child_name, child in m.named_children():
                sources, x = self.add(f"{name}_{child_name}" if name else child_name, child, sources, x)
            return sources, x
        if isinstance(m, NIRNetwork):
            return self.add_network(name, m, sources, x)
        if isinstance(m, Recurrent):
            self.put(f"{name}.lif", neuron_node(self.nir, m.neuron, tuple(x.shape[1:]), self.dt), sources)
            self.add_feedback(f"{name}.w_rec", m.feedback, f"{name}.lif", x)
            return [f"{name}.lif"], x
        if isinstance(m, Neuron):
            return self.put(name, neuron_node(self.nir, m, tuple(x.shape[1:]), self.dt), sources), x
        if isinstance(m, (nn.Identity, nn.Dropout)):
            return sources, x  # neither does anything to a trained network
        return self.put(name, layer_node(self.nir, m, x), sources), m(x)

    def add_network(self, name: str, m: NIRNetwork, sources: list[str], x: Tensor) -> tuple[list[str], Tensor]:
        ends, values = {INPUT: sources}, {INPUT: x}
        for child in m.order:
            into = [end for a in m.sources(child) for end in ends[a]]
            label = child if name in ("", "0") else f"{name}_{child}"
            ends[child], values[child] = self.add(label, m.nodes[child], into, m.total(child, values))
        return [end for a in m.sources(OUTPUT) for end in ends[a]], m.total(OUTPUT, values)

    def add_feedback(self, name: str, m: nn.Module, neuron: str, x: Tensor) -> None:
        ends, y = self.add(name, m, [neuron], x)
        if y.shape != x.shape:
            raise ValueError(f"the feedback {name!r} turns {tuple(x.shape[1:])} into {tuple(y.shape[1:])}")
        self.join(ends, neuron)


def _full(value: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    array = value.detach().double().cpu().numpy() if isinstance(value, Tensor) else np.float64(value)
    return np.broadcast_to(array, shape).astype(np.float64).copy()


def neuron_node(nir: Any, m: Neuron, shape: tuple[int, ...], dt: float) -> Any:
    """The NIR node of a neuron whose one-step input has ``shape`` (without the batch)."""
    meta: dict[str, Any] = {"dt": dt, "method": "euler", "version": VERSION}
    if isinstance(m, NoisyLIF):
        raise ValueError("NoisyLIF cannot be written: NIR has no noise")
    if isinstance(m, LIF):
        meta |= {"reset": m.reset, "fire": m.fire}
        return _lif_node(nir, m, shape, dt, {KEY: meta})
    if isinstance(m, CuBaLIF):
        o = m.options
        meta |= {"reset": "soft" if o["v_reset"] is None else o["reset"], "fire": o.get("fire", "ge")}
        return _cuba_node(nir, m, shape, dt, {KEY: meta})
    if isinstance(m, LI):
        decay, gain = _decay_gain(m.tau, m.decay, m.gain, m.decay_input)
        tau = dt / (1.0 - _leaky(_full(decay, shape), "LI"))
        return nir.LI(tau=tau, r=_full(gain, shape) * tau / dt, v_leak=np.zeros(shape), metadata={KEY: meta})
    raise ValueError(f"{type(m).__name__} cannot be written to NIR; supported: {SUPPORTED}")


def _decay_gain(tau: Any, decay: Any, gain: Any, decay_input: bool) -> tuple[Any, Any]:
    """decay and gain of the transition from a neuron's own arguments."""
    if decay is not None:
        return decay, 1.0 if gain is None else gain
    tau = 2.0 if tau is None else tau
    return 1 - 1 / tau, (1 / tau if decay_input else 1.0) if gain is None else gain


def _leaky(decay: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    if np.any(decay == 1.0):
        raise ValueError(f"decay = 1 of a {what} cannot be written: its time constant would be infinite")
    return decay


def _lif_node(nir: Any, m: LIF, shape: tuple[int, ...], dt: float, metadata: dict[str, Any]) -> Any:
    n = m.numbers()
    decay, gain, bias, theta = (_full(n[k], shape) for k in ("decay", "gain", "bias", "threshold"))
    if n["amount"] is not None and not np.array_equal(_full(n["amount"], shape), theta):
        raise ValueError("a soft reset of another amount than the threshold cannot be written: NIR has no such field")
    last = {
        "v_threshold": theta, "v_reset": np.full(shape, m.v_reset if m.reset == "hard" else 0.0), "metadata": metadata,
    }  # fmt: skip
    if np.all(decay == 1.0):
        if np.any(bias != 0):
            raise ValueError("an integrator with a bias cannot be written: nir.IF has no leak potential")
        return nir.IF(r=gain / dt, **last)
    if np.any(decay == 1.0):
        raise ValueError("decay = 1 in some neurons only cannot be written: NIR keeps IF and LIF apart")
    tau = dt / (1.0 - decay)
    return nir.LIF(tau=tau, r=gain * tau / dt, v_leak=bias * tau / dt, **last)


def _cuba_node(nir: Any, m: CuBaLIF, shape: tuple[int, ...], dt: float, metadata: dict[str, Any]) -> Any:
    o = m.options
    if o.get("amount") is not None and o["amount"] != o["threshold"]:
        raise ValueError("a soft reset of another amount than the threshold cannot be written: NIR has no such field")
    decay, gain = _decay_gain(o["tau"], o.get("decay"), o.get("gain"), o.get("decay_input", True))
    syn = o.get("decay_syn")
    syn = 1 - 1 / o["tau_syn"] if syn is None else syn
    tau_mem = dt / (1.0 - _leaky(_full(decay, shape), "CuBaLIF"))
    tau_syn = dt / (1.0 - _leaky(_full(syn, shape), "CuBaLIF's synapse"))
    rest = m.initial_state((1,)).v.item()
    # given by tau, the leak pulls towards v_reset; given by decay, towards 0
    v_leak = rest if o.get("decay") is None else 0.0
    # tau_syn di/dt = -i + w_in S: a step adds w_in dt / tau_syn to the current, ours adds 1
    return nir.CubaLIF(
        tau_mem=tau_mem, tau_syn=tau_syn, r=_full(gain, shape) * tau_mem / dt, v_leak=_full(v_leak, shape),
        v_threshold=_full(o["threshold"], shape), v_reset=_full(rest, shape), w_in=tau_syn / dt, metadata=metadata,
    )  # fmt: skip


def _pair(v: Any) -> np.ndarray[Any, Any]:
    return np.array(v if isinstance(v, tuple) else (v, v))


def layer_node(nir: Any, m: nn.Module, x: Tensor) -> Any:
    """The NIR node of a layer for input x [B, ...]."""

    def arr(t: Tensor) -> Any:
        return t.detach().cpu().numpy()

    if isinstance(m, nn.Linear):
        return nir.Linear(arr(m.weight)) if m.bias is None else nir.Affine(arr(m.weight), arr(m.bias))
    if isinstance(m, (nn.Conv1d, nn.Conv2d)):
        if m.padding_mode != "zeros":
            raise ValueError(f"padding_mode={m.padding_mode!r} cannot be written; NIR pads with zeros")
        bias = arr(m.bias) if m.bias is not None else np.zeros(m.out_channels, np.float32)
        padding = m.padding if isinstance(m.padding, str) else tuple(m.padding)
        if isinstance(m, nn.Conv1d):
            one = padding if isinstance(padding, str) else padding[0]
            return nir.Conv1d(int(x.shape[-1]), arr(m.weight), m.stride[0], one, m.dilation[0], m.groups, bias)
        return nir.Conv2d(tuple(x.shape[-2:]), arr(m.weight), m.stride, padding, m.dilation, m.groups, bias)
    if isinstance(m, nn.Flatten):
        if m.start_dim == 0:
            raise ValueError("Flatten(0) mixes samples and cannot be written; use Flatten()")
        # NIR's axes are a sample's: without the batch axis
        start, end = (d - 1 if d > 0 else d for d in (m.start_dim, m.end_dim))
        return nir.Flatten({INPUT: np.array(x.shape[1:])}, start_dim=start, end_dim=end)
    if isinstance(m, nn.AvgPool2d):
        around = _pair(m.padding)
        if m.ceil_mode or m.divisor_override or (np.any(around) and not m.count_include_pad):
            raise ValueError(
                "AvgPool2d with ceil_mode, divisor_override or with padding that does not count cannot be written"
            )
        return nir.AvgPool2d(_pair(m.kernel_size), _pair(m.stride), around)
    if isinstance(m, nn.LPPool2d) and m.norm_type == 1 and not m.ceil_mode:
        stride = m.kernel_size if m.stride is None else m.stride
        return nir.SumPool2d(_pair(m.kernel_size), _pair(stride), np.array([0, 0]))
    raise ValueError(f"{type(m).__name__} cannot be written to NIR; supported: {SUPPORTED}")
