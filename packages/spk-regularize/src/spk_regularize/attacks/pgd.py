"""FGSM and the iterated gradient attacks."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from spk_regularize.attacks.base import GradientAttack

__all__ = ["BIM", "FGSM", "MIFGSM", "PGD", "RFGSM"]


def _whole(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r} given; expected a whole number >= 1")
    return value


class FGSM(GradientAttack):
    """One step of size eps along the gradient's sign (Goodfellow et al. 2015)."""

    name = "FGSM"

    def _batch(self, x: Tensor, y: Tensor, target: Tensor | None, noise: list[Tensor]) -> Tensor:
        return self.project(self.step(x, self.query(x, y, target).grad, self.eps), x)


class RFGSM(GradientAttack):
    """A random step of alpha, then one of eps - alpha along the gradient (Tramer et al. 2018).

    Args: alpha: None takes eps / 2. Others as :class:`GradientAttack`.
    """

    name = "RFGSM"

    def __init__(self, model: nn.Module, eps: float = 8 / 255, *, alpha: float | None = None, **options: Any) -> None:
        super().__init__(model, eps, **options)
        self.alpha = self.eps / 2 if alpha is None else float(alpha)
        if not 0 <= self.alpha <= self.eps:
            raise ValueError(f"alpha={alpha} given; expected a step in [0, eps={eps:g}]")

    def _noise(self, x: Tensor) -> list[Tensor]:
        generator = torch.Generator(x.device).manual_seed(self.seed)
        return [torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)]

    def _batch(self, x: Tensor, y: Tensor, target: Tensor | None, noise: list[Tensor]) -> Tensor:
        start = self.project(self.step(x, noise[0], self.alpha), x)
        return self.project(self.step(start, self.query(start, y, target).grad, self.eps - self.alpha), x)


class PGD(GradientAttack):
    """Projected gradient ascent (Madry et al. 2018).

    Args:
        steps: gradient steps. alpha: step size; None takes 2.5 eps / steps (at most eps).
        random_start: begin anywhere in the ball. restarts: independent attempts; the first that breaks a row counts.
        momentum: weight of earlier gradients, each divided by its mean size (0: none).
        keep: "best": the first image that is wrong, else the one of largest loss; "last": the last one, as other
            libraries return it. early_stop: broken rows stop (with keep="best"); they cost nothing any more.
        Others as :class:`GradientAttack`.
    """

    name = "PGD"

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        *,
        steps: int = 40,
        alpha: float | None = None,
        random_start: bool = True,
        restarts: int = 1,
        momentum: float = 0.0,
        keep: Literal["best", "last"] = "best",
        early_stop: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(model, eps, **options)
        self.steps, self.restarts = _whole("steps", steps), _whole("restarts", restarts)
        self.alpha = min(self.eps, 2.5 * self.eps / steps) if alpha is None else float(alpha)
        if not self.alpha >= 0:
            raise ValueError(f"alpha={alpha} given; expected a step size >= 0")
        if keep not in ("best", "last"):
            raise ValueError(f"keep={keep!r} is not known; choose 'best' or 'last'")
        if restarts > 1 and not random_start:
            raise ValueError(f"restarts={restarts} would repeat the same attack; they need random_start=True")
        self.is_random, self.momentum, self.kept = random_start, momentum, keep
        self.early_stop = early_stop and keep == "best"
        self.history: list[float] = []

    def _noise(self, x: Tensor) -> list[Tensor]:
        if not self.is_random:
            return []
        generator = torch.Generator(x.device).manual_seed(self.seed)
        draw = {"generator": generator, "device": x.device, "dtype": x.dtype}
        return [torch.rand(x.shape, **draw) for _ in range(self.restarts)]  # type: ignore[call-overload]

    def _batch(self, x: Tensor, y: Tensor, target: Tensor | None, noise: list[Tensor]) -> Tensor:
        best, loss = x.clone(), torch.full((len(x),), -torch.inf, device=x.device)
        broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.history = []
        for restart in range(self.restarts):
            rows = torch.arange(len(x), device=x.device) if self.kept == "last" else (~broken).nonzero()[:, 0]
            if not len(rows):
                break
            start = self.random_start(x[rows], noise[restart][rows]) if self.is_random else x[rows].clone()
            self.grad.forget()
            self._climb(start, x, y, target, rows, best, loss, broken)
        return best

    def _climb(
        self, a: Tensor, x: Tensor, y: Tensor, target: Tensor | None, rows: Tensor,
        best: Tensor, loss: Tensor, broken: Tensor,
    ) -> None:  # fmt: skip
        """One attempt on some rows; what it finds goes into best, loss, broken."""
        memory = torch.zeros_like(a)
        for k in range(self.steps + 1):
            t = None if target is None else target[rows]
            last = k == self.steps
            if last and self.kept == "last":
                best[rows] = a
                return
            found = self.look(a, y[rows], t) if last else self.query(a, y[rows], t)
            if self.kept == "best":
                self.history.append(float(found.loss.mean()))
                better = (found.loss > loss[rows]) & ~broken[rows] | (found.wrong & ~broken[rows])
                best[rows[better]], loss[rows[better]] = a[better], found.loss[better]
                broken[rows[found.wrong]] = True
            if last:
                return
            g = found.grad
            if self.early_stop and bool(found.wrong.any()):
                on = (~found.wrong).nonzero()[:, 0]
                if not len(on):
                    return
                a, g, memory, rows = a[on], g[on], memory[on], rows[on]
                self.grad.keep(on)
            if self.momentum:
                size = g.flatten(1).abs().mean(1).clamp_min(1e-12).reshape(-1, *[1] * (g.dim() - 1))
                memory = self.momentum * memory + g / size
                g = memory
            a = self.project(self.step(a, g, self.alpha), x[rows])

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(), "steps": self.steps, "alpha": self.alpha, "restarts": self.restarts,
            "random_start": self.is_random, "momentum": self.momentum,
        }  # fmt: skip


class BIM(PGD):
    """PGD from the clean image (Kurakin et al. 2017). Args: as :class:`PGD`; 10 steps of eps / steps by default."""

    name = "BIM"

    def __init__(
        self, model: nn.Module, eps: float = 8 / 255, *, steps: int = 10, alpha: float | None = None, **options: Any
    ) -> None:
        size = eps / _whole("steps", steps) if alpha is None else alpha
        super().__init__(model, eps, steps=steps, alpha=size, random_start=False, **options)


class MIFGSM(PGD):
    """BIM with momentum (Dong et al. 2018). Args: as :class:`BIM`; momentum 1 by default."""

    name = "MIFGSM"

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        *,
        steps: int = 10,
        alpha: float | None = None,
        momentum: float = 1.0,
        **options: Any,
    ) -> None:
        size = eps / _whole("steps", steps) if alpha is None else alpha
        super().__init__(model, eps, steps=steps, alpha=size, random_start=False, momentum=momentum, **options)
