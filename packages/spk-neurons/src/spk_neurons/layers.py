"""Layers that know about time: run any module over [T, B, ...], and batch norm scaled for spiking."""

from __future__ import annotations

from torch import Tensor, nn

from spk_neurons._checks import check_input

__all__ = ["TDBatchNorm", "TimeDistributed"]


class TimeDistributed(nn.Module):
    """Apply a module to every step at once: [T, B, ...] -> [T B, ...] -> module -> [T, B, ...].

    Args: modules: one or more, run in sequence. A batch norm inside sees T*B samples.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        if not modules:
            raise ValueError("TimeDistributed needs at least one module")
        self.module = modules[0] if len(modules) == 1 else nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, B, ...]; returns [T, B, ...]."""
        check_input(x, least_dim=2)
        y: Tensor = self.module(x.flatten(0, 1))
        if y.shape[0] != x.shape[0] * x.shape[1]:
            raise ValueError(
                f"the module turned {x.shape[0] * x.shape[1]} samples into {y.shape[0]}; it must keep the batch axis"
            )
        return y.reshape(x.shape[:2] + y.shape[1:])


class TDBatchNorm(nn.Module):
    """Threshold-dependent batch norm (Zheng et al. 2021): normalise over T, B and space to variance (alpha
    threshold)^2.

    Args:
        num_features: channels C of x [T, B, C, ...]. threshold: of the neurons that follow.
        alpha: share of it (1; 1/sqrt(2) where two branches add). eps, momentum, affine: as in torch's batch norm.
    """

    def __init__(
        self,
        num_features: int,
        threshold: float = 1.0,
        alpha: float = 1.0,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__()
        if not threshold > 0:
            raise ValueError(f"threshold={threshold} given; expected > 0")
        self.scale = alpha * threshold
        # BatchNorm1d takes [N, C] and [N, C, L]: space is flattened into L
        self.norm = nn.BatchNorm1d(num_features, eps=eps, momentum=momentum, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, B, C, ...]; returns the same shape."""
        check_input(x, least_dim=3)
        if x.shape[2] != self.norm.num_features:
            raise ValueError(
                f"x has {x.shape[2]} channels on axis 2 of {tuple(x.shape)}, expected {self.norm.num_features}"
            )
        flat = x.flatten(0, 1)
        y = self.norm(flat.flatten(2) if flat.dim() > 2 else flat)
        out: Tensor = y.reshape(x.shape) * self.scale
        return out
