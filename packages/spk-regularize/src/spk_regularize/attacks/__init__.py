"""Attacks on images in [0, 1]; each follows the gradient of your choice."""

from spk_regularize.attacks.adaptive import APGD, SAPGD
from spk_regularize.attacks.base import Attack, GradientAttack
from spk_regularize.attacks.blackbox import Noise, Square, Transfer
from spk_regularize.attacks.gradients import (
    ASSG,
    BPTR,
    GRADIENTS,
    PDSG,
    RGA,
    AttackGradient,
    Family,
    Wide,
    make_gradient,
    swap_surrogate,
)
from spk_regularize.attacks.pgd import BIM, FGSM, MIFGSM, PGD, RFGSM

__all__ = [
    "APGD",
    "ASSG",
    "BIM",
    "BPTR",
    "FGSM",
    "GRADIENTS",
    "MIFGSM",
    "PDSG",
    "PGD",
    "RFGSM",
    "RGA",
    "SAPGD",
    "Attack",
    "AttackGradient",
    "Family",
    "GradientAttack",
    "Noise",
    "Square",
    "Transfer",
    "Wide",
    "make_gradient",
    "swap_surrogate",
]
