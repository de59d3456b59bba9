"""Networks on spk-neurons, from a few thousand weights to WRN-16-4: [T, B, C, H, W] in, [T, B, K] out.

The neuron is the one of this line of work: h[t] = decay v[t-1] + I[t] (gain 1, ``decay_input=False``), hard reset.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons import LIF, ATan, FastSigmoid, Rectangle, Sigmoid, Surrogate, TDBatchNorm, Triangle
from spk_regularize.classifier import Normalize, SpikingClassifier
from spk_regularize.encoders import make_encoder

__all__ = ["MODELS", "SURROGATES", "OverTime", "Synapse", "build_model", "make_surrogate"]

SURROGATES: dict[str, Callable[[], Surrogate]] = {
    "triangle": lambda: Triangle(1.0),
    "rectangle": lambda: Rectangle(2.0),
    "atan": lambda: ATan(2.0),
    "sigmoid": lambda: Sigmoid(4.0),
    "superspike": lambda: FastSigmoid(10.0),
}
VGG = {
    5: (64, "A", 128, 128, "A"),
    11: (64, "A", 128, 256, "A", 512, 512, 512, "A", 512, 512),
    16: (64, 64, "A", 128, 128, "A", 256, 256, 256, "A", 512, 512, 512, "A", 512, 512, 512),
}


def make_surrogate(name: str) -> Surrogate:
    """A surrogate by name, at the parameters of this line of work (gamma = 1, sigmoid 4, atan 2)."""
    if name not in SURROGATES:
        raise ValueError(f"surrogate {name!r} is not known; choose one of {', '.join(SURROGATES)}")
    return SURROGATES[name]()


class OverTime(nn.Module):
    """A module without memory at every step: [T, B, ...] -> [T, B, ...]. Inputs that are one view over time (direct
    coding) go through once."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.module = modules[0] if len(modules) == 1 else nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] > 1 and x.stride(0) == 0:
            once: Tensor = self.module(x[0])
            return once.unsqueeze(0).expand(x.shape[0], *once.shape)
        y: Tensor = self.module(x.flatten(0, 1))
        return y.reshape(*x.shape[:2], *y.shape[1:])


