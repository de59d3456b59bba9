"""What all attacks share: checks, a model that is left as it was found, gradients, batches, restarts."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spk_neurons import Surrogate
from spk_regularize.adapters.base import states_kept
from spk_regularize.attacks.gradients import AttackGradient, make_gradient
from spk_regularize.attacks.losses import LOSSES, targeted_dlr
from spk_regularize.classifier import SpikingClassifier, seeded

__all__ = ["Attack", "GradientAttack", "check_images", "check_labels", "prepared"]

Norm = Literal["linf", "l2"]


def check_images(x: Tensor, name: str = "x") -> None:
    """Images must be float, finite, in [0, 1], with a batch axis.

    Raises: TypeError, ValueError: with what came and the remedy.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} is {got}; expected a float tensor in [0, 1] (for uint8 images: x.float() / 255)")
    if x.dim() < 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected a batch of images [B, ...]")
    if x.numel():
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        if math.isnan(low) or math.isnan(high) or not math.isfinite(low + high):
            raise ValueError(f"{name} holds nan or inf; attacks need finite images in [0, 1]")
        if low < 0 or high > 1:
            raise ValueError(
                f"{name} has values in [{low:g}, {high:g}]; attacks act on [0, 1]: put Normalize inside the model and "
                "pass the images as they are (uint8: divide by 255)"
            )


def check_labels(y: Tensor, n: int, classes: int | None = None) -> None:
    """Labels must be integers, one per image, and below the number of classes."""
    if not isinstance(y, Tensor) or y.is_floating_point() or y.dtype == torch.bool:
        got = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"labels are {got}; expected integers, one class index per image (y.long())")
    if y.shape != (n,):
        raise ValueError(f"labels have shape {tuple(y.shape)}, expected ({n},): one class index per image")
    if n and (int(y.min()) < 0 or (classes is not None and int(y.max()) >= classes)):
        limit = "any number" if classes is None else f"{classes} classes"
        raise ValueError(f"labels lie in [{int(y.min())}, {int(y.max())}], but the model has {limit} (from 0)")


def check_logits(z: Tensor, n: int) -> None:
    """Logits must be [B, K], and finite."""
    if z.dim() == 3:
        raise ValueError(
            f"the model returned {tuple(z.shape)}, which looks like [T, B, K]; average over time, or wrap the network "
            "in SpikingClassifier"
        )
    if z.dim() != 2 or z.shape[0] != n:
        raise ValueError(f"the model returned {tuple(z.shape)}, expected logits [B, K] with B={n}")
    if not bool(torch.isfinite(z.detach()).all()):
        raise ValueError("the model's logits hold nan or inf; an attack on them would prove nothing")


def batches(n: int, size: int) -> list[slice]:
    """Slices of at most ``size`` that cover n rows."""
    return [slice(start, start + size) for start in range(0, n, size)]


@contextmanager
def prepared(model: nn.Module, seed: int) -> Iterator[None]:
    """Inside: evaluation mode, no parameter gradients, seeded draws. Afterwards everything is as before."""
    modes = [(m, m.training) for m in model.modules()]
    wants = [(p, p.requires_grad) for p in model.parameters()]
    with states_kept(model), seeded(model, seed):
        try:
            model.eval()
            for p, _ in wants:
                p.requires_grad_(False)
            yield
        finally:
            for m, mode in modes:
                m.training = mode
            for p, want in wants:
                p.requires_grad_(want)


