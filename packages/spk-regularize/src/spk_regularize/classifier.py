"""A spiking network as a classifier of images: encoder, network, read-out; fresh neurons at every call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spk_neurons import NoisyLIF
from spk_regularize.adapters.base import Adapter, resets
from spk_regularize.encoders import Direct, Encoder

__all__ = ["Normalize", "SpikingClassifier", "StateLeakError", "check_stateless", "seeded"]


class StateLeakError(RuntimeError):
    """A model that remembers earlier calls: attacks and accuracies would depend on the order of the batches."""


class Normalize(nn.Module):
    """(x - mean) / std per channel, inside the model, so that attacks act on images in [0, 1].

    Args: mean, std: one number per channel.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise ValueError(f"mean={tuple(mean)} and std={tuple(std)} given; expected as many, std > 0")
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *([1] * (x.dim() - 2)))
        return (x - self.mean.view(shape)) / self.std.view(shape)


class SpikingClassifier(nn.Module):
    """x [B, ...] in [0, 1] to logits [B, K]; every neuron starts fresh at every call.

    Args:
        net: the network. encoder: x [B, ...] to [T, B, ...]; None hands x to the net as it is (event data, or a net
            that makes its own time steps). normalize: applied to x before the encoder.
        time: "sequence": the net takes [T, B, ...] and gives [T, B, K]; "loop": it takes one step [B, ...] at a time
            and gives [B, K] (a tuple's first entry counts); "inside": it gives the logits [B, K] itself.
        decode: "mean" or "last" over time. adapters: see :func:`find_layers`; needed for hand-written neurons.
        config: plain numbers and texts that :func:`spk_regularize.build_model` rebuilds it from.
    Raises (at a call):
        ValueError: an output of another shape than stated.
    """

    def __init__(
        self,
        net: nn.Module,
        encoder: Encoder | None = None,
        *,
        steps: int | None = None,
        normalize: nn.Module | None = None,
        time: Literal["sequence", "loop", "inside"] = "sequence",
        decode: Literal["mean", "last"] = "mean",
        adapters: Sequence[Adapter] | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("time", time, ("sequence", "loop", "inside")),
            ("decode", decode, ("mean", "last")),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(known)}")
        self.net, self.normalize = net, normalize
        self.encoder = Direct(steps) if encoder is None and steps is not None else encoder
        self.time, self.decode, self.config = time, decode, config
        self.adapters = None if adapters is None else tuple(adapters)
        self._resets: list[Callable[[], Any]] | None = None

    @property
    def T(self) -> int | None:
        """Time steps of the encoder, None without one."""
        return None if self.encoder is None else self.encoder.steps

    @property
    def stochastic(self) -> bool:
        """Whether two equal calls may differ: a stochastic encoder, or noisy neurons."""
        return is_stochastic(self)

    def reset(self) -> None:
        """Forget the state of earlier calls; every call begins with it. The network's modules are looked up once."""
        if self._resets is None:
            self._resets = resets(self.net, self.adapters)
        for forget in self._resets:
            forget()

    def __getstate__(self) -> dict[str, Any]:
        # a copy looks up its own modules
        return {**self.__dict__, "_resets": None}

    def steps(self, x: Tensor) -> Tensor:
        """Outputs over time, [T, B, K]."""
        self.reset()
        if self.normalize is not None:
            x = self.normalize(x)
        if self.encoder is not None:
            x = self.encoder(x)
        if self.time == "inside":
            raise ValueError("this net averages over time itself (time='inside'), so it has no outputs per step")
        if self.time == "loop":
            out = torch.stack([_first(self.net(step)) for step in x])
        else:
            out = _first(self.net(x))
        if out.dim() != 3 or out.shape[0] != x.shape[0]:
            raise ValueError(
                f"the net turned {tuple(x.shape)} into {tuple(out.shape)}; expected [T, B, K] with T={x.shape[0]}. "
                "For a net of one step use time='loop', for one that returns [B, K] time='inside'"
            )
        return out

    def forward(self, x: Tensor) -> Tensor:
        if self.time == "inside":
            self.reset()
            x = x if self.normalize is None else self.normalize(x)
            return _first(self.net(x if self.encoder is None else self.encoder(x)))
        out = self.steps(x)
        return out.mean(0) if self.decode == "mean" else out[-1]


def _first(out: Any) -> Tensor:
    found = out[0] if isinstance(out, tuple) else out
    if not isinstance(found, Tensor):
        raise ValueError(f"the net returned {type(found).__name__}; expected a tensor, or a tuple that starts with one")
    return found


def is_stochastic(model: nn.Module) -> bool:
    """A stochastic encoder or noisy neurons inside."""
    for module in model.modules():
        if isinstance(module, Encoder) and module.stochastic:
            return True
        if isinstance(module, NoisyLIF) and not module.deterministic_eval:
            return True
    return False


@contextmanager
def seeded(model: nn.Module, seed: int) -> Iterator[None]:
    """All randomness inside starts from ``seed``; afterwards the global generator and the encoders are as before."""
    encoders = [m for m in model.modules() if isinstance(m, Encoder)]
    before = [(m, m.seed, m._generator) for m in encoders]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for m in encoders:
            m.reseed(seed)
        try:
            yield
        finally:
            for m, old, generator in before:
                m.seed, m._generator = old, generator


@torch.no_grad()
def check_stateless(model: nn.Module, x: Tensor) -> None:
    """Call twice with the same input and the same draws; both answers must be equal.

    Args: model: in the mode in which it will be used. x: a few inputs.
    Raises: StateLeakError: they differ; names the first module whose output differs though its input did not.
    """
    seen: list[list[tuple[str, str, Any, Any]]] = []
    for _ in range(2):
        rows: list[tuple[str, str, Any, Any]] = []
        handles = [
            m.register_forward_hook(_listen(rows, name))
            for name, m in model.named_modules()
            if not any(True for _ in m.children()) or hasattr(m, "surrogate_function")
        ]
        try:
            with seeded(model, 0):
                out = model(x)
        finally:
            for handle in handles:
                handle.remove()
        rows.append(("the model", type(model).__name__, None, _copy(out)))
        seen.append(rows)
    for (name, kind, x1, y1), (_, _, x2, y2) in zip(*seen, strict=False):
        if _same(x1, x2) and not _same(y1, y2):
            raise StateLeakError(
                f"module {name!r} ({kind}) answers differently to the same input in a second call: it keeps state. "
                "Wrap the network in SpikingClassifier, or give it a reset_state() method that forgets"
            )


def _listen(rows: list[tuple[str, str, Any, Any]], name: str) -> Any:
    def hook(module: nn.Module, args: Any, out: Any) -> None:
        rows.append((name, type(module).__name__, _copy(args), _copy(out)))

    return hook


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return tuple(_copy(v) for v in value) if isinstance(value, tuple) else None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return True
