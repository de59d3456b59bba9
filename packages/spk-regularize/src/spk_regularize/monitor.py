"""See the membrane potentials of any spiking network while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons import LIF, Neuron, Recurrent, TDBatchNorm, record
from spk_regularize.adapters.base import Adapter, Hooked, SpikingLayer, find_layers
from spk_regularize.adapters.native import Native
from spk_regularize.stats import moments

__all__ = ["LayerTrace", "MembraneMonitor"]

KEPT = ("moments", "potentials", "spikes")
SHORT = {"stats": ("moments",), "traces": ("potentials", "spikes")}


@dataclass
class LayerTrace:
    """One spiking layer in one forward pass; ``x = u - V_th`` is the potential before the reset, centred.

    name: of the layer. module: the layer. gamma: half width of its surrogate window, None where unknown.
    x: potentials [T, B, C, ...], with graph, or None. spikes: like x, or None. threshold: V_th.
    norm: the tdBN that feeds a layer of spk-neurons, or None.
    """

    name: str
    module: nn.Module
    gamma: float | None
    threshold: float | Tensor
    x: Tensor | None = None
    spikes: Tensor | None = None
    norm: TDBatchNorm | None = None
    _mean: Tensor | None = None
    _var: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """Mean of x per step and channel, [T, C], differentiable."""
        self._take()
        assert self._mean is not None
        return self._mean

    @property
    def var(self) -> Tensor:
        """Population variance of x per step and channel, [T, C], differentiable."""
        self._take()
        assert self._var is not None
        return self._var

    def _take(self) -> None:
        if self._mean is None:
            self._mean, self._var = moments(self.potentials)

    @property
    def u(self) -> Tensor:
        """The potential before the reset, x + V_th, [T, B, C, ...]."""
        return self.potentials + self.threshold

    @property
    def potentials(self) -> Tensor:
        """x, or an error that says how to keep it."""
        if self.x is None:
            raise ValueError(
                f"layer {self.name!r} kept no potentials; use MembraneMonitor(model, keep=('potentials',))"
            )
        return self.x

    @property
    def fired(self) -> Tensor:
        """The spikes, or an error that says how to keep them."""
        if self.spikes is None:
            raise ValueError(f"layer {self.name!r} kept no spikes; use MembraneMonitor(model, keep=('spikes',))")
        return self.spikes

    @property
    def window(self) -> float:
        """gamma, or an error that says how to give it."""
        if self.gamma is None:
            raise ValueError(
                f"layer {self.name!r} ({type(self.module).__name__}) has a surrogate without a known range; "
                "give gamma=... to the regulariser"
            )
        return self.gamma


class MembraneMonitor:
    """Collects what regularisers and pictures read, for every call of the model inside the ``with`` block.

    Args:
        model: any network with spiking layers. keep: out of "moments" (mean and variance; no potentials stored with
            spk-neurons), "potentials", "spikes"; "stats" is the first, "traces" the other two; or a regulariser, which
            knows what it needs.
        layers: names of the layers to watch; None: all. exclude_last: leave the last spiking layer out (where it is
            the read-out). windows: look up the surrogates' windows. adapters: see :func:`find_layers`.
    Raises:
        ValueError: no spiking layer, unknown names, or neurons whose potentials cannot be seen.

    ``monitor.layers`` lists one :class:`LayerTrace` per layer and call since the last ``clear()``; a layer that is
    called step by step gives one trace. The monitor draws no random numbers and changes no result.

    Example:
        >>> from spk_neurons import LIF
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), LIF())
        >>> with MembraneMonitor(net) as monitor:
        ...     _ = net(torch.rand(5, 8, 4))
        >>> monitor.layers[0].mean.shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        model: nn.Module,
        keep: str | Sequence[str] | Any = "stats",
        *,
        layers: Sequence[str] | None = None,
        exclude_last: bool = False,
        windows: bool = True,
        adapters: Sequence[Adapter] | None = None,
    ) -> None:
        kept = SHORT.get(keep, (keep,)) if isinstance(keep, str) else tuple(getattr(keep, "needs", keep))
        unknown = [k for k in kept if k not in KEPT]
        if unknown:
            raise ValueError(f"keep={unknown} given; expected some of {', '.join(KEPT)}, or a regulariser")
        self.model, self.keep = model, frozenset(kept)
        found = find_layers(model, adapters, only=layers)
        self.watched = found[:-1] if exclude_last else found
        if not self.watched:
            raise ValueError(f"the only spiking layer {found[0].name!r} was excluded; use exclude_last=False")
        self._stack: ExitStack | None = None
        self._recording: Any = None
        self._steps: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._norms = _norms(model)
        if self.keep & {"moments", "potentials"}:
            for layer in self.watched:
                if isinstance(layer.adapter, Native):
                    layer.adapter.check_potentials(layer.module)
        self._gamma = {layer.name: _gamma(layer) if windows else None for layer in self.watched}

    def __enter__(self) -> MembraneMonitor:
        if self._stack is not None:
            raise ValueError("this monitor runs already; leave the other block first, or make a second monitor")
        self._stack = stack = ExitStack()
        native = [layer.name for layer in self.watched if isinstance(layer.adapter, Native)]
        try:
            if native and self.keep:
                names = [n for n, k in (("s", "spikes"), ("h", "potentials")) if k in self.keep]
                stats = "moments" in self.keep and "potentials" not in self.keep
                self._recording = stack.enter_context(record(self.model, *names, stats=stats, layers=native))
            for layer in self.watched:
                if isinstance(layer.adapter, Hooked):
                    rows = self._steps.setdefault(layer.name, [])
                    stack.enter_context(layer.adapter.fire(layer.module, _keeper(rows)))
        except BaseException:
            stack.close()
            self._stack = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stack is not None
        self._stack.close()
        self._stack = None
        for calls in [] if self._recording is None else self._recording.calls.values():
            for call in calls:
                # the neurons' last potentials: nobody reads them, and they would live through the backward pass
                call.state = None

    def clear(self) -> None:
        """Forget earlier calls: at the start of every training step, if one monitor lives longer than one step."""
        if self._recording is not None:
            self._recording.calls.clear()
        for rows in self._steps.values():
            rows.clear()

    @property
    def layers(self) -> list[LayerTrace]:
        """What was seen, in the order of the layers; ValueError before the first call of the model."""
        traces = [trace for layer in self.watched for trace in self._traces(layer)]
        if not traces:
            raise ValueError("the monitor saw no forward pass yet; call the model inside the with block")
        return traces

    def _traces(self, layer: SpikingLayer) -> Iterator[LayerTrace]:
        if isinstance(layer.adapter, Native):
            yield from self._recorded(layer)
        elif self._steps.get(layer.name):
            rows = self._steps[layer.name]
            x, spikes = (torch.stack(list(side)) for side in zip(*rows, strict=True))
            yield self._trace(layer, x=x, spikes=spikes)

    def _trace(self, layer: SpikingLayer, **values: Any) -> LayerTrace:
        return LayerTrace(
            layer.name, layer.module, self._gamma[layer.name], layer.adapter.threshold(layer.module),
            norm=self._norms.get(layer.name), **values,
        )  # fmt: skip

    def _recorded(self, layer: SpikingLayer) -> Iterator[LayerTrace]:
        calls = [] if self._recording is None else self._recording.calls.get(layer.name, [])
        if not calls:
            return
        threshold = layer.adapter.threshold(layer.module)

        def part(rows: Sequence[Any], get: Any) -> Tensor | None:
            tensors = [get(row) for row in rows]
            return None if any(t is None for t in tensors) else torch.cat(tensors)

        # a recurrent layer is called once per time step: its calls are the steps of one trace
        step_wise = _inside_recurrent(self.model, layer.module)
        for rows in [calls] if step_wise else [[call] for call in calls]:
            h = part(rows, lambda r: r.h)
            mean = part(rows, lambda r: r.stats.mean if r.stats is not None else None)
            var = part(rows, lambda r: r.stats.var if r.stats is not None else None)
            if mean is not None:
                mean = mean - _per_channel(threshold, mean, layer.name)
            yield self._trace(
                layer, x=None if h is None else h - threshold, spikes=part(rows, lambda r: r.s), _mean=mean, _var=var
            )


