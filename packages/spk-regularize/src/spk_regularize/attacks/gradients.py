"""The gradient an attack goes by. Only the backward pass changes: the attacked network's answers stay bit for bit.

A network trained with a narrow surrogate, or with potentials pushed out of its window, passes little gradient; that
says nothing about its robustness. So each attack takes ``grad``: "native", a surrogate, or an adaptive gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons import ATan, Sigmoid, Surrogate, Triangle
from spk_regularize.adapters.base import Hooked, SpikingLayer, find_layers
from spk_regularize.adapters.native import Native
from spk_regularize.attacks.unrolled import Unrolled, plain_numbers, potentials
from spk_regularize.monitor import MembraneMonitor

__all__ = ["ASSG", "BPTR", "PDSG", "RGA", "AttackGradient", "Family", "Wide", "make_gradient", "swap_surrogate"]


class _Swapped(torch.autograd.Function):
    """Spikes as they are, with a derivative given from outside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spikes: Tensor, phi: Tensor) -> Tensor:
        ctx.save_for_backward(phi)
        return spikes.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (phi,) = ctx.saved_tensors
        return grad * phi, None, None


class AttackGradient:
    """Base, and the gradient the network was trained with.

    A subclass defines ``derivative(layer, slot, x)``, where ``slot`` counts the calls of one layer in one pass (its
    time steps, in a fixed order), or ``_swap(layer)``.
    """

    name = "native"
    #: whether row i of a batch gets the gradient it would get alone
    batch_invariant = True

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self.frozen = False

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[AttackGradient]:
        """Inside, backward passes of ``model`` use this gradient; afterwards it is as before, whatever happened."""
        self.forget()
        with ExitStack() as stack:
            layers = find_layers(model) if type(self) is not AttackGradient else []
            for layer in layers:
                self.prepare(layer)
            for layer in layers:
                stack.enter_context(self._swap(layer))
            yield self
        self.forget()

    def forget(self) -> None:
        """Drop what was gathered about earlier batches."""
        self._slots, self.frozen = {}, False

    def prepare(self, layer: SpikingLayer) -> None:
        """Look at a layer before anything is exchanged."""

    def begin(self, model: nn.Module, x: Tensor, *, frozen: bool = False) -> None:
        """Before each forward pass whose gradient is taken; ``frozen``: repeats of one input gather nothing."""
        self._slots, self.frozen = {}, frozen

    def keep(self, rows: Tensor) -> None:
        """Only these rows of the batch go on."""

    def derivative(self, layer: SpikingLayer, slot: int, x: Tensor) -> Tensor:
        """phi(x), like x; called without a graph."""
        raise NotImplementedError(f"{type(self).__name__} must define derivative(layer, slot, x)")

    def _call(self, layer: SpikingLayer, x: Tensor) -> Tensor:
        slot = self._slots.get(layer.name, 0)
        self._slots[layer.name] = slot + 1
        with torch.no_grad():
            return self.derivative(layer, slot, x.detach())

    @contextmanager
    def _swap(self, layer: SpikingLayer) -> Iterator[None]:
        if isinstance(layer.adapter, Hooked):

            def hook(x: Tensor, native: Callable[[Tensor], Tensor]) -> Tensor:
                if not torch.is_grad_enabled():
                    return native(x)
                with torch.no_grad():
                    spikes = native(x)
                out: Tensor = _Swapped.apply(x, spikes, self._call(layer, x))  # type: ignore[no-untyped-call]
                return out

            with layer.adapter.fire(layer.module, hook):
                yield
            return
        module = layer.module
        own = {"surrogate": module.surrogate, "backend": module.backend}
        native = module.forward

        def forward(x: Tensor, *args: Any, **options: Any) -> Any:
            known = plain_numbers(module)
            if args or options or known is None or not torch.is_grad_enabled():
                return native(x, *args, **options)
            with torch.no_grad(), _attributes(module, **own):
                seen = potentials(module, native, x)
            if seen is None:
                return native(x)
            s, h = seen
            phi = torch.stack([self._call(layer, u) for u in h - layer.adapter.threshold(module)])
            return Unrolled.apply(x, s, h, phi, module, known)  # type: ignore[no-untyped-call]

        # neurons that are called otherwise, or have parameters of their own, take the reference's loop
        with _attributes(module, surrogate=_Proxy(self, layer), backend="reference"), _own_forward(module, forward):
            yield


