"""Penalties of the loss's gradient with respect to the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spk_neurons import use_backend
from spk_regularize.monitor import LayerTrace
from spk_regularize.regularizers.base import Regularizer, Schedule

__all__ = ["InputGradient", "SparsityReg", "frozen_norms"]


@contextmanager
def frozen_norms(model: nn.Module) -> Iterator[None]:
    """Inside, forward passes in training mode leave the running statistics of batch norms as they are."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(m, m.momentum, m.num_batches_tracked) for m in norms]
    try:
        for m in norms:
            m.momentum = 0.0
            if m.num_batches_tracked is not None:
                m.num_batches_tracked = m.num_batches_tracked.clone()
        yield
    finally:
        for m, momentum, tracked in before:
            m.momentum, m.num_batches_tracked = momentum, tracked


def _need(context: dict[str, Any], name: str, who: str) -> Any:
    if context.get(name) is None:
        raise ValueError(f"{who} runs the model again; call it with model=..., x=..., y=... ({name} is missing)")
    return context[name]


class InputGradient(Regularizer):
    """Mean norm of the input gradient of the cross-entropy, by double backpropagation through the surrogate.

    Args:
        weight. norm: "l1" (sum of absolute values per sample, what an l_inf attacker uses up) or "l2" (squared).
        warmup: share of the training in which the weight grows from 0.
    Costs about twice a plain step: the neurons of spk-neurons run on the ``reference`` backend, which has second
    derivatives. Give ``logits`` made from an ``x`` that requires gradients, in ``use_backend("reference")``, to save
    the second forward (:class:`~spk_regularize.RobustTrainer` does).
    Source: Drucker & LeCun 1992 (double backpropagation); for spiking networks our own.
    """

    second_order = True

    def __init__(self, weight: float = 0.3, norm: Literal["l1", "l2"] = "l1", warmup: float = 0.5) -> None:
        super().__init__(weight, Schedule("linear", warmup))
        if norm not in ("l1", "l2"):
            raise ValueError(f"norm={norm!r} is not known; choose 'l1' or 'l2'")
        self.norm = norm

    def value(self, layers: Sequence[LayerTrace], **context: Any) -> Tensor:
        x, y = (_need(context, name, type(self).__name__) for name in ("x", "y"))
        logits = context.get("logits")
        if logits is None or not x.requires_grad:
            model = _need(context, "model", type(self).__name__)
            x = x.detach().requires_grad_()
            with use_backend("reference"), frozen_norms(model):
                logits = model(x)
        loss = nn.functional.cross_entropy(logits, y, reduction="sum")
        (g,) = torch.autograd.grad(loss, x, create_graph=True)
        flat = g.flatten(1)
        each: Tensor = flat.abs().sum(1) if self.norm == "l1" else flat.square().sum(1)
        return each.mean()


class SparsityReg(Regularizer):
    """SR: sparsity of the gradient of the true class's probability, by a finite difference.

    p = exp(z_y) / (exp(z_y) + exp(z_m)), m the strongest other class, kept from the clean pass;
    penalty = mean(((p(x + h sign(grad_x p)) - p(x)) / h)^2)

    Args: weight: sensitive; 0.1 collapsed a small network in our trials, start at 0.001. h: step, > 0.
    Two forward and two backward passes. Source: putshua/gradient_reg_defense, arXiv 2405.20355.
    """

    def __init__(self, weight: float = 0.001, h: float = 0.01, schedule: Schedule | None = None) -> None:
        super().__init__(weight, schedule)
        if not h > 0:
            raise ValueError(f"h={h} given; expected a step > 0")
        self.h = h

    def value(self, layers: Sequence[LayerTrace], **context: Any) -> Tensor:
        model, x, y = (_need(context, name, "SparsityReg") for name in ("model", "x", "y"))
        x = x.detach().requires_grad_()
        with frozen_norms(model):
            logits = model(x)
            others = logits.detach().clone().scatter_(1, y[:, None], -torch.inf)
            runner_up = others.argmax(1)

            def probability(z: Tensor) -> Tensor:
                own = z.gather(1, y[:, None]) - z.gather(1, runner_up[:, None])
                return torch.sigmoid(own[:, 0])

            p = probability(logits)
            (g,) = torch.autograd.grad(p.sum(), x, retain_graph=True)
            moved = probability(model((x + self.h * g.sign()).detach()))
        return ((moved - p) / self.h).square().mean()
