"""One time step of each cell and its adjoint, as text that ``spk_neurons.scan`` runs, compiles and differentiates.

Symbols as in the guide: a, b are the pre-activations of the forget and the input gate, e an additional current, c the
gated current, v the potential after the reset, h the one before it, o the spike. ``keep`` is 0 where an episode starts,
else 1; it multiplies the old state before the update.

    f = sigmoid(a);  i = relu(b);  c' = f keep c + (1 - f) i
    h = decay keep v + (1 - decay) (c' + e);  o = [h >= threshold];  v' = h - threshold o  or  (1 - o) h

The adjoint (our derivation; checked against float64 autograd by ``spk_neurons.scan.check_cell``) takes the gradients
d_o, d_h of the outputs and d_v, d_c of the new state; without ``detach`` the reset is differentiated too:

    g_h = d_h + d_v (soft) or (1 - o) d_v (hard) + phi(h - threshold) (d_o - (threshold or h) d_v)
    g   = d_c + (1 - decay) g_h
    a: g (keep c - i) f (1 - f)     b: g (1 - f) [b > 0]      e: (1 - decay) g_h
    decay: g_h (keep v - c' - e)    c: g f keep               v: g_h decay keep

Every function is written out, because the compiler takes each as it stands; ``one`` is the number in the data's own
dtype (a literal would turn float32 kernels into float64 ones).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from spk_neurons import surrogate
from spk_neurons.scan import Cell, derivative, heaviside, sigmoid, spike

SURROGATES: dict[str, type[surrogate.Surrogate]] = {
    "atan": surrogate.ATan,
    "sigmoid": surrogate.Sigmoid,
    "fast_sigmoid": surrogate.FastSigmoid,
    "triangle": surrogate.Triangle,
    "rectangle": surrogate.Rectangle,
    "superspike": surrogate.SuperSpike,
}
RESETS = ("soft", "hard")


def _name(kind: str, hard: bool, detach: bool, shape: str) -> str:
    return f"grsn_rl.{kind}.{'hard' if hard else 'soft'}.{'detached' if detach else 'attached'}.{shape}"


@cache
def gated(hard: bool, detach: bool, shape: str) -> Cell:
    """Inputs a, b; states v, c; params decay, keep, threshold, alpha; output o."""
    number, law = SURROGATES[shape].kind, SURROGATES[shape]

    def forward(a: Any, b: Any, v: Any, c: Any, decay: Any, keep: Any, theta: Any, alpha: Any) -> Any:
        one = heaviside(decay == decay, decay)
        f = sigmoid(a)
        c1 = f * (keep * c) + (one - f) * (heaviside(b > 0, b) * b)
        h = decay * (keep * v) + (one - decay) * c1
        o = heaviside(h >= theta, h)
        v1 = (one - o) * h if hard else h - theta * o
        return o, v1, c1

    def backward(
        a: Any, b: Any, v: Any, c: Any, decay: Any, keep: Any, theta: Any, alpha: Any, d_o: Any, d_v: Any, d_c: Any
    ) -> Any:
        one = heaviside(decay == decay, decay)
        f = sigmoid(a)
        on = heaviside(b > 0, b)
        i = on * b
        old = keep * c
        c1 = f * old + (one - f) * i
        h = decay * (keep * v) + (one - decay) * c1
        o = heaviside(h >= theta, h)
        level = h if hard else theta
        back = d_o if detach else d_o - level * d_v
        fired = derivative(number, h - theta, alpha, alpha) * back
        g_h = fired + ((one - o) * d_v if hard else d_v)
        d_theta = -fired if hard else -fired - o * d_v
        g = d_c + (one - decay) * g_h
        rest = (one - f) * g
        zero = o - o
        return (
            rest * f * (old - i),
            rest * on,
            g_h * decay * keep,
            g * f * keep,
            g_h * (keep * v - c1),
            zero,
            d_theta,
            zero,
        )

    def reference(a: Any, b: Any, v: Any, c: Any, decay: Any, keep: Any, theta: Any, alpha: Any) -> Any:
        f = a.sigmoid()
        c1 = f * (keep * c) + (1 - f) * b.relu()
        h = decay * (keep * v) + (1 - decay) * c1
        o = spike(h - theta, law(float(alpha)))
        r = o.detach() if detach else o
        return o, (1 - r) * h if hard else h - theta * r, c1

    return Cell(
        _name("gated", hard, detach, shape),
        forward=forward, backward=backward, reference=reference, inputs=2, states=2, params=4, outputs=1,
    )  # fmt: skip


@cache
def driven(hard: bool, detach: bool, shape: str) -> Cell:
    """Inputs a, b, e; states v, c; params decay, keep, threshold, alpha; outputs o, h, c."""
    number, law = SURROGATES[shape].kind, SURROGATES[shape]

    def forward(a: Any, b: Any, e: Any, v: Any, c: Any, decay: Any, keep: Any, theta: Any, alpha: Any) -> Any:
        one = heaviside(decay == decay, decay)
        f = sigmoid(a)
        c1 = f * (keep * c) + (one - f) * (heaviside(b > 0, b) * b)
        h = decay * (keep * v) + (one - decay) * (c1 + e)
        o = heaviside(h >= theta, h)
        v1 = (one - o) * h if hard else h - theta * o
        return o, h, c1, v1, c1

    def backward(
        a: Any, b: Any, e: Any, v: Any, c: Any, decay: Any, keep: Any, theta: Any, alpha: Any,
        d_o: Any, d_h: Any, d_c_out: Any, d_v: Any, d_c: Any,
    ) -> Any:  # fmt: skip
        one = heaviside(decay == decay, decay)
        f = sigmoid(a)
        on = heaviside(b > 0, b)
        i = on * b
        old = keep * c
        u = f * old + (one - f) * i + e
        h = decay * (keep * v) + (one - decay) * u
        o = heaviside(h >= theta, h)
        level = h if hard else theta
        back = d_o if detach else d_o - level * d_v
        fired = derivative(number, h - theta, alpha, alpha) * back
        g_h = fired + ((one - o) * d_v if hard else d_v) + d_h
        d_theta = -fired if hard else -fired - o * d_v
        d_e = (one - decay) * g_h
        g = d_c + d_c_out + d_e
        rest = (one - f) * g
        zero = o - o
        d_decay = g_h * (keep * v - u)
        return rest * f * (old - i), rest * on, d_e, g_h * decay * keep, g * f * keep, d_decay, zero, d_theta, zero

    def reference(a: Any, b: Any, e: Any, v: Any, c: Any, decay: Any, keep: Any, theta: Any, alpha: Any) -> Any:
        f = a.sigmoid()
        c1 = f * (keep * c) + (1 - f) * b.relu()
        h = decay * (keep * v) + (1 - decay) * (c1 + e)
        o = spike(h - theta, law(float(alpha)))
        r = o.detach() if detach else o
        return o, h, c1, (1 - r) * h if hard else h - theta * r, c1

    return Cell(
        _name("driven", hard, detach, shape),
        forward=forward, backward=backward, reference=reference, inputs=3, states=2, params=4, outputs=3,
    )  # fmt: skip


@cache
def leaky(hard: bool, detach: bool, shape: str) -> Cell:
    """The plain neuron: input e; state v; params decay, keep, threshold, alpha; outputs o, h."""
    number, law = SURROGATES[shape].kind, SURROGATES[shape]

    def forward(e: Any, v: Any, decay: Any, keep: Any, theta: Any, alpha: Any) -> Any:
        one = heaviside(decay == decay, decay)
        h = decay * (keep * v) + (one - decay) * e
        o = heaviside(h >= theta, h)
        v1 = (one - o) * h if hard else h - theta * o
        return o, h, v1

    def backward(e: Any, v: Any, decay: Any, keep: Any, theta: Any, alpha: Any, d_o: Any, d_h: Any, d_v: Any) -> Any:
        one = heaviside(decay == decay, decay)
        h = decay * (keep * v) + (one - decay) * e
        o = heaviside(h >= theta, h)
        level = h if hard else theta
        back = d_o if detach else d_o - level * d_v
        fired = derivative(number, h - theta, alpha, alpha) * back
        g_h = fired + ((one - o) * d_v if hard else d_v) + d_h
        d_theta = -fired if hard else -fired - o * d_v
        zero = o - o
        return (one - decay) * g_h, g_h * decay * keep, g_h * (keep * v - e), zero, d_theta, zero

    def reference(e: Any, v: Any, decay: Any, keep: Any, theta: Any, alpha: Any) -> Any:
        h = decay * (keep * v) + (1 - decay) * e
        o = spike(h - theta, law(float(alpha)))
        r = o.detach() if detach else o
        return o, h, (1 - r) * h if hard else h - theta * r

    return Cell(
        _name("leaky", hard, detach, shape),
        forward=forward, backward=backward, reference=reference, inputs=1, states=1, params=4, outputs=2,
    )  # fmt: skip
