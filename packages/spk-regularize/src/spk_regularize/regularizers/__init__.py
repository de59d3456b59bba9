"""Penalties and projections for spiking networks; all add up in :class:`Compose`."""

from spk_regularize.regularizers.base import Compose, Regularizer, Schedule
from spk_regularize.regularizers.gradient import InputGradient, SparsityReg
from spk_regularize.regularizers.mpd_sgr import MPDSGR, ExpectedSG, MeanSG
from spk_regularize.regularizers.perturbation import MPPD
from spk_regularize.regularizers.potentials import IMLoss, RMPLoss, ThresholdGuard
from spk_regularize.regularizers.presets import from_text, robust_preset
from spk_regularize.regularizers.rate import RateFloor, SpikeRate, SynapticOps
from spk_regularize.regularizers.weights import LipschitzRows, ParsevalOrtho

__all__ = [
    "MPDSGR",
    "MPPD",
    "Compose",
    "ExpectedSG",
    "IMLoss",
    "InputGradient",
    "LipschitzRows",
    "MeanSG",
    "ParsevalOrtho",
    "RMPLoss",
    "RateFloor",
    "Regularizer",
    "Schedule",
    "SparsityReg",
    "SpikeRate",
    "SynapticOps",
    "ThresholdGuard",
    "from_text",
    "robust_preset",
]
