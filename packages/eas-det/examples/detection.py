"""Train a nano detector behind the spiking sampler for 30 seconds, and film what it finds in a clip it has not seen.

    python examples/detection.py --out demo --seconds 30

Half a minute on two cores is a beginning, not a detector: boxes are loose and classes often wrong. Minutes make it
better; hours on a GPU are what published results took.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eas_det import EventDetector, StreamingDetector, Trainer, make_boxes
from eas_det.data import Rendered, SynthShapes
from eas_det.engine import evaluate
from eas_det.stream import to_boxes
from eas_det.synth import KINDS, EventShapes, Scene
from eas_det.viz import animate

SIZE = (64, 64)


def exact(scene: Scene, t: int) -> Any:
    """Where the objects are at t microseconds, by their geometry: records of BOX_DTYPE."""
    x, y, w, h = scene.boxes(1e-6 * t).T
    kinds = [KINDS.index(each.kind) for each in scene.objects]
    boxes = make_boxes(len(kinds), t=t, x=x, y=y, w=w, h=h, class_id=kinds)
    return boxes[(boxes["w"] > 0) & (boxes["h"] > 0)]


def run(out: Path, seconds: float = 30.0) -> dict[str, Any]:
    """Train, measure, film; the numbers that tell how it went."""
    torch.set_num_threads(1)  # maps this small only lose by more
    # rendered once; mirrored and transposed by chance, which makes eight clips of one
    train = Rendered.of(SynthShapes("easy", 60, seed=1, size=SIZE), torch.uint8, symmetric=True)
    unseen = Rendered.of(SynthShapes("easy", 20, seed=2, size=SIZE), torch.uint8)
    model = {"variant": "nano", "spiking": "none", "T": 1, "embedding": "arsnn"}
    trainer = Trainer({"model": model, "epochs": 10_000, "batch_size": 8, "lr": 2e-3, "warmup": 2.0}, train=train)
    losses = trainer.fit(seconds=seconds).losses
    detector: EventDetector = trainer.averaged()
    found = evaluate(detector, unseen)["coco"]

    clip = EventShapes("easy", 1, seed=3, size=SIZE)[0]
    stream = StreamingDetector(
        detector, window_us=200_000, hop_us=25_000, t0=0, conf=0.0
    )  # the three best are drawn, with their scores
    seen = [
        each
        for part in np.array_split(np.arange(len(clip.events)), 20)
        for each in stream.push(clip.events[part[0] : part[-1] + 1])
    ]
    boxes = to_boxes(
        each._replace(boxes=each.boxes[:3], scores=each.scores[:3], labels=each.labels[:3]) for each in seen
    )
    truth = np.concatenate([exact(clip.scene, each.t or 0) for each in seen])
    path = animate(
        out / "detection.gif", clip.events, boxes, truth=truth, classes=train.classes, window_us=25_000, scale=6
    )
    told = {"steps": len(losses), "first_loss": float(np.mean(losses[:5])), "last_loss": float(np.mean(losses[-5:]))}
    print(
        f"detector: {told['steps']} steps, loss {told['first_loss']:.2f} -> {told['last_loss']:.2f}, "
        f"AP50 {100 * found['AP50']:.0f} % on new clips; {path}",
        flush=True,
    )
    return {**told, "AP50": found["AP50"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    run(options.out, options.seconds)


if __name__ == "__main__":
    main()
