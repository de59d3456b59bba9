"""Attention scores over time and over space, from the features of one modality or of both."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SpatialScorer", "TemporalKind", "TemporalScorer", "spatial_maps", "temporal_descriptors"]

TemporalKind = Literal["mlp", "conv1d", "attention"]
#: spread of the last layer's weights: scores start near 1/2, so every factor starts near the same constant
LAST_STD = 0.02


def temporal_descriptors(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean, max and mean magnitude over channels and space, per step: x [T, B, C, h, w] -> [T, B, 3].

    Steps where ``mask`` [T, B] is False give zeros.
    """
    flat = x.flatten(2)
    out = torch.stack([flat.mean(2), flat.amax(2), flat.abs().mean(2)], 2)
    return out if mask is None else out * mask[..., None]


def spatial_maps(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean, max and mean magnitude over channels, per step: x [T, B, C, h, w] -> [T, B, 3, h, w]."""
    out = torch.stack([x.mean(2), x.amax(2), x.abs().mean(2)], 2)
    return out if mask is None else out * mask[..., None, None, None]


class TemporalScorer(nn.Module):
    """Scores P in (0, 1), one per step and output, from descriptors [T, B, sources x 3].

    Args:
        kind: "mlp": sigmoid(g(mean) + g(max)), g: T -> ceil(T / reduction) -ReLU-> T without bias, tied to one T
            (as in TA-SNN and MA-SNN); "conv1d": two convolutions over time, any T; "attention": one head of
            self-attention over time, any T.
        sources: modalities whose descriptors come in. outputs: score sequences that go out.
        length: T, for "mlp". causal: scores at t depend on steps <= t alone ("conv1d", "attention").
        hidden: width of "conv1d" and "attention". kernel: width of "conv1d" in steps.
    Raises:
        ValueError: unknown kind, "mlp" without a length or with causal or two sources.
    Source: the mlp is the field's; the rest is our own design (the paper's equations were not available).
    """

    def __init__(
        self,
        kind: TemporalKind = "conv1d",
        *,
        sources: int = 1,
        outputs: int = 1,
        length: int | None = None,
        reduction: int = 4,
        causal: bool = False,
        hidden: int = 8,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        if kind not in ("mlp", "conv1d", "attention"):
            raise ValueError(f"temporal_scorer={kind!r} given; expected 'mlp', 'conv1d' or 'attention'")
        self.kind: TemporalKind = kind
        self.causal, self.length, self.outputs, self.kernel = causal, length, outputs, kernel
        if kind == "mlp":
            if length is None or length < 1:
                raise ValueError(
                    f"temporal_scorer='mlp' has weights per step; give T, the number of steps (got {length}), or take "
                    "'conv1d' or 'attention' (any T)"
                )
            if causal:
                raise ValueError(
                    "temporal_scorer='mlp' looks at all steps at once; causal needs 'conv1d' or 'attention'"
                )
            narrow = max(1, math.ceil(length / reduction))
            self.into = nn.ModuleList(nn.Linear(sources * length, narrow, bias=False) for _ in range(outputs))
            self.out = nn.ModuleList(nn.Linear(narrow, length, bias=False) for _ in range(outputs))
            for layer in self.out:
                nn.init.normal_(layer.weight, std=LAST_STD)  # type: ignore[arg-type]
            return
        if kind == "conv1d":
            if kernel < 1 or (not causal and kernel % 2 == 0):
                raise ValueError(f"kernel={kernel} given; expected an odd number of steps")
            self.first = nn.Conv1d(3 * sources, hidden, kernel)
        else:
            self.project = nn.Linear(3 * sources, 3 * hidden)
        last = nn.Conv1d(hidden, outputs, kernel if kind == "conv1d" else 1)
        nn.init.normal_(last.weight, std=LAST_STD)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.last = last

    @property
    def receptive(self) -> int | None:
        """Steps of the past that a causal score needs, itself included; None: all of them."""
        return 2 * (self.kernel - 1) + 1 if self.kind == "conv1d" else None

    def forward(self, d: Tensor, mask: Tensor | None = None) -> Tensor:
        """d: [T, B, sources x 3], mask: [T, B]; returns scores [T, B, outputs], float32, zero where masked."""
        with torch.autocast(d.device.type, enabled=False):
            logits = self._logits(d.float(), mask)
            scores = torch.sigmoid(logits)
        return scores if mask is None else scores * mask[..., None]

    def _logits(self, d: Tensor, mask: Tensor | None) -> Tensor:
        if self.kind == "mlp":
            if d.shape[0] != self.length:
                raise ValueError(
                    f"this 'mlp' scorer has weights for T={self.length} steps and got T={d.shape[0]}; load samples "
                    "with that many bins, or build the model with temporal_scorer='conv1d' or 'attention' (any T)"
                )
            mean, peak = (d[..., i::3].permute(1, 2, 0).flatten(1) for i in (0, 1))  # [B, sources T]
            both = [
                out(F.relu(into(mean))) + out(F.relu(into(peak))) for into, out in zip(self.into, self.out, strict=True)
            ]
            return torch.stack(both, 2).transpose(0, 1)
        if self.kind == "conv1d":
            x = d.permute(1, 2, 0)  # [B, features, T]
            x = F.relu(self.first(self._pad(x)))
            if mask is not None:
                x = x * mask.T[:, None]
            y: Tensor = self.last(self._pad(x))
            return y.permute(2, 0, 1)
        query, key, value = self.project(d.transpose(0, 1)).chunk(3, -1)  # [B, T, hidden]
        weight = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        steps = d.shape[0]
        hidden = torch.zeros(steps, steps, dtype=torch.bool, device=d.device)
        if self.causal:
            hidden = torch.ones_like(hidden).triu(1)
        blocked = hidden.expand(d.shape[1], steps, steps)
        if mask is not None:
            blocked = blocked | ~mask.T[:, None, :]
        # a row without any open step would be 0/0: a large finite number keeps it uniform, and its score is masked
        weight = weight.masked_fill(blocked, -1e9).softmax(-1)
        z: Tensor = self.last(F.relu(weight @ value).transpose(1, 2))
        return z.permute(2, 0, 1)

    def _pad(self, x: Tensor) -> Tensor:
        k = self.kernel - 1
        return F.pad(x, (k, 0) if self.causal else (k // 2, k - k // 2))


class SpatialScorer(nn.Module):
    """Scores Q in (0, 1) for each step and place, from maps [T, B, sources x 3, h, w].

    Args:
        kind: "conv": one convolution over the mean and the max maps, no bias (the field's); "conv2": two
            convolutions over mean, max and mean magnitude.
        sources, outputs: as in :class:`TemporalScorer`. kernel: odd side in pixels. hidden: width of "conv2".
        static: one map for the whole recording (the mean of the maps over time).
    Source: our own design.
    """

    def __init__(
        self,
        kind: Literal["conv", "conv2"] = "conv2",
        *,
        sources: int = 1,
        outputs: int = 1,
        kernel: int = 3,
        hidden: int = 8,
        static: bool = False,
    ) -> None:
        super().__init__()
        if kind not in ("conv", "conv2"):
            raise ValueError(f"spatial_scorer={kind!r} given; expected 'conv' or 'conv2'")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel_size={kernel} given; expected an odd number of pixels")
        self.kind, self.static = kind, static
        if kind == "conv":
            self.net: nn.Module = nn.Conv2d(2 * sources, outputs, kernel, padding=kernel // 2, bias=False)
            nn.init.normal_(self.net.weight, std=LAST_STD)
        else:
            last = nn.Conv2d(hidden, outputs, kernel, padding=kernel // 2)
            nn.init.normal_(last.weight, std=LAST_STD)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
            first = nn.Conv2d(3 * sources, hidden, kernel, padding=kernel // 2)
            self.net = nn.Sequential(first, nn.ReLU(), last)

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """maps: [T, B, sources x 3, h, w]; returns [T, B, outputs, h, w], float32."""
        steps, batch = maps.shape[:2]
        with torch.autocast(maps.device.type, enabled=False):
            maps = maps.float()
            if self.static:
                valid = steps if mask is None else mask.sum(0).clamp(min=1)[:, None, None, None]
                maps = (maps.sum(0) / valid)[None]
            if self.kind == "conv":
                keep = [i for i in range(maps.shape[2]) if i % 3 < 2]
                maps = maps[:, :, keep]
            scores = torch.sigmoid(self.net(maps.flatten(0, 1)))
            scores = scores.reshape(*maps.shape[:2], *scores.shape[1:])
        out: Tensor = scores.expand(steps, batch, *scores.shape[2:])
        return out
