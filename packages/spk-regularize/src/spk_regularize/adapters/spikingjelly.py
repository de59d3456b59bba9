"""SpikingJelly: neurons fire through ``surrogate_function`` and keep their memories until ``reset()``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from spk_regularize.adapters.base import FireHook, Hooked
from spk_regularize.windows import measure_half_width

__all__ = ["SpikingJelly"]


class _Shell(nn.Module):
    """Stands where the surrogate function stood."""

    def __init__(self, native: Callable[[Tensor], Tensor], hook: FireHook) -> None:
        super().__init__()
        # not registered: the native function stays where it was in the model's state
        self.calls = (hook, native)

    def forward(self, x: Tensor) -> Tensor:
        hook, native = self.calls
        return hook(x, native)


class SpikingJelly(Hooked):
    """LIFNode, IFNode, ParametricLIFNode ... : children of its node classes, single or multi step."""

    library = "spikingjelly"

    def matches(self, module: nn.Module) -> bool:
        ours = any(c.__module__.startswith("spikingjelly.") for c in type(module).__mro__)
        return ours and hasattr(module, "surrogate_function") and hasattr(module, "v_threshold")

    def half_width(self, module: nn.Module) -> float:
        return measure_half_width(module.surrogate_function)  # type: ignore[arg-type]

    def threshold(self, module: nn.Module) -> float | Tensor:
        value: Any = module.v_threshold
        return value if isinstance(value, Tensor) else float(value)

    def reset(self, module: nn.Module) -> None:
        module.reset()  # type: ignore[operator]

    def snapshot(self, module: nn.Module) -> dict[str, Any]:
        return dict(getattr(module, "_memories", {}))

    def restore(self, module: nn.Module, state: Any) -> None:
        getattr(module, "_memories", {}).update(state)

    @contextmanager
    def fire(self, module: nn.Module, hook: FireHook) -> Iterator[None]:
        native: Any = module.surrogate_function
        module.surrogate_function = _Shell(native, hook)
        try:
            yield
        finally:
            module.surrogate_function = native
