"""The cell on a GPU against cuDNN's GRU and LSTM: forward and backward, and one acting step; correctness first.

    python packages/grsn-rl/benchmarks/gpu.py [--out FOLDER] [--minutes N]

Writes speed-<gpu>.json. Taking turns, median of CUDA-event times; TF32 is off for both sides, or on for both. One line
per result; a case that fails is told and left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

import torch
from torch import Tensor, nn

from grsn_rl import GRSN
from results import Results

SIZES = ((64, 32, 48, 128), (64, 256, 48, 128), (64, 32, 64, 256), (128, 256, 64, 256), (64, 2048, 64, 256))
VARIANTS: dict[str, dict[str, Any]] = {
    "gates on the input": {},
    "hard reset": {"reset": "hard"},
    "membrane readout": {"readout": "membrane"},
    "gates on input and spikes": {"gate": "input+spike"},
}


def timed(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds and half the middle half's range of each, taking turns; each time is of ten calls."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + 3):
        for name, run in runs.items():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(10):
                run()
            end.record()
            torch.cuda.synchronize()
            if i >= 3:
                times[name].append(begin.elapsed_time(end) / 10)
    quarters = {name: statistics.quantiles(values, n=4) for name, values in times.items()}
    return {name: (statistics.median(times[name]), (q[2] - q[0]) / 2) for name, q in quarters.items()}


def correctness(out: Results) -> None:
    """Spikes that differ from the CPU's, and the largest relative difference of a gradient, in float64."""
    for name, options in VARIANTS.items():
        torch.manual_seed(0)
        here = GRSN(24, 64, dtype=torch.float64, backend="reference", **options)
        there = GRSN(24, 64, dtype=torch.float64, backend="triton", device="cuda", **options)
        there.load_state_dict(here.state_dict())
        x, keep = torch.randn(40, 16, 24, dtype=torch.float64), (torch.rand(40, 16) > 0.1).double()
        weight = torch.linspace(-1, 1, 40 * 16 * 64, dtype=torch.float64).view(40, 16, 64)
        results = []
        for net, device in ((here, "cpu"), (there, "cuda")):
            seen = x.to(device, copy=True).requires_grad_()
            y, state = net(seen, keep=keep.to(device))
            ((y * weight.to(device)).sum() + state.square().sum()).backward()
            results.append([t.detach().cpu() for t in (y, state, seen.grad, *(p.grad for p in net.parameters()))])
        gaps = [float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in zip(*results, strict=True)]
        out.add(
            name=f"{name}, T=40, B=16, H=64", metric="largest relative difference to the CPU's reference",
            ours=max(gaps), target="<= 1e-10", met=max(gaps) <= 1e-10, n=len(gaps), table="gpu correctness",
            note="float64: output, state, gradients of input and parameters; resets inside the sequences",
        )  # fmt: skip
        print(f"{name}: {max(gaps):.2e}", flush=True)


def both(module: nn.Module, x: Tensor, weight: Tensor) -> Callable[[], None]:
    return lambda: (module(x)[0] * weight).sum().backward()


def sequences(out: Results, steps: int, batch: int, inputs: int, hidden: int, tf32: bool, rounds: int) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    x = torch.randn(steps, batch, inputs, device="cuda", requires_grad=True)
    weight = torch.randn(steps, batch, hidden, device="cuda")
    modules: dict[str, nn.Module] = {
        "GRSN": GRSN(inputs, hidden), "cuDNN GRU": nn.GRU(inputs, hidden), "cuDNN LSTM": nn.LSTM(inputs, hidden),
    }  # fmt: skip
    found = timed({name: both(module.cuda(), x, weight) for name, module in modules.items()}, rounds)
    ours, spread = found.pop("GRSN")
    for peer, (theirs, _) in found.items():
        name = f"forward + backward, T={steps}, B={batch}, I={inputs}, H={hidden}" + (", TF32" if tf32 else "")
        out.add(
            name=name, metric="time", unit="ms", ours=ours, peer=(peer, theirs), ratio=theirs / ours, n=rounds,
            spread=spread, table="gpu", note="median, taking turns, CUDA events, ten calls each",
        )  # fmt: skip
        print(f"{name}: {ours:.3f} ms, {peer} {theirs:.3f} ms, {theirs / ours:.2f}x", flush=True)


def acting(out: Results, batch: int, inputs: int, hidden: int, rounds: int) -> None:
    one = torch.randn(1, batch, inputs, device="cuda")
    runs: dict[str, Callable[[], Any]] = {}
    with torch.no_grad():
        for name, module in (("GRSN", GRSN(inputs, hidden)), ("cuDNN GRU", nn.GRU(inputs, hidden))):
            state = module.cuda()(one)[1]
            runs[name] = lambda module=module, state=state: module(one, state)
        found = timed(runs, rounds)
    (ours, spread), (theirs, _) = found["GRSN"], found["cuDNN GRU"]
    name = f"one acting step, B={batch}, I={inputs}, H={hidden}"
    out.add(
        name=name, metric="time", unit="ms", ours=ours, peer=("cuDNN GRU", theirs), ratio=theirs / ours, n=rounds,
        spread=spread, table="gpu", note="no gradient, ten calls each",
    )  # fmt: skip
    print(f"{name}: {ours:.4f} ms, cuDNN GRU {theirs:.4f} ms, {theirs / ours:.2f}x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder, instead of the package's results")
    parser.add_argument("--minutes", type=float, default=5.0, help="start no case after so long")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    gpu = torch.cuda.get_device_name()
    variant = next((word for word in gpu.lower().split() if any(c.isdigit() for c in word)), "gpu")
    out = Results(
        "grsn-rl", "speed", threads=1, variant=variant, gpu=gpu, command="python packages/grsn-rl/benchmarks/gpu.py",
        folder=args.out,
    )  # fmt: skip
    cases: list[Callable[[], None]] = [lambda: correctness(out)]
    cases += [
        lambda size=size, tf32=tf32: sequences(out, *size, tf32=tf32, rounds=args.rounds)
        for tf32 in (False, True)
        for size in SIZES
    ]
    cases += [lambda b=b, h=h: acting(out, b, 64, h, args.rounds) for b, h in ((64, 64), (1024, 256))]
    begun = time.monotonic()
    for case in cases:
        if time.monotonic() - begun > 60 * args.minutes:
            print("out of time", flush=True)
            break
        try:
            case()
            out.write()
        except Exception:
            traceback.print_exc()


if __name__ == "__main__":
    main()