@contextmanager
def _own_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Inside, calls of the module go here."""
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        del module.__dict__["forward"]


@contextmanager
def _attributes(module: nn.Module, **values: Any) -> Iterator[None]:
    before = {name: getattr(module, name) for name in values}
    try:
        for name, value in values.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


class _Proxy(Surrogate):
    """A surrogate that asks an attack gradient; the ``reference`` backend calls it once per step, batch first."""

    def __init__(self, gradient: AttackGradient, layer: SpikingLayer) -> None:
        super().__init__(1.0)
        self._gradient, self._layer = gradient, layer

    def derivative(self, u: Tensor) -> Tensor:
        return self._gradient._call(self._layer, u)


class Family(AttackGradient):
    """Another surrogate in every layer.

    Args: surrogate: of spk-neurons.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        if not isinstance(surrogate, Surrogate):
            raise TypeError(f"surrogate={surrogate!r} given; expected a surrogate of spk_neurons, e.g. Triangle(2.0)")
        self.surrogate, self.name = surrogate, repr(surrogate)

    def chosen(self, layer: SpikingLayer) -> Surrogate:
        """The surrogate of one layer."""
        return self.surrogate

    def derivative(self, layer: SpikingLayer, slot: int, x: Tensor) -> Tensor:
        return self.chosen(layer).derivative(x)

    @contextmanager
    def _swap(self, layer: SpikingLayer) -> Iterator[None]:
        if isinstance(layer.adapter, Native):
            with _attributes(layer.module, surrogate=self.chosen(layer)):
                yield
        else:
            with super()._swap(layer):
                yield


class Wide(Family):
    """A triangle ``factor`` times as wide as each layer's own window (at least ``factor``)."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__(Triangle(factor))
        self.factor, self.name = float(factor), f"wide x{factor:g}"
        self._widths: dict[str, float] = {}

    def prepare(self, layer: SpikingLayer) -> None:
        try:
            own = layer.adapter.half_width(layer.module)
        except ValueError:
            own = 1.0
        self._widths[layer.name] = self.factor * max(1.0, own)

    def chosen(self, layer: SpikingLayer) -> Surrogate:
        return Triangle(self._widths[layer.name])


class ASSG(AttackGradient):
    """Adaptive sharpness: an arctangent whose slope follows each neuron's potential over the attack's iterations.

    M <- b M + (1 - b)|x|,  D <- b D + (1 - b) | |x| - M |,  slope = a / (M + r D + 1e-4),  a = 2 tan(pi A / 2) / pi

    Args:
        vanishing: A / 2 of the formula's A, the share of the gradient that may vanish; 0.4 by default.
        b, r: memory and spread, 0.9 and 1.5. M starts at 1, D at 0, per layer, step and neuron of each sample.
    Source: arXiv 2512.22522 and its code.
    """

    def __init__(self, vanishing: float = 0.4, b: float = 0.9, r: float = 1.5) -> None:
        super().__init__()
        if not 0 < vanishing < 0.5:
            raise ValueError(f"vanishing={vanishing} given; expected A / 2 in (0, 0.5)")
        self.a = 2 * math.tan(math.pi * vanishing) / math.pi
        self.vanishing, self.b, self.r, self.name = vanishing, b, r, f"assg {2 * vanishing:g}"
        self._gathered: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}

    def forget(self) -> None:
        super().forget()
        self._gathered = {}

    def keep(self, rows: Tensor) -> None:
        self._gathered = {key: (m[rows], d[rows]) for key, (m, d) in self._gathered.items()}

    def derivative(self, layer: SpikingLayer, slot: int, x: Tensor) -> Tensor:
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        size = x.abs()
        key = layer.name, slot
        if key not in self._gathered:
            self._gathered[key] = torch.ones_like(size), torch.zeros_like(size)
        m, d = self._gathered[key]
        if not self.frozen:
            m.mul_(self.b).add_(size, alpha=1 - self.b)
            d.mul_(self.b).add_(size.sub_(m).abs_(), alpha=1 - self.b)
        slope = torch.add(m, d, alpha=self.r).add_(1e-4).reciprocal_().mul_(self.a)
        z = torch.mul(slope, x).mul_(math.pi / 2)
        return slope.div_(2).div_(z.square_().add_(1))


class PDSG(AttackGradient):
    """A normal density as wide as each channel's potentials, centred half a deviation above the threshold.

    phi(x) = N(x; sigma_c / 2, sigma_c^2), sigma_c over steps, batch and space: rows of a batch share it, by design.
    Source: ryime/PDSG-SDA (CVPR 2025).
    """

    name = "pdsg"
    batch_invariant = False

    def __init__(self) -> None:
        super().__init__()
        self._sigma: dict[str, Tensor] = {}

    def begin(self, model: nn.Module, x: Tensor, *, frozen: bool = False) -> None:
        super().begin(model, x, frozen=frozen)
        if frozen:
            return
        with torch.no_grad(), MembraneMonitor(model, windows=False) as monitor:
            model(x)
        for trace in monitor.layers:
            whole = trace.var.mean(0) + trace.mean.var(0, correction=0)
            self._sigma[trace.name] = whole.sqrt().clamp_min(1e-3)

    def derivative(self, layer: SpikingLayer, slot: int, x: Tensor) -> Tensor:
        sigma = self._sigma[layer.name]
        sigma = sigma.reshape(-1, *[1] * (x.dim() - 2)) if x.dim() > 1 else sigma
        z = (x - sigma / 2) / sigma
        return torch.exp(-0.5 * z * z) / (sigma * math.sqrt(2 * math.pi))


class _RateUnit(torch.autograd.Function):
    """Spikes over time as they are; backward as one unit of the mean input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spikes: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return spikes.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return (grad.mean(0) * slope).expand_as(grad), None, None