def _gamma(layer: SpikingLayer) -> float | None:
    try:
        return layer.adapter.half_width(layer.module)
    except ValueError:
        return None


def _per_channel(threshold: float | Tensor, mean: Tensor, name: str) -> float | Tensor:
    if not isinstance(threshold, Tensor) or threshold.numel() == 1:
        return threshold
    if threshold.numel() == mean.shape[1]:
        return threshold.reshape(-1)
    raise ValueError(
        f"layer {name!r} has a threshold of shape {tuple(threshold.shape)}, not one per channel ({mean.shape[1]}); "
        "its statistics need the potentials: keep=('potentials',)"
    )


def _inside_recurrent(model: nn.Module, module: nn.Module) -> bool:
    return any(isinstance(m, Recurrent) and m.neuron is module for m in model.modules())


def _norms(model: nn.Module) -> dict[str, TDBatchNorm]:
    """The tdBN that stands last before each neuron of spk-neurons, by module order."""
    last: TDBatchNorm | None = None
    norms: dict[str, TDBatchNorm] = {}
    for name, module in model.named_modules():
        if isinstance(module, TDBatchNorm):
            last = module
        elif isinstance(module, Neuron):
            if last is not None and isinstance(module, LIF):
                norms[name] = last
            last = None
    return norms


def _keeper(rows: list[tuple[Tensor, Tensor]]) -> Any:
    def keep(x: Tensor, native: Any) -> Tensor:
        spikes: Tensor = native(x)
        rows.append((x, spikes))
        return spikes

    return keep
