"""The two-state neurons and the leaky integrator as cells of ``spk_neurons.scan``.

Each factory returns the cell for one choice of surrogate, reset and firing rule; choices are compiled in, so that the
loop over neurons has no branch. There are no number literals: compiled, they would draw float32 terms into float64, and
the backends apart. Adjoints by our derivation (``d_`` is a loss gradient), tested against autograd.
"""

from __future__ import annotations

from typing import Any

from spk_neurons._kernels.cell_op import CELLS
from spk_neurons._kernels.problem import HARD, SOFT
from spk_neurons.scan import Cell, derivative, heaviside, spike, where
from spk_neurons.surrogate import from_kind

__all__ = ["alif", "cuba", "li"]


def _make_li() -> Cell:
    """v = decay v + gain x; inputs x; states v; params decay, gain; outputs v."""

    def forward(x: Any, v: Any, decay: Any, gain: Any) -> Any:
        u = decay * v + gain * x
        return u, u

    def backward(x: Any, v: Any, decay: Any, gain: Any, d_out: Any, d_v: Any) -> Any:
        e = d_out + d_v
        return gain * e, decay * e, e * v, e * x

    return Cell("spk_neurons.li", forward=forward, backward=backward, params=2)


def _label(name: str, kind: int, reset: int, detach: bool, strict: bool) -> str:
    return f"spk_neurons.{name}.{kind}.{reset}.{int(detach)}.{int(strict)}"


def _make_cuba(kind: int, reset: int, detach: bool, strict: bool) -> Cell:
    """States i, v; params decay_syn, decay, gain, bias, threshold, level, p0, p1; output s."""

    def forward(
        x: Any, i: Any, v: Any, syn: Any, decay: Any, gain: Any, bias: Any, theta: Any, level: Any, p0: Any, p1: Any
    ) -> Any:
        i1 = syn * i + x
        h = (decay * v + gain * i1) + bias
        s = heaviside(h > theta, h) if strict else heaviside(h >= theta, h)
        if reset == SOFT:
            u = h - level * s
        elif reset == HARD:
            u = where(s > 0, level, h)
        else:
            u = h
        return s, i1, u

    def backward(
        x: Any, i: Any, v: Any, syn: Any, decay: Any, gain: Any, bias: Any, theta: Any, level: Any, p0: Any, p1: Any,
        d_s: Any, d_i: Any, d_v: Any,
    ) -> Any:  # fmt: skip
        i1 = syn * i + x
        h = (decay * v + gain * i1) + bias
        s = heaviside(h > theta, h) if strict else heaviside(h >= theta, h)
        phi = derivative(kind, h - theta, p0, p1)
        zero = h - h
        keep = d_v
        d_level = zero
        back = d_s
        if reset == SOFT:
            d_level = -s * d_v
            if not detach:
                back = d_s - d_v * level
        elif reset == HARD:
            d_level = s * d_v
            keep = where(s > 0, zero, d_v)
            if not detach:
                back = d_s + d_v * (level - h)
        fired = phi * back
        e = fired + keep
        f = gain * e + d_i
        return f, syn * f, decay * e, f * i, e * v, e * i1, e, -fired, d_level, zero, zero

    def reference(
        x: Any, i: Any, v: Any, syn: Any, decay: Any, gain: Any, bias: Any, theta: Any, level: Any, p0: Any, p1: Any
    ) -> Any:
        i1 = syn * i + x
        h = (decay * v + gain * i1) + bias
        s = spike(h - theta, from_kind(kind, float(p0), float(p1)), strict=strict)
        r = s.detach() if detach else s
        u = h - level * r if reset == SOFT else ((1 - r) * h + r * level if reset == HARD else h)
        return s, i1, u

    name = _label("cuba", kind, reset, detach, strict)
    return Cell(name, forward=forward, backward=backward, reference=reference, states=2, params=8)


def _make_alif(kind: int, reset: int, detach: bool, strict: bool) -> Cell:
    """States v, b; params decay, gain, bias, threshold, beta, rho, v_reset, p0, p1; output s."""

    def forward(
        x: Any,
        v: Any,
        b: Any,
        decay: Any,
        gain: Any,
        bias: Any,
        b0: Any,
        beta: Any,
        rho: Any,
        level: Any,
        p0: Any,
        p1: Any,
    ) -> Any:
        h = (decay * v + gain * x) + bias
        theta = b0 + beta * b
        s = heaviside(h > theta, h) if strict else heaviside(h >= theta, h)
        if reset == SOFT:
            u = h - theta * s
        elif reset == HARD:
            u = where(s > 0, level, h)
        else:
            u = h
        return s, u, rho * b + (s - rho * s)

    def backward(
        x: Any, v: Any, b: Any, decay: Any, gain: Any, bias: Any, b0: Any, beta: Any, rho: Any, level: Any,
        p0: Any, p1: Any,
        d_s: Any, d_v: Any, d_b: Any,
    ) -> Any:  # fmt: skip
        h = (decay * v + gain * x) + bias
        theta = b0 + beta * b
        s = heaviside(h > theta, h) if strict else heaviside(h >= theta, h)
        phi = derivative(kind, h - theta, p0, p1)
        zero = h - h
        back = d_s + (d_b - rho * d_b)
        keep = d_v
        d_level = zero
        d_theta = zero
        if reset == SOFT:
            d_theta = -s * d_v
            if not detach:
                back = back - d_v * theta
        elif reset == HARD:
            d_level = s * d_v
            keep = where(s > 0, zero, d_v)
            if not detach:
                back = back + d_v * (level - h)
        fired = phi * back
        e = fired + keep
        d_theta = d_theta - fired
        d_rho = d_b * (b - s)
        return (
            gain * e, decay * e, rho * d_b + beta * d_theta,
            e * v, e * x, e, d_theta, d_theta * b, d_rho, d_level, zero, zero,
        )  # fmt: skip

    def reference(
        x: Any,
        v: Any,
        b: Any,
        decay: Any,
        gain: Any,
        bias: Any,
        b0: Any,
        beta: Any,
        rho: Any,
        level: Any,
        p0: Any,
        p1: Any,
    ) -> Any:
        h = (decay * v + gain * x) + bias
        theta = b0 + beta * b
        s = spike(h - theta, from_kind(kind, float(p0), float(p1)), strict=strict)
        r = s.detach() if detach else s
        u = h - theta * r if reset == SOFT else ((1 - r) * h + r * level if reset == HARD else h)
        return s, u, rho * b + (s - rho * s)

    name = _label("alif", kind, reset, detach, strict)
    return Cell(name, forward=forward, backward=backward, reference=reference, states=2, params=9)


def li() -> Cell:
    """v = decay v + gain x."""
    found = CELLS.get("spk_neurons.li")
    return found if isinstance(found, Cell) else _make_li()


def cuba(kind: int, reset: int, detach: bool, strict: bool) -> Cell:
    """The cell of CuBaLIF for one choice of surrogate, reset and rule; made once per process."""
    found = CELLS.get(_label("cuba", kind, reset, detach, strict))
    return found if isinstance(found, Cell) else _make_cuba(kind, reset, detach, strict)


def alif(kind: int, reset: int, detach: bool, strict: bool) -> Cell:
    """The cell of ALIF for one choice of surrogate, reset and rule; made once per process."""
    found = CELLS.get(_label("alif", kind, reset, detach, strict))
    return found if isinstance(found, Cell) else _make_alif(kind, reset, detach, strict)
