"""The Triton kernels on a GPU: the same spikes and gradients as the reference loop on the CPU, then times.

    python packages/spk-neurons/benchmarks/gpu.py [--out FOLDER] [--minutes N]    # writes speed-gpu.json

Every case is a row: a reset, a detachment, a shape of the parameters, a surrogate, a precision. The reference runs on
the CPU in the same precision for spikes, which must be equal, and in float64 for gradients. Times are medians between
events of the device, beside the whole-array PyTorch backend on the same device and the bytes that must move.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

from results import Results
from spk_neurons import functional as F
from spk_neurons import surrogate
from spk_neurons.testing import TOLERANCE

T, B, C = 37, 19, 24  # odd on purpose: no dimension fills a block
SURROGATES = ("Rectangle", "Triangle", "ATan", "Sigmoid", "FastSigmoid", "Gaussian", "PiecewiseExp", "MultiGaussian")
SIZES = [(16, 1 << 22), (64, 1 << 20), (256, 1 << 18)]  # 268 MB a stream: several times the cache
REPEATS = 15


def draw(*shape: int, low: float, high: float, seed: int) -> Tensor:
    """Uniform numbers that float32 holds exactly, float64."""
    g = torch.Generator().manual_seed(seed)
    return (low + (high - low) * torch.rand(shape, generator=g, dtype=torch.float64)).float().double()


def run(backend: str, device: str, dtype: torch.dtype, shapes: str, spikes: Any, **options: Any) -> dict[str, Tensor]:
    """Spikes and every gradient of one problem, on the CPU in float64."""
    size = {"scalar": (), "channel": (C,), "time": (T, B, C)}[shapes]
    leaves = {
        "x": draw(T, B, C, low=-0.5, high=2.0, seed=1),
        "state": draw(B, C, low=-0.5, high=0.5, seed=2),
        "decay": draw(*size, low=0.3, high=0.9, seed=3),
        "gain": draw(*size, low=0.5, high=1.2, seed=4),
        "bias": draw(*size, low=-0.1, high=0.1, seed=5),
        "threshold": draw(*size, low=0.7, high=1.1, seed=6),
    }
    leaves = {k: v.to(device, dtype).requires_grad_() for k, v in leaves.items()}
    named = {k: v for k, v in leaves.items() if k not in ("x", "state")}
    s, out = F.lif(
        leaves["x"], leaves["state"], **named, surrogate=spikes, backend=backend, return_state=True,
        record=("h", "v"), stats=True, **options,
    )  # fmt: skip
    results = (s, out.state.v, out.h, out.v, out.stats.mean, out.stats.var)
    weights = [draw(*r.shape, low=-1, high=1, seed=10 + k).to(device, dtype) for k, r in enumerate(results)]
    sum((r * w).sum() for r, w in zip(results, weights, strict=True)).backward()
    return {"s": s.detach().cpu().double(), **{k: v.grad.cpu().double() for k, v in leaves.items()}}


def distances(found: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    """Relative errors of the gradients, by the norm of each."""
    return {k: float((found[k] - exact[k]).norm() / exact[k].norm().clamp(min=1e-30)) for k in exact if k != "s"}


def agreement(out: Results) -> None:
    """A row per precision: cases that agree of all; a case that does not is printed."""
    for dtype in (torch.float32, torch.float64):
        good = total = 0
        worst = 0.0
        for reset, detach, shapes in itertools.product(
            ("hard", "soft", "none"), (False, True), ("scalar", "channel", "time")
        ):
            for name in SURROGATES:
                spikes = getattr(surrogate, name)()
                options = {"reset": reset, "detach_reset": detach}
                total += 1
                try:
                    ours = run("triton", "cuda", dtype, shapes, spikes, **options)
                    same = run("reference", "cpu", dtype, shapes, spikes, **options)
                    exact = run("reference", "cpu", torch.float64, shapes, spikes, **options)
                    wrong = int((ours["s"] != same["s"]).sum())
                    errors, theirs = distances(ours, exact), distances(same, exact)
                    if torch.equal(same["s"], exact["s"]):
                        worst = max(worst, *errors.values())
                        # a sum over thousands of neurons that nearly cancels is inexact in the reference too
                        allowed = {k: max(TOLERANCE[dtype], 2 * theirs[k]) for k in errors}
                        fine = not wrong and all(errors[k] < allowed[k] for k in errors)
                    else:  # another spike train in float64: its gradients are of another problem
                        fine = not wrong
                except Exception:  # a case that fails is a row's finding, the others go on
                    traceback.print_exc()
                    fine, wrong, errors = False, -1, {}
                good += fine
                if not fine:
                    print(f"DIFFERS {dtype} {reset} {detach} {shapes} {name}: {wrong} spikes, {errors}", flush=True)
        out.add(
            table="agreement", name=f"triton on a GPU equals the reference, {str(dtype).removeprefix('torch.')}",
            metric="cases", unit=None, ours=good, reference=total, target=f"{total} of {total}", met=good == total, n=1,
            note=f"spikes equal bit for bit; gradients within {TOLERANCE[dtype]:g} of float64, or twice the error of "
            f"the reference in the same precision where that is larger (sums that cancel), worst {worst:.1e}; "
            "3 resets x 2 detachments x 3 shapes of the parameters x 8 surrogates",
        )  # fmt: skip
        print(f"{dtype}: {good} of {total} agree, worst gradient {worst:.1e}", flush=True)
        out.write()


def timed(work: Callable[[], object]) -> float:
    """Median milliseconds between device events, after warming up."""
    times = []
    for k in range(REPEATS + 3):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if k >= 3:
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def speed(out: Results) -> None:
    source = torch.randn(1 << 28, device="cuda")
    target = torch.empty_like(source)
    bandwidth = 2 * source.numel() * 4 / (timed(partial(target.copy_, source)) / 1e3)
    del source, target
    for steps, n in SIZES:
        x = torch.rand(steps, n, device="cuda").mul_(2).requires_grad_()
        upstream = torch.randn(steps, n, device="cuda")

        def step(backend: str, x: Tensor = x, upstream: Tensor = upstream) -> None:
            x.grad = None
            F.lif(x, decay=0.5, gain=0.5, reset="hard", backend=backend).backward(upstream)

        ours, peer = timed(lambda: step("triton")), timed(lambda: step("torch"))
        loop = timed(lambda: step("reference")) if steps <= 64 else None
        floor = 1e3 * 5 * steps * n * 4 / bandwidth  # x and s forward, x or code, upstream and dx backward
        print(f"T={steps} N={n}: {ours:.2f} ms, torch {peer:.2f}, loop {loop}, floor {floor:.2f}", flush=True)
        size = f"T={steps}, N={n:,}"
        common: dict[str, Any] = {"table": "speed", "metric": "forward + backward", "unit": "ms", "n": REPEATS}
        out.add(name=f"triton over the bandwidth floor, {size}", ours=ours, peer=("5 streams copied", floor),
                ratio=ours / floor, note=f"copy bandwidth {bandwidth / 1e12:.2f} TB/s", **common)  # fmt: skip
        out.add(name=f"triton against the torch backend, {size}", ours=ours, peer=("torch backend, same GPU", peer),
                ratio=peer / ours, note="", **common)  # fmt: skip
        if loop is not None:
            out.add(name=f"triton against autograd through a loop, {size}", ours=ours, peer=("loop over steps", loop),
                    ratio=loop / ours, note="", **common)  # fmt: skip
        out.write()


def attempts(out: Results) -> None:
    """Neurons a program: more give wider loads and fewer programs."""
    from spk_neurons._kernels import gpu as kernels

    steps, n = SIZES[1]
    x = torch.rand(steps, n, device="cuda").mul_(2).requires_grad_()
    upstream = torch.randn(steps, n, device="cuda")
    chosen = kernels.BLOCK

    def step() -> None:
        x.grad = None
        F.lif(x, decay=0.5, gain=0.5, reset="hard", backend="triton").backward(upstream)

    times = {}
    for block in (128, 256, 512, 1024, 2048):
        kernels.BLOCK = block
        times[block] = timed(step)
        print(f"block {block}: {times[block]:.3f} ms", flush=True)
    kernels.BLOCK = chosen
    for block, time_ in times.items():
        out.add(table="attempts", name=f"{block} neurons a program", metric="forward + backward", unit="ms", ours=time_,
                peer=(f"{chosen} neurons a program, what runs", times[chosen]), ratio=times[chosen] / time_, n=REPEATS,
                note=f"T={steps}, N={n:,}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder of the results file")
    parser.add_argument("--minutes", type=float, default=3.0, help="no part starts after this")
    given = parser.parse_args()
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    out = Results("spk-neurons", "speed", threads=1, variant="gpu", resume=True, gpu=torch.cuda.get_device_name(),
                  command="python packages/spk-neurons/benchmarks/gpu.py", folder=given.out)  # fmt: skip
    start = time.monotonic()
    for part in (speed, attempts, agreement):
        if time.monotonic() - start > 60 * given.minutes:
            print(f"left out: {part.__name__}")
            continue
        try:
            part(out)
        except Exception:  # the other part's rows are worth having
            traceback.print_exc()
        out.write()


if __name__ == "__main__":
    main()
