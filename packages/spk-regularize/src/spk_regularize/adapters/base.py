"""The two kinds of spiking layers: those of spk-neurons, and those whose spike function can be exchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

__all__ = ["Adapter", "FireHook", "Hooked", "SpikingLayer", "default_adapters", "find_layers", "reset_model"]

FireHook = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]


class Adapter:
    """One library. A subclass answers the questions below; :class:`Hooked` adds the exchangeable spike function."""

    library = ""

    def matches(self, module: nn.Module) -> bool:
        """Whether a module is a spiking layer of this library."""
        raise NotImplementedError

    def half_width(self, module: nn.Module) -> float:
        """Half width of the layer's surrogate window; ValueError where it is unknown."""
        raise NotImplementedError

    def threshold(self, module: nn.Module) -> float | Tensor:
        """The firing threshold V_th (for pictures: what is observed is centred on it already)."""
        raise NotImplementedError

    def reset(self, module: nn.Module) -> None:
        """Forget the state of earlier calls."""

    def snapshot(self, module: nn.Module) -> Any:
        """The state as it is, to be put back by :meth:`restore`."""
        return None

    def restore(self, module: nn.Module, state: Any) -> None:
        """Put a snapshot back."""


class Hooked(Adapter):
    """Libraries that call a function of the centred potential ``x = u - V_th`` to fire, step by step."""

    def fire(self, module: nn.Module, hook: FireHook) -> AbstractContextManager[None]:
        """Inside the context the layer fires by ``hook(x, native)``, x [B, ...] and native its own spike function."""
        raise NotImplementedError


@dataclass(frozen=True)
class SpikingLayer:
    """One spiking layer of a model: its ``name`` there, the ``module``, and the ``adapter`` that reads it."""

    name: str
    module: nn.Module
    adapter: Adapter


def default_adapters() -> tuple[Adapter, ...]:
    """spk-neurons, snnTorch, SpikingJelly; none of the last two is imported for it."""
    from spk_regularize.adapters.native import Native
    from spk_regularize.adapters.snntorch import SnnTorch
    from spk_regularize.adapters.spikingjelly import SpikingJelly

    return Native(), SnnTorch(), SpikingJelly()


def _adapters(model: nn.Module, adapters: Sequence[Adapter] | None) -> Sequence[Adapter]:
    if adapters is not None:
        return adapters
    for module in model.modules():
        own = getattr(module, "adapters", None)
        if isinstance(own, (tuple, list)) and own and all(isinstance(a, Adapter) for a in own):
            return own
    return default_adapters()


def find_layers(
    model: nn.Module, adapters: Sequence[Adapter] | None = None, *, only: Sequence[str] | None = None
) -> list[SpikingLayer]:
    """The spiking layers of a model, in the order of ``named_modules``.

    Args:
        model: any network. adapters: what to look for; None asks the model (attribute ``adapters`` of a
            :class:`~spk_regularize.SpikingClassifier`), then takes spk-neurons, snnTorch and SpikingJelly.
        only: names to keep.
    Raises:
        ValueError: no spiking layer, with the module types seen; or a name that is not there.
    """
    wanted = _adapters(model, adapters)
    found = []
    for name, module in model.named_modules():
        adapter = next((a for a in wanted if a.matches(module)), None)
        if adapter is not None:
            found.append(SpikingLayer(name, module, adapter))
    if not found:
        seen = Counter(type(m).__name__ for m in model.modules())
        listed = ", ".join(f"{n} x {name}" for name, n in sorted(seen.items()))
        raise ValueError(
            f"no spiking layer found; modules seen: {listed}. For neurons of your own pass "
            "adapters=[HandWritten(YourNeuron, fire='your_spike_function')]"
        )
    if only is not None:
        names = [layer.name for layer in found]
        missing = [name for name in only if name not in names]
        if missing:
            raise ValueError(f"no spiking layer {missing}; this model has {names}")
        found = [layer for layer in found if layer.name in only]
    return found


def _stateful(model: nn.Module, adapters: Sequence[Adapter] | None) -> Iterator[tuple[nn.Module, Adapter]]:
    wanted = _adapters(model, adapters)
    for module in model.modules():
        for adapter in wanted:
            if adapter.matches(module):
                yield module, adapter
                break


def resets(model: nn.Module, adapters: Sequence[Adapter] | None = None) -> list[Callable[[], Any]]:
    """What to call to make a model forget; empty for neurons of spk-neurons, which keep nothing."""
    found: list[Callable[[], Any]] = []
    for module, adapter in _stateful(model, adapters):
        if type(adapter).reset is not Adapter.reset:
            found.append(partial(adapter.reset, module))
    for module in model.modules():
        if callable(getattr(type(module), "reset_state", None)):
            found.append(module.reset_state)  # type: ignore[arg-type]
    return found


def reset_model(model: nn.Module, adapters: Sequence[Adapter] | None = None) -> None:
    """Forget all states: each adapter's, and that of every module with a method ``reset_state()``."""
    for reset in resets(model, adapters):
        reset()


@contextmanager
def states_kept(model: nn.Module, adapters: Sequence[Adapter] | None = None) -> Iterator[None]:
    """Whatever happens inside, the neurons' states are afterwards what they were before."""
    kept = [(module, adapter, adapter.snapshot(module)) for module, adapter in _stateful(model, adapters)]
    try:
        yield
    finally:
        for module, adapter, state in kept:
            adapter.restore(module, state)
