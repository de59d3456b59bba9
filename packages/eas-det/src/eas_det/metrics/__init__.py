"""Average precision: COCO's, Prophesee's protocol around it, and by speed."""

from .coco import coco_ap
from .prophesee import PropheseeEvaluator
from .speed import SPEED_BANDS, ap_by_speed

__all__ = ["SPEED_BANDS", "PropheseeEvaluator", "ap_by_speed", "coco_ap"]
