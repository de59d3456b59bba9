"""CMANet: a spiking branch per modality, attention between them, one head."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slr_cma.models.cma import CrossModalityAttention, Scores
from slr_cma.models.fusion import FUSIONS, make_fusion
from slr_cma.models.scorers import spatial_maps, temporal_descriptors
from spk_neurons import LIF, TimeDistributed

__all__ = ["CMANet", "NetConfig", "Streaming"]

Readout = Literal["mean", "last", "max", "leaky"]


@dataclass(frozen=True)
class NetConfig:
    """Everything that a :class:`CMANet` is built from; saved beside its weights.

    Args:
        n_classes: K. size: (H, W) of the input. in_channels: of events and frames.
        channels: of the convolution stages; each halves the map.
        fusion: "cma", "concat", "add", "gated", "xattn", "early" (stacked inputs), "late" (mean of two heads'
            logits), "events", "frames" (one modality).
        attention: arguments of :class:`CrossModalityAttention` with fusion="cma"; without ``kernel_size`` it is 7 for
            maps of 14 pixels and more, else 3.
        cma_stages: stages with attention, counted from 0, negative from the end. placement: "current" (before the
            neurons, spikes stay binary) or "spike".
        hidden: width of the spiking layer of the head. decay: initial membrane decay, learned per layer.
        neuron: further arguments of :class:`spk_neurons.LIF`, such as {"reset": "soft"}.
        readout: "mean", "max", "last" over valid steps, or "leaky" (exponential mean with a learned decay).
        aux_heads: weight of a loss on each branch's own head. modality_dropout: share of training samples that lose
            one modality, each as likely.
        reset_state: forget the membrane at every step (a control of the diagnostics).
    """

    n_classes: int
    size: tuple[int, int] = (64, 64)
    in_channels: tuple[int, int] = (2, 1)
    channels: tuple[int, ...] = (32, 64, 128, 128)
    fusion: str = "cma"
    attention: dict[str, Any] = field(default_factory=dict)
    cma_stages: tuple[int, ...] = (-1,)
    placement: Literal["current", "spike"] = "current"
    hidden: int = 128
    decay: float = 0.8
    neuron: dict[str, Any] = field(default_factory=dict)
    readout: Readout = "mean"
    aux_heads: float = 0.0
    modality_dropout: float = 0.0
    reset_state: bool = False

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion={self.fusion!r} given; expected one of {', '.join(FUSIONS)}")
        if self.n_classes < 2 or not self.channels:
            raise ValueError(
                f"n_classes={self.n_classes}, channels={self.channels}: expected >= 2 and one stage or more"
            )
        if min(self.size) >> len(self.channels) < 1:
            raise ValueError(
                f"size={self.size} cannot be halved {len(self.channels)} times; use fewer stages (channels) or "
                f"at least {2 ** len(self.channels)} pixels a side"
            )
        if not 0 < self.decay < 1:
            raise ValueError(f"decay={self.decay} given; expected a number in (0, 1)")
        if self.placement not in ("current", "spike") or self.readout not in ("mean", "last", "max", "leaky"):
            raise ValueError(f"placement={self.placement!r}, readout={self.readout!r}: see NetConfig for the choices")
        if not 0 <= self.modality_dropout < 1 or self.aux_heads < 0:
            raise ValueError("modality_dropout must lie in [0, 1), aux_heads be >= 0")
        for stage in self.cma_stages:
            if not -len(self.channels) <= stage < len(self.channels):
                raise ValueError(f"cma_stages={self.cma_stages} with {len(self.channels)} stages")


class Streaming(NamedTuple):
    """State of :meth:`CMANet.step`: the neurons', the descriptors that causal scores look back on, the readout's."""

    neurons: dict[str, Any]
    past: dict[str, list[Tensor]]
    steps: int
    total: Tensor | None


class _Stage(nn.Module):
    def __init__(self, into: int, out: int, config: NetConfig) -> None:
        super().__init__()
        self.current = TimeDistributed(nn.Conv2d(into, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))
        self.neuron = make_lif(config)
        self.pool = TimeDistributed(nn.AvgPool2d(2))


def make_lif(config: NetConfig) -> LIF:
    """A LIF layer with a learned decay that starts at the configured one, gain 1, threshold 1, hard reset."""
    options = {"tau": 1 / (1 - config.decay), "decay_input": False, "learn_tau": True, "detach_reset": True}
    return LIF(**{**options, **config.neuron})


class _Head(nn.Module):
    def __init__(self, features: int, config: NetConfig) -> None:
        super().__init__()
        self.features = features
        self.current = TimeDistributed(nn.Linear(features, config.hidden, bias=False), nn.BatchNorm1d(config.hidden))
        self.neuron = make_lif(config)
        self.out = nn.Linear(config.hidden, config.n_classes)


class CMANet(nn.Module):
    """Classify paired recordings with two spiking branches.

    Each branch: (conv 3x3, batch norm, LIF, average pool 2) per stage; the last stages' features are joined, a
    spiking layer and a linear readout follow. State starts afresh at every call.

    Args:
        n_classes: or a :class:`NetConfig`; further keywords are its fields.
    Example:
        >>> net = CMANet(5, size=(12, 12), channels=(8, 16), hidden=32)
        >>> net(torch.rand(6, 3, 2, 12, 12), torch.rand(6, 3, 1, 12, 12)).shape
        torch.Size([3, 5])
    """

    def __init__(self, n_classes: int | NetConfig, **options: Any) -> None:
        super().__init__()
        if isinstance(n_classes, NetConfig):
            if options:
                raise TypeError(f"give a NetConfig or keywords, not both: {', '.join(options)}")
            config = n_classes
        else:
            config = NetConfig(n_classes, **options)
        self.config = config
        events, frames = config.in_channels
        inputs = {"early": [events + frames], "events": [events], "frames": [frames]}
        self.branches = nn.ModuleList()
        for into in inputs.get(config.fusion, [events, frames]):
            wide = (into, *config.channels)
            stages = [_Stage(a, b, config) for a, b in itertools.pairwise(wide)]
            self.branches.append(nn.ModuleList(stages))
        last = config.channels[-1]
        places = (config.size[0] >> len(config.channels)) * (config.size[1] >> len(config.channels))
        joined = last
        two = len(self.branches) == 2
        if two and config.fusion != "late":
            self.join, joined = make_fusion(config.fusion, last)
        heads = 2 if config.fusion == "late" else 1
        self.heads = nn.ModuleList(_Head(joined * places, config) for _ in range(heads))
        if config.aux_heads and two and config.fusion != "late":
            self.aux = nn.ModuleList(nn.Linear(last * places, config.n_classes) for _ in range(2))
        if config.readout == "leaky":
            self.readout_logit = nn.Parameter(torch.tensor(2.0))
        # attention last: networks that differ in it alone then draw the same weights from one seed elsewhere
        depth = len(config.channels)
        stages_with = sorted({stage % depth for stage in config.cma_stages}) if config.fusion == "cma" else []
        self.attention = nn.ModuleDict()
        for s in stages_with:
            # as in the field: wide kernels for maps of 14 pixels and more
            kernel = 7 if min(config.size) >> s >= 14 else 3
            options = {"kernel_size": kernel, **config.attention}
            self.attention[str(s)] = CrossModalityAttention(config.channels[s], **options)

    # ------------------------------------------------------------------ whole recordings

    def forward(self, events: Tensor | None, frames: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Logits [B, K]. events: [T, B, 2, H, W], frames: [T, B, C, H, W]; None: that modality is missing.

        mask: [T, B] bool; masked steps see zeros and do not count in the readout.
        """
        return self.read_out(self.forward_sequence(events, frames, mask), mask)

    def forward_sequence(
        self, events: Tensor | None, frames: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Logits at every step, [T, B, K]."""
        return self._run(self._inputs(events, frames, mask), mask)[0]

    def with_auxiliary(
        self, events: Tensor | None, frames: Tensor | None, mask: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits [T, B, K] and those of each branch's auxiliary head (``aux_heads`` > 0), the same shape."""
        sequence, features = self._run(self._inputs(events, frames, mask), mask)
        if not hasattr(self, "aux"):
            return sequence, []
        return sequence, [head(x.flatten(2)) for head, x in zip(self.aux, features, strict=True)]

    def attention_scores(
        self, events: Tensor | None, frames: Tensor | None = None, mask: Tensor | None = None
    ) -> dict[str, Scores]:
        """Each modality's scores at each stage with attention, by the stage's number."""
        kept: dict[str, Scores] = {}
        with torch.no_grad():
            self._run(self._inputs(events, frames, mask), mask, kept)
        return kept

    def read_out(self, sequence: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [T, B, K] over valid steps to [B, K]."""
        kind = self.config.readout
        valid = torch.ones(sequence.shape[:2], device=sequence.device) if mask is None else mask.to(sequence.dtype)
        if kind == "max":
            return sequence.masked_fill(valid[..., None] == 0, -torch.inf).amax(0).nan_to_num(neginf=0.0)
        if kind == "last":
            order = torch.arange(1, len(sequence) + 1, device=sequence.device)[:, None]
            last = (valid * order).argmax(0)
            return sequence[last, torch.arange(sequence.shape[1], device=sequence.device)]
        weight = valid
        if kind == "leaky":
            ahead = valid.sum(0) - valid.cumsum(0)  # valid steps still to come
            weight = valid * torch.sigmoid(self.readout_logit) ** ahead
        return (sequence * weight[..., None]).sum(0) / weight.sum(0).clamp(min=1e-6)[:, None]

    def _inputs(self, events: Tensor | None, frames: Tensor | None, mask: Tensor | None) -> list[Tensor]:
        e, f = self.config.in_channels
        fusion = self.config.fusion
        if fusion == "events":
            frames = None
        elif fusion == "frames":
            events = None
        given = events if events is not None else frames
        if given is None:
            raise ValueError(f"fusion={fusion!r} got no input it can use; give events, frames or both")
        height, width = self.config.size
        filled = []
        for name, x, c in (("events", events, e), ("frames", frames, f)):
            if x is None:
                filled.append(given.new_zeros((*given.shape[:2], c, height, width)))
                continue
            if x.dim() != 5 or tuple(x.shape[2:]) != (c, height, width):
                raise ValueError(
                    f"{name} have shape {tuple(x.shape)}; this network was built for [T, B, {c}, {height}, {width}]"
                )
            if x.shape[:2] != given.shape[:2]:
                raise ValueError(f"events {tuple(given.shape)} and frames {tuple(x.shape)} differ in T or B")
            filled.append(x if mask is None else x * mask[..., None, None, None])
        if fusion == "early":
            return [torch.cat(filled, 2)]
        if fusion in ("events", "frames"):
            return [filled[fusion == "frames"]]
        if self.training and self.config.modality_dropout:
            draw = torch.rand(given.shape[1], device=given.device)
            for i, x in enumerate(filled):
                low = i * self.config.modality_dropout / 2
                lost = (draw >= low) & (draw < low + self.config.modality_dropout / 2)
                filled[i] = x * ~lost[None, :, None, None, None]
        return filled

    def _fire(self, neuron: LIF, current: Tensor) -> Tensor:
        if not self.config.reset_state:
            out: Tensor = neuron(current)
            return out
        return neuron(current.flatten(0, 1)[None])[0].unflatten(0, current.shape[:2])  # type: ignore[no-any-return]

    def _run(
        self, inputs: list[Tensor], mask: Tensor | None, kept: dict[str, Scores] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        x = list(inputs)
        for number in range(len(self.config.channels)):
            stages = [branch[number] for branch in self.branches]  # type: ignore[index]
            x = [stage.current(value) for stage, value in zip(stages, x, strict=True)]
            if self.config.placement == "current":
                x = self._attend(number, x, mask, kept)
            x = [self._fire(stage.neuron, value) for stage, value in zip(stages, x, strict=True)]
            if self.config.placement == "spike":
                x = self._attend(number, x, mask, kept)
            x = [stage.pool(value) for stage, value in zip(stages, x, strict=True)]
        features = x
        if len(x) == 2 and self.config.fusion != "late":
            x = [self.join(*x)]
        logits = []
        for head, value in zip(self.heads, x, strict=True):
            spikes = self._fire(head.neuron, head.current(value.flatten(2)))  # type: ignore[operator, arg-type]
            logits.append(head.out(spikes))  # type: ignore[operator]
        return torch.stack(logits).mean(0), features

    def _attend(
        self, number: int, x: list[Tensor], mask: Tensor | None, kept: dict[str, Scores] | None
    ) -> list[Tensor]:
        if str(number) not in self.attention:
            return x
        attention = self.attention[str(number)]
        if kept is not None:
            kept[str(number)] = attention.scores(*x, mask)  # type: ignore[operator]
        return list(attention(*x, mask))

    # ------------------------------------------------------------------ one step at a time

    def step(
        self, events: Tensor | None, frames: Tensor | None = None, state: Streaming | None = None
    ) -> tuple[Tensor, Streaming]:
        """One step of a stream: events [B, 2, H, W], frames [B, C, H, W]; returns logits [B, K] of this step and state.

        Feeding a recording step by step equals :meth:`forward_sequence` (in eval mode). Attention must be causal.
        """
        if self.training:
            raise ValueError("step runs a trained network; call net.eval() first (batch norm sees one step here)")
        for attention in self.attention.values():
            if attention.allocate != "none" and not attention.causal:
                raise ValueError("these scores look ahead in time; build the network with attention={'causal': True}")
        state = state or Streaming({}, {}, 0, None)
        neurons, past = dict(state.neurons), dict(state.past)
        x = self._inputs(None if events is None else events[None], None if frames is None else frames[None], None)

        def fire(name: str, neuron: LIF, current: Tensor) -> Tensor:
            spikes, neurons[name] = neuron(current, neurons.get(name), return_state=True)
            return spikes  # type: ignore[no-any-return]

        def attend(number: int, x: list[Tensor]) -> list[Tensor]:
            if str(number) not in self.attention or self.attention[str(number)].allocate == "none":
                return x
            attention = self.attention[str(number)]
            keep = cast("int | None", attention.receptive)
            rows = [*past.get(str(number), []), torch.cat([temporal_descriptors(v) for v in x], 2)]
            past[str(number)] = rows if keep is None else rows[-keep:]
            return self._attend_last(attention, x, past[str(number)])  # type: ignore[arg-type]

        for number in range(len(self.config.channels)):
            stages = [branch[number] for branch in self.branches]  # type: ignore[index]
            x = [stage.current(value) for stage, value in zip(stages, x, strict=True)]
            if self.config.placement == "current":
                x = attend(number, x)
            x = [fire(f"{b}.{number}", s.neuron, v) for b, (s, v) in enumerate(zip(stages, x, strict=True))]
            if self.config.placement == "spike":
                x = attend(number, x)
            x = [stage.pool(value) for stage, value in zip(stages, x, strict=True)]
        if len(x) == 2 and self.config.fusion != "late":
            x = [self.join(*x)]
        logits = []
        for number, (head, value) in enumerate(zip(self.heads, x, strict=True)):
            spikes = fire(f"head.{number}", head.neuron, head.current(value.flatten(2)))  # type: ignore[operator, arg-type]
            logits.append(head.out(spikes))  # type: ignore[operator]
        step = torch.stack(logits).mean(0)[0]
        total = step if state.total is None else state.total + step
        return step, Streaming(neurons, past, state.steps + 1, total)

    @staticmethod
    def _attend_last(attention: CrossModalityAttention, x: list[Tensor], past: list[Tensor]) -> list[Tensor]:
        """Scores of the newest step: time from the descriptors kept, space from this step's maps."""
        p: list[Tensor | None] = [None, None]
        q: list[Tensor | None] = [None, None]
        if attention.time:
            history = torch.cat(past)  # [steps, B, 6]
            rows = [history] if attention.allocate == "joint" else [history[..., :3], history[..., 3:]]
            out = [scorer(row)[-1:] for scorer, row in zip(attention.time, rows, strict=True)]
            p = [out[0][..., 0], out[0][..., 1]] if len(out) == 1 else [out[0][..., 0], out[1][..., 0]]
        if attention.space:
            q = [*attention._run(attention.space, [spatial_maps(v) for v in x], None)]
        given = attention.allocated(Scores(*p, *q))
        return [attention.weigh(v, *pair) for v, pair in zip(x, given, strict=True)]

    # ------------------------------------------------------------------ training

    def loss(
        self,
        events: Tensor | None,
        frames: Tensor | None,
        labels: Tensor,
        mask: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
        tet: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy and the logits [B, K].

        tet: share of the loss that is the mean cross-entropy of every valid step (TET, Deng et al. 2022) instead of
        that of the readout. Auxiliary heads add their cross-entropy times ``aux_heads``.
        """
        sequence, auxiliary = self.with_auxiliary(events, frames, mask)
        logits = self.read_out(sequence, mask)
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        if tet:
            per_step = F.cross_entropy(
                sequence.flatten(0, 1), labels.repeat(len(sequence)), label_smoothing=label_smoothing, reduction="none"
            ).view(sequence.shape[:2])
            weight = torch.ones_like(per_step) if mask is None else mask.to(per_step.dtype)
            loss = (1 - tet) * loss + tet * (per_step * weight).sum() / weight.sum().clamp(min=1)
        for other in auxiliary:
            loss = loss + self.config.aux_heads * F.cross_entropy(self.read_out(other, mask), labels)
        return loss, logits

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain data."""
        return asdict(self.config)


def config_from(data: dict[str, Any]) -> NetConfig:
    """A :class:`NetConfig` from plain data (JSON turns tuples into lists)."""
    fixed: dict[str, Any] = {key: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
             for key, value in data.items()}  # fmt: skip
    return NetConfig(**fixed)
