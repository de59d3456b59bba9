"""Attacks without the model's gradient: random search, noise, images made against another model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spk_regularize.attacks.base import Attack, check_logits
from spk_regularize.attacks.losses import margin
from spk_regularize.attacks.pgd import PGD, _whole

__all__ = ["Noise", "Square", "Transfer"]


class Square(Attack):
    """Square attack (Andriushchenko et al. 2020), l_inf: random squares of +-2 eps, kept where the margin grows.

    Args: model, eps, seed. queries: calls per row. share: of the image that the first squares cover (0.8).
    Rows stop as they break. Its draws belong to a batch, so other batch sizes give other, equally valid attacks.
    """

    name = "Square"

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        *,
        queries: int = 500,
        share: float = 0.8,
        seed: int = 0,
        batch_size: int = 512,
    ) -> None:
        super().__init__(model, eps, seed=seed, batch_size=batch_size)
        self.queries = _whole("queries", queries)
        if not 0 < share <= 1:
            raise ValueError(f"share={share} given; expected a share of the image in (0, 1]")
        self.share = share

    def covered(self, query: int) -> float:
        """Share of the image that a square covers at this query; the published steps, scaled to ``queries``."""
        at = query / self.queries * 10000
        halvings = sum(at > limit for limit in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
        return float(self.share * 0.5**halvings)

    @torch.no_grad()
    def _run(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        if x.dim() != 4:
            raise ValueError(f"Square draws squares on images [B, C, H, W]; got {tuple(x.shape)}")
        height, width = x.shape[2:]
        dtype, device = x.dtype, x.device

        def signs(*shape: int) -> Tensor:
            return torch.randint(0, 2, shape, generator=generator, device=device).to(dtype) * 2 - 1

        # vertical stripes
        best = (x + self.eps * signs(len(x), x.shape[1], 1, width)).clamp(0, 1)
        z = self.model(best)
        check_logits(z, len(x))
        loss, broken = margin(z, y), z.argmax(1) != y
        for query in range(1, self.queries):
            rows = (~broken).nonzero()[:, 0]
            if not len(rows):
                break
            side = max(1, min(height, width, round(math.sqrt(self.covered(query) * height * width))))
            top = torch.randint(0, height - side + 1, (len(rows),), generator=generator, device=device)
            left = torch.randint(0, width - side + 1, (len(rows),), generator=generator, device=device)
            ys, xs = torch.arange(height, device=device), torch.arange(width, device=device)
            inside = ((ys >= top[:, None]) & (ys < top[:, None] + side))[:, :, None]
            inside = inside & ((xs >= left[:, None]) & (xs < left[:, None] + side))[:, None, :]
            change = 2 * self.eps * signs(len(rows), x.shape[1], 1, 1) * inside[:, None]
            base = x[rows]
            new = torch.minimum(torch.maximum(best[rows] + change, base - self.eps), base + self.eps).clamp(0, 1)
            z = self.model(new)
            got, wrong = margin(z, y[rows]), z.argmax(1) != y[rows]
            better = (got > loss[rows]) | wrong
            best[rows[better]], loss[rows[better]] = new[better], got[better]
            broken[rows[wrong]] = True
        return best

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "queries": self.queries}


class Noise(Attack):
    """Random noise of the same size: what an attack must beat.

    Args: kind: "uniform" in [-eps, eps], or "gaussian" with deviation eps, cut off at eps so that it stays in the ball.
    draws: attempts; the first one that breaks a row counts.
    """

    name = "Noise"

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        *,
        kind: Literal["uniform", "gaussian"] = "uniform",
        draws: int = 1,
        seed: int = 0,
        batch_size: int = 512,
    ) -> None:
        super().__init__(model, eps, seed=seed, batch_size=batch_size)
        if kind not in ("uniform", "gaussian"):
            raise ValueError(f"kind={kind!r} is not known; choose 'uniform' or 'gaussian'")
        self.kind, self.draws = kind, _whole("draws", draws)

    @torch.no_grad()
    def _run(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        out, open_ = x.clone(), torch.ones(len(x), dtype=torch.bool, device=x.device)
        for _ in range(self.draws):
            if self.kind == "uniform":
                d = self.eps * (2 * torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) - 1)
            else:
                d = self.eps * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            new = (x + d.clamp(-self.eps, self.eps)).clamp(0, 1)
            wrong = self.model(new).argmax(1) != y
            out[open_] = new[open_]
            open_ &= ~wrong
            if not bool(open_.any()):
                break
        return out

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "kind": self.kind, "draws": self.draws}


class Transfer(Attack):
    """Images made against other models, tried on this one; each row keeps the first that breaks it.

    Args: model: the target. sources: trained independently of it. attack: made anew against each source, as
    ``attack(source, eps)``; None takes PGD with 20 steps.
    """

    name = "Transfer"

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        *,
        sources: Sequence[nn.Module],
        attack: Any = None,
        seed: int = 0,
        batch_size: int = 512,
    ) -> None:
        super().__init__(model, eps, seed=seed, batch_size=batch_size)
        if not sources:
            raise ValueError("Transfer needs at least one source model, trained independently of the target")
        self.sources = tuple(sources)
        self.attack = attack or (lambda source, size: PGD(source, size, steps=20, seed=seed, keep="last"))

    def _run(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        out, open_ = x.clone(), torch.ones(len(x), dtype=torch.bool, device=x.device)
        for source in self.sources:
            new = self.attack(source, self.eps)(x, y)
            with torch.no_grad():
                wrong = self.model(new).argmax(1) != y
            out[open_] = new[open_]
            open_ &= ~wrong
        return out

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "sources": len(self.sources)}
