"""A voxel grid whose kernel in time is learned, and the resize that published detectors put behind counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .batch import PackedEvents

__all__ = ["LearnedKernelVoxel", "letterbox"]


class LearnedKernelVoxel(nn.Module):
    """Voxel grid with a small network k(dt) in place of the fixed triangle: out[b] = sum over events of k(t - t_b).

    Args:
        n_bins: time bins T; t_b = b / (T - 1), times scaled to [0, 1] within the window.
        hidden: widths of the two hidden layers.
        slope: of the leaky ReLU between them.
        steps: the kernel is fitted to the triangle of the plain voxel grid for this many steps, so that training
            starts from a known representation; 0 leaves it random.
    Source: the event spike tensor of Gehrig et al. 2019, written from its equation.
    """

    def __init__(self, n_bins: int, hidden: int = 30, slope: float = 0.1, steps: int = 300) -> None:
        super().__init__()
        if n_bins < 1 or hidden < 1 or steps < 0:
            raise ValueError(f"n_bins={n_bins}, hidden={hidden}, steps={steps} given; expected >= 1, >= 1, >= 0")
        self.n_bins = n_bins
        self.kernel = nn.Sequential(
            nn.Linear(1, hidden),
            nn.LeakyReLU(slope),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(slope),
            nn.Linear(hidden, 1),
        )
        self._fit(steps)

    def _fit(self, steps: int) -> None:
        x = torch.linspace(-1, 1, 512)[:, None]
        wanted = (1 - x.abs() * max(self.n_bins - 1, 1)).clamp_min(0)
        optimiser = torch.optim.Adam(self.kernel.parameters(), lr=1e-2)
        with torch.enable_grad():
            for _ in range(steps):
                optimiser.zero_grad()
                nn.functional.mse_loss(self.kernel(x), wanted).backward()
                optimiser.step()
        optimiser.zero_grad()

    def forward(self, packed: PackedEvents) -> Tensor:
        """Packed events to [B, T, 2, H, W], with gradients to the kernel."""
        width, height = packed.size
        plane = 2 * width * height
        dtype = self.kernel[0].weight.dtype
        when = packed.t.to(dtype) / packed.window
        centres = torch.arange(self.n_bins, device=when.device, dtype=dtype) / max(self.n_bins - 1, 1)
        value = self.kernel((when[:, None] - centres)[..., None])[..., 0]  # [N, T]
        bins = torch.arange(self.n_bins, device=when.device)
        place = (packed.item[:, None] * self.n_bins + bins) * plane + packed.pixel[:, None]
        out = torch.zeros(packed.n * self.n_bins * plane, dtype=value.dtype, device=when.device)
        out = out.index_add(0, place.reshape(-1), value.reshape(-1))
        return out.view(packed.n, self.n_bins, 2, height, width)


def letterbox(counts: Tensor, size: tuple[int, int], mode: str = "bilinear") -> tuple[Tensor, float]:
    """Resize count maps to fit into (width, height), corner at the top left, zeros elsewhere; no normalisation.

    Args:
        counts: [..., H, W].
        size: (width, height) of the result.
        mode: "bilinear" (published for Gen1) or "bicubic" (N-Caltech101).
    Returns:
        ([..., height, width], scale): multiply boxes by scale.
    """
    height, width = counts.shape[-2:]
    if min(*size, height, width) < 1 or mode not in ("bilinear", "bicubic"):
        raise ValueError(
            f"counts of {width}x{height} to size {size}, mode {mode!r}: expected sides >= 1 and a known mode"
        )
    scale = min(size[0] / width, size[1] / height)
    inner = (int(height * scale), int(width * scale))
    flat = counts.reshape(-1, 1, height, width)
    flat = nn.functional.interpolate(flat, size=inner, mode=mode, align_corners=False)
    flat = nn.functional.pad(flat, (0, size[0] - inner[1], 0, size[1] - inner[0]))
    return flat.reshape(*counts.shape[:-2], size[1], size[0]), scale
