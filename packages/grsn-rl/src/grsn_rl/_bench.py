"""Times of the memories side by side, taking turns in one process, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from grsn_rl.cells import GRSN

__all__ = ["compare_cells", "interleaved"]


def interleaved(runs: dict[str, Callable[[], Any]], rounds: int, warm: int = 2) -> dict[str, tuple[float, float]]:
    """Median seconds and half the range of the middle half of each run, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + warm):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if i >= warm:
                times[name].append(time.perf_counter() - begin)
    told = {}
    for name, values in times.items():
        quarter = statistics.quantiles(values, n=4) if len(values) > 1 else [0.0, 0.0, 0.0]
        told[name] = statistics.median(values), (quarter[2] - quarter[0]) / 2
    return told


def compare_cells(
    steps: int, batch: int, inputs: int, hidden: int, rounds: int, more: dict[str, nn.Module] | None = None
) -> list[dict[str, Any]]:
    """Rows ``name``, ``sequence_ms``, ``sequence_spread``, ``step_us``, ``step_spread``; ``more`` modules join in."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        x = torch.randn(steps, batch, inputs, requires_grad=True)
        weight = torch.randn(steps, batch, hidden)
        one = torch.randn(1, batch, inputs)
        modules: dict[str, nn.Module] = {
            "GRSN": GRSN(inputs, hidden), "nn.GRU": nn.GRU(inputs, hidden), "nn.LSTM": nn.LSTM(inputs, hidden),
            **(more or {}),
        }  # fmt: skip

        def both(module: nn.Module) -> Callable[[], None]:
            return lambda: (module(x)[0] * weight).sum().backward()

        def act(module: nn.Module) -> Callable[[], None]:
            with torch.no_grad():
                state = module(one)[1]

            def run() -> None:
                with torch.no_grad():
                    for _ in range(50):
                        module(one, state)

            return run

        whole = interleaved({k: both(m) for k, m in modules.items()}, rounds)
        step = interleaved({k: act(m) for k, m in modules.items() if not more or k not in more}, rounds)
    finally:
        torch.set_num_threads(before)
    return [
        {
            "name": name,
            "sequence_ms": 1e3 * whole[name][0],
            "sequence_spread": 1e3 * whole[name][1],
            "step_us": 2e4 * step[name][0] if name in step else None,
            "step_spread": 2e4 * step[name][1] if name in step else None,
        }
        for name in modules
    ]
