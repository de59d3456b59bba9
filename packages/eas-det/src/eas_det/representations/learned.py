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
        triangle: fit the kernel to the triangle of the plain voxel grid, so that training starts from a known
            representation; False leaves it random.
    Source: the event spike tensor of Gehrig et al. 2019, written from its equation.
    """

    def __init__(self, n_bins: int, hidden: int = 30, slope: float = 0.1, triangle: bool = True) -> None:
        super().__init__()
        if n_bins < 1 or hidden < 1:
            raise ValueError(f"n_bins={n_bins}, hidden={hidden} given; expected >= 1")
        self.n_bins = n_bins
        self.kernel = nn.Sequential(
            nn.Linear(1, hidden),
            nn.LeakyReLU(slope),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(slope),
            nn.Linear(hidden, 1),
        )
        if triangle:
            self._fit()

    def _fit(self) -> None:
        """Least squares for the last layer: at once, and always the best that the random hidden layers allow."""
        last = self.kernel[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            x = torch.linspace(-1, 1, 1001)[:, None]
            wanted = (1 - x.abs() * max(self.n_bins - 1, 1)).clamp_min(0)
            hidden = torch.cat([self.kernel[:-1](x), torch.ones_like(x)], 1).double()
            # a little weight on small coefficients: neighbouring hidden units are nearly alike
            ridge = 1e-6 * len(x) * torch.eye(hidden.shape[1], dtype=torch.float64)
            found = torch.linalg.solve(hidden.T @ hidden + ridge, hidden.T @ wanted.double())
            last.weight.copy_(found[:-1].T)
            last.bias.copy_(found[-1])

    def forward(self, packed: PackedEvents) -> Tensor:
        """Packed events to [B, T, 2, H, W], with gradients to the kernel."""
        width, height = packed.size
        plane = 2 * width * height
        dtype = next(self.kernel.parameters()).dtype
        when = packed.t.to(dtype) / packed.window
        centres = torch.arange(self.n_bins, device=when.device, dtype=dtype) / max(self.n_bins - 1, 1)
        value = self.kernel((when[:, None] - centres)[..., None])[..., 0]  # [N, T]
        bins = torch.arange(self.n_bins, device=when.device)
        place = (packed.item.long()[:, None] * self.n_bins + bins) * plane + packed.pixel[:, None]
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
