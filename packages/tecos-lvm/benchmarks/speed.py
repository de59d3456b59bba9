"""Speed: spike distances against elephant, training against a loop, one frame in real time, generation, operations.

python packages/tecos-lvm/benchmarks/speed.py [--only distances|train|stream|generate|operations|gpu] [--variant NAME]
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
sys.path.append(str(Path(__file__).resolve().parent))
import naive
import numpy as np
import torch

from results import Results
from tecos_lvm import TeCoSConfig, TeCoSLoss, TeCoSLVM, metrics
from tecos_lvm.baselines import CNN
from tecos_lvm.datasets import load_onken

FIVE = range(10, 15)  # neurons for Victor-Purpura: elephant needs about 6 s for each


def clock(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def quartiles(values: list[float]) -> float:
    return float(np.subtract(*np.percentile(values, [75, 25])))


def distances(out: Results) -> None:
    import neo
    import quantities as pq
    from elephant.spike_train_dissimilarity import van_rossum_distance, victor_purpura_distance

    cells = load_onken(Path(os.environ["SPK_DATA"]) / "retina" / "Movie1Exp2.mat").spike_times
    events = [[neo.SpikeTrain(t * pq.ms, t_stop=18_000 * pq.ms) for t in trials] for trials in cells]
    for name, target, chosen, ours, theirs in (
        ("van Rossum, 10 ms", 30, range(len(cells)), lambda t: metrics.van_rossum_matrix(t, 10.0),
         lambda e: van_rossum_distance(e, 10 * pq.ms)),
        ("Victor-Purpura, 0.1 per ms", 50, FIVE, lambda t: metrics.victor_purpura_matrix(t, 0.1),
         lambda e: victor_purpura_distance(e, 0.1 / pq.ms)),
    ):  # fmt: skip
        difference, mine, peer = 0.0, [0.0] * 7, 0.0
        for n in chosen:
            begin = time.perf_counter()
            wanted = theirs(events[n])
            peer += time.perf_counter() - begin
            for k in range(7):
                mine[k] += clock(lambda n=n, ours=ours: ours(cells[n]))  # type: ignore[misc]
            difference = max(difference, float(np.abs(ours(cells[n]) - wanted).max()))
        value = statistics.median(mine)
        spikes = sum(len(t) for n in chosen for t in cells[n])
        out.add(
            name=f"{name}: Movie1Exp2, {len(chosen)} neurons x 30 trials", metric="all pairs", unit="s", ours=value,
            peer=("elephant", peer), ratio=peer / value, target=f">= {target}, equal to 1e-9",
            met=peer / value >= target and difference < 1e-9, n=7, spread=quartiles(mine),
            note=f"{spikes:,} spikes; the peer once, neuron by neuron in turn; largest difference {difference:.1e}",
            headline="{ratio:.0f}x faster than {peer} at van Rossum distances" if target == 30 else None,
        )  # fmt: skip


def train(out: Results) -> None:
    for shape, encoder, batch in (((64, 64), "conv", 8), ((16, 16), "linear", 16)):
        torch.manual_seed(0)
        model = TeCoSLVM(TeCoSConfig(shape, 50, 10.0, encoder=encoder))
        x, y = torch.randn(batch, 100, *shape), (torch.rand(batch, 100, 50) < 0.05).float()
        loss, gradients = TeCoSLoss(), {}

        def ours(model: Any = model, x: Any = x, y: Any = y, loss: Any = loss) -> Any:
            found = model(x, y_teacher=y, generator=torch.Generator().manual_seed(1))
            value = loss.spike_terms(found, None, y, sigma=0.3, dt_ms=10.0) + 1e-3 * loss.kl(found)
            model.zero_grad()
            value.backward()
            return value

        def loop(model: Any = model, x: Any = x, y: Any = y) -> Any:
            value = naive.loss(model, x, y, 1e-3, torch.Generator().manual_seed(1))
            model.zero_grad()
            value.backward()
            return value

        values = {}
        for name, step in (("ours", ours), ("loop", loop)):
            values[name] = float(step())
            gradients[name] = torch.cat([p.grad.flatten() for p in model.parameters()])
        away = float((gradients["ours"] - gradients["loop"]).norm() / gradients["loop"].norm())
        pairs = [(clock(ours), clock(loop)) for _ in range(7)]
        mine, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
        out.add(
            name=f"training step, {batch} clips x 100 bins, {shape[0]} x {shape[1]} ({encoder}), 50 neurons",
            metric="forward and backward", unit="ms", ours=1000 * mine, peer=("loop over bins", 1000 * peer),
            ratio=peer / mine, target=">= 3, equal results", met=peer / mine >= 3 and away < 1e-3, n=7,
            spread=1000 * quartiles([a for a, _ in pairs]),
            note=f"losses differ by {abs(values['ours'] / values['loop'] - 1):.1e}, gradients by {away:.1e} (relative)",
        )  # fmt: skip


def resident() -> float:
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def stream(out: Results) -> None:
    model = TeCoSLVM(TeCoSConfig((24, 24), 50, 5.0))
    frame, state = torch.randn(1, 24, 24), None
    for _ in range(1000):
        _, state = model.step(frame, state)
    times = np.ones(100_000)  # written to here, so that the clock's own memory does not count
    before = resident()
    for k in range(len(times)):
        start = time.perf_counter()
        _, state = model.step(frame, state)
        times[k] = time.perf_counter() - start
    value, grown = 1000 * float(np.median(times)), resident() - before
    finite = all(bool(torch.isfinite(t).all()) for t in (state.encoder, state.output, *state.memory))
    out.add(
        name="one frame, 24 x 24, 64 units, 50 neurons", metric="latency", unit="ms", ours=value, ratio=1 / value,
        target="<= 1 ms", met=value <= 1, n=len(times), spread=1000 * quartiles(list(times)),
        note=f"median; 99th percentile {1000 * float(np.percentile(times, 99)):.2f} ms; the ratio is to 1 ms",
        headline="{ours:.2f} ms per frame, streaming",
    )  # fmt: skip
    out.add(
        name="100,000 frames, state carried", metric="memory grown", unit="MB", ours=max(grown, 0.0),
        target="constant: < 5 MB, state finite", met=grown < 5 and finite, n=1,
        note="resident memory after, less that after 1,000 frames",
    )  # fmt: skip


def generate(out: Results) -> None:
    model = TeCoSLVM(TeCoSConfig((24, 24), 50, 5.0))
    movie = np.random.default_rng(0).normal(size=(2000, 24, 24)).astype(np.float32)
    model.generate(movie[:50], 30)
    times, clocks = [], []
    for _ in range(25):
        begin = time.process_time()
        clocks.append(clock(lambda: model.generate(movie, 30)))
        times.append(time.process_time() - begin)
    value, wall = statistics.median(times), statistics.median(clocks)
    for name, seconds in (("the film", 10), ("30 trials of it", 300)):
        out.add(
            name=f"50 neurons x 30 trials at 5 ms, 10 s: time of {name}", metric="generation over real time", unit="s",
            ours=value, ratio=seconds / value, target=">= 100", met=seconds / value >= 100, n=len(times),
            spread=quartiles(times),
            note=f"thirty trials at once, one thread, its CPU time; the ratio is to {seconds} s; by the clock, "
            f"with whatever else ran, {wall:.3f} s",
        )  # fmt: skip


def operations(out: Results) -> None:
    """First-layer multiplications per frame, counted from the modules, beside a CNN over 20 frames of equal width."""
    model = TeCoSLVM(TeCoSConfig((24, 24), 50, 5.0, encoder="conv"))
    first = model.features.body[0]
    side = (24 - first.kernel_size[0]) // first.stride[0] + 1
    ours = side * side * first.weight.numel()
    peer = CNN(channels=(first.out_channels, 16), kernel=first.kernel_size[0], window=20)
    peer.shape = (24, 24)
    peer.build(576, torch.full((50,), 0.05))
    layer = peer.body[0]
    theirs = side * side * layer.weight.numel()  # at our stride: the history alone makes the difference
    out.add(
        name="first layer per frame, 24 x 24, 16 channels of 7 x 7", metric="multiplications", ours=float(ours),
        peer=("CNN over 20 frames, same stride", float(theirs)), ratio=theirs / ours, target=">= 10",
        met=theirs / ours >= 10, n=1, note=f"at the CNN's own stride of 1: {18 * 18 * layer.weight.numel():,}",
    )  # fmt: skip
    sizes = []
    for window in (20, 40):
        other = CNN(channels=(16, 16), kernel=7, window=window)
        other.shape = (24, 24)
        other.build(576, torch.full((50,), 0.05))
        sizes.append(sum(p.numel() for p in other.parameters()))
    own = sum(p.numel() for p in model.parameters())
    out.add(
        name="parameters at any length of history", metric="parameters", ours=float(own), n=1,
        target="none depends on time", met=True,
        note=f"the CNN: {sizes[0]:,} with 20 frames, {sizes[1]:,} with 40",
    )  # fmt: skip


def gpu(out: Results) -> None:
    """The training step on an accelerator, and its agreement with the CPU."""
    if not torch.cuda.is_available():
        print("no accelerator; nothing measured")
        return
    torch.manual_seed(0)
    cpu = TeCoSLVM(TeCoSConfig((64, 64), 50, 10.0, encoder="conv", hidden="lif"))
    card = TeCoSLVM(cpu.config)
    card.load_state_dict(cpu.state_dict())
    card.cuda()
    x, y = torch.randn(32, 100, 64, 64), (torch.rand(32, 100, 50) < 0.05).float()

    def step(model: Any, device: str) -> float:
        a, b = x.to(device), y.to(device)
        found = model(a, y_teacher=b, sample=False)
        value = TeCoSLoss().spike_terms(found, None, b, sigma=0.3, dt_ms=10.0) + 1e-3 * TeCoSLoss().kl(found)
        model.zero_grad()
        value.backward()
        return float(value)

    a, b = step(cpu, "cpu"), step(card, "cuda")
    step(card, "cuda")
    pairs = [(clock(lambda: step(cpu, "cpu")), clock(lambda: step(card, "cuda"))) for _ in range(7)]
    mine, there = (statistics.median(column) for column in zip(*pairs, strict=True))
    out.add(
        name="training step, 32 clips x 100 bins, 64 x 64 (conv), 50 neurons", metric="forward and backward",
        unit="ms", ours=1000 * there, peer=("the same on the CPU, compiled loop, one thread", 1000 * mine),
        ratio=mine / there, n=7, spread=1000 * quartiles([t for _, t in pairs]),
        note=f"losses {a:.5f} and {b:.5f}; the loop over bins runs kernel by kernel on the accelerator",
    )  # fmt: skip


PARTS = (operations, generate, train, stream, distances, gpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", choices=["", *(part.__name__ for part in PARTS)])
    parser.add_argument("--variant", default=None, help="name of another machine's results file")
    parser.add_argument("--out", type=Path, default=None, help="folder of the results file, another than the package's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    card = torch.cuda.get_device_name() if options.only == "gpu" and torch.cuda.is_available() else None
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    out = Results(
        "tecos-lvm", "speed", threads=1, variant=options.variant, resume=options.only != "", gpu=card,
        folder=options.out, command="python packages/tecos-lvm/benchmarks/speed.py",
    )  # fmt: skip
    for part in PARTS:
        if options.only in ("", part.__name__) and (part is not gpu or options.only == "gpu"):
            part(out)
            out.write()
            print(part.__name__, "done", flush=True)


if __name__ == "__main__":
    main()
