"""What the package needs to know of a library of spiking neurons: where potentials are, how to fire, how to reset."""

from spk_regularize.adapters.base import Adapter, Hooked, SpikingLayer, default_adapters, find_layers, reset_model
from spk_regularize.adapters.handwritten import HandWritten
from spk_regularize.adapters.native import Native
from spk_regularize.adapters.snntorch import SnnTorch
from spk_regularize.adapters.spikingjelly import SpikingJelly

__all__ = [
    "Adapter",
    "HandWritten",
    "Hooked",
    "Native",
    "SnnTorch",
    "SpikingJelly",
    "SpikingLayer",
    "default_adapters",
    "find_layers",
    "reset_model",
]
