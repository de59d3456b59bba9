"""Neurons as modules: thin shells over ``spk_neurons.functional`` that hold numbers and parameters, never state."""

from spk_neurons.neurons.base import Neuron
from spk_neurons.neurons.lif import IF, LIF, PLIF
from spk_neurons.neurons.noisy import NoisyLIF
from spk_neurons.neurons.readout import LI
from spk_neurons.neurons.two_state import ALIF, CuBaLIF

__all__ = ["ALIF", "IF", "LI", "LIF", "PLIF", "CuBaLIF", "Neuron", "NoisyLIF"]
