"""What one decision costs, counted from the network's sizes and its measured firing rates.

Assumptions, printed with every report: 45 nm CMOS, 32-bit numbers, 4.6 pJ per multiply-accumulate (MAC) and 0.9 pJ per
accumulate (AC), as the field quotes Horowitz (2014). A product with a float is a MAC; a weight added because a spike
arrived is an AC, counted with the measured rate. Memory traffic, exponentials and the environment are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from grsn_rl._checks import choice
from grsn_rl.memory import MEMORIES

__all__ = ["ASSUMPTIONS", "Energy", "agent_energy", "memory_energy"]

MAC = 4.6e-3  # nJ
AC = 0.9e-3  # nJ
ASSUMPTIONS = (
    "45 nm, 32 bit: 4.6 pJ per multiply-accumulate, 0.9 pJ per accumulate (one per spike and connection, at the "
    "measured rate); memory traffic, exponentials and biases not counted"
)


@dataclass(frozen=True)
class Energy:
    """Operations of one environment step; ``parts`` by name: ``{"memory": (MACs, ACs), ...}``."""

    parts: dict[str, tuple[float, float]]

    def nanojoule(self, part: str | None = None) -> float:
        """nJ per step, of one part or of all."""
        chosen = self.parts.values() if part is None else [self.parts[part]]
        return sum(mac * MAC + ac * AC for mac, ac in chosen)

    def __str__(self) -> str:
        lines = [f"{'part':<12}{'MAC/step':>12}{'AC/step':>12}{'nJ/step':>12}"]
        for name, (mac, ac) in self.parts.items():
            lines.append(f"{name:<12}{mac:>12.0f}{ac:>12.0f}{self.nanojoule(name):>12.3f}")
        lines.append(f"{'total':<36}{self.nanojoule():>12.3f}")
        return "\n".join([*lines, ASSUMPTIONS])


def memory_energy(
    kind: str, input_size: int, hidden: int, *, rate: float = 0.0, layers: int = 1, gate: str = "input"
) -> tuple[float, float]:
    """(MAC, AC) of one step of a memory whose input is float.

    Args:
        kind: a name of ``MEMORIES``. input_size, hidden, layers: sizes. rate: spikes per neuron and update.
        gate: of GRSN.
    Source: counts of section 2.6 of our notes, our derivation: GRU 3 H (I + H), LSTM 4 H (I + H), GRSN 2 H I + 4 H
        (blend of the gate, leak), and 2 H H accumulates at the rate where spikes feed the gates.
    Example:
        >>> mac, ac = memory_energy("gru", 48, 128)
        >>> round(mac * 4.6e-3, 3)
        310.886
    """
    choice("memory", kind, MEMORIES)
    if kind in ("gru", "lstm"):
        gates = 3 if kind == "gru" else 4
        return float(gates * hidden * (input_size + hidden) + (layers - 1) * gates * hidden * 2 * hidden), 0.0
    if kind == "none":
        return float(hidden * input_size + (layers - 1) * hidden * hidden), 0.0
    repeats = 4 if kind == "grsn-notap" else 1
    if kind == "lif":
        # the input's product once; per layer the leak, two products
        return float(hidden * input_size + layers * 2 * hidden), (layers - 1) * rate * hidden * hidden
    products = hidden * input_size if gate == "spike" else 2 * hidden * input_size
    back = rate * hidden * 2 * hidden * layers if gate != "input" else 0.0
    up = (layers - 1) * rate * hidden * (hidden if gate == "spike" else 2 * hidden)
    # the substeps repeat everything but the product with the input, which does not change
    return float(products + layers * 4 * hidden * repeats), repeats * (back + up)


def agent_energy(
    kind: str,
    *,
    obs: int,
    act: int,
    outputs: int,
    hidden: int = 64,
    layers: int = 1,
    embed: int = 32,
    shortcut: int = 32,
    head: int = 64,
    rate: float = 0.0,
    gate: str = "input",
    readout: str = "spike",
) -> Energy:
    """One decision of the whole agent: encoder, memory, shortcut, the policy's head (a value head does not act).

    Args:
        kind: of memory. gate, readout: of a GRSN; a readout of numbers is multiplied, not accumulated. rate: spikes per
            neuron and update, measured. obs, act, outputs, hidden, layers, embed, shortcut, head: sizes as in
            :class:`grsn_rl.RecurrentNet`; outputs are the head's.
    """
    spiking = kind in ("grsn", "lif", "grsn-notap") and readout == "spike"
    dense = float(hidden * head)
    repeats = 4 if kind == "grsn-notap" else 1
    return Energy(
        {
            "encoder": (float((obs + act) * embed), 0.0),
            "memory": memory_energy(kind, embed, hidden, rate=rate, layers=layers, gate=gate),
            "readout": (0.0, rate * repeats * dense) if spiking else (dense, 0.0),
            "shortcut": (float(obs * shortcut + shortcut * head), 0.0),
            "head": (float(head * outputs), 0.0),
        }
    )
