"""Speed and memory, side by side in one process: ``python packages/slr-cma/benchmarks/speed.py``."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
from results import Results
from slr_cma import CMANet
from slr_cma.data import DVSSLR, Events, bin_events, convert, split_keys
from slr_cma.diagnostics import temporal_report
from slr_cma.engine.demo import run as demo_run
from slr_cma.synth.layout import write_layout

ROUNDS = 7


def sliced(events: Events, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """The usual way (SpikingJelly's, and the dataset's own loader's): a slice a window, a bincount each, float64."""
    h, w = events.size
    out = np.zeros((len(edges) - 1, 2, h, w))
    at = np.searchsorted(events.t, edges)
    for k in range(len(edges) - 1):
        x, y, p = (a[at[k] : at[k + 1]] for a in (events.x, events.y, events.p))
        for side in (0, 1):
            chosen = p == side
            place = y[chosen].astype(np.int64) * w + x[chosen]
            out[k, side] = np.bincount(place, minlength=h * w).reshape(h, w)
    return out


def timed(*calls: Callable[[], object]) -> list[list[float]]:
    """Seconds of each call, taking turns, after one warm-up."""
    for call in calls:
        call()
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, times in zip(calls, found, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return found


def peak(call: Callable[[], object]) -> int:
    """Bytes allocated at most during a call."""
    tracemalloc.start()
    call()
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return top


def resident() -> int:
    """Bytes in memory now; the peak would hide growth below an earlier peak."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def binning(out: Results) -> None:
    """Ours against the usual way, 3 million events of six seconds."""
    rng = np.random.default_rng(0)
    n = 3_000_000
    t = np.sort(rng.integers(0, 6_000_000_000, n))
    events = Events.from_arrays(
        t, rng.integers(0, 346, n), rng.integers(0, 260, n), rng.integers(0, 2, n), size=(260, 346)
    )
    edges = np.linspace(0, 6_000_000_000, 121).astype(np.int64)

    def ours() -> object:
        return bin_events(events, edges, crop=(2, 45, 256, 256), down=4)

    def theirs() -> object:
        return sliced(events, edges)

    a, b = timed(ours, theirs)
    ratio = statistics.median(b) / statistics.median(a)
    out.add(
        name="3 million events, T=120", metric="wall time", unit="ms", ours=1e3 * statistics.median(a),
        peer=("slice + bincount, full size, float64", 1e3 * statistics.median(b)), ratio=ratio, target=">= 8",
        met=ratio >= 8, n=ROUNDS, spread=1e3 * statistics.stdev(a),
        note="ours crops to 256 x 256 and downsamples by 4 in the same pass: not the same output",
        headline="events binned {ratio:.0f}x faster than {peer}",
    )  # fmt: skip
    small, large = peak(ours), peak(theirs)
    out.add(
        name="3 million events, T=120", metric="peak memory", unit="MB", ours=small / 1e6,
        peer=("slice + bincount, full size, float64", large / 1e6), ratio=large / small, target=">= 40",
        met=large / small >= 40, n=1, note="beyond the events themselves",
    )  # fmt: skip


def cache(out: Results) -> None:
    """Reading converted samples, and holding many."""
    keys = [k for k in split_keys("all") if k.user == "user0" and k.label in ("at", "go")][:8]
    with tempfile.TemporaryDirectory() as folder:
        write_layout(folder, keys, seconds=6.0, rate=20_000)
        options = {"users": ["user0"], "labels": ["at", "go"], "on_missing": "skip", "progress": False}
        signs = convert(folder, Path(folder) / "cache", **options)
        (times,) = timed(lambda: [signs[i] for i in range(8)])
        read = [each / 8 for each in times]
        value = 1e3 * statistics.median(read)
        out.add(
            name="sample from the cache, T=24, 64 x 64, both modalities", metric="wall time", unit="ms", ours=value,
            target="< 1", met=value < 1, n=ROUNDS, spread=1e3 * statistics.stdev(read),
            note="pages warm; arrays to float32 tensors included; eight a round",
        )  # fmt: skip
        official = DVSSLR(folder, "all", compat="official", on_missing="skip", users=["user0"], labels=["at", "go"])
        a, b = timed(lambda: signs[0], lambda: official[0])
        ratio = statistics.median(b) / statistics.median(a)
        peer = "the dataset's own semantics, from npz, float64"
        out.add(
            name="a sample from the cache", metric="wall time", unit="ms", ours=1e3 * statistics.median(a),
            peer=(peer, 1e3 * statistics.median(b)), ratio=ratio, target=">= 50", met=ratio >= 50, n=ROUNDS,
            spread=1e3 * statistics.stdev(a),
            note="the peer is compat='official', which slices once where the original copies at every frame; full size",
        )  # fmt: skip
        small, large = peak(lambda: signs[0]), peak(lambda: official[0])
        out.add(
            name="a sample from the cache", metric="peak memory", unit="MB", ours=small / 1e6,
            peer=(peer, large / 1e6), ratio=large / small, target=">= 100", met=large / small >= 100, n=1,
        )  # fmt: skip
        before = resident()
        held = [signs[i % 8] for i in range(200)]
        grown = (resident() - before) / 1e6
        out.add(
            name="200 samples held, T=24, 64 x 64", metric="growth of resident memory", unit="MB", ours=grown,
            target="< 300", met=grown < 300, n=len(held), note="as float32 tensors, both modalities",
        )  # fmt: skip


def tier1(out: Results) -> None:
    """The training-free report."""
    counts = np.random.default_rng(0).poisson(0.3, (750, 20, 2, 32, 32)).astype(np.float16)
    labels = np.arange(750) % 15
    warnings.simplefilter("ignore")
    (times,) = timed(lambda: temporal_report(counts, labels, split=(range(600), range(600, 750)), tiers=(1,)))
    value = statistics.median(times)
    out.add(
        name="tier 1, 750 recordings, T=20, 32 x 32", metric="wall time", unit="s", ours=value, target="< 5",
        met=value < 5, n=ROUNDS, spread=statistics.stdev(times),
        note="7 probes, 200 permutations, 1000 bootstrap draws",
    )  # fmt: skip


def attention(out: Results) -> None:
    """What attention costs beside plain concatenation, in the default network."""
    events, frames, labels = torch.rand(24, 2, 2, 64, 64), torch.rand(24, 2, 1, 64, 64), torch.tensor([0, 1])
    nets = [CMANet(21, fusion=fusion) for fusion in ("cma", "concat")]
    a, b = timed(*[lambda net=net: net.loss(events, frames, labels)[0].backward() for net in nets])
    ratio = statistics.median(b) / statistics.median(a)
    out.add(
        name="attention in the default network, forward and backward", metric="wall time", unit="ms",
        ours=1e3 * statistics.median(a), peer=("plain concatenation", 1e3 * statistics.median(b)), ratio=ratio,
        target=">= 0.909", met=ratio >= 0.909, n=ROUNDS, spread=1e3 * statistics.stdev(a),
        note="T=24, 64 x 64, batch 2; the target: at most 10 % more time",
    )  # fmt: skip
    sizes = [sum(p.numel() for p in net.parameters()) for net in nets]
    more = 100 * (sizes[0] / sizes[1] - 1)
    out.add(
        name="attention in the default network", metric="more parameters", unit="%", ours=more, target="<= 1",
        met=more <= 1, n=1, note=f"{sizes[0]} against {sizes[1]}",
    )  # fmt: skip


def demo(out: Results) -> None:
    """The command that a newcomer types."""
    start = time.perf_counter()
    demo_run(progress=False)
    seconds = time.perf_counter() - start
    out.add(
        name="slr-cma demo", metric="wall time", unit="s", ours=seconds, target="< 90", met=seconds < 90, n=1,
        note="three networks, 500 training samples, 10 epochs",
    )  # fmt: skip


PARTS = {"binning": binning, "cache": cache, "tier1": tier1, "attention": attention, "demo": demo}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts; rows of the others stay")
    only = parser.parse_args().only
    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1
    command = "python packages/slr-cma/benchmarks/speed.py"
    out = Results("slr-cma", "speed", threads=threads, resume=len(only) < len(PARTS), command=command)
    for name in only:
        PARTS[name](out)
        out.write()


if __name__ == "__main__":
    main()
