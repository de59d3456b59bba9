"""Forward + backward of a LIF layer against the peers, the bandwidth floor, and our own promises.

    python benchmarks/speed.py                 # writes benchmarks/results/speed.json
    python benchmarks/speed.py --part peers    # one part of three; the others' rows stay

One process, one thread, implementations interleaved within each round; the copy bandwidth is measured in the same
rounds. Peers are timed at their documented best on a CPU (user loops over ``x.unbind``, not ``x[t]``).
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
warnings.simplefilter("ignore")

from results import Results  # noqa: E402
from spk_neurons import LIF, noise  # noqa: E402
from spk_neurons import functional as F  # noqa: E402
from spk_neurons._bench import compare  # noqa: E402

SIZES = [(16, 131072), (64, 65536), (256, 16384)]
LARGE = (64, 262144)  # 64 MB per stream: above malloc's limit, where fresh memory costs page faults
TARGET = {16: 5.0, 64: 5.0, 256: 9.0}
HERE = "CPU time of one thread, float32, hard reset, ATan, random upstream gradient"


def interleaved(
    runs: dict[str, Callable[[], Any]], rounds: int, now: Callable[[], float] = time.process_time
) -> dict[str, tuple[float, float]]:
    """Median and relative range in ms of each run, taking turns."""
    times: dict[str, list[float]] = {k: [] for k in runs}
    for i in range(rounds + 2):
        for name, run in runs.items():
            start = now()
            run()
            if i >= 2:
                times[name].append(1e3 * (now() - start))
    return {k: (statistics.median(v), (max(v) - min(v)) / statistics.median(v)) for k, v in times.items()}


class Rows(Results):
    """Rows with a promise make one table, comparisons another."""

    def add(self, **row: Any) -> None:
        super().add(table="promises" if row.get("target") else "others", **row)


def against_peers(out: Rows, rounds: int) -> None:
    ours: dict[int, float] = {}
    for steps, n in [*SIZES, LARGE]:
        large = (steps, n) == LARGE
        rows = {r["name"]: r for r in compare(steps, n, rounds=3 if large else rounds)}
        print(f"T={steps} N={n} done", flush=True)
        size = f"T={steps}, N={n} ({steps * n * 4 >> 20} MB per stream)"
        floor = rows["bandwidth floor"]["milliseconds"]
        us = rows["spk-neurons numba"]
        if not large:
            ours[steps] = us["milliseconds"]
        common: dict[str, Any] = {"metric": "forward + backward", "unit": "ms", "n": 3 if large else rounds}
        ratio = us["milliseconds"] / floor
        out.add(
            name=f"numba over the bandwidth floor, {size}",
            ours=us["milliseconds"],
            peer=("5 streams copied", floor),
            ratio=ratio,
            target=None if large else "<= 2.5",
            met=None if large else ratio <= 2.5,
            spread=us["spread"],
            note=HERE,
            **common,
        )
        for name, row in rows.items():
            if name in ("bandwidth floor", "spk-neurons numba"):
                continue
            ratio = row["milliseconds"] / us["milliseconds"]
            judged = name.startswith("SpikingJelly") and not large
            out.add(
                name=f"numba, {size}",
                ours=us["milliseconds"],
                peer=(name, row["milliseconds"]),
                ratio=ratio,
                target=f">= {TARGET[steps]:g}" if judged else None,
                met=ratio >= TARGET[steps] if judged else None,
                spread=us["spread"],
                note=HERE,
                headline="{ratio:.0f}x faster than {peer} at T=64" if judged and steps == 64 else None,
                **common,
            )
        if "SpikingJelly LIFNode" in rows:
            eager, sj = rows["spk-neurons torch"], rows["SpikingJelly LIFNode"]["milliseconds"]
            ratio = sj / eager["milliseconds"]
            out.add(
                name=f"torch backend, {size}",
                ours=eager["milliseconds"],
                peer=("SpikingJelly LIFNode", sj),
                ratio=ratio,
                target=None if large else ">= 1.4",
                met=None if large else ratio >= 1.4,
                spread=eager["spread"],
                note=HERE,
                **common,
            )
    over_time(out, rounds, ours)


def over_time(out: Rows, rounds: int, ours: dict[int, float]) -> None:
    ratio = ours[256] / ours[64] * (64 * 65536) / (256 * 16384)
    out.add(
        name="time(T=256) / time(T=64) at equal T N",
        ours=ours[256],
        peer=("T=64", ours[64]),
        ratio=ratio,
        target="<= 1.15",
        met=ratio <= 1.15,
        spread=0.0,
        note=HERE,
        metric="forward + backward",
        unit="ms",
        n=rounds,
    )


def own_promises(out: Rows, rounds: int) -> None:
    steps, n = 64, 65536
    x = (torch.randn(steps, 64, n // 64) + 0.5).requires_grad_()
    g = torch.randn_like(x)

    def plain() -> None:
        x.grad = None
        F.lif(x, decay=0.5).backward(g)

    def stats() -> None:
        x.grad = None
        s, o = F.lif(x, decay=0.5, stats=True)
        torch.autograd.backward([s, o.stats.mean, o.stats.var], [g, o.stats.mean.detach(), o.stats.var.detach()])

    conv_x = (torch.randn(steps, 8, 32, n // 256) + 0.5).requires_grad_()
    conv_g = torch.randn_like(conv_x)

    def conv() -> None:
        conv_x.grad = None
        F.lif(conv_x, decay=0.5).backward(conv_g)

    def conv_stats() -> None:
        conv_x.grad = None
        s, o = F.lif(conv_x, decay=0.5, stats=True)
        torch.autograd.backward([s, o.stats.mean, o.stats.var], [conv_g, o.stats.mean.detach(), o.stats.var.detach()])

    def draws() -> None:
        noise.Gaussian(0.3).sample(x.shape)

    def noisy() -> None:
        x.grad = None
        F.noisy_lif(x, decay=0.5).backward(g)

    runs = {"plain": plain, "stats": stats, "conv": conv, "conv stats": conv_stats, "draws": draws, "noisy": noisy}
    t = interleaved(runs, rounds)
    base = t["plain"][0]
    common: dict[str, Any] = {"metric": "forward + backward", "unit": "ms", "n": rounds}
    for shape, plain_name, name in (
        (f"64 samples of {n // 64} features", "plain", "stats"),
        (f"8 samples of 32 channels of {n // 256}", "conv", "conv stats"),
    ):
        ratio = t[name][0] / t[plain_name][0]
        out.add(
            name=f"streaming mean and variance with gradient over none, T=64, {shape}",
            ours=t[name][0],
            peer=("plain LIF", t[plain_name][0]),
            ratio=ratio,
            target="<= 1.15",
            met=ratio <= 1.15,
            spread=t[name][1],
            note=HERE,
            **common,
        )
    limit = 1.5 * base + t["draws"][0]
    out.add(
        name="NoisyLIF (escape), T=64, N=65536",
        ours=t["noisy"][0],
        peer=("1.5 x LIF + the draws", limit),
        ratio=t["noisy"][0] / limit,
        target="<= 1",
        met=t["noisy"][0] <= limit,
        spread=t["noisy"][1],
        note=HERE,
        **common,
    )
    threads(out, rounds, plain)
    small_calls(out)


def threads(out: Rows, rounds: int, plain: Callable[[], None]) -> None:
    """Two threads over one, and the same for a copy: what the memory grants."""
    a, b = torch.empty(1 << 22), torch.rand(1 << 22)
    runs: dict[str, Callable[[], Any]] = {}

    def on(count: int, run: Callable[[], Any]) -> Callable[[], Any]:
        def timed() -> None:
            torch.set_num_threads(count)
            run()

        return timed

    for count in (1, 2):
        runs[f"plain {count}"] = on(count, plain)
        runs[f"copy {count}"] = on(count, lambda: a.copy_(b))
    # wall time, unlike the rest: on a machine with other work it says little
    t = interleaved(runs, 3 * rounds, time.perf_counter)
    torch.set_num_threads(1)
    copy = t["copy 1"][0] / t["copy 2"][0]
    out.add(
        name="two threads over one: a copy of 16 MB",
        metric="copy",
        unit="ms",
        ours=t["copy 2"][0],
        peer=("one thread", t["copy 1"][0]),
        ratio=copy,
        spread=t["copy 2"][1],
        n=3 * rounds,
        note="wall time: what the machine's memory and its other work grant a second thread",
    )
    ratio = t["plain 1"][0] / t["plain 2"][0]
    out.add(
        name="two threads over one, T=64, N=65536",
        metric="forward + backward",
        unit="ms",
        ours=t["plain 2"][0],
        peer=("one thread", t["plain 1"][0]),
        ratio=ratio,
        target=">= 1.7",
        met=ratio >= 1.7,
        spread=t["plain 2"][1],
        n=3 * rounds,
        note=f"wall time, float32; a copy gains {copy:.2f}",
    )


def small_calls(out: Rows) -> None:
    """What one call costs where there is next to nothing to compute: closed loops take one step at a time."""
    lif, x = LIF(), torch.randn(4, 32)
    state = lif.initial_state((4, 32))
    sequence = torch.randn(8, 4, 32, requires_grad=True)
    grad = torch.ones_like(sequence)

    def step() -> None:
        with torch.no_grad():
            lif.step(x, state)

    def train() -> None:
        lif(sequence).backward(grad)

    for name, run in (("one step without gradient", step), ("T=8 forward + backward", train)):
        times = []
        for i in range(300):
            start = time.process_time()
            run()
            if i >= 100:
                times.append(1e6 * (time.process_time() - start))
        out.add(
            name=f"small call, 128 neurons: {name}",
            metric="CPU time",
            unit="us",
            ours=statistics.median(times),
            spread=(max(times) - min(times)) / statistics.median(times),
            n=len(times),
            note="float32, one thread; mostly Python and autograd bookkeeping",
        )


PEAK = """
import resource, sys, torch
torch.set_num_threads(1)
from spk_neurons import functional as F
T, N = 64, 262144
small = torch.randn(T, 64, requires_grad=True)
F.lif(small).backward(torch.ones_like(small))  # kernels loaded, and what torch imports at a first backward(g)
x, g = torch.randn(T, N).requires_grad_(), torch.randn(T, N)
def peak(): return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])
before = peak()
F.lif(x).backward(g)
print((peak() - before) * 1024 / (T * N * 4))
"""

IMPORT = """
import time, torch
t = time.perf_counter(); import spk_neurons
print(time.perf_counter() - t)
"""

FIRST = """
import time, torch
from spk_neurons import functional as F
x = torch.randn(4, 8, requires_grad=True)
t = time.perf_counter(); F.lif(x, backend="numba").sum().backward()
print(time.perf_counter() - t)
"""


def fresh(code: str, **environment: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return float(done.stdout.split()[-1])


def processes(out: Rows) -> None:
    import tempfile

    streams = fresh(PEAK)
    out.add(
        name="peak memory above the inputs, T=64, N=262144",
        metric="memory",
        unit="streams",
        ours=streams,
        target="<= 2.2",
        met=streams <= 2.2,
        n=1,
        note="VmHWM of a fresh process; a stream is T N 4 bytes",
    )
    fresh(IMPORT)
    times = [fresh(IMPORT) for _ in range(3)]
    out.add(
        name="import after torch",
        metric="wall time",
        unit="s",
        ours=statistics.median(times),
        target="<= 0.3",
        met=statistics.median(times) <= 0.3,
        n=3,
        spread=max(times) - min(times),
    )
    with tempfile.TemporaryDirectory() as folder:
        cold = fresh(FIRST, NUMBA_CACHE_DIR=folder)
        warm = fresh(FIRST, NUMBA_CACHE_DIR=folder)
    out.add(
        name="first numba call, kernels compiled",
        metric="wall time",
        unit="s",
        ours=cold,
        target="<= 5",
        met=cold <= 5,
        n=1,
        note=f"forward + backward, includes importing numba; {warm:.1f} s from the cache",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--part", choices=("peers", "own", "processes"), help="measure this part only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    command = "python packages/spk-neurons/benchmarks/speed.py"
    out = Rows("spk-neurons", "speed", threads=1, resume=given.part is not None, command=command)
    if given.part in (None, "peers"):
        against_peers(out, given.rounds)
    if given.part in (None, "own"):
        own_promises(out, given.rounds)
    if given.part in (None, "processes"):
        processes(out)
    out.write()
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


if __name__ == "__main__":
    main()
