"""The sampler that learns when to look: a spike closes a pixel's sampling interval."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from spk_neurons import Surrogate

from ._parts import Order, check_options, find_surrogate, fire, initialise, time_first
from ._stacks import Stack, fold, stack, unfold

__all__ = ["ARSNNSampler", "SamplerOutput", "sampling_intervals", "to_steps"]

Readout = Literal["sum", "avg", "last"]
_DEAD = 1e-4


class SamplerOutput(NamedTuple):
    """What a sampler did; n is the number of samples kept, steps are counted from 0 in the sampler's order.

    samples: [n, B, C, H, W]. spikes: [T, B, C, H, W]. t_fire: [n, B, C, H, W] int64, step at which a sample was closed,
    -1 where none was. interval: [n, B, C, H, W] int64, bins in it, 0 where there is none. n_fired: [B, C, H, W] int64,
    spikes of the pixel. firing_fraction: scalar, share of (pixel, step) that fired.
    """

    samples: Tensor
    spikes: Tensor
    t_fire: Tensor
    interval: Tensor
    n_fired: Tensor
    firing_fraction: Tensor


class ARSNNSampler(nn.Module):
    """Recurrent convolutional spiking sampler (ARSNN of EAS-SNN) in front of any network.

    Step t reads bin f_t and the last spikes s_{t-1}:

        gate, current = in(f_t) + rec(s_{t-1})         two halves of the output channels
        u_t = sigmoid(gate) v_{t-1} + current          potential before the reset
        s_t = 1 where u_t > threshold, else 0          strictly above
        v_t = u_t (1 - s_t) + v_reset s_t              or u_t - threshold s_t if v_reset is None
        A  += u_t;  where s_t = 1 the sample is A, the next one begins with A = 0

    Args:
        in_channels: C, polarities.
        kernel_size: odd side of the convolutions (published: 5 for Gen1 and 1 Mpx, 7 for N-Caltech101).
        depth: convolutions per stack (published: 2, and 1).
        n_samples: samples kept per pixel: 1, or the number of steps of the network behind.
        steps: the number of steps of the network behind; if given, n_samples must be 1 or this.
        threshold: firing threshold, > 0.
        v_reset: potential after a spike; None subtracts the threshold instead.
        readout: "sum" of u over the interval, its average "avg", or the "last" u.
        sat: spike-aware training: the sample is s_t A, so the gradient knows how near the spike was; no effect forward.
            "near_miss" lets silent pixels near the threshold feel that gradient too: a variant of ours, unpublished.
        rpd: residual potential dropout: what is left when the bins end is dropped, in training and after it.
        order: "newest_first" as published: step 0 sees the bin nearest to the label. "oldest_first" for streams.
        surrogate: derivative of the spike, of spk-neurons, by object or name; published: rectangle of width 1.
        relu: rectify the samples, which can be negative.
        official: with readout="last" return what the published code returns: v after the reset, so v_reset at every
            pixel that fired. For parity only.
    Raises:
        ValueError: an argument outside the above.
    Source: EAS-SNN (ECCV 2024), read from its code; the form without indexing is our derivation. Step counts of the
        network behind: the published code repeats one sample over all steps, or feeds sample j at step j.

    ``conv_in`` and ``conv_rec`` hold the weights; the first C of their output channels are the gate. The sampler uses
    the weights in a form of its own and does not call the modules: hooks on them see nothing.
    """

    def __init__(
        self,
        in_channels: int = 2,
        kernel_size: int = 5,
        depth: int = 2,
        n_samples: int = 1,
        *,
        steps: int | None = None,
        threshold: float = 1.0,
        v_reset: float | None = 0.0,
        readout: Readout = "sum",
        sat: bool | Literal["near_miss"] = True,
        rpd: bool = True,
        order: Order = "newest_first",
        surrogate: str | Surrogate = "rect",
        relu: bool = False,
        official: bool = False,
    ) -> None:
        super().__init__()
        check_options(in_channels, kernel_size, depth, threshold, order)
        if n_samples < 1 or (steps is not None and n_samples not in (1, steps)):
            wanted = ">= 1" if steps is None else f"1 or steps={steps}"
            raise ValueError(f"n_samples={n_samples} given; expected {wanted}")
        if readout not in ("sum", "avg", "last"):
            raise ValueError(f"readout={readout!r} given; expected 'sum', 'avg' or 'last'")
        if sat not in (True, False, "near_miss"):
            raise ValueError(f"sat={sat!r} given; expected True, False or 'near_miss'")
        if official and readout != "last":
            raise ValueError("official=True given; it differs from ours for readout='last' alone")
        self.in_channels, self.n_samples = in_channels, n_samples
        self.threshold, self.v_reset = float(threshold), v_reset
        self.readout, self.sat, self.rpd, self.order = readout, sat, rpd, order
        self.surrogate = find_surrogate(surrogate)
        self.relu, self.official = relu, official
        self.conv_in = stack(in_channels, 2 * in_channels, kernel_size, depth)
        self.conv_rec = stack(in_channels, 2 * in_channels, kernel_size, depth)
        initialise(self.conv_in, self.conv_rec)

    def extra_repr(self) -> str:
        return (
            f"n_samples={self.n_samples}, threshold={self.threshold:g}, v_reset={self.v_reset}, "
            f"readout={self.readout!r}, sat={self.sat!r}, rpd={self.rpd}, order={self.order!r}, "
            f"surrogate={self.surrogate!r}"
        )

    def forward(self, counts: Tensor, return_info: bool = False) -> Tensor | SamplerOutput:
        """Sample micro-counts.

        Args:
            counts: [B, T, C, H, W], floating point, oldest bin first, as from micro_counts or bin_batch.
            return_info: also return spikes and sampling intervals, as a SamplerOutput.
        Returns:
            [n_samples, B, C, H, W]; samples that were never closed are 0.
        Raises:
            ValueError, TypeError: counts of another shape or type.
        """
        x, folded = fold(time_first(counts, self.in_channels, self.order))
        samples, spikes = self._sample(x, Stack(self.conv_in, folded), Stack(self.conv_rec, folded))
        samples = unfold(samples, folded)
        if self.training and counts.device.type == "cpu" and not torch.compiler.is_compiling():
            # on an accelerator this look would wait for it: call check_alive there
            self._warn(float(sum(float(s.detach().mean()) for s in spikes) / len(spikes)))
        return _describe(samples, unfold(torch.stack(spikes), folded)) if return_info else samples

    def _sample(self, x: Tensor, conv_in: Stack, conv_rec: Stack) -> tuple[Tensor, list[Tensor]]:
        averages = self.readout == "avg"
        v: Tensor | None = None
        s: Tensor | None = None
        total: Tensor | None = None  # A
        length: Tensor | None = None  # steps in the interval, for "avg"
        room: list[Tensor] = []  # room[j] is 1 where sample j is the next to be closed, else 0
        out: list[Tensor] = []
        spikes = []
        for drive in conv_in.drives(x):  # the bins do not depend on spikes
            gate, current = (drive + (conv_rec.silent(drive) if s is None else conv_rec(s))).chunk(2, 1)
            u = current if v is None else torch.addcmul(current, torch.sigmoid(gate), v)
            s = fire(u, self.threshold, self.surrogate)
            fired = s.detach()
            quiet = 1 - fired
            spikes.append(s)
            total = u if total is None else u + total
            if averages:
                length = torch.ones_like(fired) if length is None else length + 1
            v = self._reset(u, s)
            value = self._value(total, u, length, v)
            sample = value * s if self.sat else value
            room = room or [torch.ones_like(fired)]
            closed = [fired * each for each in room]
            # the factor `fired` in `closed` keeps d out / d s away from pixels that did not fire; without it
            # ("near_miss") the values are the same and the gradients are not
            for j, place in enumerate(room if self.sat == "near_miss" else closed):
                if j < len(out):
                    out[j] = torch.addcmul(out[j], sample, place)
                else:
                    out.append(sample * place)
            room = _moved_on(room, closed, self.n_samples)
            total = total * quiet
            length = None if length is None else length * quiet
        if not self.rpd:
            assert total is not None
            assert v is not None
            # total and length were cleared where the last step fired; only silent pixels have something left
            rest = self._value(total, u, None if length is None else length.clamp_min(1), v) * quiet
            for j, place in enumerate(room):
                if j < len(out):
                    out[j] = torch.addcmul(out[j], rest, place)
                else:
                    out.append(rest * place)
        out += [torch.zeros_like(u)] * (self.n_samples - len(out))
        samples = torch.stack(out)
        return (torch.relu(samples) if self.relu else samples), spikes

    def _reset(self, u: Tensor, s: Tensor) -> Tensor:
        if self.v_reset is None:
            return u - self.threshold * s
        v = torch.addcmul(u, u, s, value=-1)
        return v if self.v_reset == 0 else v + self.v_reset * s

    def _value(self, total: Tensor, u: Tensor, length: Tensor | None, v: Tensor) -> Tensor:
        if self.readout == "sum":
            return total
        if length is not None:
            return total / length
        return v if self.official else u

    def check_alive(self, output: SamplerOutput) -> float:
        """Share of (pixel, step) that fired; warns where the sampler is dead. Waits for the device.

        With rpd a sampler that never fires returns zeros and gets no gradient, so it never wakes up.
        """
        fraction = float(output.firing_fraction)
        self._warn(fraction)
        return fraction

    def _warn(self, fraction: float) -> None:
        if fraction < _DEAD:
            warnings.warn(
                f"the sampler is dead: {fraction:.1e} of its neurons fire, so it returns "
                f"{'zeros and gets no gradient' if self.rpd else 'residues alone'}; raise the current half of "
                "conv_in's last bias until some fire, lower the threshold, or scale the counts up",
                stacklevel=3,
            )


def _moved_on(room: list[Tensor], closed: list[Tensor], kept: int) -> list[Tensor]:
    """Pixels that closed sample j have room for sample j + 1 next."""
    left = [each - gone for each, gone in zip(room, closed, strict=True)]
    moved = [left[0], *(each + come for each, come in zip(left[1:], closed, strict=False)), closed[-1]]
    return moved[:kept]


def _describe(samples: Tensor, spikes: Tensor) -> SamplerOutput:
    """Times and lengths of the intervals, from the spikes alone."""
    fired = spikes.detach() > 0
    count = fired.long().cumsum(0)
    kept, steps = len(samples), len(spikes)
    step = torch.arange(steps, device=spikes.device).view(-1, *[1] * (spikes.dim() - 1))
    when = [torch.where(fired & (count == j + 1), step + 1, 0).amax(0) - 1 for j in range(kept)]
    t_fire = torch.stack(when)
    before = torch.cat([torch.full_like(t_fire[:1], -1), t_fire[:-1]])
    interval = torch.where(t_fire >= 0, t_fire - before, 0)
    return SamplerOutput(samples, spikes, t_fire, interval, count[-1], spikes.detach().mean())


def sampling_intervals(output: SamplerOutput, bin_us: float) -> Tensor:
    """Length of each pixel's sampling interval: the map that shows where the sampler looks briefly.

    Args:
        output: of a sampler called with return_info=True.
        bin_us: length of a time bin, microseconds.
    Returns:
        [n, B, C, H, W] microseconds, nan where the pixel closed no interval.
    """
    if not bin_us > 0:
        raise ValueError(f"bin_us={bin_us} given; expected microseconds > 0")
    length = output.interval.to(torch.get_default_dtype()) * bin_us
    return torch.where(output.interval > 0, length, torch.nan)


def to_steps(samples: Tensor, steps: int) -> Tensor:
    """Samples for a network of T steps: one sample is repeated (direct coding), T are fed one a step.

    Args:
        samples: [1 or T, B, C, H, W].
        steps: T.
    Returns:
        [T, B, C, H, W]; a view where one sample is repeated.
    Raises:
        ValueError: another number of samples.
    """
    if len(samples) == 1:
        return samples.expand(steps, *samples.shape[1:])
    if len(samples) != steps:
        raise ValueError(f"{len(samples)} samples for {steps} steps; expected n_samples in {{1, {steps}}}")
    return samples
