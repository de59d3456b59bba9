"""Exchange with other libraries through NIR, the neuromorphic intermediate representation (extra ``nir``).

Continuous parameters are written so that reading them back with the same dt gives the very numbers of our transition:
tau = dt / (1 - decay), r = gain tau / dt, v_leak = bias tau / dt. What NIR cannot say (soft reset, fire on >=, dt)
goes into each node's metadata.
"""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from spk_neurons.layers import TimeDistributed
from spk_neurons.neurons import IF, LI, LIF, CuBaLIF, NoisyLIF

__all__ = ["from_nir", "to_nir"]

KEY = "spk_neurons"


def _nir() -> Any:
    try:
        import nir  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise ImportError("NIR exchange needs the package nir: pip install 'spk-neurons[nir]'") from None
    return nir


def _full(value: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    array = value.detach().double().cpu().numpy() if isinstance(value, Tensor) else np.float64(value)
    return np.broadcast_to(array, shape).astype(np.float64).copy()


def _lif_node(nir: Any, m: LIF, shape: tuple[int, ...], dt: float) -> Any:
    if isinstance(m, NoisyLIF):
        raise ValueError("NoisyLIF cannot be written: NIR has no noise")
    n = m.numbers()
    decay, gain, bias, theta = (_full(n[k], shape) for k in ("decay", "gain", "bias", "threshold"))
    if n["amount"] is not None and not np.array_equal(_full(n["amount"], shape), theta):
        raise ValueError("a soft reset of another amount than the threshold cannot be written: NIR has no such field")
    meta = {
        KEY: {"dt": dt, "reset": m.reset, "fire": m.fire, "method": "euler", "version": 1},
    }
    v_reset = np.full(shape, m.v_reset if m.reset == "hard" else 0.0)
    if np.all(decay == 1.0):
        if np.any(bias != 0):
            raise ValueError("an integrator with a bias cannot be written: nir.IF has no leak potential")
        return nir.IF(r=gain / dt, v_threshold=theta, v_reset=v_reset, metadata=meta)
    if np.any(decay == 1.0):
        raise ValueError("decay = 1 in some neurons only cannot be written: NIR keeps IF and LIF apart")
    tau = dt / (1.0 - decay)
    return nir.LIF(
        tau=tau, r=gain * tau / dt, v_leak=bias * tau / dt, v_threshold=theta, v_reset=v_reset, metadata=meta
    )


def _layer_node(nir: Any, m: nn.Module, x: Tensor) -> Any:
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
        # their axes count the sample's alone
        return nir.Flatten({"input": np.array(x.shape[1:])}, start_dim=0, end_dim=-1)
    if isinstance(m, nn.AvgPool2d):
        pair = [v if isinstance(v, tuple) else (v, v) for v in (m.kernel_size, m.stride, m.padding)]
        return nir.AvgPool2d(*(np.array(v) for v in pair))
    raise ValueError(
        f"{type(m).__name__} cannot be written to NIR; supported: Linear, Conv1d/2d, Flatten, AvgPool2d, neurons"
    )


def _flat(net: nn.Module) -> list[tuple[str, nn.Module]]:
    out: list[tuple[str, nn.Module]] = []
    for name, m in net.named_children() if isinstance(net, nn.Sequential) else [("0", net)]:
        inner = m.module if isinstance(m, TimeDistributed) else m
        if isinstance(inner, nn.Sequential):
            out += [(f"{name}_{sub}", child) for sub, child in _flat(inner)]
        else:
            out.append((name, inner))
    return out


@torch.no_grad()
def to_nir(net: nn.Module, dt: float = 1e-3, sample: Tensor | None = None) -> Any:
    """Write a sequential network as a NIR graph.

    Args:
        net: ``nn.Sequential`` (TimeDistributed inside is fine) of Linear, Conv1d/2d, Flatten,
        AvgPool2d and LIF, IF, LI,
            CuBaLIF, or one neuron. dt: seconds per step.
        sample: an input [T, B, ...] (or [T, *S]) from which the shapes are read.
    Returns:
        ``nir.NIRGraph``; parameters are exact, reset kind, firing rule and dt are in each neuron's metadata.
    Raises:
        ImportError: nir is missing. ValueError: no sample, or a part that NIR cannot express.
    """
    nir = _nir()
    if sample is None:
        raise ValueError("give sample=, an input [T, B, ...]: NIR needs every layer's shape")
    if not dt > 0:
        raise ValueError(f"dt={dt} given; expected seconds per step, > 0")
    x = sample[0]
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(x.shape[1:])})}
    names = ["input"]
    for name, m in _flat(net):
        shape = tuple(x.shape[1:])
        if isinstance(m, LIF):
            node = _lif_node(nir, m, shape, dt)
        elif isinstance(m, LI):
            decay = 1 - 1 / float(m.tau) if m.decay is None else float(m.decay)  # type: ignore[arg-type]
            gain = (1 / float(m.tau) if m.decay_input and m.decay is None else 1.0) if m.gain is None else float(m.gain)  # type: ignore[arg-type]
            tau = _full(dt / (1 - decay), shape)
            node = nir.LI(
                tau=tau, r=gain * tau / dt, v_leak=np.zeros(shape), metadata={KEY: {"dt": dt, "method": "euler"}}
            )
        elif isinstance(m, CuBaLIF):
            node = _cuba_node(nir, m, shape, dt)
        else:
            node = _layer_node(nir, m, x)
            x = m(x)
        key = name if name not in nodes else f"{name}_"
        nodes[key] = node
        names.append(key)
    nodes["output"] = nir.Output({"output": np.array(x.shape[1:])})
    names.append("output")
    return nir.NIRGraph(nodes, list(pairwise(names)))


