"""One step of training, run as it is or, on a GPU, recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: Steps before the recording: libraries set themselves up in them, which a recording must not hold.
_FIRST = 3


class Recorded:
    """A step whose kernels are launched together, as a CUDA graph.

    A batch of a small model takes a GPU less time than Python takes to launch its hundred kernels. The first steps run
    one kernel after the other; then the step is recorded and every later batch of the same size replays it. A batch of
    another size, the last of an epoch, runs as it is.

    Args:
        step: maps a batch (users, positives, negatives) to its loss, and moves the parameters.
        forget: drops the gradients there are, so that the recording makes its own.
    """

    def __init__(self, step: Callable[[Sequence[Tensor]], Tensor], forget: Callable[[], None]) -> None:
        self.step, self.forget = step, forget
        self.seen = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: list[Tensor] = []
        self.loss = torch.empty(0)

    def __call__(self, batch: Sequence[Tensor]) -> Tensor:
        if self.graph is None and self.seen < _FIRST:
            self.seen += 1
            return self._aside(batch)
        if self.graph is None:
            self._record(batch)
        if self.graph is None or self.batch[0].shape != batch[0].shape:
            return self.step(batch)
        for kept, given in zip(self.batch, batch, strict=True):
            kept.copy_(given)
        self.graph.replay()
        return self.loss.clone()

    def _aside(self, batch: Sequence[Tensor]) -> Tensor:
        """The step on a stream of its own, as the first ones before a recording must be."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.step(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _record(self, batch: Sequence[Tensor]) -> None:
        self.batch = [one.clone() for one in batch]
        self.forget()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.loss = self.step(self.batch)
        self.graph = graph
