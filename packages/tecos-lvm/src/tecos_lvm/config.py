"""What a model is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tecos_lvm._checks import choice, positive

__all__ = ["MEMORIES", "TeCoSConfig"]

MEMORIES = ("cascade", "leaky", "lif", "alif", "gru", "none")


@dataclass(frozen=True)
class TeCoSConfig:
    """Sizes and choices of a :class:`~tecos_lvm.TeCoSLVM`. None of them depends on the length of a recording.

    Args:
        stimulus_shape: shape of one frame, such as (16, 16) or (1, 24, 24) or (n,).
        n_neurons: recorded neurons N.
        dt_ms: bin; one step of the network per bin.
        feature_dim: graded features per frame. encoder: what computes them: "linear", "mlp", "rectified" (linear,
            then both signs rectified), "conv" (frames of at least 15 x 15).
        memory: "cascade" (two leaky stages, several time scales), "leaky" (one stage), "lif", "alif" (recurrent
            spiking layers that hand out spikes), "gru", "none" (the ablation).
        hidden_dim: units of the memory. latent_dim: of z. coder_dim: spiking units of the prior and of the encoder.
        decoder_dim: spiking units of the decoder.
        hidden: "noisy" (escape noise) or "lif" (deterministic) units inside. output: the same for the output.
        reset: of the output: "soft" (amount and decay learned per neuron) or "hard" (to 0, decay 0.5).
        prior: "learned" (from the memory) or "standard" normal.
        sigma: noise of the noisy units, in units of the threshold 1.
    """

    stimulus_shape: tuple[int, ...]
    n_neurons: int
    dt_ms: float = 10.0
    feature_dim: int = 64
    encoder: str = "linear"
    memory: str = "cascade"
    hidden_dim: int = 64
    latent_dim: int = 16
    coder_dim: int = 64
    decoder_dim: int = 128
    hidden: str = "noisy"
    output: str = "noisy"
    reset: str = "soft"
    prior: str = "learned"
    sigma: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "stimulus_shape", tuple(int(n) for n in self.stimulus_shape))
        if not self.stimulus_shape or min(self.stimulus_shape) < 1:
            raise ValueError(
                f"stimulus_shape={self.stimulus_shape} given; expected the shape of one frame, e.g. (24, 24)"
            )
        for name in ("n_neurons", "feature_dim", "hidden_dim", "latent_dim", "coder_dim", "decoder_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} given; it must be an integer >= 1")
        positive("dt_ms", self.dt_ms)
        positive("sigma", self.sigma)
        choice("memory", self.memory, MEMORIES)
        choice("encoder", self.encoder, ("linear", "mlp", "rectified", "conv", "custom"))
        choice("hidden", self.hidden, ("noisy", "lif"))
        choice("output", self.output, ("noisy", "lif"))
        choice("reset", self.reset, ("soft", "hard"))
        choice("prior", self.prior, ("learned", "standard"))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "stimulus_shape": list(self.stimulus_shape)}