def _cuba_node(nir: Any, m: CuBaLIF, shape: tuple[int, ...], dt: float) -> Any:
    o = m.options
    tau = float(o["tau"] or 2.0)
    if (
        o.get("decay") is not None
        or o.get("decay_syn") is not None
        or o.get("gain") is not None
        or o.get("amount") is not None
    ):
        raise ValueError("a CuBaLIF given by decay, gain or amount cannot be written; give tau and tau_syn")
    tau_mem, tau_syn = tau * dt, o["tau_syn"] * dt
    gain = 1 / tau if o.get("decay_input", True) else 1.0
    # nir.CubaLIF: tau_syn di/dt = -i + w_in S; a step adds w_in dt / tau_syn, ours adds 1
    return nir.CubaLIF(
        tau_mem=_full(tau_mem, shape), tau_syn=_full(tau_syn, shape), r=_full(gain * tau, shape),
        v_leak=np.zeros(shape),
        v_threshold=_full(o["threshold"], shape), v_reset=_full(m._v0(), shape), w_in=_full(o["tau_syn"], shape),
        metadata={KEY: {"dt": dt, "reset": o["reset"], "fire": o.get("fire", "ge"), "method": "euler"}},
    )  # fmt: skip


def _plain(a: Any) -> Any:
    """One number if all neurons agree, else a tensor (float64 numbers stay exact)."""
    array = np.asarray(a, dtype=np.float64)
    first = array.reshape(-1)[0] if array.size else 0.0
    return float(first) if bool((array == first).all()) else torch.from_numpy(array)


def _neuron(node: Any, kind: str, dt: float | None, reset: str | None, method: str, backend: str) -> nn.Module:
    meta = dict((getattr(node, "metadata", None) or {}).get(KEY, {}))
    step = dt if dt is not None else meta.get("dt")
    if step is None:
        raise ValueError("give dt=, seconds per step: the graph does not say it")
    if "dt" in meta and dt is not None and not math.isclose(float(meta["dt"]), dt):
        warnings.warn(
            f"the graph was written with dt={meta['dt']}, read with dt={dt}: the discrete dynamics differ", stacklevel=4
        )
    chosen: Any = reset or meta.get("reset")
    if isinstance(chosen, bytes):
        chosen = chosen.decode()
    if chosen is None and kind != "LI":
        warnings.warn(
            "the graph does not say how neurons reset; taking reset='hard'. Pass reset='soft' if it was made by "
            "a library "
            "that subtracts: a wrong choice costs accuracy silently", stacklevel=4,
        )  # fmt: skip
        chosen = "hard"
    fire: Any = meta.get("fire", "gt")
    fire = fire.decode() if isinstance(fire, bytes) else fire
    if kind == "IF":
        gain = np.asarray(node.r, np.float64) * step
        return IF(
            _plain(node.v_threshold),
            chosen,
            v_reset=_reset_value(node, chosen),
            gain=_plain(gain),
            fire=fire,
            backend=backend,
        )
    tau = np.asarray(node.tau, np.float64)
    if method == "euler":
        share = step / tau
        if np.any(share > 1):
            raise ValueError(f"dt={step} exceeds a time constant of {tau.min():g} s; use method='zoh' or a smaller dt")
    else:
        share = -np.expm1(-step / tau)
    decay, gain = 1 - share, np.asarray(node.r, np.float64) * share
    if kind == "LI":
        if np.any(np.asarray(node.v_leak) != 0):
            raise ValueError("nir.LI with a leak potential cannot be read: LI has none")
        return LI(decay=_plain(decay), gain=_plain(gain), backend=backend)
    bias = np.asarray(node.v_leak, np.float64) * share
    return LIF(
        decay=_plain(decay), gain=_plain(gain), bias=_plain(bias), threshold=_plain(node.v_threshold), reset=chosen,
        v_reset=_reset_value(node, chosen), fire=fire, backend=backend,
    )  # fmt: skip