class Synapse(nn.Module):
    """Weights and their batch norm over time and batch (tdBN)."""

    def __init__(self, weights: nn.Module, features: int, *, threshold: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__()
        self.weights, self.norm = OverTime(weights), TDBatchNorm(features, threshold, alpha)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.weights(x)
        if y.shape[0] > 1 and y.stride(0) == 0:
            # T copies have the same mean and variance as one
            once: Tensor = self.norm(y[:1])
            return once.expand(y.shape)
        out: Tensor = self.norm(y)
        return out


class _Parts:
    """What every network is made of."""

    def __init__(self, decay: float, surrogate: str, threshold: float, reset: str) -> None:
        if not 0 < decay <= 1:
            raise ValueError(f"decay={decay} given; expected a leak in (0, 1]")
        make_surrogate(surrogate)
        self.decay, self.surrogate, self.threshold, self.reset = decay, surrogate, threshold, reset

    def neuron(self) -> LIF:
        # decay with gain 1: the paper's neuron takes its input whole
        return LIF(
            decay=self.decay, gain=1.0, threshold=self.threshold, reset=self.reset,  # type: ignore[arg-type]
            surrogate=make_surrogate(self.surrogate),
        )  # fmt: skip

    def conv(self, i: int, o: int, stride: int = 1, kernel: int = 3, alpha: float = 1.0) -> Synapse:
        conv = nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        return Synapse(conv, o, threshold=self.threshold, alpha=alpha)


class _Halve(nn.Module):
    """Mean over 2 x 2 pixels; on a CPU from sums of slices, which take half of the time of torch's kernel."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda or x.shape[-2] % 2 or x.shape[-1] % 2:
            return nn.functional.avg_pool2d(x, 2)
        rows = x[..., ::2, :] + x[..., 1::2, :]
        return (rows[..., ::2] + rows[..., 1::2]).mul_(0.25)


class _Flatten(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)


def mlp(shape: Sequence[int], classes: int, parts: _Parts, hidden: Sequence[int] = (64, 64)) -> nn.Module:
    """Fully connected layers of LIF neurons."""
    layers: list[nn.Module] = [_Flatten()]
    width = math.prod(shape)
    for size in hidden:
        layers += [Synapse(nn.Linear(width, size, bias=False), size, threshold=parts.threshold), parts.neuron()]
        width = size
    return nn.Sequential(*layers, OverTime(nn.Linear(width, classes)))


def cnn(
    shape: Sequence[int], classes: int, parts: _Parts, channels: Sequence[int] = (12, 16, 16), pool: int = 2
) -> nn.Module:
    """Plain convolutions; the picture is halved after the first ``pool`` of them."""
    layers: list[nn.Module] = []
    width, size = shape[0], torch.Size(shape[1:])
    for place, out in enumerate(channels):
        layers += [parts.conv(width, out), parts.neuron()]
        if place < pool:
            layers.append(OverTime(_Halve()))
            size = torch.Size(s // 2 for s in size)
        width = out
    return nn.Sequential(*layers, _Flatten(), OverTime(nn.Linear(width * math.prod(size), classes)))


def vgg(depth: int, shape: Sequence[int], classes: int, parts: _Parts, hidden: int | None = None) -> nn.Module:
    """VGG with average pooling; VGG-11 and 16 end in two hidden layers (4096), VGG-5 in one (512).

    Hidden layers have a tdBN like convolutions: with a leak, their input alone would stay far below the threshold.
    """
    layers: list[nn.Module] = []
    width, size = shape[0], torch.Size(shape[1:])
    for item in VGG[depth]:
        if isinstance(item, str):
            layers.append(OverTime(_Halve()))
            size = torch.Size(s // 2 for s in size)
        else:
            layers += [parts.conv(width, item), parts.neuron()]
            width = item
    layers.append(_Flatten())
    width *= math.prod(size)
    for out in [hidden or 512] if depth == 5 else [hidden or 4096] * 2:
        layers += [Synapse(nn.Linear(width, out, bias=False), out, threshold=parts.threshold), parts.neuron()]
        width = out
    return nn.Sequential(*layers, OverTime(nn.Linear(width, classes)))


class Residual(nn.Module):
    """Two convolutions beside a shortcut; both branches are normalised to 1/sqrt(2) of the threshold."""

    def __init__(self, i: int, o: int, stride: int, parts: _Parts) -> None:
        super().__init__()
        half = 1 / math.sqrt(2)
        self.first, self.fire = parts.conv(i, o, stride), parts.neuron()
        self.shortcut = nn.Identity() if i == o and stride == 1 else parts.conv(i, o, stride, 1, half)
        self.second, self.out = parts.conv(o, o, alpha=half), parts.neuron()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.second(self.fire(self.first(x))) + self.shortcut(x))
        return y


def residual(
    shape: Sequence[int], classes: int, parts: _Parts, widths: Sequence[int], blocks: Sequence[int], stem: int
) -> nn.Module:
    """Residual stages, then the mean over the picture."""
    layers: list[nn.Module] = [parts.conv(shape[0], stem), parts.neuron()]
    width = stem
    for stage, (out, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            layers.append(Residual(width, out, 2 if stage > 0 and block == 0 else 1, parts))
            width = out
    return nn.Sequential(*layers, OverTime(nn.AdaptiveAvgPool2d(1)), _Flatten(), OverTime(nn.Linear(width, classes)))


Builder = Callable[..., nn.Module]
MODELS: dict[str, Builder] = {
    "mlp": mlp,
    "cnn": cnn,
    "vgg5": lambda *a, **k: vgg(5, *a, **k),
    "vgg11": lambda *a, **k: vgg(11, *a, **k),
    "vgg16": lambda *a, **k: vgg(16, *a, **k),
    "resnet18": lambda shape, classes, parts: residual(shape, classes, parts, (64, 128, 256, 512), (2, 2, 2, 2), 64),
    "wrn16_4": lambda shape, classes, parts: residual(shape, classes, parts, (64, 128, 256), (2, 2, 2), 16),
    "small_resnet": lambda shape, classes, parts, width=12: residual(
        shape, classes, parts, (width, 2 * width), (1, 1), width
    ),
}


def build_model(
    name: str = "cnn",
    *,
    shape: Sequence[int] = (1, 8, 8),
    classes: int = 10,
    steps: int = 4,
    encoder: str = "direct",
    decay: float = 0.5,
    threshold: float = 1.0,
    reset: str = "hard",
    surrogate: str = "triangle",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int | None = None,
    **options: Any,
) -> SpikingClassifier:
    """A spiking classifier by name; ``model.config`` rebuilds it.

    Args:
        name: mlp, cnn, vgg5, vgg11, vgg16, resnet18, wrn16_4 or small_resnet. shape: of one image, [C, H, W].
        classes: K. steps: T. encoder: direct, poisson, signed or latency. decay: leak in (0, 1]; 1 integrates.
        threshold, reset ("hard" or "soft"), surrogate: of the neurons. mean, std: normalisation inside the model.
        seed: of the initial weights (None: torch's global generator). options: of the network, such as ``channels``.
    Raises:
        ValueError: an unknown name or option.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is not known; choose one of {', '.join(MODELS)}")
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape={tuple(shape)} given; expected one image's [C, H, W]")
    if (mean is None) != (std is None):
        raise ValueError(f"mean={mean} and std={std} given; expected both or none")
    config: dict[str, Any] = {
        "name": name, "shape": list(shape), "classes": classes, "steps": steps, "encoder": encoder, "decay": decay,
        "threshold": threshold, "reset": reset, "surrogate": surrogate,
        "mean": None if mean is None else list(mean), "std": None if std is None else list(std), **options,
    }  # fmt: skip
    parts = _Parts(decay, surrogate, threshold, reset)
    builder = MODELS[name]
    try:
        inspect.signature(builder).bind(shape, classes, parts, **options)
    except TypeError as error:
        raise ValueError(f"model {name!r}: {error}") from None
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        net = builder(shape, classes, parts, **options)
    normalize = None if mean is None or std is None else Normalize(mean, std)
    return SpikingClassifier(net, make_encoder(encoder, steps), normalize=normalize, config=config)
