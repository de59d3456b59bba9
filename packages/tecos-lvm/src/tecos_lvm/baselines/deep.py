"""CNN and CRNN in the manner of Zheng et al. 2021: a stack of frames as channels, a learned softplus output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tecos_lvm._checks import Array
from tecos_lvm.baselines.base import Baseline, Batches, probability

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
    """A convolution per frame, a GRU of ``hidden`` units over all frames so far, then the same output.

    It is trained on random clips whose first ``window`` bins warm it up and are outside the loss; in use it carries
    its state from the first frame to the last.

    Args:
        hidden: units of the GRU. features: it gets per frame. clip: bins of a clip. batch: clips per step.
        others: :class:`CNN`.
    """

    def __init__(
        self, *, hidden: int = 64, features: int = 32, clip: int = 100, batch: int = 16, **options: Any
    ) -> None:
        super().__init__(batch=batch, **options)
        if min(hidden, features) < 1 or clip <= self.window:
            raise ValueError(
                f"hidden={hidden}, features={features}, clip={clip} given; all must be positive and a clip longer than "
                f"the window of {self.window} bins"
            )
        self.hidden, self.features, self.clip = hidden, features, clip

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

    def sequence(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rates per bin [B, T, N] of standardised frames [B, T, pixels], and the state after them."""
        images = x.flatten(0, 1).unflatten(-1, self.shape[-2:])[:, None]  # type: ignore[no-untyped-call]
        f = self.squeeze(self.body(images)).unflatten(0, x.shape[:2])
        h, last = self.cell(f, state)
        return self.scale_log.exp() * F.softplus(self.read(h)), last

    def _batches(self, padded: Tensor, spikes: Tensor) -> Batches:
        frames = padded[self.window - 1 :]
        trials, bins = spikes.shape[:2]
        if bins < self.clip:
            raise ValueError(f"clips of {self.clip} bins do not fit into {bins} bins of training data")
        steps = max(1, bins * trials // (self.batch * (self.clip - self.window)))

        def epoch() -> Iterator[tuple[Tensor, Tensor]]:
            for _ in range(steps):
                starts = torch.randint(bins - self.clip + 1, (self.batch, 1)) + torch.arange(self.clip)
                trial = torch.randint(trials, (self.batch, 1))
                rate, _ = self.sequence(frames[starts])
                yield probability(rate[:, self.window :]), spikes[trial, starts[:, self.window :]].float()

        return Batches(epoch, steps)

    @torch.no_grad()
    def predict_p(self, stimulus: Any, n_samples: int = 20, *, seed: int = 0) -> Array:
        """Spike probability per bin [T, N]."""
        rows, state = [], None
        for part in self._prepare(stimulus)[self.window - 1 :].split(4096):  # type: ignore[no-untyped-call]
            rate, state = self.sequence(part[None], state)
            rows.append(probability(rate[0]))
        return torch.cat(rows).double().numpy()