class BPTR(AttackGradient):
    """Backward through the rate: gradient where the neuron fired at all, the same at every step.

    For layers that see the whole sequence (spk-neurons, SpikingJelly with step_mode="m"). Source: putshua/SNN-RAT.
    """

    name = "bptr"

    def slope(self, layer: SpikingLayer, x: Tensor, spikes: Tensor) -> Tensor:
        """d rate / d mean input, [B, ...]."""
        return (spikes.mean(0) > 0).to(x.dtype)

    @contextmanager
    def _swap(self, layer: SpikingLayer) -> Iterator[None]:
        module = layer.module
        if not (isinstance(layer.adapter, Native) or getattr(module, "step_mode", "") == "m"):
            raise ValueError(
                f"{self.name} needs layers that see all steps at once; {layer.name!r} ({type(module).__name__}) is "
                "called step by step. Use grad='assg' or a surrogate"
            )
        native = module.forward

        def forward(x: Tensor, *args: Any, **options: Any) -> Any:
            if args or options or not torch.is_grad_enabled():
                return native(x, *args, **options)
            with torch.no_grad():
                spikes = native(x)
            return _RateUnit.apply(x, spikes, self.slope(layer, x.detach(), spikes))  # type: ignore[no-untyped-call]

        with _own_forward(module, forward):
            yield


class RGA(BPTR):
    """Rate gradient, piecewise constant in the mean input m (V_th = 1, leak tau):

    0.2 for 0 <= m <= 1 - tau;  (0.8 + 0.2 tau) / (1 + tau) for 1 - tau < m <= 2;  0 elsewhere.

    Source: as ``craree/Towards-Reliable-Evaluation`` has it; m is measured in thresholds.
    """

    name = "rga"

    def slope(self, layer: SpikingLayer, x: Tensor, spikes: Tensor) -> Tensor:
        numbers = getattr(layer.module, "numbers", None)
        decay = numbers()["decay"] if callable(numbers) else 1 - 1 / float(getattr(layer.module, "tau", math.inf))
        threshold = layer.adapter.threshold(layer.module)
        m = x.mean(0) / threshold
        low, high = (m >= 0) & (m <= 1 - decay), (m > 1 - decay) & (m <= 2)
        return low * 0.2 + high * ((0.8 + 0.2 * decay) / (1 + decay))


GRADIENTS: dict[str, Callable[[], AttackGradient]] = {
    "native": AttackGradient,
    "wide2": lambda: Wide(2.0),
    "wide4": lambda: Wide(4.0),
    "atan": lambda: Family(ATan(2.0)),
    "sigmoid": lambda: Family(Sigmoid(4.0)),
    "assg": ASSG,
    "assg85": lambda: ASSG(0.425),
    "assg90": lambda: ASSG(0.45),
    "pdsg": PDSG,
    "bptr": BPTR,
    "rga": RGA,
}


@contextmanager
def swap_surrogate(model: nn.Module, grad: str | Surrogate | AttackGradient) -> Iterator[AttackGradient]:
    """Inside, backward passes of ``model`` use another gradient; its answers stay bit for bit.

    Args: model: any network with spiking layers. grad: as for attacks, such as ``Triangle(2.0)`` or "atan". Adaptive
    ones ("assg", "pdsg") follow a loop: call ``begin(model, x)`` of what this yields before each forward pass.
    """
    with make_gradient(grad).applied(model) as found:
        yield found


def make_gradient(grad: str | Surrogate | AttackGradient) -> AttackGradient:
    """An attack gradient from its name, a surrogate, or itself.

    Raises: ValueError: an unknown name.
    """
    if isinstance(grad, AttackGradient):
        return grad
    if isinstance(grad, Surrogate):
        return Family(grad)
    if grad not in GRADIENTS:
        raise ValueError(f"grad={grad!r} is not known; choose a surrogate or one of {', '.join(GRADIENTS)}")
    return GRADIENTS[grad]()
