"""Spiking neurons as pure functions: inputs [T, ...] and a state in, spikes and a state out.

The transition of every point neuron (``docs/spk-neurons/conventions.md``):

    h[t] = decay[t] v[t-1] + gain[t] x[t] + bias
    s[t] = 1 if h[t] >= threshold else 0              fire="ge"; ">" for fire="gt"
    v[t] = h - amount s | v_reset where s, else h | h  reset = "soft" | "hard" | "none"

Numbers may be Python numbers or tensors; every tensor broadcasts to x, is differentiable, and with T rows
([T, ...], as many axes as x) varies in time.
"""

from spk_neurons.functional._common import Fire, Number, Output, Reset, check_values
from spk_neurons.functional.noisy import Mode, noisy_lif
from spk_neurons.functional.point import lif, lif_step, transition
from spk_neurons.functional.readout import li
from spk_neurons.functional.two_state import alif, cuba_lif

__all__ = ["Fire", "Mode", "Number", "Output", "Reset", "alif", "check_values", "cuba_lif", "li", "lif", "lif_step",
           "noisy_lif", "transition"]  # fmt: skip
