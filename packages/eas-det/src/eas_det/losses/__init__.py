"""What the detector is trained with: SimOTA's assignment, and the losses of YOLOX."""

from .assign import Assignment, simota
from .detection import detection_loss, iou_loss

__all__ = ["Assignment", "detection_loss", "iou_loss", "simota"]
