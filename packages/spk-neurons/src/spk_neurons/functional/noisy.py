"""LIF with noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from spk_neurons._checks import check_input
from spk_neurons._kernels.problem import HARD, RESETS, compute_dtype
from spk_neurons.functional._common import Number, Output, Reset, check_values, first_v, level_of, resolve, to_number
from spk_neurons.functional.point import transition
from spk_neurons.noise import Gaussian, Noise
from spk_neurons.state import LIFState
from spk_neurons.stats import StatsRequest

Mode = Literal["escape", "diffusive", "official"]


def noisy_lif(
    x: Tensor,
    state: LIFState | Tensor | Output | None = None,
    *,
    noise: Noise | None = None,
    mode: Mode = "escape",
    generator: torch.Generator | None = None,
    tau: Number | None = None,
    decay: Number | None = None,
    gain: Number | None = None,
    bias: Number | None = None,
    threshold: Number = 1.0,
    reset: Reset = "hard",
    v_reset: Number | None = 0.0,
    amount: Number | None = None,
    decay_input: bool = False,
    detach_reset: bool = False,
    record: Sequence[str] = (),
    stats: StatsRequest | bool | None = None,
    return_state: bool = False,
    backend: str = "auto",
) -> Any:
    """LIF with noise, trained by noise-driven learning (Ma, Yan & Tang 2023): the surrogate is the noise's density.

    Args:
        noise: law of the noise; default ``noise.Gaussian(0.3)``.
        mode: "escape": s ~ Bernoulli(F(h - threshold)), the membrane carries no noise; "diffusive": the noise
            enters the
            membrane and stays in it, s = [h + eps >= threshold], gradient at the noise-free h of this step; "official":
            both, drawn independently, gradient at the noisy membrane, as the authors' published code computes (its
            firing curve is sqrt(2) wider than one noise of that scale gives).
        generator: source of all draws (on x's device); None: torch's global one.
        Others as in :func:`lif`. The emitted spike is the one that resets.
    Returns:
        s like x; or (s, :class:`Output`).
    """
    check_input(x)
    law = noise or Gaussian(0.3)
    if not isinstance(law, Noise):
        raise TypeError(f"noise={law!r} given; it must be a law of spk_neurons.noise, e.g. noise.Gaussian(0.3)")
    if mode not in ("escape", "diffusive", "official"):
        raise ValueError(f"mode={mode!r} is not known; choose 'escape', 'diffusive' or 'official'")
    threshold = to_number("threshold", threshold, x)
    reset_, level, rest = level_of(reset, threshold, v_reset, amount, x)
    lam, kap, c = resolve(x, tau, decay, gain, bias, decay_input, rest, reset_)
    check_values(decay=lam)
    f = compute_dtype(x.dtype)

    def draw() -> Tensor:
        return law.sample(x.shape, generator=generator, dtype=f, device=x.device)

    membrane = draw() if mode in ("diffusive", "official") else None
    firing = draw() if mode in ("escape", "official") else None
    if membrane is not None:
        c = c + membrane
    s, out = transition(
        x, first_v(state, x, rest if RESETS[reset_] == HARD else 0.0), lam, kap, c, threshold, level, reset=reset_,
        detach_reset=detach_reset, fire="ge", surrogate=law.surrogate(), noise=firing,
        shift=membrane if mode == "diffusive" else None, record=record,
        stats=StatsRequest() if stats is True else (stats or None), backend=backend,
    )  # fmt: skip
    return (s, out) if return_state or record or stats else s
