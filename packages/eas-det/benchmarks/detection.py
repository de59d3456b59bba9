"""The detector's speed: frames, training steps, evaluation. Rows go to results/speed*.json beside those of speed.py.

    python packages/eas-det/benchmarks/detection.py [--only PART ...] [--out FILE] [--minutes N]

Parts: cpu (one thread), evaluation, loading, gpu. The last one is for a machine with a CUDA device, takes about two
minutes, needs no network, and writes what it found as JSON lines to --out too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
from eas_det import make_boxes, save_boxes, write_dat
from eas_det.data import Gen1, Rendered, SynthShapes
from eas_det.engine import Trainer
from eas_det.metrics import PropheseeEvaluator
from eas_det.models import EventDetector
from eas_det.synth import EventShapes
from results import Results

SIZE = (256, 320)


def median(
    call: Callable[[], Any], repeats: int, warm: int = 2, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """Median seconds, and half the range between the quartiles."""
    times = []
    for turn in range(repeats + warm):
        start = clock()
        call()
        if turn >= warm:
            times.append(clock() - start)
    low, high = np.percentile(times, [25, 75])
    return statistics.median(times), float(high - low) / 2


def small_counts(device: str = "cpu") -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.poisson(torch.full((1, 4, 2, *SIZE), 0.1), generator=generator).to(device)


def network(spiking: str, width: str = "s") -> EventDetector:
    """Random weights behind norms that have seen the input, so that neurons fire; in eval mode."""
    torch.manual_seed(0)
    net = EventDetector(width, 2, spiking, T=3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(small_counts())
    return net.eval()


def part_cpu(out: Results, repeats: int) -> None:
    x = small_counts()
    for spiking, width in (("full", "s"), ("backbone", "s"), ("none", "s"), ("full", "nano")):
        net = network(spiking, width)
        seconds, spread = median(lambda net=net: net.predict(x), repeats, clock=time.process_time)
        fps = 1 / seconds
        goal = width == "s" and spiking == "full"
        out.add(
            name=f"detector {width.upper()} {spiking}, T=3, {SIZE[1]}x{SIZE[0]}, one core", metric="frames/s",
            ours=fps, n=repeats, spread=fps * spread / seconds, target=">= 2 on two cores" if goal else None,
            met=fps >= 2 if goal else None, table="detector",
            note="processor time of one thread, batch 1, sampler and suppression included, random weights",
        )  # fmt: skip


def part_evaluation(out: Results, repeats: int) -> None:
    rng = np.random.default_rng(0)
    frames = 100_000
    t = np.repeat(np.arange(frames) * 250_000 + 600_000, 3)
    sides = {"x": (0, 200), "y": (0, 150), "w": (20, 80), "h": (30, 60)}
    truth = make_boxes(len(t), t=t, **{name: rng.uniform(*each, len(t)) for name, each in sides.items()})
    truth["class_id"] = rng.integers(0, 2, len(t))
    found = np.concatenate([truth, truth])
    found["x"] += rng.normal(0, 5, len(found))
    found["class_confidence"] = rng.random(len(found))
    start = time.process_time()
    evaluator = PropheseeEvaluator("gen1")
    evaluator.add(truth, found)
    evaluator.compute()
    seconds = time.process_time() - start
    out.add(
        name="evaluation of 100,000 frames", metric="processor time", unit="s", table="detector", ours=seconds, n=1,
        target="< 30 s",
        met=seconds < 30, note=f"{len(truth):,} true, {len(found):,} found boxes, Prophesee's protocol, one thread",
    )  # fmt: skip


def part_loading(out: Results, repeats: int) -> None:
    shapes = EventShapes("medium", 4, 0, size=(304, 240), duration=4.0)
    with tempfile.TemporaryDirectory() as folder:
        for place in range(4):
            clip = shapes[place]
            write_dat(Path(folder) / f"{place}_td.dat", clip.events)
            boxes = clip.boxes.copy()
            boxes["class_id"] %= 2
            save_boxes(Path(folder) / f"{place}_bbox.npy", boxes)
        data = Gen1(folder, None)
        for place in range(len(data)):
            data[place]
        seconds, spread = median(
            lambda: [data[place] for place in range(len(data))], repeats, clock=time.process_time
        )  # fmt: skip
    seconds, spread = 1e3 * seconds / len(data), 1e3 * spread / len(data)
    out.add(
        name="item of a dataset, 304x240, 4 bins", metric="processor time", unit="ms", ours=seconds, n=repeats,
        table="detector",
        spread=spread, note="cut out of mapped .dat files that stay open, cleaned, counted; one process",
    )  # fmt: skip


def part_gpu(out: Results, repeats: int) -> None:
    if not torch.cuda.is_available():
        note = "not measured: no GPU at hand"
        out.add(
            name=f"detector S full, T=3, {SIZE[1]}x{SIZE[0]}, GPU", metric="frames/s", ours=None, n=0, target=">= 150",
            table="detector",
            note=note,
        )  # fmt: skip
        return
    x = small_counts("cuda")
    for spiking in ("full", "backbone", "none"):
        net = network(spiking)
        with torch.no_grad():
            there = net(x.cpu())
            net.cuda()
            here = net(x)
        off = float((here.scores.cpu() - there.scores).abs().max())
        for how, call in _frames(net, x):
            seconds, spread = median(call, max(repeats, 30), warm=5)
            fps = 1 / seconds
            goal = spiking == "full"
            out.add(
                name=f"detector S {spiking}, T=3, {SIZE[1]}x{SIZE[0]}, GPU{how}", metric="frames/s", ours=fps, n=30,
                table="detector",
                spread=fps * spread / seconds, target=">= 150" if goal else None, met=fps >= 150 if goal else None,
                note=f"batch 1, sampler included; scores differ from the CPU's by at most {off:.1e}",
            )  # fmt: skip
            print(out.rows[-1]["name"], round(fps, 1), flush=True)
    data = Rendered.of(SynthShapes("easy", 48, 0, size=(64, 64)), torch.uint8).to("cuda")
    for spiking in ("full", "none"):
        _training(out, data, spiking)


def _frames(net: EventDetector, x: torch.Tensor) -> list[tuple[str, Callable[[], Any]]]:
    """Ways to run one frame, each ending when the device is done."""

    @torch.no_grad()
    def plain() -> None:
        net(x)
        torch.cuda.synchronize()

    calls: list[tuple[str, Callable[[], Any]]] = [("", plain)]
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), torch.no_grad():
            for _ in range(3):
                net(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph), torch.no_grad():
            net(x)

        def replayed() -> None:
            graph.replay()
            torch.cuda.synchronize()

        calls.append((", CUDA graph", replayed))
    except Exception:
        traceback.print_exc()
    return calls


def _training(out: Results, data: Rendered, spiking: str) -> None:
    cfg = {"model": {"variant": "pico", "spiking": spiking, "T": 2}, "epochs": 1000, "batch_size": 32, "device": "cuda"}
    try:
        trainer = Trainer(cfg, train=data, progress=False)
        trainer.fit(stop_after=20)
        torch.cuda.synchronize()
        start = time.perf_counter()
        trainer.fit(stop_after=120)
        torch.cuda.synchronize()
        seconds = (time.perf_counter() - start) / 100
    except Exception:
        traceback.print_exc()
        return
    first, last = np.mean(trainer.history.losses[:20]), np.mean(trainer.history.losses[-20:])
    out.add(
        name=f"training step, pico {spiking}, 64x64, batch 32, GPU",
        metric="wall time", unit="ms", ours=1e3 * seconds, n=100, table="detector",
        note=f"sampler to optimiser; loss {first:.2f} to {last:.2f} in 120 steps",
    )  # fmt: skip
    print(out.rows[-1]["name"], round(1e3 * seconds, 2), "ms", out.rows[-1]["note"], flush=True)


PARTS = {"cpu": part_cpu, "evaluation": part_evaluation, "loading": part_loading, "gpu": part_gpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="also copy the results file to this place")
    parser.add_argument("--minutes", type=float, default=4, help="start no part after so many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() and "gpu" in options.only else None
    command = "python packages/eas-det/benchmarks/detection.py" + (" --only gpu" if gpu else "")
    out = Results(
        "eas-det", "speed", threads=1, resume=True, gpu=gpu, variant="gpu" if gpu else None, command=command
    )  # fmt: skip
    begun = time.perf_counter()
    for part in options.only:
        if time.perf_counter() - begun > 60 * options.minutes:
            print(f"{part}: left out, time is over", flush=True)
            continue
        try:
            PARTS[part](out, options.repeats)
        except Exception:
            traceback.print_exc()
        out.write()
        print(f"{part}: done", flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(json.loads(out.path.read_text(encoding="utf-8")), indent=1))


if __name__ == "__main__":
    main()