def _reset_value(node: Any, reset: str) -> float:
    value = _plain(getattr(node, "v_reset", 0.0) if getattr(node, "v_reset", None) is not None else 0.0)
    if isinstance(value, Tensor):
        raise ValueError("v_reset differs between neurons, which LIF does not support")
    return value if reset == "hard" else 0.0


def _torch(a: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(a)).float()


def _module(node: Any, dt: float | None, reset: str | None, method: str, backend: str) -> nn.Module:
    kind = type(node).__name__
    if kind in ("LIF", "IF", "LI"):
        return _neuron(node, kind, dt, reset, method, backend)
    if kind == "CubaLIF":
        meta = dict((getattr(node, "metadata", None) or {}).get(KEY, {}))
        step = dt if dt is not None else meta.get("dt")
        if step is None:
            raise ValueError("give dt=, seconds per step: the graph does not say it")
        tau, tau_s = _plain(np.asarray(node.tau_mem) / step), _plain(np.asarray(node.tau_syn) / step)
        scale = np.asarray(node.r, np.float64) * np.asarray(node.w_in, np.float64) / (np.asarray(node.tau_mem) / step)
        scale = scale / (np.asarray(node.tau_syn) / step)
        if np.any(np.asarray(node.v_leak) != 0):
            raise ValueError("nir.CubaLIF with a leak potential cannot be read")
        chosen: Any = reset or meta.get("reset") or "hard"
        return CuBaLIF(
            tau, tau_s, _plain(node.v_threshold), chosen, _reset_value(node, chosen), gain=_plain(scale),
            fire=meta.get("fire", "gt"), backend=backend,
        )  # fmt: skip
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

        def arg(v: Any) -> Any:
            return v if isinstance(v, (str, int)) else (tuple(int(i) for i in np.atleast_1d(v)))

        conv = cls(
            weight.shape[1] * int(node.groups), weight.shape[0], tuple(weight.shape[2:]), stride=arg(node.stride),
            padding=arg(node.padding), dilation=arg(node.dilation), groups=int(node.groups),
        )  # fmt: skip
        conv.weight.data, conv.bias.data = weight, _torch(node.bias)
        return TimeDistributed(conv)
    if kind == "Flatten":
        return TimeDistributed(nn.Flatten())
    if kind == "AvgPool2d":
        size, stride, pad = ((int(v[0]), int(v[1])) for v in (node.kernel_size, node.stride, node.padding))
        return TimeDistributed(nn.AvgPool2d(size, stride, pad))
    if kind == "SumPool2d" and not np.any(node.padding):
        size, stride = ((int(v[0]), int(v[1])) for v in (node.kernel_size, node.stride))
        return TimeDistributed(nn.LPPool2d(1, size, stride))
    return _refuse(kind)


def _refuse(kind: str) -> nn.Module:
    raise ValueError(
        f"nir.{kind} cannot be read; supported: Linear, Affine, Conv1d/2d, Flatten, pools, LIF, IF, LI, CubaLIF"
    )


def from_nir(
    graph: Any,
    dt: float | None = None,
    *,
    reset: Literal["hard", "soft", "none"] | None = None,
    method: Literal["euler", "zoh"] = "euler",
    backend: str = "auto",
) -> nn.Sequential:
    """Read a NIR graph (or a ``.nir`` file) as an ``nn.Sequential`` for inputs [T, B, ...].

    Args:
        graph: ``nir.NIRGraph`` or a path. dt: seconds per step; None: as written by :func:`to_nir`.
        reset: how neurons reset; None: as the metadata says, else "hard" with a warning.
        method: "euler" (decay 1 - dt/tau) or "zoh" (exp(-dt/tau)).
        backend: of the neurons.
    Raises:
        ImportError: nir is missing. ValueError: branches or loops, an unknown node, dt missing or above a time
            constant.
    """
    nir = _nir()
    if method not in ("euler", "zoh"):
        raise ValueError(f"method={method!r} is not known; choose 'euler' or 'zoh'")
    if not isinstance(graph, nir.NIRGraph):
        graph = nir.read(graph)
    follow: dict[str, list[str]] = {}
    for a, b in graph.edges:
        follow.setdefault(a, []).append(b)
    starts = [k for k, n in graph.nodes.items() if type(n).__name__ == "Input"]
    if len(starts) != 1:
        raise ValueError(f"the graph has {len(starts)} inputs; a sequential network has one")
    layers: list[nn.Module] = []
    seen, here = set(), starts[0]
    while type(graph.nodes[here]).__name__ != "Output":
        nexts = follow.get(here, [])
        if len(nexts) != 1 or here in seen:
            raise ValueError(
                f"node {here!r} leads to {nexts}; only sequential graphs can be read (no branches, no recurrence)"
            )
        seen.add(here)
        here = nexts[0]
        if type(graph.nodes[here]).__name__ != "Output":
            layers.append(_module(graph.nodes[here], dt, reset, method, backend))
    return nn.Sequential(*layers)
