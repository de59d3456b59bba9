"""MPD-SGR: push the membrane-potential distribution out of the surrogate gradient's window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from spk_neurons import LIF
from spk_regularize.monitor import LayerTrace
from spk_regularize.regularizers.base import Regularizer, Schedule
from spk_regularize.stats import (
    SIGMA_FLOOR,
    deviation,
    expected_surrogate,
    overlap,
    overlap_of,
    soft_window,
    tdbn_moments,
)

__all__ = ["MPDSGR", "ExpectedSG", "MeanSG"]


class MPDSGR(Regularizer):
    """Mean overlap of the potentials with the surrogate's window (arXiv 2511.12199).

    L = mean over layers, channels and steps of Omega(mu, sigma; gamma)

    Args:
        eta: weight. The paper's value is unknown; with this normalisation at most 1 hardly moves the overlap in short
            trainings: sweep {0.3, 1, 3, 10} on validation data.
        gamma: "auto" takes each surrogate's own range (support, or the central 80 %); or a number > 0.
        stats: "batch": mean and population deviation of the mini-batch, differentiable through the potentials;
            "tdbn": theorem 1, from the batch norm before the layer, the reset's share measured and detached: gradients
            reach the norm's two vectors only.
        reduction: "layer": mean within a layer, then over layers; "channel": all channels pooled.
        window: "gauss": Omega; "soft": the share in a window with smooth edges, free of any distribution.
        target: penalise only what exceeds this overlap, so that the gradient's channel is never closed; None: all.
        sigma_floor: least deviation, times V_th = 1.
        softness: width of the soft window's edges.
        warmup: share of the training in which eta grows from 0.

    It lowers the gradient that an attacker reads off by default. Whether the network is harder to fool is another
    question: measure it with :func:`spk_regularize.evaluate_robustness`.
    """

    needs = ("moments",)

    def __init__(
        self,
        eta: float = 1.0,
        gamma: float | Literal["auto"] = "auto",
        stats: Literal["batch", "tdbn"] = "batch",
        reduction: Literal["layer", "channel"] = "layer",
        window: Literal["gauss", "soft"] = "gauss",
        target: float | None = None,
        sigma_floor: float = SIGMA_FLOOR,
        softness: float = 0.1,
        warmup: float = 0.1,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(eta, schedule or Schedule("linear", warmup))
        for name, value, known in (
            ("stats", stats, ("batch", "tdbn")),
            ("reduction", reduction, ("layer", "channel")),
            ("window", window, ("gauss", "soft")),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} is not known; choose {known[0]!r} or {known[1]!r}")
        if gamma != "auto" and not (isinstance(gamma, (int, float)) and gamma > 0):
            raise ValueError(f"gamma={gamma!r} given; expected 'auto' or a half width > 0")
        if target is not None and not 0 <= target <= 1:
            raise ValueError(f"target={target} given; an overlap lies in [0, 1]")
        self.gamma, self.stats, self.reduction, self.window = gamma, stats, reduction, window
        self.target, self.sigma_floor, self.softness = target, sigma_floor, softness
        if window == "soft":
            self.needs = ("potentials",)

    def half_width(self, trace: LayerTrace) -> float:
        """The window of one layer."""
        return trace.window if self.gamma == "auto" else float(self.gamma)

    def overlaps(self, trace: LayerTrace) -> Tensor:
        """Omega per step and channel of one layer, [T, C]."""
        gamma = self.half_width(trace)
        if self.window == "soft":
            return soft_window(trace.potentials, gamma, self.softness)
        if self.stats == "tdbn":
            mu, sigma = self._analytic(trace)
            return overlap(mu, sigma.clamp_min(self.sigma_floor), gamma)
        if trace.x is not None:
            return overlap_of(trace.x, gamma, sigma_floor=self.sigma_floor)
        mean, var = trace.mean, trace.var
        if not bool(torch.isfinite(mean.detach()).all()):
            raise ValueError(f"the potentials of layer {trace.name!r} hold nan or inf; check inputs and step size")
        return overlap(mean, deviation(var, self.sigma_floor), gamma)

    def _analytic(self, trace: LayerTrace) -> tuple[Tensor, Tensor]:
        norm, neuron = trace.norm, trace.module
        if norm is None or not isinstance(neuron, LIF) or norm.norm.weight is None:
            raise ValueError(
                f"layer {trace.name!r} is fed by no TDBatchNorm with affine=True, which stats='tdbn' reads; "
                "use stats='batch'"
            )
        decay = neuron.numbers()["decay"]
        if isinstance(decay, Tensor) and decay.numel() != 1:
            raise ValueError(f"layer {trace.name!r} has a leak per channel; stats='tdbn' takes one; use stats='batch'")
        steps, threshold = trace.mean.shape[0], trace.threshold
        mu, sigma = tdbn_moments(
            norm.norm.weight, norm.norm.bias * norm.scale, float(decay), float(threshold), steps,
            norm.scale / float(threshold),
        )  # fmt: skip
        # the reset's share S(t), measured and without a gradient: the mean is then that of the batch
        return mu - (mu - trace.mean).detach(), sigma

    def layer(self, trace: LayerTrace) -> Tensor:
        return self._excess(self.overlaps(trace)).mean()

    def _excess(self, omega: Tensor) -> Tensor:
        return omega if self.target is None else (omega - self.target).clamp_min(0)

    def value(self, layers: Sequence[LayerTrace], **context: Any) -> Tensor:
        if self.reduction == "layer":
            return super().value(layers)
        return torch.cat([self._excess(self.overlaps(trace)).flatten() for trace in layers]).mean()

    def extra_repr(self) -> str:
        return f"eta={self.weight:g}, gamma={self.gamma}, stats={self.stats}, target={self.target}"


class ExpectedSG(MPDSGR):
    """Mean surrogate derivative of a Gaussian with the batch's moments, in closed form: what Omega stands for.

    Args: shape: "triangle" or "rectangle", the surrogate's form; others as :class:`MPDSGR`. Source: our derivation.
    """

    def __init__(self, eta: float = 1.0, shape: Literal["triangle", "rectangle"] = "triangle", **options: Any) -> None:
        super().__init__(eta, **options)
        if self.window == "soft":
            raise ValueError("ExpectedSG is a closed form of the Gaussian; window='soft' belongs to MPDSGR")
        self.shape: Literal["triangle", "rectangle"] = shape

    def overlaps(self, trace: LayerTrace) -> Tensor:
        mu, sigma = self._analytic(trace) if self.stats == "tdbn" else (trace.mean, deviation(trace.var))
        return expected_surrogate(mu, sigma.clamp_min(self.sigma_floor), self.half_width(trace), self.shape)


class MeanSG(Regularizer):
    """Mean triangular surrogate derivative of the very potentials: mean max(0, gamma - |x|) / gamma^2.

    Sign-aware: units above the threshold are pushed up, not silenced. Args: eta, gamma, warmup as :class:`MPDSGR`. Our
    own.
    """

    needs = ("potentials",)

    def __init__(self, eta: float = 1.0, gamma: float | Literal["auto"] = "auto", warmup: float = 0.1) -> None:
        super().__init__(eta, Schedule("linear", warmup))
        if gamma != "auto" and not gamma > 0:
            raise ValueError(f"gamma={gamma!r} given; expected 'auto' or a half width > 0")
        self.gamma = gamma

    def layer(self, trace: LayerTrace) -> Tensor:
        gamma = trace.window if self.gamma == "auto" else float(self.gamma)
        return (gamma - trace.potentials.float().abs()).clamp_min(0).mean() / gamma**2
