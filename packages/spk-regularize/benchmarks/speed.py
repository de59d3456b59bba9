"""What a regulariser and an attack cost: ratios within one process, ours and the peers taking turns.

    python packages/spk-regularize/benchmarks/speed.py [--part NAME]

Parts: step (a training step with and without MPD-SGR), memory (its peak), fused (the operation on stored potentials, in
passes over them), pgd (against foolbox and ART on the same model, same images checked first), battery (the standard one
on 1,000 digits), quickstart.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
import numpy as np
import torch
from torch import nn

from results import Results
from spk_regularize import MPDSGR, PGD, MembraneMonitor, RobustTrainer, TrainConfig, build_model, evaluate_robustness
from spk_regularize.data import digits
from spk_regularize.stats import overlap_of

ROUNDS = 15


def interleaved(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """CPU seconds per call of each, taking turns, after one warm-up: on one thread, other programs add little."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return times


def ratio(times: dict[str, list[float]], a: str, b: str) -> tuple[float, float]:
    """Median of a over b round by round, and its spread (half the distance of the quartiles)."""
    each = sorted(x / y for x, y in zip(times[a], times[b], strict=True))
    low, _, high = statistics.quantiles(each, n=4)
    return statistics.median(each), (high - low) / 2


def step(out: Results) -> None:
    model = build_model("cnn", shape=(3, 32, 32), channels=(16, 32, 32), seed=0).train()
    x, y = torch.rand(32, 3, 32, 32), torch.arange(32) % 10
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def run(reg: MPDSGR | None) -> None:
        optimizer.zero_grad()
        if reg is None:
            loss = nn.functional.cross_entropy(model(x), y)
        else:
            monitor = monitors[reg]
            monitor.clear()
            with monitor:
                loss = nn.functional.cross_entropy(model(x), y)
            loss = loss + reg(monitor)
        loss.backward()
        optimizer.step()

    batch, analytic = MPDSGR(), MPDSGR(stats="tdbn")
    monitors = {reg: MembraneMonitor(model, reg) for reg in (batch, analytic)}
    times = interleaved({"plain": lambda: run(None), "batch": lambda: run(batch), "tdbn": lambda: run(analytic)})
    for name, target in (("batch", 1.15), ("tdbn", 1.01)):
        value, spread = ratio(times, name, "plain")
        out.add(
            name=f"training step with MPD-SGR, {name} statistics", metric="time over the plain step", ours=value,
            target=f"<= {target}", met=value <= target, n=ROUNDS, spread=spread, table="speed",
            note="3 convolutions 16/32/32 on 32x32, T = 4, batch 32, forward, backward, optimiser",
        )  # fmt: skip


