"""CNN and CRNN in the manner of Zheng et al. 2021: a stack of frames as channels, a learned softplus output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tecos_lvm.baselines.base import Baseline

__all__ = ["CNN", "CRNN"]


class CNN(Baseline):
    """Two convolutions over a window of frames taken as channels, then a dense A softplus output.

    Args:
        channels: of the two layers. kernel: their side in pixels. hidden: see :class:`CRNN`. others: :class:`Baseline`.
    """

    def __init__(
        self, *, channels: tuple[int, int] = (16, 16), kernel: int = 5, window: int = 20, **options: Any
    ) -> None:
        super().__init__(window=window, **options)
        self.channels, self.kernel = channels, kernel

    def build(self, n_in: int, p_spike: Tensor) -> None:
        if len(self.shape) not in (2, 3) or (len(self.shape) == 3 and self.shape[0] != 1):
            raise ValueError(f"frames have shape {self.shape}; a CNN needs gray images (H, W)")
        self.body = self._front()
        with torch.no_grad():
            width = self.body(torch.zeros(1, self.window, *self.shape[-2:])).shape[1]
        self._head(width, p_spike)

    def _front(self) -> nn.Sequential:
        a, b = self.channels
        k = min(self.kernel, *(n // 2 for n in self.shape[-2:]))
        return nn.Sequential(nn.Conv2d(self.window, a, k), nn.ReLU(), nn.Conv2d(a, b, k), nn.ReLU(), nn.Flatten())

    def _head(self, width: int, p_spike: Tensor) -> None:
        self.read = nn.Linear(width, len(p_spike))
        nn.init.normal_(self.read.weight, std=0.3 / width**0.5)
        nn.init.constant_(self.read.bias, -1.0)
        rate = -torch.log1p(-p_spike)
        self.scale_log = nn.Parameter((rate / F.softplus(torch.tensor(-1.0))).log())

    def drive(self, windows: Tensor) -> Tensor:
        images = windows.unflatten(-1, self.shape[-2:])  # type: ignore[no-untyped-call]
        return self.scale_log.exp() * F.softplus(self.read(self.body(images)))


class CRNN(CNN):
    """A convolution per frame, a GRU of ``hidden`` units over the window, then the same output."""

    def __init__(self, *, hidden: int = 64, features: int = 32, **options: Any) -> None:
        super().__init__(**options)
        self.hidden, self.features = hidden, features

    def build(self, n_in: int, p_spike: Tensor) -> None:
        if len(self.shape) not in (2, 3) or (len(self.shape) == 3 and self.shape[0] != 1):
            raise ValueError(f"frames have shape {self.shape}; a CRNN needs gray images (H, W)")
        k = min(self.kernel, *(n // 2 for n in self.shape[-2:]))
        self.body = nn.Sequential(nn.Conv2d(1, 8, k, stride=2), nn.ReLU(), nn.Flatten())
        with torch.no_grad():
            width = self.body(torch.zeros(1, 1, *self.shape[-2:])).shape[1]
        self.squeeze = nn.Linear(width, self.features)
        self.cell = nn.GRU(self.features, self.hidden, batch_first=True)
        self._head(self.hidden, p_spike)

    def drive(self, windows: Tensor) -> Tensor:
        images = windows.flatten(0, 1).unflatten(-1, self.shape[-2:])[:, None]  # type: ignore[no-untyped-call]
        f = self.squeeze(self.body(images)).unflatten(0, windows.shape[:2])
        last = self.cell(f)[0][:, -1]
        return self.scale_log.exp() * F.softplus(self.read(last))
