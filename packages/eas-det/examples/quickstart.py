"""Simulate a clip, write it, read it back, bin it, sample it, and draw where the sampler looks briefly; then train a
detector for 8 seconds and film what it finds (detection.py alone gives it 30).

    python examples/quickstart.py --out demo

The sampler learns for a few seconds to keep its samples near the sharp edges of moving shapes. Under 30 seconds on two
cores, compiling included.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import detection
import numpy as np
import torch
from matplotlib.figure import Figure

from eas_det import (
    ARSNNSampler,
    Events,
    SamplerOutput,
    load_boxes,
    micro_counts,
    open_events,
    sampling_intervals,
    save_boxes,
    write_dat,
)
from eas_det.synth import Clip, EventShapes
from eas_det.viz import draw, sampling_map

BINS, WINDOW = 8, 200_000  # 25 ms each
TRAINING = 8.0  # seconds of the detector


def counts_of(events: Events, t: int) -> np.ndarray:
    """[T, 2, H, W] micro-counts of the window before a label."""
    return micro_counts(events, BINS, t - WINDOW, t)


def object_mask(clip: Clip, t: int) -> torch.Tensor:
    """[H, W]: 1 inside the boxes at time t."""
    width, height = clip.scene.size
    mask = torch.zeros(height, width)
    for box in clip.boxes[clip.boxes["t"] == t]:
        x, y, w, h = (float(box[name]) for name in ("x", "y", "w", "h"))
        mask[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = 1
    return mask


def train(sampler: ARSNNSampler, clips: list[Clip], steps: int = 30) -> list[float]:
    """Teach the sampler to tell the boxes' inside from noise, by a 1x1 read-out of its samples."""
    readout = torch.nn.Conv2d(2, 1, 5, padding=2)
    optimiser = torch.optim.Adam([*sampler.parameters(), *readout.parameters()], 1e-2)
    times = [int(clip.boxes["t"].max()) for clip in clips]
    counts = torch.stack([torch.from_numpy(counts_of(c.events, t)) for c, t in zip(clips, times, strict=True)])
    masks = torch.stack([object_mask(clip, t) for clip, t in zip(clips, times, strict=True)])
    losses = []
    for step in range(steps):
        batch = torch.arange(4) + 4 * step
        batch = batch % len(clips)
        samples = sampler(counts[batch])
        logits = readout(samples[0])[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks[batch], pos_weight=torch.tensor(4.0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for figures and result.json")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # maps this small only lose by more
    torch.manual_seed(0)
    start = time.perf_counter()

    shapes = EventShapes("medium", 13, seed=1, size=(96, 96))
    clip = shapes[0]
    write_dat(out / "clip_td.dat", clip.events)
    save_boxes(out / "clip_bbox.npy", clip.boxes)
    reader = open_events(out / "clip_td.dat")
    boxes = load_boxes(out / "clip_bbox.npy")
    same = reader.read() == clip.events
    print(f"{reader}: {len(clip.events):,} events, {len(boxes)} exact boxes; read back equal: {same}", flush=True)

    sampler = ARSNNSampler(in_channels=2, kernel_size=5, depth=2)
    losses = train(sampler, [shapes[place] for place in range(1, 13)])
    print(f"sampler: loss {np.mean(losses[:5]):.3f} -> {np.mean(losses[-5:]):.3f}", flush=True)

    label = int(boxes["t"].max())
    counts = torch.from_numpy(micro_counts(reader, BINS, label - WINDOW, label))
    with torch.no_grad():
        output = sampler.eval()(counts[None], return_info=True)
    assert isinstance(output, SamplerOutput)
    lengths = sampling_intervals(output, WINDOW / BINS)[0, 0]  # [polarity, H, W], nan where none was closed
    shortest = lengths.nan_to_num(torch.inf).amin(0)
    intervals = torch.where(shortest.isinf(), torch.nan, shortest)

    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    now = boxes[boxes["t"] == label]
    draw(reader.slice(label - WINDOW, label), now, ax=axes[0])
    axes[1].imshow(output.samples[0, 0].abs().sum(0).numpy(), cmap="magma")
    axes[1].set(title="adaptive sample", xticks=[], yticks=[])
    sampling_map(intervals, ax=axes[2])
    axes[2].set_title("how long each pixel was sampled")
    figure.savefig(out / "sampling.png", dpi=120)

    found = detection.run(out, seconds=TRAINING)

    seconds = time.perf_counter() - start
    mean = float(intervals.nanmean()) / 1000
    share = float(output.firing_fraction)
    result = {
        "system": "event cameras: reading, simulating, adaptive sampling, detection",
        "ran": f"EventShapes: write and read .dat, {len(losses)} steps of a sampler, "
        f"{TRAINING:.0f} s of a nano detector behind it",
        "result": f"read back equal: {same}; {100 * share:.0f} % of neurons fire, mean interval {mean:.0f} ms of 200; "
        f"loss {found['first_loss']:.1f} to {found['last_loss']:.1f} in {found['steps']} steps, AP50 "
        f"{100 * found['AP50']:.0f} % on new clips",
        "seconds": round(seconds, 1),
    }
    temporary = out / "result.json.tmp"
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(out / "result.json")
    print(f"{result['result']}; {seconds:.1f} s; figures and result.json are in {out}/")


if __name__ == "__main__":
    main()
