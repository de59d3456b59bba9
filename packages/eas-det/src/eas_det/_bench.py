"""What ``eas-det bench`` times."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .events import Events
from .io import open_events, write_dat
from .representations import micro_counts, time_surface, voxel_grid


def rates(n: int, rounds: int) -> dict[str, float]:
    """Events per second of each job, median of ``rounds`` after one warm-up; random events on 304 x 240 pixels."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 1_000_000, n))
    events = Events(t, rng.integers(0, 304, n), rng.integers(0, 240, n), rng.integers(0, 2, n), (304, 240))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dat"
        write_dat(path, events)
        jobs: dict[str, Callable[[], Any]] = {
            "decode .dat": lambda: open_events(path).read(),
            ".dat to counts": lambda: micro_counts(open_events(path), 4, 0, 1_000_000),
            "micro_counts, 4 bins": lambda: micro_counts(events, 4, 0, 1_000_000),
            "voxel_grid, 4 bins": lambda: voxel_grid(events, 4),
            "time_surface, 4 slices": lambda: time_surface(events, 4),
        }
        found = {}
        for name, job in jobs.items():
            job()
            times = []
            for _ in range(rounds):
                start = time.perf_counter()
                job()
                times.append(time.perf_counter() - start)
            found[name] = n / statistics.median(times)
    return found
