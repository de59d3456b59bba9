"""Boxes as tensors: overlap, and the suppression of duplicates. No vision toolkit."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["batched_nms", "box_iou", "nms"]


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair.

    Args:
        a: [..., N, 4], b: [..., M, 4], corners (x1, y1, x2, y2).
    Returns:
        [..., N, M] in [0, 1]; 0 where both are empty.
    """
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    total = _area(a)[..., :, None] + _area(b)[..., None, :] - shared
    # the smallest number keeps 0 / 0 at 0 and changes no other quotient
    return shared / total.clamp_min(torch.finfo(total.dtype).tiny)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy suppression: by falling score, a box goes if it overlaps a kept one by more than the threshold.

    Args:
        boxes: [N, 4] corners. scores: [N]; of equal ones the earlier comes first. iou_threshold: 0 to 1.
    Returns:
        [M] indices of the kept boxes, by falling score.
    """
    return batched_nms(boxes, scores, torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device), iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """:func:`nms` for each label by itself.

    Args:
        labels: [N] integers; boxes of different labels do not suppress each other.
    Raises:
        ValueError: shapes that do not fit, or a threshold outside [0, 1].
    """
    n = len(boxes)
    if boxes.shape != (n, 4) or scores.shape != (n,) or labels.shape != (n,):
        raise ValueError(
            f"boxes {tuple(boxes.shape)}, scores {tuple(scores.shape)}, labels {tuple(labels.shape)}; "
            "expected [N, 4], [N], [N]"
        )
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold={iou_threshold} given; expected 0 to 1")
    order = torch.argsort(scores, descending=True, stable=True)
    ranked, kinds = boxes[order].float(), labels[order]
    if boxes.device.type == "cpu":
        from ._kernels.nms import greedy

        kept = torch.from_numpy(greedy(ranked.numpy(), kinds.numpy(), iou_threshold))
    else:
        kept = _greedy(ranked, kinds, iou_threshold)
    return order[kept]


def _greedy(ranked: Tensor, kinds: Tensor, threshold: float) -> Tensor:
    """The same on any device, without a loop over boxes: iterated until nothing changes.

    Box i stays if no earlier box that stays overlaps it. Whatever is assumed at first, the k-th round is right for all
    boxes whose chain of suppressions is shorter than k, so it ends, and ends at the greedy result.
    """
    over = torch.triu(box_iou(ranked, ranked) > threshold, 1) & (kinds[:, None] == kinds)
    kept = torch.ones(len(ranked), dtype=torch.bool, device=ranked.device)
    while True:
        now = ~(over & kept[:, None]).any(0)
        if torch.equal(now, kept):
            return kept
        kept = now
