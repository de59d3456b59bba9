"""The detector: any sampler or representation in front, a spiking or non-spiking YOLOX behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from eas_det.losses import detection_loss
from eas_det.ops import batched_nms
from eas_det.sampler import ARSNNSampler, CountEmbedding, RSNNEmbedding, SNNEmbedding, to_steps

from .backbone import PAFPN, SpikingCSPDarknet
from .head import Predictions, YOLOXHead

__all__ = ["SPIKING", "VARIANTS", "Detections", "EventDetector", "StackEmbedding", "StepEmbedding", "Targets"]

Spiking = Literal["none", "backbone", "fpn", "full"]

#: (depth, width) of a variant
VARIANTS: dict[str, tuple[float, float]] = {
    "pico": (0.33, 0.125),
    "nano": (0.33, 0.25),
    "tiny": (0.33, 0.375),
    "s": (0.33, 0.50),
    "m": (0.67, 0.75),
}
SPIKING: tuple[Spiking, ...] = ("none", "backbone", "fpn", "full")


class Detections(NamedTuple):
    """What was found at one time, by falling score.

    boxes: [N, 4] corners (x1, y1, x2, y2), pixels. scores: [N] in (0, 1). labels: [N] int64. t: microseconds, where it
    is known.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    t: int | None = None


class Targets(NamedTuple):
    """What is there. boxes: [N, 4] corners (x1, y1, x2, y2), pixels. labels: [N] integers."""

    boxes: Tensor
    labels: Tensor


class StepEmbedding(nn.Module):
    """The bins themselves, oldest first: bin j at the detector's step j. For representations that are made before."""

    def __init__(self, in_channels: int = 2) -> None:
        super().__init__()
        self.in_channels = in_channels

    def forward(self, counts: Tensor) -> Tensor:
        """[B, T, C, H, W] -> [T, B, C, H, W]."""
        return counts.transpose(0, 1)


class StackEmbedding(nn.Module):
    """All bins at once, as channels: bin j's channels from j C on. ``in_channels`` is bins x C."""

    def __init__(self, in_channels: int = 8) -> None:
        super().__init__()
        self.in_channels = in_channels

    def forward(self, counts: Tensor) -> Tensor:
        """[B, T, C, H, W] -> [1, B, T C, H, W]."""
        out = counts.flatten(1, 2)[None]
        if out.shape[2] != self.in_channels:
            raise ValueError(
                f"{counts.shape[1]} bins of {counts.shape[2]} channels; expected {self.in_channels} in all"
            )
        return out


EMBEDDINGS: dict[str, type[nn.Module]] = {
    "arsnn": ARSNNSampler,
    "rsnn": RSNNEmbedding,
    "snn": SNNEmbedding,
    "count": CountEmbedding,
    "steps": StepEmbedding,
    "stack": StackEmbedding,
}


