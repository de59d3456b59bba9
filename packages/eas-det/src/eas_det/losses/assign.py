"""SimOTA: which places of the feature maps answer for which box. A whole batch at once, without waiting for a GPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eas_det.ops import box_iou

__all__ = ["Assignment", "simota"]

_RADIUS = 1.5
_OUTSIDE = 1e6
_CANDIDATES = 10


class Assignment(NamedTuple):
    """Who answers for what.

    matched: [B, A] bool, places that answer for a box. target: [B, A] int64, the box's number, 0 where there is none.
    iou: [B, A] overlap of the place's box with its target, 0 where there is none.
    """

    matched: Tensor
    target: Tensor
    iou: Tensor


@torch.no_grad()
def simota(
    boxes: Tensor,
    objectness: Tensor,
    classes: Tensor,
    centres: Tensor,
    strides: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    gt_mask: Tensor,
) -> Assignment:
    """Assign places to boxes by the cheapest cost, the number of places by the sum of the best ten overlaps.

    A place is a candidate if its centre lies within 1.5 strides of the centre of any box. The cost of a pair is the
    binary cross entropy of sqrt(p_class p_object) against the box's class, summed over classes, minus
    3 log(IoU + 1e-8), plus 1e6 where the place is no candidate of that very box. Each box takes its k cheapest
    candidates, k the truncated sum of its ten largest IoUs, at least 1; a place taken by several goes to the cheapest.

    Args:
        boxes: [B, A, 4] predicted corners. objectness: [B, A] logits. classes: [B, A, K] logits.
        centres: [A, 2] pixels. strides: [A].
        gt_boxes: [B, G, 4] corners, padded. gt_labels: [B, G]. gt_mask: [B, G] bool, False on padding.
    Returns:
        Assignment; all empty where there is no box. Costs are in float32 whatever the inputs.
    Source: YOLOX. A box whose centre region holds no place has no candidate, and gets none.
    """
    batch, places = objectness.shape
    if gt_boxes.shape[1] == 0:
        nothing = torch.zeros(batch, places, dtype=torch.bool, device=boxes.device)
        return Assignment(nothing, nothing.long(), nothing.float())
    boxes, gt_boxes = boxes.float(), gt_boxes.float()
    middle = (gt_boxes[..., :2] + gt_boxes[..., 2:]) / 2
    away = (centres.float() - middle[:, :, None]).abs().amax(-1)  # [B, G, A]
    own = (away < _RADIUS * strides.float()) & gt_mask[..., None]
    candidate = own.any(1, keepdim=True) & gt_mask[..., None]
    iou = box_iou(gt_boxes, boxes) * candidate
    cost = _class_cost(objectness.float(), classes.float(), gt_labels) - 3 * torch.log(iou + 1e-8) + _OUTSIDE * ~own
    cost = cost.masked_fill(~candidate, torch.inf)
    most = min(_CANDIDATES, places)
    wanted = iou.topk(most, -1).values.sum(-1).int().clamp_min(1)  # [B, G]
    cheapest = cost.topk(most, -1, largest=False)
    chosen = torch.arange(most, device=cost.device) < wanted[..., None]
    taken = torch.zeros_like(candidate).scatter_(-1, cheapest.indices, chosen & cheapest.values.isfinite())
    disputed = taken.sum(1, keepdim=True) > 1
    winner = torch.zeros_like(taken).scatter_(1, cost.argmin(1, keepdim=True), True)
    taken = torch.where(disputed, winner & candidate, taken)
    target = taken.long().argmax(1)
    return Assignment(taken.any(1), target, (iou * taken).sum(1))


def _class_cost(objectness: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    """[B, G, A] binary cross entropy of sqrt(p_class p_object) against one-hot labels, without [B, G, A, K]."""
    p = (classes.sigmoid() * objectness.sigmoid()[..., None]).sqrt()  # [B, A, K]
    # -100 as binary_cross_entropy clamps its logarithms
    no, yes = torch.log1p(-p).clamp_min(-100), p.log().clamp_min(-100)
    place = labels.long()[..., None].expand(-1, -1, p.shape[1])
    difference = (no - yes).transpose(1, 2).gather(1, place)  # [B, G, A]
    return difference - no.sum(-1)[:, None]
