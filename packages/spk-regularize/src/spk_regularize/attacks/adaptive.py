"""Iterated attacks that choose their own step sizes: APGD and SA-PGD."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spk_regularize.attacks.base import Found
from spk_regularize.attacks.pgd import PGD

__all__ = ["APGD", "SAPGD"]


def _rows(v: Tensor, like: Tensor) -> Tensor:
    return v.reshape(-1, *[1] * (like.dim() - 1))


class _Kept:
    """Best images so far, of rows that drop out as they break."""

    def __init__(self, attack: PGD, x: Tensor, rows: Tensor, best: Tensor, loss: Tensor, broken: Tensor) -> None:
        self.attack, self.x, self.rows = attack, x, rows
        self.best, self.loss, self.broken = best, loss, broken

    def store(self, a: Tensor, found: Found) -> None:
        """Keep what is better, mark what is broken."""
        rows = self.rows
        better = ~self.broken[rows] & (found.wrong | (found.loss > self.loss[rows]))
        self.best[rows[better]], self.loss[rows[better]] = a[better], found.loss[better]
        self.broken[rows[found.wrong]] = True

    def survivors(self, found: Found) -> Tensor | None:
        """Places of the rows that go on, or None when all do."""
        if not (self.attack.early_stop and bool(found.wrong.any())):
            return None
        on = (~found.wrong).nonzero()[:, 0]
        self.rows = self.rows[on]
        self.attack.grad.keep(on)
        return on


class APGD(PGD):
    """Auto-PGD (Croce & Hein 2020): momentum, and a step size that halves where progress stops, per sample.

    Args: steps, restarts, loss ("ce" or "dlr"), grad, eot ... as :class:`PGD`. rho: share of steps that must succeed.
    """

    name = "APGD"

    def __init__(self, model: nn.Module, eps: float = 8 / 255, *, steps: int = 50, rho: float = 0.75, **options: Any):
        super().__init__(model, eps, steps=steps, **options)
        if not 0 < rho < 1:
            raise ValueError(f"rho={rho} given; expected a share of steps in (0, 1)")
        self.rho = rho

    def checkpoints(self) -> set[int]:
        """Steps at which the step size is judged: shares 0, 0.22, then growing by at most 0.06."""
        shares = [0.0, 0.22]
        while shares[-1] < 1:
            shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
        return {math.ceil(p * self.steps) for p in shares[1:] if p <= 1}

    def _climb(
        self, a: Tensor, x: Tensor, y: Tensor, target: Tensor | None, rows: Tensor,
        best: Tensor, loss: Tensor, broken: Tensor,
    ) -> None:  # fmt: skip
        kept = _Kept(self, x, rows, best, loss, broken)
        size = torch.full((len(a),), 2 * self.eps, device=a.device)
        before = a.clone()
        top, top_at = torch.full((len(a),), -torch.inf, device=a.device), a.clone()
        last_loss, rises = top.clone(), torch.zeros_like(size)
        mark_top, mark_size, previous = top.clone(), size.clone(), 0
        halts = self.checkpoints()
        for k in range(self.steps + 1):
            t = None if target is None else target[kept.rows]
            found = self.look(a, y[kept.rows], t) if k == self.steps else self.query(a, y[kept.rows], t)
            kept.store(a, found)
            if k == self.steps:
                return
            g, now = found.grad, found.loss
            on = kept.survivors(found)
            if on is not None:
                if not len(on):
                    return
                a, g, now, size, before = a[on], g[on], now[on], size[on], before[on]
                top, top_at, last_loss, rises = top[on], top_at[on], last_loss[on], rises[on]
                mark_top, mark_size = mark_top[on], mark_size[on]
            rises += now > last_loss
            last_loss = now
            higher = now > top
            top = torch.where(higher, now, top)
            top_at = torch.where(_rows(higher, a), a, top_at)
            base = x[kept.rows]
            if k in halts and k:
                stuck = (rises < self.rho * (k - previous)) | ((mark_size == size) & (mark_top == top))
                mark_top, mark_size, previous = top.clone(), size.clone(), k
                size = torch.where(stuck, size / 2, size)
                rises = torch.zeros_like(rises)
                moved = _rows(stuck & (a != top_at).flatten(1).any(1), a)
                if bool(moved.any()):
                    # from the best point its own gradient is wanted, not that of where the row stands
                    a = torch.where(moved, top_at, a)
                    before = torch.where(moved, top_at, before)
                    g = self.query(a, y[kept.rows], None if target is None else target[kept.rows]).grad
            z = self.project(self.step(a, g, _rows(size, a)), base)
            share = 1.0 if k == 0 else 0.75
            new = self.project(a + share * (z - a) + (1 - share) * (a - before), base)
            before, a = a, new


class SAPGD(PGD):
    """SA-PGD: steps scaled by running moments of the gradient, sizes that halve where the loss stops rising.

    m <- 0.5 m + g / mean|g|,  v <- 0.8 v + g^2 / mean(g^2),  step = clip(eta m / sqrt(v), -eta, eta)

    Args: as :class:`PGD`; 100 steps and grad="assg" are how it was published.
    Source: arXiv 2512.22522 and its code. l_inf only.
    """

    name = "SA-PGD"

    def __init__(self, model: nn.Module, eps: float = 8 / 255, *, steps: int = 100, **options: Any) -> None:
        super().__init__(model, eps, steps=steps, **options)
        if self.norm != "linf":
            raise ValueError(f"norm={self.norm!r} given; SA-PGD is defined for 'linf'")

    def _climb(
        self, a: Tensor, x: Tensor, y: Tensor, target: Tensor | None, rows: Tensor,
        best: Tensor, loss: Tensor, broken: Tensor,
    ) -> None:  # fmt: skip
        kept = _Kept(self, x, rows, best, loss, broken)
        m, v = torch.zeros_like(a), torch.zeros_like(a)
        size = torch.full((len(a),), self.eps, device=a.device)
        top = torch.full((len(a),), -torch.inf, device=a.device)
        stale = torch.zeros(len(a), device=a.device)
        n = self.steps
        first, shrink, least = max(int(0.22 * n), 1), max(int(0.03 * n), 1), max(int(0.06 * n), 1)
        patience = torch.full_like(stale, first)
        for k in range(n + 1):
            t = None if target is None else target[kept.rows]
            found = self.look(a, y[kept.rows], t) if k == n else self.query(a, y[kept.rows], t)
            kept.store(a, found)
            if k == n:
                return
            g, now = found.grad, found.loss
            on = kept.survivors(found)
            if on is not None:
                if not len(on):
                    return
                a, g, now, m, v = a[on], g[on], now[on], m[on], v[on]
                size, top, stale, patience = size[on], top[on], stale[on], patience[on]
            stale = torch.where(now > top, torch.zeros_like(stale), stale + 1)
            top = torch.maximum(top, now)
            out = stale >= patience
            size = torch.where(out, size / 2, size)
            patience = torch.where(out, (patience - shrink).clamp_min(least), patience)
            stale = torch.where(out, torch.zeros_like(stale), stale)
            flat = g.flatten(1)
            m = 0.5 * m + g / _rows(flat.abs().mean(1).clamp_min(1e-12), g)
            v = 0.8 * v + g.square() / _rows(flat.square().mean(1).clamp_min(1e-24), g)
            step = m / (v.sqrt() + 1e-12) * _rows(size, a)
            limit = _rows(size, a)
            a = self.project(a + torch.maximum(torch.minimum(step, limit), -limit), x[kept.rows])