class Attack:
    """Base: ``attack(x, y)`` returns images within eps of x, in [0, 1], that the model should get wrong.

    Args:
        model: images [B, ...] in [0, 1] to logits [B, K], such as a :class:`SpikingClassifier`.
        eps: size of the perturbation, >= 0; 0 returns x. seed: of every draw. batch_size: at most so many at a time.
    The model's mode, parameters, gradients, neuron states and the global random generator are left as they were.
    """

    name = "attack"

    def __init__(self, model: nn.Module, eps: float = 8 / 255, *, seed: int = 0, batch_size: int = 512) -> None:
        if not (isinstance(eps, (int, float)) and math.isfinite(eps) and eps >= 0):
            raise ValueError(f"eps={eps!r} given; expected a finite size >= 0, such as 8/255")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} given; expected at least 1")
        self.model, self.eps, self.seed, self.batch_size = model, float(eps), seed, batch_size

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Attack a batch.

        Args: x: [B, ...] in [0, 1]. y: true labels [B], integers.
        Returns: adversarial images, like x; rows that could not be broken hold the worst image found.
        Raises: ValueError, TypeError: images outside [0, 1], nan, labels that do not fit, logits of a wrong shape.
        """
        check_images(x)
        with prepared(self.model, self.seed), torch.no_grad():
            classes = None
            if len(x):
                z = self.model(x[:1])
                check_logits(z, 1)
                classes = z.shape[1]
            check_labels(y, len(x), classes)
        if self.eps == 0 or not len(x):
            return x.detach().clone()
        with prepared(self.model, self.seed):
            return self._all(x.detach(), y)

    def _all(self, x: Tensor, y: Tensor) -> Tensor:
        parts = []
        for start in range(0, len(x), self.batch_size):
            rows = slice(start, start + self.batch_size)
            generator = torch.Generator(x.device).manual_seed(self.seed * 1_000_003 + start)
            parts.append(self._run(x[rows].contiguous(), y[rows], generator))
        return torch.cat(parts)

    def _run(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _run(x, y, generator)")

    def describe(self) -> dict[str, Any]:
        """What a report says of it."""
        return {"attack": type(self).__name__, "eps": self.eps, "seed": self.seed}


@dataclass
class Found:
    """The outcome of one gradient query: losses [B] (to be raised), their gradient like x, whether wrong [B]."""

    loss: Tensor
    grad: Tensor
    wrong: Tensor


class GradientAttack(Attack):
    """Attacks that follow a gradient.

    Args:
        loss: "ce", "dlr", "margin" or "tet" (cross-entropy at every step, averaged; for a SpikingClassifier).
        norm: "linf" or "l2". grad: the gradient, see :mod:`spk_regularize.attacks.gradients`: "native", a surrogate,
            "wide2", "wide4", "atan", "sigmoid", "assg", "pdsg", "bptr", "rga".
        eot: draws whose gradients are averaged, for stochastic models.
    """

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        *,
        loss: str = "ce",
        norm: Norm = "linf",
        grad: str | Surrogate | AttackGradient = "native",
        eot: int = 1,
        seed: int = 0,
        batch_size: int = 512,
    ) -> None:
        super().__init__(model, eps, seed=seed, batch_size=batch_size)
        if loss not in (*LOSSES, "tet"):
            raise ValueError(f"loss={loss!r} is not known; choose one of {', '.join(LOSSES)}, tet")
        if loss == "tet" and not isinstance(model, SpikingClassifier):
            raise ValueError("loss='tet' reads the outputs of every step; wrap the network in SpikingClassifier")
        if norm not in ("linf", "l2"):
            raise ValueError(f"norm={norm!r} is not known; choose 'linf' or 'l2'")
        if eot < 1:
            raise ValueError(f"eot={eot} given; expected at least one draw")
        self.loss, self.norm, self.grad, self.eot = loss, norm, make_gradient(grad), eot
        self._target: Tensor | None = None

    def targeted(self, target: Tensor) -> GradientAttack:
        """The same attack towards given classes: ``attack.targeted(t)(x, y)``, t like y."""
        other = copy.copy(self)
        other._target = target
        return other

    def _all(self, x: Tensor, y: Tensor) -> Tensor:
        if self._target is not None:
            check_labels(self._target, len(x))
        parts = []
        with ExitStack() as stack:
            stack.enter_context(self.grad.applied(self.model))
            noise = self._noise(x)
            for rows in batches(len(x), self.batch_size):
                target = None if self._target is None else self._target[rows]
                part = [n[rows] for n in noise]
                parts.append(self._batch(x[rows].contiguous(), y[rows], target, part))
        return torch.cat(parts)

    def _noise(self, x: Tensor) -> list[Tensor]:
        """Draws for all rows at once, so that the size of the batches changes nothing."""
        return []

    def _batch(self, x: Tensor, y: Tensor, target: Tensor | None, noise: list[Tensor]) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _batch")

    def losses(self, z: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
        """What is maximised, per row."""
        if target is not None:
            if self.loss == "dlr":
                return targeted_dlr(z, y, target)
            return -LOSSES["ce" if self.loss == "tet" else self.loss](z, target)
        return LOSSES[self.loss](z, y)

    def _once(self, x: Tensor, y: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
        """Losses and logits of one draw, with graph."""
        if self.loss == "tet" and target is None:
            assert isinstance(self.model, SpikingClassifier)
            z = self.model.steps(x)
            each = nn.functional.cross_entropy(z.flatten(0, 1), y.repeat(len(z)), reduction="none")
            return each.reshape(len(z), len(y)).mean(0), z.mean(0)
        z = self.model(x)
        return self.losses(z, y, target), z

    def query(self, x: Tensor, y: Tensor, target: Tensor | None = None) -> Found:
        """Loss, gradient and whether the answer is wrong, at x; averaged over ``eot`` draws."""
        loss = grad = logits = None
        for draw in range(self.eot):
            self.grad.begin(self.model, x, frozen=draw > 0)
            inner = x.detach().requires_grad_()
            with torch.enable_grad():
                each, z = self._once(inner, y, target)
                (g,) = torch.autograd.grad(each.sum(), inner)
            check_logits(z, len(x))
            each, z = each.detach(), z.detach()
            loss = each if loss is None else loss + each
            grad = g if grad is None else grad + g
            logits = z if logits is None else logits + z
        assert loss is not None
        assert grad is not None
        assert logits is not None
        return Found(loss / self.eot, grad / self.eot, _hit(logits, y, target))

    @torch.no_grad()
    def look(self, x: Tensor, y: Tensor, target: Tensor | None = None) -> Found:
        """The same without a gradient."""
        loss = logits = None
        for _ in range(self.eot):
            each, z = self._once(x, y, target)
            loss = each if loss is None else loss + each
            logits = z if logits is None else logits + z
        assert loss is not None
        assert logits is not None
        check_logits(logits, len(x))
        return Found(loss / self.eot, torch.empty(0), _hit(logits, y, target))

    def step(self, x: Tensor, g: Tensor, size: float | Tensor) -> Tensor:
        """x moved by ``size`` along the gradient, in the geometry of the norm."""
        if self.norm == "linf":
            return x + size * g.sign()
        return x + size * g / _l2(g).clamp_min(1e-12)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Back into the ball around x, and into [0, 1]."""
        if self.norm == "linf":
            # as clamp(x_adv, x - eps, x + eps): other orders of rounding leave the ball by an ulp
            return torch.minimum(torch.maximum(x_adv, x - self.eps), x + self.eps).clamp(0, 1)
        d = x_adv - x
        return (x + d * (self.eps / _l2(d).clamp_min(1e-12)).clamp_max(1.0)).clamp(0, 1)

    def random_start(self, x: Tensor, noise: Tensor) -> Tensor:
        """A point of the ball from uniform noise in [0, 1)."""
        if self.norm == "linf":
            return (x + self.eps * (2 * noise - 1)).clamp(0, 1)
        d = 2 * noise - 1
        # any radius up to eps
        radius = noise.flatten(1)[:, :1].reshape(-1, *[1] * (x.dim() - 1))
        return (x + self.eps * radius * d / _l2(d).clamp_min(1e-12)).clamp(0, 1)

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(), "loss": self.loss, "norm": self.norm, "grad": self.grad.name, "eot": self.eot,
            "batch_invariant": self.grad.batch_invariant,
        }  # fmt: skip


def _l2(d: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(d.flatten(1), dim=1)
    return size.reshape(-1, *[1] * (d.dim() - 1))


def _hit(z: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    answer = z.argmax(1)
    return answer != y if target is None else answer == target
