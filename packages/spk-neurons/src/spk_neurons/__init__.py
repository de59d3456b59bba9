"""Spiking neurons for PyTorch: one stated equation, exact gradients, no hidden state.

>>> import torch
>>> from spk_neurons import LIF
>>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), LIF(tau=2.0))
>>> net(torch.rand(8, 5, 4)).shape  # time first: [T, B, ...]
torch.Size([8, 5, 3])
"""

from spk_neurons import decode, encode, functional, noise, scan, surrogate
from spk_neurons._kernels.backends import backend_report, set_backend, use_backend
from spk_neurons.conventions import from_convention
from spk_neurons.energy import EnergyTable, firing_rates, synops
from spk_neurons.layers import TDBatchNorm, TimeDistributed
from spk_neurons.neurons import ALIF, IF, LI, LIF, PLIF, CuBaLIF, Neuron, NoisyLIF
from spk_neurons.nir import from_nir, to_nir
from spk_neurons.noise import Noise
from spk_neurons.parallel import PSN, MaskedPSN, SlidingPSN
from spk_neurons.record import LayerRecord, Recording, record
from spk_neurons.recurrent import Recurrent
from spk_neurons.state import (
    ALIFState,
    CuBaState,
    LIFState,
    LIState,
    PSNState,
    RecurrentState,
    Stateful,
    carry_state,
    detach_state,
)
from spk_neurons.stats import Stats, StatsRequest
from spk_neurons.surrogate import (
    ATan,
    Erf,
    FastSigmoid,
    MultiGaussian,
    PiecewiseExp,
    Rectangle,
    Sigmoid,
    SuperSpike,
    Surrogate,
    Triangle,
)
from spk_neurons.testing import check_neuron

__version__ = "0.1.0"

__all__ = [
    "ALIF",
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "PSN",
    "ALIFState",
    "ATan",
    "CuBaLIF",
    "CuBaState",
    "EnergyTable",
    "Erf",
    "FastSigmoid",
    "LIFState",
    "LIState",
    "LayerRecord",
    "MaskedPSN",
    "MultiGaussian",
    "Neuron",
    "Noise",
    "NoisyLIF",
    "PSNState",
    "PiecewiseExp",
    "Recording",
    "Rectangle",
    "Recurrent",
    "RecurrentState",
    "Sigmoid",
    "SlidingPSN",
    "Stateful",
    "Stats",
    "StatsRequest",
    "SuperSpike",
    "Surrogate",
    "TDBatchNorm",
    "TimeDistributed",
    "Triangle",
    "__version__",
    "backend_report",
    "carry_state",
    "check_neuron",
    "decode",
    "detach_state",
    "encode",
    "firing_rates",
    "from_convention",
    "from_nir",
    "functional",
    "noise",
    "record",
    "scan",
    "set_backend",
    "surrogate",
    "synops",
    "to_nir",
    "use_backend",
]