class EventDetector(nn.Module):
    """Spiking YOLOX behind an event representation (EAS-SNN).

    Args:
        variant: "pico", "nano", "tiny", "s" or "m", or (depth, width).
        num_classes: K.
        spiking: which parts spike. "none"; "backbone": its features, averaged over time, go to a conventional
            pyramid and head; "fpn": the pyramid too; "full": everything, the last currents averaged over time.
        T: time steps.
        embedding: what makes the network's input out of counts [B, bins, C, H, W]: "arsnn", "rsnn", "snn", "count",
            "steps" (bin j at step j), "stack" (bins as channels), or a module that returns [n, B, C', H, W], n = 1
            (shown T times) or T.
        embedding_options: arguments of a named embedding.
        in_channels: C' of the embedding's output (of a named one: C, and bins x C for "stack").
        alpha: of the neurons' arctangent surrogate.
    Raises:
        ValueError: an unknown name, num_classes or T < 1.
    Source: EAS-SNN (ECCV 2024), read from its code. "pico" and "nano" are ours, for tests and small machines.
    """

    def __init__(
        self,
        variant: str | tuple[float, float] = "s",
        num_classes: int = 2,
        spiking: Spiking = "backbone",
        T: int = 3,
        embedding: str | nn.Module = "arsnn",
        *,
        embedding_options: Mapping[str, Any] | None = None,
        in_channels: int = 2,
        alpha: float = 2.0,
    ) -> None:
        super().__init__()
        if isinstance(variant, str) and variant not in VARIANTS:
            raise ValueError(f"variant={variant!r} given; expected one of {', '.join(VARIANTS)} or (depth, width)")
        if spiking not in SPIKING:
            raise ValueError(f"spiking={spiking!r} given; expected one of {', '.join(SPIKING)}")
        if T < 1 or num_classes < 1:
            raise ValueError(f"T={T}, num_classes={num_classes} given; expected >= 1")
        if isinstance(embedding, str) and embedding not in EMBEDDINGS:
            raise ValueError(f"embedding={embedding!r} given; expected one of {', '.join(EMBEDDINGS)} or a module")
        options = dict(embedding_options or {})
        if options and isinstance(embedding, nn.Module):
            raise ValueError("embedding_options given for a module; they belong to a named embedding")
        depth, width = VARIANTS[variant] if isinstance(variant, str) else variant
        self.num_classes, self.spiking, self.steps = num_classes, spiking, T
        self._config: dict[str, Any] = {
            "variant": variant if isinstance(variant, str) else list(variant),
            "num_classes": num_classes,
            "spiking": spiking,
            "T": T,
            "embedding": embedding if isinstance(embedding, str) else None,
            "embedding_options": options,
            "in_channels": in_channels,
            "alpha": alpha,
        }
        self.embedding = EMBEDDINGS[embedding](in_channels, **options) if isinstance(embedding, str) else embedding
        self.backbone = SpikingCSPDarknet(depth, width, in_channels, spiking=spiking != "none", alpha=alpha)
        self.neck = PAFPN(depth, width, spiking=spiking in ("fpn", "full"), alpha=alpha)
        self.head = YOLOXHead(num_classes, width, spiking=spiking == "full", alpha=alpha)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make the same network again; embedding is None where it was given as a module."""
        return {**self._config, "embedding_options": dict(self._config["embedding_options"])}

    def forward(self, x: Tensor) -> Predictions:
        """Raw predictions.

        Args:
            x: [B, bins, C, H, W], floating point, oldest bin first, as from micro_counts; or [B, C, H, W], one bin.
                Any H, W: the embedding's output is padded with zeros, right and below, to multiples of 32.
        Raises:
            ValueError, TypeError: another shape or type.
        """
        if x.dim() == 4:
            x = x[:, None]
        if x.dim() != 5 or not x.numel():
            raise ValueError(f"x has shape {tuple(x.shape)}; expected [B, bins, C, H, W], none of them 0")
        if not x.is_floating_point():
            raise TypeError(f"x has dtype {x.dtype}; expected floating point: x.float()")
        samples: Tensor = self.embedding(x)
        if len(samples) not in (1, self.steps):
            raise ValueError(f"the embedding made {len(samples)} samples for T={self.steps} steps; expected 1 or T")
        height, width = samples.shape[-2:]
        samples = nn.functional.pad(samples, (0, -width % 32, 0, -height % 32))
        if self.spiking == "none":
            features = self.backbone(samples)
        else:
            features = self.backbone(samples if len(samples) == 1 else to_steps(samples, self.steps), self.steps)
        if not self.neck.spiking:
            features = _mean(features)
        features = self.neck(features)
        if not self.head.spiking:
            features = _mean(features)
        predictions: Predictions = self.head(features)
        return predictions

    def loss(self, x: Tensor, targets: Sequence[Targets | tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """The training loss and its parts, see :func:`eas_det.losses.detection_loss`.

        Args:
            x: as of forward. targets: B pairs (boxes [N, 4] corners in pixels, labels [N]); N may be 0.
        Raises:
            ValueError: another number of targets, a label outside the classes, a box that is not finite or empty.
        """
        boxes, labels, mask = pad_targets(targets, self.num_classes)
        if len(boxes) != len(x):
            raise ValueError(f"{len(boxes)} targets for a batch of {len(x)}; expected one each")
        moved = [each.to(x.device, non_blocking=True) for each in (boxes, labels, mask)]
        return detection_loss(self(x), moved[0], moved[1], moved[2])

    @torch.no_grad()
    def predict(
        self, x: Tensor, conf: float = 0.001, nms: float = 0.65, *, max_detections: int | None = None
    ) -> list[Detections]:
        """Boxes of each item, in eval mode.

        Args:
            x: as of forward. conf: scores from here on are kept (0.001 for evaluation). nms: overlap above which the
                weaker of two boxes of a class goes. max_detections: keep the best of them.
        Returns:
            B Detections, on the CPU; each place gives its best class alone. Boxes are cut to the frame of x.
        """
        was = self.training
        self.eval()
        try:
            predictions = self(x)
        finally:
            self.train(was)
        return postprocess(predictions, (x.shape[-1], x.shape[-2]), conf, nms, max_detections)


def postprocess(
    predictions: Predictions,
    size: tuple[int, int],
    conf: float = 0.001,
    nms: float = 0.65,
    max_detections: int | None = None,
) -> list[Detections]:
    """Detections from raw predictions: best class a place, threshold, suppression by class; see predict.

    Args: size: (width, height) of the frame, to which boxes are cut. Returns: tensors on the CPU.
    """
    best, labels = predictions.scores.max(-1)
    # suppression compares few boxes one by one: a CPU has done it before a GPU has started
    boxes, best, labels = predictions.boxes.cpu(), best.cpu(), labels.cpu()
    boxes = boxes.clamp_min(0).minimum(torch.tensor([*size, *size], dtype=boxes.dtype))
    found = []
    for box, score, label in zip(boxes, best, labels, strict=True):
        # what lies outside the frame altogether, or is not finite, is no box
        keep = (score >= conf) & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1]) & torch.isfinite(box).all(-1)
        b, s, k = box[keep], score[keep], label[keep]
        kept = batched_nms(b, s, k, nms)[:max_detections]
        found.append(Detections(b[kept], s[kept], k[kept]))
    return found


def pad_targets(targets: Sequence[Targets | tuple[Tensor, Tensor]], num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """boxes [B, G, 4], labels [B, G], mask [B, G] out of B pairs, checked."""
    pairs = [Targets(torch.as_tensor(boxes), torch.as_tensor(labels)) for boxes, labels in targets]
    number = [each.labels.numel() for each in pairs]
    for item, (each, n) in enumerate(zip(pairs, number, strict=True)):
        if each.boxes.numel() != 4 * n or (n and each.boxes.shape != (n, 4)) or each.labels.dim() != 1:
            raise ValueError(
                f"target {item} has boxes {tuple(each.boxes.shape)} and labels {tuple(each.labels.shape)}; "
                "expected [N, 4] and [N]"
            )
    many = torch.tensor(number, dtype=torch.int64)
    most = max(number, default=0)
    boxes = torch.zeros(len(pairs), most, 4)
    labels = torch.zeros(len(pairs), most, dtype=torch.int64)
    mask = torch.arange(most) < many[:, None]
    if not most:
        return boxes, labels, mask
    box = torch.cat([each.boxes.reshape(-1, 4).float().cpu() for each in pairs])
    kind = torch.cat([each.labels.long().cpu() for each in pairs])
    whose = torch.repeat_interleave(torch.arange(len(pairs)), many)
    bad = ~(torch.isfinite(box).all(-1) & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1]))
    if bad.any():
        first = int(bad.nonzero()[0])
        raise ValueError(
            f"box {first - sum(number[: int(whose[first])])} of target {int(whose[first])} is {box[first].tolist()}; "
            "expected finite corners with x2 > x1 and y2 > y1: clean_boxes drops the others"
        )
    wrong = (kind < 0) | (kind >= num_classes)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"label {int(kind[first])} of target {int(whose[first])}; expected 0 to {num_classes - 1}: "
            "drop the other classes, or make the detector with more"
        )
    boxes[mask], labels[mask] = box, kind
    return boxes, labels, mask


def _mean(features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Firing rates: the mean over time, with one step left."""
    three, four, five = (each.mean(0, keepdim=True) for each in features)
    return three, four, five
