"""Features of single frames: no time in them, all frames of a batch in one call."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tecos_lvm.config import TeCoSConfig

__all__ = ["gain_linear", "make_features"]


def gain_linear(n_in: int, n_out: int, gain: float = 1.0, bias: float | None = 0.0) -> nn.Linear:
    """A linear layer with weights of variance gain^2 / n_in and a constant bias (None: no bias)."""
    layer = nn.Linear(n_in, n_out, bias=bias is not None)
    nn.init.normal_(layer.weight, std=gain / n_in**0.5)
    if bias is not None:
        nn.init.constant_(layer.bias, bias)
    return layer


class Rectified(nn.Module):
    """Linear, then both signs rectified: half of the units each."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        if n_out % 2:
            raise ValueError(f"feature_dim={n_out} given; encoder='rectified' needs an even number")
        self.linear = gain_linear(n_in, n_out // 2)

    def forward(self, x: Tensor) -> Tensor:
        f = self.linear(x)
        return torch.cat([torch.relu(f), torch.relu(-f)], dim=-1)


# frames that go through the convolutions together on a CPU: their maps stay in the cache, twice as fast as 800 at once
AT_ONCE = 32


class Conv(nn.Module):
    """Two strided convolutions (16 at 7 px, 32 at 5 px) and a graded linear read-out."""

    def __init__(self, shape: tuple[int, ...], n_out: int) -> None:
        super().__init__()
        self.shape = shape if len(shape) == 3 else (1, *shape)
        if len(self.shape) != 3 or min(self.shape[1:]) < 15:
            raise ValueError(
                f"stimulus_shape={shape} given; encoder='conv' needs frames (H, W) or (C, H, W) of >= 15 px"
            )
        self.body = nn.Sequential(
            nn.Conv2d(self.shape[0], 16, 7, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        sides = [((n - 7) // 2 + 1 - 5) // 2 + 1 for n in self.shape[1:]]
        self.read = gain_linear(32 * sides[0] * sides[1], n_out)

    def forward(self, x: Tensor) -> Tensor:
        frames = x.reshape(-1, *self.shape)
        pieces = torch.split(frames, AT_ONCE) if frames.device.type == "cpu" else (frames,)
        out: Tensor = self.read(torch.cat([self.body(piece) for piece in pieces]))
        return out.reshape(*x.shape[:-1], -1)


def make_features(config: TeCoSConfig, custom: nn.Module | None = None) -> nn.Module:
    """The module from flat frames [..., prod(stimulus_shape)] to features [..., feature_dim]."""
    if custom is not None:
        return custom
    n_in = 1
    for n in config.stimulus_shape:
        n_in *= n
    if config.encoder == "linear":
        return gain_linear(n_in, config.feature_dim)
    if config.encoder == "rectified":
        return Rectified(n_in, config.feature_dim)
    if config.encoder == "mlp":
        hidden = 2 * config.feature_dim
        return nn.Sequential(gain_linear(n_in, hidden), nn.ReLU(), gain_linear(hidden, config.feature_dim, 2**0.5))
    if config.encoder == "conv":
        return Conv(config.stimulus_shape, config.feature_dim)
    raise ValueError("encoder='custom' in the config, but no module was given; pass features=your_module")
