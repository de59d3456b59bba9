"""Regularise the membrane potentials of spiking networks, and measure their robustness without being fooled.

>>> from spk_regularize import MPDSGR, MembraneMonitor, build_model
>>> import torch
>>> model, reg = build_model("cnn", seed=0), MPDSGR(eta=1.0)
>>> with MembraneMonitor(model, reg) as monitor:
...     logits = model(torch.rand(8, 1, 8, 8))
>>> 0 < reg(monitor).item() < 1
True
"""

from spk_regularize.adapters import HandWritten, SpikingLayer, find_layers
from spk_regularize.attacks import (
    APGD,
    ASSG,
    BIM,
    FGSM,
    MIFGSM,
    PDSG,
    PGD,
    RFGSM,
    SAPGD,
    Attack,
    AttackGradient,
    GradientAttack,
    Noise,
    Square,
    Transfer,
    swap_surrogate,
)
from spk_regularize.checkpoint import load_model, save_model
from spk_regularize.classifier import Normalize, SpikingClassifier, StateLeakError, check_stateless
from spk_regularize.data import DataError, ImageSet, Split, load, synthetic_margin
from spk_regularize.encoders import Direct, Encoder, Latency, Poisson, SignedPoisson
from spk_regularize.models import build_model
from spk_regularize.monitor import LayerTrace, MembraneMonitor
from spk_regularize.regularizers import (
    MPDSGR,
    MPPD,
    Compose,
    ExpectedSG,
    IMLoss,
    InputGradient,
    LipschitzRows,
    MeanSG,
    ParsevalOrtho,
    RateFloor,
    Regularizer,
    RMPLoss,
    Schedule,
    SparsityReg,
    SpikeRate,
    SynapticOps,
    ThresholdGuard,
    from_text,
    robust_preset,
)
from spk_regularize.robustness import (
    AttackSpec,
    MaskingVerdict,
    RobustnessReport,
    evaluate_robustness,
    masking_verdict,
    summarise_layers,
    wilson,
)
from spk_regularize.run import run_config
from spk_regularize.stats import empirical_overlap, expected_surrogate, overlap, overlap_of, tdbn_moments
from spk_regularize.training import RobustTrainer, TrainConfig, accuracy, select_on_validation
from spk_regularize.windows import half_width

__version__ = "0.1.0"

__all__ = [
    "APGD",
    "ASSG",
    "BIM",
    "FGSM",
    "MIFGSM",
    "MPDSGR",
    "MPPD",
    "PDSG",
    "PGD",
    "RFGSM",
    "SAPGD",
    "Attack",
    "AttackGradient",
    "AttackSpec",
    "Compose",
    "DataError",
    "Direct",
    "Encoder",
    "ExpectedSG",
    "GradientAttack",
    "HandWritten",
    "IMLoss",
    "ImageSet",
    "InputGradient",
    "Latency",
    "LayerTrace",
    "LipschitzRows",
    "MaskingVerdict",
    "MeanSG",
    "MembraneMonitor",
    "Noise",
    "Normalize",
    "ParsevalOrtho",
    "Poisson",
    "RMPLoss",
    "RateFloor",
    "Regularizer",
    "RobustTrainer",
    "RobustnessReport",
    "Schedule",
    "SignedPoisson",
    "SparsityReg",
    "SpikeRate",
    "SpikingClassifier",
    "SpikingLayer",
    "Split",
    "Square",
    "StateLeakError",
    "SynapticOps",
    "ThresholdGuard",
    "TrainConfig",
    "Transfer",
    "__version__",
    "accuracy",
    "build_model",
    "check_stateless",
    "empirical_overlap",
    "evaluate_robustness",
    "expected_surrogate",
    "find_layers",
    "from_text",
    "half_width",
    "load",
    "load_model",
    "masking_verdict",
    "overlap",
    "overlap_of",
    "robust_preset",
    "run_config",
    "save_model",
    "select_on_validation",
    "summarise_layers",
    "swap_surrogate",
    "synthetic_margin",
    "tdbn_moments",
    "wilson",
]
