"""Binning and sampling on a GPU: the same numbers as on the CPU, nothing waits for the host, then times.

    python packages/eas-det/benchmarks/gpu.py [--out FOLDER] [--minutes N]    # writes speed-gpu.json

Correctness first, in the same run: bin_batch equals micro_counts, the sampler equals itself on the CPU in float64 with
all gradients. Then medians between events of the device, the published form of the sampler beside ours. One part that
fails does not keep the others from running.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
from eas_det import ARSNNSampler, Events, PackedEvents, bin_batch, micro_counts, pack
from eas_det.sampler.reference import sample
from results import Results

SIZE = (304, 240)
WINDOW = 200_000
REPEATS = 21


@contextmanager
def no_waiting() -> Iterator[None]:
    """Any wait of the host for the device raises inside."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def timed(calls: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Milliseconds of the device for each call, in turn after three warm-ups."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 3):
        for name, call in calls.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            if turn >= 3:
                times[name].append(start.elapsed_time(end))
    return times


def spread(values: list[float]) -> float:
    """Half the range between the quartiles."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low) / 2


def uniform(n: int, rng: np.random.Generator) -> Events:
    """Events everywhere."""
    t = np.sort(rng.integers(0, WINDOW, n))
    x, y = rng.integers(0, SIZE[0], n).astype("u2"), rng.integers(0, SIZE[1], n).astype("u2")
    return Events(t, x, y, rng.integers(0, 2, n).astype("u1"), SIZE)


def edges(n: int, rng: np.random.Generator) -> Events:
    """Events on moving edges, as recordings have them: many on few pixels, neighbours in time on neighbouring ones."""
    t = np.sort(rng.integers(0, WINDOW, n))
    shape = rng.integers(0, 6, n)
    x = (37 * shape + 60 * t / WINDOW + rng.integers(0, 3, n)).astype("u2") % SIZE[0]
    y = (31 * shape + rng.integers(0, 40, n)).astype("u2") % SIZE[1]
    return Events(t, x, y, (shape % 2).astype("u1"), SIZE)


def correct_bins(out: Results) -> None:
    rng = np.random.default_rng(0)
    batch = [uniform(100_000, rng), edges(50_000, rng), Events.empty(SIZE), uniform(1, rng)]
    packed = pack(batch, [0, 10, 0, 0], WINDOW)
    on_device = packed.to("cuda")
    bin_batch(on_device, 4)
    torch.cuda.synchronize()
    with no_waiting():
        got = bin_batch(on_device, 4)
    wanted = np.stack([micro_counts(each, 4, t0, t0 + WINDOW) for each, t0 in zip(batch, [0, 10, 0, 0], strict=True)])
    wrong = int((got.cpu().numpy() != wanted).sum())
    row(out, "bin_batch equals micro_counts, no wait for the host", "cells that differ", wrong, "0", wrong == 0)


def correct_sampler(out: Results) -> None:
    torch.manual_seed(0)
    worst = 0.0
    for depth, kernel, kept, sat, rpd in ((2, 5, 1, True, True), (1, 7, 3, True, False), (2, 5, 3, False, True)):
        here = ARSNNSampler(2, kernel, depth, kept, sat=sat, rpd=rpd).double()
        there = ARSNNSampler(2, kernel, depth, kept, sat=sat, rpd=rpd).double().cuda()
        there.load_state_dict(here.state_dict())
        x = torch.poisson(0.5 * torch.ones(2, 6, 2, 40, 56)).double()
        weight = torch.randn(kept, 2, 2, 40, 56).double()
        on_device, weight_there = x.cuda(), weight.cuda()
        (there(on_device) * weight_there).sum().backward()  # libraries choose their algorithms here
        there.zero_grad()
        torch.cuda.synchronize()
        with no_waiting():
            (there(on_device) * weight_there).sum().backward()
        (here(x) * weight).sum().backward()
        pairs = [
            (here(x), there(on_device)),
            *((a.grad, b.grad) for a, b in zip(here.parameters(), there.parameters(), strict=True)),
        ]
        for a, b in pairs:
            worst = max(worst, float((a.detach() - b.detach().cpu()).abs().max() / a.detach().abs().max()))
    row(
        out, "sampler equals the CPU in values and gradients, no wait for the host", "largest relative difference",
        worst, "<= 1e-10 (float64)", worst <= 1e-10,
    )  # fmt: skip


def speed_bins(out: Results) -> None:
    rng = np.random.default_rng(0)
    for name, make in (("uniform events", uniform), ("events on moving edges", edges)):
        parts = [make(1_000_000, rng) for _ in range(8)]
        packed = pack(parts * 4, [0] * 32, WINDOW)
        on_device = packed.to("cuda")
        times = timed({"ours": lambda packed=on_device: bin_batch(packed, 4)})["ours"]
        n = len(packed.t)
        rate = n / statistics.median(times) / 1e6
        note = f"{n:,} events in 32 windows of 4 bins, 304x240, on the device"
        row(out, f"bin_batch, {name}", "billion events/s", rate, ">= 1", rate >= 1, REPEATS, None, note)
    pinned = PackedEvents(*(each.pin_memory() for each in packed[:4]), packed.size, packed.n)
    times = timed({"ours": lambda: bin_batch(pinned.to("cuda"), 4)})["ours"]
    rate = n / statistics.median(times) / 1e6
    note = "12 bytes an event over the bus, from pinned memory"
    row(out, "transfer and bin_batch", "billion events/s", rate, None, None, REPEATS, None, note)


def speed_sampler(out: Results, until: float) -> None:
    cases = {
        "8x4 bins, 240x304, k=5, D=2, 1 sample": (8, 4, 240, 304, 5, 2, 1),
        "4x4 bins, 640x640, k=5, D=2, 1 sample": (4, 4, 640, 640, 5, 2, 1),
        "8x8 bins, 240x304, k=5, D=1, 3 samples": (8, 8, 240, 304, 5, 1, 3),
        "1x4 bins, 240x304, k=7, D=1, 1 sample": (1, 4, 240, 304, 7, 1, 1),
    }
    torch.manual_seed(0)
    # compiling takes most of the time: last, and as far as there is time
    for way, (name, case) in itertools.product(("eager", "compiled"), cases.items()):
        if time.monotonic() > until:
            print(f"left out: sampler, {way}: {name}", flush=True)
            continue
        batch, steps, height, width, kernel, depth, kept = case
        sampler = ARSNNSampler(2, kernel, depth, kept).cuda().eval()
        x = torch.poisson(0.5 * torch.ones(batch, steps, 2, height, width)).cuda()
        job = sampler if way == "eager" else torch.compile(sampler, fullgraph=True)
        for title, backward in (("forward", False), ("forward + backward", True)):
            ours, published = timed(
                {
                    "ours": lambda job=job, x=x, backward=backward: once(job, x, backward),
                    "published": lambda s=sampler, x=x, backward=backward: once(lambda x: sample(s, x), x, backward),
                }
            ).values()
            mine, theirs = statistics.median(ours), statistics.median(published)
            row(
                out, f"sampler, {title}, {way}: {name}", "time on the device", mine, ">= 3x", theirs >= 3 * mine,
                REPEATS, spread(ours), "", peer=("published form", theirs), ratio=theirs / mine, unit="ms",
            )  # fmt: skip


def once(job: Callable[[Tensor], Tensor], x: Tensor, backward: bool) -> None:
    with torch.set_grad_enabled(backward):
        result = job(x)
        if backward:
            result.sum().backward()


def row(
    out: Results, name: str, metric: str, ours: float, target: str | None, met: bool | None, n: int = 1,
    spread: float | None = None, note: str = "", **more: Any,
) -> None:  # fmt: skip
    """Add a row, keep the file up to date, say it."""
    more.setdefault("table", "events")
    out.add(name=name, metric=metric, ours=ours, target=target, met=met, n=n, spread=spread, note=note, **more)
    out.write()
    print(name, metric, f"{ours:.4g}", more.get("peer"), more.get("ratio"), target, met, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results file")
    parser.add_argument("--minutes", type=float, default=3.0, help="no case of the sampler starts after this")
    given = parser.parse_args()
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    # the published form runs in float32 too; a spike must not depend on how a library rounds
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    out = Results(
        "eas-det", "speed", threads=1, variant="gpu", resume=True, gpu=torch.cuda.get_device_name(),
        command="python packages/eas-det/benchmarks/gpu.py", folder=given.out,
    )  # fmt: skip
    until = time.monotonic() + 60 * given.minutes
    for part in (correct_bins, correct_sampler, speed_bins, partial(speed_sampler, until=until)):
        try:
            part(out)
        except Exception:  # the other parts' rows are worth having
            traceback.print_exc()


if __name__ == "__main__":
    main()
