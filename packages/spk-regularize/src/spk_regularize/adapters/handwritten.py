"""Modules of your own: name the attribute that turns a centred potential into spikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from spk_regularize.adapters.base import FireHook, Hooked
from spk_regularize.windows import measure_half_width

__all__ = ["HandWritten"]


class HandWritten(Hooked):
    """A hand-written neuron.

    Args:
        kind: the module's class. fire: name of the attribute or method that is called with ``u - V_th`` [B, ...], once
            per time step, and returns spikes; "forward" if the module is the spike function itself.
        threshold: name of the attribute with V_th, or a number. reset: name of a method without arguments that
            forgets the state (None: nothing to forget). state: names of the attributes that hold state; they are put
            back after an attack.
    Raises:
        TypeError: kind is no class of modules.
    """

    library = "hand-written"

    def __init__(
        self,
        kind: type[nn.Module],
        fire: str = "forward",
        *,
        threshold: str | float = 1.0,
        reset: str | None = None,
        state: tuple[str, ...] = (),
    ) -> None:
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise TypeError(f"kind={kind!r} given; expected a class of torch modules")
        self.kind, self.name, self._threshold, self._reset, self._state = kind, fire, threshold, reset, state

    def matches(self, module: nn.Module) -> bool:
        return isinstance(module, self.kind)

    def _native(self, module: nn.Module) -> Callable[..., Any]:
        native: Callable[..., Any] | None = getattr(module, self.name, None)
        if not callable(native):
            raise ValueError(f"{type(module).__name__} has no callable {self.name!r}; name its spike function")
        return native

    def half_width(self, module: nn.Module) -> float:
        return measure_half_width(self._native(module))

    def threshold(self, module: nn.Module) -> float | Tensor:
        value = getattr(module, self._threshold) if isinstance(self._threshold, str) else self._threshold
        return value if isinstance(value, Tensor) else float(value)

    def reset(self, module: nn.Module) -> None:
        if self._reset is not None:
            getattr(module, self._reset)()

    def snapshot(self, module: nn.Module) -> dict[str, Any]:
        return {name: getattr(module, name) for name in self._state}

    def restore(self, module: nn.Module, state: Any) -> None:
        for name, value in state.items():
            setattr(module, name, value)

    @contextmanager
    def fire(self, module: nn.Module, hook: FireHook) -> Iterator[None]:
        native = self._native(module)

        def fire(x: Tensor, *rest: Any) -> Tensor:
            return hook(x, (lambda y: native(y, *rest)) if rest else native)

        before = module.__dict__.get(self.name)
        child = module._modules.pop(self.name, None)
        module.__dict__[self.name] = fire
        try:
            yield
        finally:
            del module.__dict__[self.name]
            if before is not None:
                module.__dict__[self.name] = before
            if child is not None:
                module._modules[self.name] = child