def _status(key: str) -> float:
    """MB from the kernel's account of this process: VmRSS now, VmHWM at most since it was last cleared."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def _peak(name: str) -> float:
    """MB that one training step needs at most, warm; meant for a fresh process."""
    torch.set_num_threads(1)
    model = build_model("cnn", shape=(3, 32, 32), channels=(16, 32, 32), seed=0).train()
    reg = {"plain": None, "batch": MPDSGR(), "stored": MPDSGR(window="soft")}[name]
    x, y = torch.rand(256, 3, 32, 32), torch.arange(256) % 10
    for _ in range(2):
        # 5 clears the peak
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        if reg is None:
            loss = nn.functional.cross_entropy(model(x), y)
        else:
            with MembraneMonitor(model, reg) as monitor:
                loss = nn.functional.cross_entropy(model(x), y)
            loss = loss + reg(monitor)
        loss.backward()
        del loss
        model.zero_grad()
        if reg is not None:
            del monitor
    return _status("VmHWM") - before


def memory(out: Results) -> None:
    # blocks that are kept for later, by spk-neurons and by the C library, would blur what a step needs
    os.environ |= {"SPK_KEEP_MB": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}
    peaks: dict[str, float] = {}
    for name in ("plain", "batch", "stored"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            peaks[name] = pool.submit(_peak, name).result()
    value = peaks["batch"] / peaks["plain"]
    out.add(
        name="peak memory of a training step, batch statistics", metric="over the plain step", ours=value,
        target="<= 1.05", met=value <= 1.05, n=1, table="speed",
        note=f"batch 256, {peaks['plain']:.0f} MB; potentials stored {peaks['stored'] / peaks['plain']:.2f}",
    )  # fmt: skip


def fused(out: Results) -> None:
    u = torch.randn(4, 64, 32, 16, 16, requires_grad=True)
    buffer = torch.empty_like(u)

    def op() -> None:
        u.grad = None
        overlap_of(u, 1.0).mean().backward()

    times = interleaved({"fused": op, "pass": lambda: torch.mul(u.detach(), 1.5, out=buffer)})
    value, spread = ratio(times, "fused", "pass")
    out.add(
        name="fused overlap of stored potentials", metric="elementwise passes", ours=value, target="<= 3.0",
        met=value <= 3.0, n=ROUNDS, spread=spread, table="speed",
        note="(4, 64, 32, 16, 16), forward and backward; a pass reads and writes once",
    )  # fmt: skip


def pgd(out: Results) -> None:
    data = digits()
    model = build_model("cnn", seed=0)
    RobustTrainer(model, TrainConfig(epochs=2)).fit(data)
    model.eval()
    x, y = data.x(slice(0, 200)), data.labels[:200]
    ours = PGD(model, 0.1, steps=10, alpha=0.025, random_start=False, keep="last")
    calls: dict[str, Callable[[], object]] = {"ours": lambda: ours(x, y)}
    try:
        import foolbox

        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        theirs = foolbox.attacks.LinfPGD(abs_stepsize=0.025, steps=10, random_start=False)
        calls["foolbox"] = lambda: theirs(wrapped, x, y, epsilons=0.1)[1]
    except ImportError as error:
        print(f"foolbox: {error}")
    try:
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

        estimator = PyTorchClassifier(
            model, nn.CrossEntropyLoss(), input_shape=(1, 8, 8), nb_classes=10, clip_values=(0.0, 1.0),
            device_type="cpu",
        )  # fmt: skip
        art = ProjectedGradientDescentPyTorch(
            estimator, norm=np.inf, eps=0.1, eps_step=0.025, max_iter=10, num_random_init=0, batch_size=200,
            verbose=False,
        )  # fmt: skip
        one_hot, images = np.eye(10)[y.numpy()], x.numpy()
        calls["ART"] = lambda: art.generate(images, one_hot)
    except ImportError as error:
        print(f"ART: {error}")
    for name, call in calls.items():
        found = torch.as_tensor(call())
        assert torch.allclose(found, ours(x, y), atol=1e-6), f"{name} attacks otherwise"
    times = interleaved(calls)
    for name, target in (("foolbox", 1.0), ("ART", 1.3)):
        if name not in calls:
            continue
        value, spread = ratio(times, name, "ours")
        out.add(
            name="PGD, 10 steps, 200 digits", metric="CPU time", unit="s", ours=statistics.median(times["ours"]),
            peer=(name, statistics.median(times[name])), ratio=value, target=f">= {target}x", met=value >= target,
            n=ROUNDS, spread=spread, table="speed", note="equal pixels checked first; spread is that of the ratio",
            **({"headline": "PGD equals {peer}'s pixel for pixel, {ratio:.2f}x as fast"} if name == "ART" else {}),
        )  # fmt: skip


def battery(out: Results) -> None:
    data = digits()
    model = build_model("cnn", seed=0)
    RobustTrainer(model, TrainConfig(epochs=5)).fit(data)
    start = time.process_time()
    report = evaluate_robustness(model, data, 0.1, battery="standard", n=1000, masking=False)
    seconds = time.process_time() - start
    out.add(
        name="standard battery, 1,000 digits, 3 layers", metric="CPU time, half of the images on each of two cores",
        unit="s", ours=seconds / 2, target="< 60", met=seconds < 120, n=1, table="speed",
        note=f"{len(report.names)} attacks, without transfer and verdict; all images on one thread {seconds:.0f} s",
    )  # fmt: skip


def quickstart(out: Results) -> None:
    script = Path(__file__).resolve().parents[1] / "examples" / "quickstart.py"
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(script), "--out", folder], check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    out.add(
        name="quickstart: two trainings, attacks, verdict, pictures", metric="CPU time", unit="s", ours=seconds,
        target="< 30", met=seconds < 30, n=1, table="speed", note=f"imports included; {wall:.0f} s on the clock",
    )  # fmt: skip


PARTS = {"step": step, "memory": memory, "fused": fused, "pgd": pgd, "battery": battery, "quickstart": quickstart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), action="append")
    chosen = parser.parse_args().part or list(PARTS)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out = Results("spk-regularize", "speed", threads=1, resume=True)
    for name in chosen:
        PARTS[name](out)
        out.write()
    for row in out.rows:
        print(f"{row['name']}: {row['ours']:.4g} {row['unit'] or ''} ratio {row['ratio']} {row['target']} {row['met']}")


if __name__ == "__main__":
    main()
