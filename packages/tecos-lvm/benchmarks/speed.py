"""Speed: spike distances against elephant, one frame in real time, generation.

python packages/tecos-lvm/benchmarks/speed.py [--only distances|stream|generate]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
import numpy as np
import torch

from results import Results
from tecos_lvm import TeCoSConfig, TeCoSLVM, metrics
from tecos_lvm.datasets import load_onken


def clock(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def distances(out: Results) -> None:
    import neo
    import quantities as pq
    from elephant.spike_train_dissimilarity import van_rossum_distance, victor_purpura_distance

    trains = load_onken(Path(os.environ["SPK_DATA"]) / "retina" / "Movie1Exp2.mat").spike_times[10]
    events = [neo.SpikeTrain(t * pq.ms, t_stop=18_000 * pq.ms) for t in trains]
    cases = (
        (
            "van Rossum",
            30,
            lambda: metrics.van_rossum_matrix(trains, 10.0),
            lambda: van_rossum_distance(events, 10 * pq.ms),
        ),
        (
            "Victor-Purpura",
            50,
            lambda: metrics.victor_purpura_matrix(trains, 0.1),
            lambda: victor_purpura_distance(events, 0.1 / pq.ms),
        ),
    )
    for name, target, ours, theirs in cases:
        difference = float(np.abs(ours() - theirs()).max())
        pairs = [(clock(ours), clock(theirs)) for _ in range(7)]
        mine, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
        out.add(
            name=f"{name}, one neuron of Movie1Exp2, 30 trials",
            metric="all pairs",
            unit="ms",
            ours=1000 * mine,
            peer=("elephant", 1000 * peer),
            ratio=peer / mine,
            target=f">= {target} on the whole recording",
            met=None,
            n=7,
            spread=1000 * statistics.stdev([a for a, _ in pairs]),
            note=f"one neuron of 49, {sum(map(len, trains))} spikes; largest difference {difference:.1e}",
        )


def stream(out: Results) -> None:
    model = TeCoSLVM(TeCoSConfig((24, 24), 50, 5.0))
    frame, state = torch.randn(1, 24, 24), None
    for _ in range(50):
        _, state = model.step(frame, state)
    times = []
    for _ in range(300):
        start = time.perf_counter()
        _, state = model.step(frame, state)
        times.append(time.perf_counter() - start)
    value = 1000 * statistics.median(times)
    out.add(
        name="one frame, 24 x 24, 50 neurons",
        metric="latency",
        unit="ms",
        ours=value,
        ratio=1 / value,
        target="<= 1 ms",
        met=value <= 1,
        n=300,
        spread=1000 * statistics.stdev(times),
        note="median of 300 steps; the ratio is to 1 ms",
    )


def generate(out: Results) -> None:
    model = TeCoSLVM(TeCoSConfig((24, 24), 50, 5.0))
    movie = np.random.default_rng(0).normal(size=(400, 24, 24)).astype(np.float32)
    model.generate(movie[:50], 30)
    times = [clock(lambda: model.generate(movie, 30)) for _ in range(7)]
    ratio = 2.0 / statistics.median(times)
    out.add(
        name="50 neurons x 30 trials at 5 ms",
        metric="generation over real time",
        unit="s",
        ours=statistics.median(times),
        ratio=ratio,
        target=">= 100",
        met=ratio >= 100,
        n=7,
        spread=statistics.stdev(times),
        note=f"2 s of movie, 30 trials at once; counted per trial {30 * ratio:.0f} times real time",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", choices=["", "distances", "stream", "generate"])
    only = parser.parse_args().only
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    out = Results("tecos-lvm", "speed", threads=1, resume=True)
    for part in (distances, stream, generate):
        if only in ("", part.__name__):
            part(out)
            out.write()


if __name__ == "__main__":
    main()
