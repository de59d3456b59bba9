"""Cross-modality attention: scores learned from events and frames, allocated to the branches."""

from __future__ import annotations

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from slr_cma.models.scorers import SpatialScorer, TemporalKind, TemporalScorer, spatial_maps, temporal_descriptors

__all__ = ["ALLOCATIONS", "Allocation", "CrossModalityAttention", "Scores"]

Allocation = Literal["cross", "joint", "self", "complementary", "none"]
ALLOCATIONS: tuple[str, ...] = ("cross", "joint", "self", "complementary", "none")


class Scores(NamedTuple):
    """Scores of events and frames; None where a half is switched off.

    P_e, P_f: over time [T, B]. Q_e, Q_f: over space [T, B, h, w].
    """

    P_e: Tensor | None
    P_f: Tensor | None
    Q_e: Tensor | None
    Q_f: Tensor | None


class CrossModalityAttention(nn.Module):
    """Weigh two branches in time and space: Y_m = X_m (1 + P_m[t] Q_m[t, i, j]) / c.

    P (time) and Q (space) are sigmoid scores near 1/2 at the start; c = 1.25 (1.5 with one half alone) keeps the
    factor near 1 there, so switching attention on does not starve or flood the neurons behind it.

    Args:
        channels: C of the two branches, or (events, frames) where they differ; inputs are checked against it.
        T: steps of a recording; only ``temporal_scorer="mlp"`` is tied to it.
        allocate: whose scores go where.
            "cross": each branch gets the other's scores (the best in our study); "joint": both branches' features score
            each branch; "self": own scores (an ablation: attention without exchange); "complementary": events get the
            frames' space scores, frames the events' time scores; "none": the identity.
        temporal, spatial: switch one half off.
        temporal_scorer: "conv1d" (any T), "attention" (any T), "mlp" (one T: give it).
        spatial_scorer: "conv2" or "conv". reduction: "conv2" has C / reduction channels inside, hidden: the time
            scorer's width. kernel_size: odd, of the spatial scorer; None: 3 (a :class:`CMANet` takes 7 for maps of 14
            pixels and more). static: one spatial map a recording.
        residual: False multiplies by P Q alone, which starves the neurons behind it at the start.
        causal: scores at t use steps <= t only; what :meth:`CMANet.step` needs.
        detach_scores: no gradient through the scores into the features.
    Raises:
        ValueError: unknown allocation, both halves off, causal with "mlp" or static, "mlp" without T.
    Source: the abstract fixes only that temporal and spatial scores are learned from both modalities and allocated
        across them; everything else is a reconstruction of ours (docs, "Fusion").
    Example:
        >>> cma = CrossModalityAttention(channels=4)
        >>> x_e, x_f = torch.rand(7, 2, 4, 5, 5), torch.rand(7, 2, 4, 5, 5)
        >>> y_e, y_f = cma(x_e, x_f)
        >>> y_e.shape
        torch.Size([7, 2, 4, 5, 5])
    """

    def __init__(
        self,
        channels: int | tuple[int, int],
        T: int | None = None,
        allocate: Allocation = "cross",
        *,
        temporal: bool = True,
        spatial: bool = True,
        temporal_scorer: TemporalKind = "conv1d",
        spatial_scorer: Literal["conv", "conv2"] = "conv2",
        reduction: int = 4,
        kernel_size: int | None = None,
        hidden: int = 8,
        residual: bool = True,
        static: bool = False,
        causal: bool = False,
        detach_scores: bool = False,
    ) -> None:
        super().__init__()
        if allocate not in ALLOCATIONS:
            raise ValueError(f"allocate={allocate!r} given; expected one of {', '.join(ALLOCATIONS)}")
        if allocate != "none" and not (temporal or spatial):
            raise ValueError("temporal=False and spatial=False leave no score; use allocate='none'")
        if allocate == "complementary" and not (temporal and spatial):
            raise ValueError("allocate='complementary' gives space to one branch and time to the other: it needs both")
        if causal and static:
            raise ValueError("static=True averages over the whole recording; causal scores need static=False")
        self.channels = (channels, channels) if isinstance(channels, int) else tuple(channels)
        self.allocate: Allocation = allocate
        self.residual, self.detach_scores, self.causal = residual, detach_scores, causal
        sources = 2 if allocate == "joint" else 1

        def time() -> TemporalScorer:
            return TemporalScorer(
                temporal_scorer, sources=sources, outputs=sources, length=T, reduction=reduction, causal=causal,
                hidden=hidden,
            )  # fmt: skip

        def space() -> SpatialScorer:
            return SpatialScorer(
                spatial_scorer, sources=sources, outputs=sources, kernel=3 if kernel_size is None else kernel_size,
                hidden=hidden, static=static,
            )  # fmt: skip

        # joint has one scorer that sees both modalities; the others one per modality: events first, frames second
        each = 0 if allocate == "none" else 1 if allocate == "joint" else 2
        self.time = nn.ModuleList(time() for _ in range(each if temporal else 0))
        self.space = nn.ModuleList(space() for _ in range(each if spatial else 0))
        if allocate == "complementary":
            # drawn so that all allocations start alike, but nobody is given these
            self.time[1].requires_grad_(False)
            self.space[0].requires_grad_(False)

    @property
    def receptive(self) -> int | None:
        """Past steps a causal score needs, itself included; None: all."""
        return self.time[0].receptive if self.time else 1  # type: ignore[return-value]

    def scores(self, x_e: Tensor, x_f: Tensor, mask: Tensor | None = None) -> Scores:
        """Each modality's scores, whoever is given them ("joint": made from both).

        x_e, x_f: [T, B, C, h, w]; mask: [T, B], False where there is no data.
        """
        if x_e.shape[:2] != x_f.shape[:2] or x_e.shape[3:] != x_f.shape[3:] or x_e.dim() != 5:
            raise ValueError(
                f"events {tuple(x_e.shape)} and frames {tuple(x_f.shape)} must be [T, B, C, h, w] with equal T, B, h "
                "and w; pool or project the larger one first"
            )
        if (x_e.shape[2], x_f.shape[2]) != self.channels:
            raise ValueError(
                f"events have {x_e.shape[2]} and frames {x_f.shape[2]} channels; this attention was built for "
                f"channels={self.channels}"
            )
        if mask is not None and tuple(mask.shape) != tuple(x_e.shape[:2]):
            raise ValueError(f"mask {tuple(mask.shape)} does not fit [T, B] = {tuple(x_e.shape[:2])}")
        if self.detach_scores:
            x_e, x_f = x_e.detach(), x_f.detach()
        p: list[Tensor | None] = [None, None]
        q: list[Tensor | None] = [None, None]
        if self.time:
            p = [*self._run(self.time, [temporal_descriptors(x, mask) for x in (x_e, x_f)], mask)]
        if self.space:
            q = [*self._run(self.space, [spatial_maps(x, mask) for x in (x_e, x_f)], mask)]
        return Scores(*p, *q)

    def allocated(self, s: Scores) -> tuple[tuple[Tensor | None, Tensor | None], tuple[Tensor | None, Tensor | None]]:
        """(time, space) that the events are weighed by, and (time, space) that the frames are."""
        if self.allocate == "cross":
            return (s.P_f, s.Q_f), (s.P_e, s.Q_e)
        if self.allocate == "complementary":
            return (None, s.Q_f), (s.P_e, None)
        return (s.P_e, s.Q_e), (s.P_f, s.Q_f)

    @staticmethod
    def _run(scorers: nn.ModuleList, features: list[Tensor], mask: Tensor | None) -> list[Tensor]:
        if len(scorers) == 1:
            out = scorers[0](torch.cat(features, 2), mask)
            return [out[:, :, 0], out[:, :, 1]]
        return [scorer(x, mask)[:, :, 0] for scorer, x in zip(scorers, features, strict=True)]

    def weigh(self, x: Tensor, time: Tensor | None, space: Tensor | None) -> Tensor:
        """One branch times its factor. time: [T, B] or None; space: [T, B, h, w] or None."""
        if time is None and space is None:
            return x
        factor, start = torch.ones((), device=x.device), 1.0
        if time is not None:
            factor, start = factor * time[:, :, None, None, None], start / 2
        if space is not None:
            factor, start = factor * space[:, :, None], start / 2
        if self.residual:
            factor = (1 + factor) / (1 + start)
        return x * factor.to(x.dtype)

    @overload
    def forward(self, x_e: Tensor, x_f: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]: ...
    @overload
    def forward(
        self, x_e: Tensor, x_f: Tensor, mask: Tensor | None = None, *, return_scores: Literal[True]
    ) -> tuple[Tensor, Tensor, Scores]: ...
    def forward(
        self, x_e: Tensor, x_f: Tensor, mask: Tensor | None = None, *, return_scores: bool = False
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Scores]:
        """Weighed events and frames, shaped like the inputs [T, B, C, h, w]; with ``return_scores`` the scores too."""
        s = self.scores(x_e, x_f, mask)
        for_e, for_f = self.allocated(s)
        y_e, y_f = self.weigh(x_e, *for_e), self.weigh(x_f, *for_f)
        return (y_e, y_f, s) if return_scores else (y_e, y_f)
