"""The losses of YOLOX: overlap, objectness, class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from .assign import simota

if TYPE_CHECKING:
    from eas_det.models.head import Predictions

__all__ = ["detection_loss", "iou_loss"]

_BOX_WEIGHT = 5.0


def iou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 - IoU² of each pair: 0 for equal boxes, 1 for disjoint ones, 0.75 at IoU 0.5.

    Args:
        boxes, targets: [..., 4] corners.
    Returns:
        [...].
    """
    low = torch.maximum(boxes[..., :2], targets[..., :2])
    high = torch.minimum(boxes[..., 2:], targets[..., 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (targets[..., 2:] - targets[..., :2]).prod(-1)
    return 1 - (shared / (areas - shared + 1e-16)) ** 2


def detection_loss(predictions: Predictions, gt_boxes: Tensor, gt_labels: Tensor, gt_mask: Tensor) -> dict[str, Tensor]:
    """5 L_iou + L_obj + L_cls, each summed and divided by the number of matched places of the batch (at least 1).

    L_iou is 1 - IoU² of matched places; L_obj the binary cross entropy of all places, target 1 on matched ones; L_cls
    that of matched places against one-hot times IoU.

    Args:
        predictions: of the head.
        gt_boxes: [B, G, 4] corners, padded. gt_labels: [B, G]. gt_mask: [B, G] bool, False on padding.
    Returns:
        {"loss", "iou_loss", "obj_loss", "cls_loss", "num_fg"}, scalars; the parts unweighted, num_fg per image.
    """
    p = predictions
    found = simota(p.boxes, p.objectness, p.classes, p.centres, p.strides, gt_boxes, gt_labels, gt_mask)
    matched = found.matched
    weight = matched.float()
    count = weight.sum()
    share = count.clamp_min(1)
    objectness = F.binary_cross_entropy_with_logits(p.objectness, weight, reduction="sum") / share
    if gt_boxes.shape[1]:
        wanted = gt_boxes.float().gather(1, found.target[..., None].expand(-1, -1, 4))
        # places without a box see themselves: their loss is 0 and so is its gradient, whatever they predict
        overlap = iou_loss(p.boxes, torch.where(matched[..., None], wanted, p.boxes.detach()))
        overlap = (overlap * weight).sum() / share
        labels = gt_labels.gather(1, found.target)
        # not one_hot, which looks at the values on the host
        kinds = torch.arange(p.classes.shape[-1], device=labels.device)
        target = (labels[..., None] == kinds) * found.iou[..., None]
        classes = F.binary_cross_entropy_with_logits(p.classes, target, reduction="none")
        classes = (classes * weight[..., None]).sum() / share
    else:
        # zero, and still a function of every parameter: processes that share a batch wait for each gradient
        overlap, classes = 0 * p.boxes.sum(), 0 * p.classes.sum()
    return {
        "loss": _BOX_WEIGHT * overlap + objectness + classes,
        "iou_loss": overlap.detach(),
        "obj_loss": objectness.detach(),
        "cls_loss": classes.detach(),
        "num_fg": count / len(matched),
    }
