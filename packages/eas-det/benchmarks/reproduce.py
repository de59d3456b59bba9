"""Does adaptive sampling help? EventShapes, one detector, one budget, only what stands in front differs.

    python packages/eas-det/benchmarks/reproduce.py [--minutes N] [--budget smoke|long|gpu] [--workers N] [--shard i/n]
    python packages/eas-det/benchmarks/reproduce.py --merge [--budget ...] [--cells FOLDER]

Each cell (what stands in front, full-spiking or non-spiking detector, seed) writes one file; any number of processes
may share the queue, an interrupted cell is lost alone, the next run goes on. ``--merge`` makes results/*.json of the
files. "smoke" is for one CPU core (about 40 minutes for the core table), "long" is three times as many updates, "gpu"
trains longer on a CUDA device that several processes share, "tiny" proves that the queue runs. Data are rendered once
into --cache. The window is chosen on the validation set by the non-spiking detector with the first seed; the test set
is looked at once per cell, at the end.

"smoke" and "tiny" find things without telling their forms apart: on 64 x 64 pixels full of noise the forms of turning
things differ by a few events, and a detector of this size spends its whole budget on them (docs, "what was tried").

With Gen1 on disk: eas-det train examples/gen1.yaml --root GEN1 --out runs/gen1, then eas-det eval (days on a GPU).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
from reproduce_inside import look_inside, start_at_counts
from reproduce_rows import TRIED, Table, rows

from eas_det.data import Rendered, Rendering, SynthShapes
from eas_det.engine import Trainer, detect, evaluate
from eas_det.sampler import ARSNNSampler
from eas_det.synth import EventShapes
from spk_neurons import Rectangle

HERE = Path(__file__).resolve().parent
SIZE = (64, 64)
SPLITS = {"train": 1, "validation": 2, "test": 3}  # seeds of the generator
WINDOWS = (10, 25, 50, 100, 200)  # ms
REPRESENTATIONS = {
    "counts4": Rendering("counts", 4),
    "counts8": Rendering("counts", 8),
    "voxel": Rendering("voxel", 4),
    "surface": Rendering("surface", 4),
    **{f"window{ms}": Rendering("counts", 1, ms * 1000, look_back=0) for ms in WINDOWS},
}


@dataclass(frozen=True)
class Budget:
    """What a cell may spend; the same for all cells. clips: train, validation, test."""

    variant: str
    steps: int  # of time
    clips: tuple[int, int, int]
    batch: int
    updates: int
    seeds: int
    lr: float
    device: str
    #: what the level draws otherwise: about as much of a small frame is filled as of the level's own
    changes: dict[str, Any] = field(default_factory=dict)
    one_class: bool = False
    #: convolutions of a sampler's stack
    depth: int = 2
    #: the budget whose validation scores choose the window; empty: its own
    chosen_by: str = ""


SMALL: dict[str, Any] = {"objects": (1, 2), "side": (10.0, 24.0)}
#: a cell's fixed window is the one of these seeds' best on validation
CHOOSING_SEED = 0
SMOKE = Budget("pico", 2, (512, 96, 192), 16, 320, 3, 3e-3, "cpu", SMALL, True, 1)
BUDGETS = {
    "smoke": SMOKE,
    "long": replace(SMOKE, updates=3 * SMOKE.updates, chosen_by="smoke"),
    "tiny": Budget("pico", 2, (12, 4, 6), 8, 3, 1, 2e-3, "cpu", SMALL, True, 1),
    "gpu": Budget("nano", 3, (1280, 192, 320), 64, 1500, 3, 2e-3, "cuda"),
}


@dataclass(frozen=True)
class Cell:
    """front: what stands in front. spiking: of the detector. level: of the data."""

    front: str  # a key of FRONTS, or "best-window": the window that was best with the first seed
    spiking: str
    seed: int
    level: str = "hard"
    T: int | None = None

    @property
    def row(self) -> str:
        steps = "" if self.T is None else f" T={self.T}"
        return f"{self.level} {self.front} {self.spiking}{steps}"

    @property
    def name(self) -> str:
        return f"{self.row.replace(' ', '_')}_{self.seed}"


#: representation, embedding, its options, channels
FRONTS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "arsnn": ("counts4", "arsnn", {}, 2),
    "rsnn": ("counts4", "rsnn", {}, 2),
    "no-sat": ("counts4", "arsnn", {"sat": False}, 2),
    "no-rpd": ("counts4", "arsnn", {"rpd": False}, 2),
    "voxel": ("voxel", "stack", {}, 4),
    **{f"window{ms}": (f"window{ms}", "count", {}, 2) for ms in WINDOWS},
    "surface": ("surface", "stack", {}, 8),
    # attempts: what the method leaves open
    "no-sat no-rpd": ("counts4", "arsnn", {"sat": False, "rpd": False}, 2),
    "bins8": ("counts8", "arsnn", {}, 2),
    "rsnn bins8": ("counts8", "rsnn", {}, 2),
    "near-miss": ("counts4", "arsnn", {"sat": "near_miss"}, 2),
    "samples=T": ("counts4", "arsnn", {"n_samples": "T"}, 2),
    "oldest-first": ("counts4", "arsnn", {"order": "oldest_first"}, 2),
    "threshold2": ("counts4", "arsnn", {"threshold": 2.0}, 2),
    "wide": ("counts4", "arsnn", {"surrogate": Rectangle(2.0)}, 2),
    "from counts": ("counts4", "arsnn", {}, 2),
    "from counts bins8": ("counts8", "arsnn", {}, 2),
    "from counts wide": ("counts4", "arsnn", {"surrogate": Rectangle(2.0)}, 2),
    "from counts no-rpd": ("counts4", "arsnn", {"rpd": False}, 2),
    "snn": ("counts4", "snn", {}, 2),
    "untrained": ("counts4", "arsnn", {}, 2),  # for the correlation alone
}
CORE = ("arsnn", "rsnn", "no-sat", "no-rpd", "voxel")


def queue(budget: Budget) -> list[Cell]:
    """The core table of the cheaper detector, what was tried, the core table of the other; then other steps of time,
    the time surface, the easy level."""
    seeds, windows = range(budget.seeds), [f"window{ms}" for ms in WINDOWS]
    cells = [Cell(front, "none", CHOOSING_SEED) for front in (*CORE, *windows)]
    cells += [Cell(front, "none", seed) for seed in seeds for front in (*CORE, "best-window")]
    cells += [Cell(front, "none", CHOOSING_SEED) for front in TRIED]
    cells += [Cell(front, "full", seed) for seed in seeds for front in (*CORE, "best-window")]
    cells += [Cell("arsnn", "full", seed, "hard", T) for seed in seeds for T in (1, 3)]
    cells += [Cell("surface", s, seed) for s in ("none", "full") for seed in seeds]
    cells += [Cell(front, "none", CHOOSING_SEED, "easy") for front in ("arsnn", *windows)]
    cells += [Cell(front, "none", seed, "easy") for seed in seeds for front in ("arsnn", "best-window")]
    cells += [Cell("untrained", "none", seed) for seed in seeds]
    return list(dict.fromkeys(cells))


def resolve(cell: Cell, folder: Path) -> Cell | None:
    """The cell with its window, by the non-spiking detector's validation; None while that is not known."""
    if cell.front != "best-window":
        return cell
    scores = {}
    for ms in WINDOWS:
        done = folder / f"{Cell(f'window{ms}', 'none', CHOOSING_SEED, cell.level).name}.json"
        if not done.exists():
            return None
        scores[ms] = json.loads(done.read_text())["values"].get("validation_AP", 0.0)
    return Cell(f"window{max(scores, key=lambda ms: scores[ms])}", cell.spiking, cell.seed, cell.level, cell.T)


def _render_part(job: tuple[str, int, int, int, Path, dict[str, Any]]) -> None:
    """Clips first to last of a split, in every representation."""
    level, split_seed, first, last, folder, changes = job
    torch.set_num_threads(1)
    names = [name for name in REPRESENTATIONS if not (folder / f"{name}_{first:05d}.npz").exists()]
    if not names:
        return
    data = _Part(level, split_seed, first, last, changes)
    for name in names:
        data.rendering = REPRESENTATIONS[name]
        kind = torch.uint8 if data.rendering.kind == "counts" else torch.float16
        Rendered.of(data, kind).save(folder / f"{name}_{first:05d}.npz")


class _Part(SynthShapes):
    """Clips ``first`` to ``last`` of a generator's seed."""

    def __init__(self, level: str, seed: int, first: int, last: int, changes: dict[str, Any]) -> None:
        shapes = EventShapes(level, last, seed, size=SIZE, **changes)
        clips = [shapes[place] for place in range(first, last)]
        self.shapes = shapes
        super(SynthShapes, self).__init__(
            [clip.events for clip in clips], [clip.boxes for clip in clips],
            [f"clip_{place:05d}" for place in range(first, last)], ("rectangle", "ellipse", "diamond"), SIZE,
            ignore=[clip.ignore | (clip.visible < 0.25) for clip in clips], speed=[clip.speed for clip in clips],
        )  # fmt: skip


def render(level: str, budget: Budget, cache: Path, processes: int) -> None:
    """Every split in every representation, in parts, in parallel; what is there is left."""
    jobs = []
    for (split, seed), clips in zip(SPLITS.items(), budget.clips, strict=True):
        folder = cache / level / split
        folder.mkdir(parents=True, exist_ok=True)
        jobs += [(level, seed, at, min(at + 32, clips), folder, budget.changes) for at in range(0, clips, 32)]
    if processes == 1:
        for job in jobs:
            _render_part(job)
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for _ in pool.imap_unordered(_render_part, jobs, chunksize=1):
                pass
    (cache / level / "complete").touch()


def load(level: str, split: str, representation: str, budget: Budget, cache: Path, **options: Any) -> Rendered:
    clips = budget.clips[list(SPLITS).index(split)]
    folder = cache / level / split
    parts = [Rendered.load(folder / f"{representation}_{first:05d}.npz") for first in range(0, clips, 32)]
    samples = [part.labels_at(place) for part in parts for place in range(len(part))]
    classes: tuple[str, ...] = parts[0].classes
    if budget.one_class:
        samples = [each._replace(labels=torch.zeros_like(each.labels)) for each in samples]
        classes = ("thing",)
    return Rendered(torch.cat([part.counts for part in parts]), samples, classes, **options)


def settings(cell: Cell, budget: Budget) -> dict[str, Any]:
    """Of the trainer, without the number of epochs."""
    _, embedding, options, channels = FRONTS[cell.front]
    if embedding in ("arsnn", "rsnn", "snn"):
        options = {"depth": budget.depth, **options}
    steps = cell.T or budget.steps
    if cell.spiking == "none" and "n_samples" not in options:
        steps = 1  # nothing spikes and the input is the same at every step
    return {
        "model": {
            "variant": budget.variant, "spiking": cell.spiking, "T": steps, "embedding": embedding,
            "embedding_options": {key: steps if value == "T" else value for key, value in options.items()},
            "in_channels": channels,
        },
        "batch_size": budget.batch, "lr": budget.lr, "schedule": "cosine", "warmup": 0.2, "ema": 0.99,
        "seed": cell.seed, "device": budget.device,
    }  # fmt: skip


def train_cell(cell: Cell, budget: Budget, cache: Path) -> dict[str, float]:
    """Train, then measure on validation and test."""
    data = {
        split: load(
            cell.level, split, FRONTS[cell.front][0], budget, cache, symmetric=split == "train", seed=cell.seed
        ).to(budget.device)
        for split in SPLITS
    }
    config = settings(cell, budget)
    steps = config["model"]["T"]
    config["epochs"] = max(1, round(budget.updates / (len(data["train"]) // budget.batch)))
    trainer = Trainer(config, train=data["train"], progress=False)
    if cell.front.startswith("from counts"):
        for model in (trainer.model, trainer.averaged()):
            start_at_counts(model.embedding)
    if cell.front == "untrained":
        return look_inside(trainer.averaged().embedding, data["test"])
    history = trainer.fit()
    model = trainer.averaged()
    values: dict[str, float] = {
        "updates": len(history.losses),
        "loss": float(np.mean(history.losses[-50:])),
        "parameters": sum(p.numel() for p in model.parameters()),
        "parameters_front": sum(p.numel() for p in model.embedding.parameters()),
        "T": steps,
    }
    for split in ("validation", "test"):
        found = evaluate(model, data[split], found=detect(model, data[split], batch_size=64))
        values[f"{split}_AP"] = found["coco"]["AP"]
        values[f"{split}_AP50"] = found["coco"]["AP50"]
        if split == "test":
            values |= {f"AP_speed_{band}": value for band, value in found["by_speed"].items()}
    if isinstance(model.embedding, ARSNNSampler):
        values |= look_inside(model.embedding, data["test"])
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def work(budget: Budget, cells: list[Cell], folder: Path, cache: Path, until: float) -> None:
    """Take cells that nobody has taken until the time is over; those that wait for others are tried again."""
    folder.mkdir(parents=True, exist_ok=True)
    longest, left = 0.0, list(cells)
    choosing = HERE / "cells" / budget.chosen_by if budget.chosen_by else folder
    while left:
        waiting = []
        for cell in left:
            known = resolve(cell, choosing)
            if known is None:
                waiting.append(cell)
                continue
            if (folder / f"{known.name}.json").exists():
                continue
            if time.time() + longest > until:
                return
            if not (cache / known.level / "complete").exists():
                render(known.level, budget, cache, 1)
            longest = max(longest, take(known, budget, folder, cache))
        if not waiting or time.time() + longest + 2 > until:
            return
        left = waiting
        time.sleep(2)


def claimed(claim: Path) -> bool:
    """Whether this process holds the claim now; one of a process that is gone counts for nothing."""
    try:
        with claim.open("x") as file:
            file.write(str(os.getpid()))
        return True
    except FileExistsError:
        pass
    holder = claim.read_text()
    if not holder.isdigit() or Path(f"/proc/{holder}").exists():
        return False
    claim.unlink(missing_ok=True)
    return claimed(claim)


def take(cell: Cell, budget: Budget, folder: Path, cache: Path) -> float:
    """Do a cell unless another process does; the seconds it took."""
    done, claim = folder / f"{cell.name}.json", folder / f"{cell.name}.claim"
    if not claimed(claim):
        return 0.0
    start = time.time()
    try:
        values = train_cell(cell, budget, cache)
        seconds = time.time() - start
        told = {"cell": cell.row, "seed": cell.seed, "values": values, "seconds": seconds}
        temporary = done.with_suffix(".tmp")
        temporary.write_text(json.dumps(told))
        temporary.replace(done)
        print(f"{cell.name}: AP {100 * values.get('test_AP', math.nan):.1f}, {seconds:.0f} s", flush=True)
        claim.unlink(missing_ok=True)
    except Exception:
        # the claim stays: the same cell would fail for the next process too
        print(f"{cell.name} failed", flush=True)
        traceback.print_exc()
    return time.time() - start


def pace(budget: Budget, cache: Path, steps: int) -> float:
    """Seconds a training step, by a full-spiking ARSNN, after the first ones; run by all workers at once."""
    config = settings(Cell("arsnn", "full", 0), budget) | {"epochs": 10_000}
    data = load("hard", "validation", "counts4", budget, cache).to(budget.device)
    trainer = Trainer(config, train=data, progress=False)
    trainer.fit(stop_after=10)
    start = time.time()
    trainer.fit(stop_after=10 + steps)
    return (time.time() - start) / steps


def restore(name: str, folder: Path) -> None:
    """Cells of the committed results that this checkout's folder does not have."""
    there = HERE / "results" / f"reproduce{'' if name == 'smoke' else '-' + name}.json"
    if not there.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for told in json.loads(there.read_text())["cells"]:
        path = folder / f"{told['cell'].replace(' ', '_')}_{told['seed']}.json"
        if not path.exists():
            path.write_text(json.dumps({key: told[key] for key in ("cell", "seed", "values", "seconds")}))


def merge(name: str, folder: Path, gpu: str | None) -> None:
    """results/reproduce*.json out of the cells' files."""

    from results import Results

    out = Results(
        "eas-det", "reproduce", threads=1, gpu=gpu, variant=None if name == "smoke" else name, resume=True,
        command=f"python packages/eas-det/benchmarks/reproduce.py --budget {name}",
    )  # fmt: skip
    table: Table = {}
    for path in sorted(folder.glob("*.json")):
        told = json.loads(path.read_text())
        table.setdefault(told["cell"], {})[told["seed"]] = told["values"]
        if not out.has_cell(told["cell"], told["seed"]):
            out.add_cell(told["cell"], told["seed"], told["values"], seconds=told["seconds"])
    for row in rows(table, WINDOWS, BUDGETS[name].seeds):
        out.add(**row)
    out.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--budget", choices=list(BUDGETS), default="smoke")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the queue")
    parser.add_argument("--shard", default="0/1", help="i/n: of n machines without a common folder, this is number i")
    parser.add_argument("--only", default="", help="cells whose name holds this, such as 'hard arsnn full'")
    parser.add_argument("--merge", action="store_true", help="make the results of the cells done, train nothing")
    parser.add_argument("--cells", type=Path, help="folder of the cells' files")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "eas-det-shapes")
    parser.add_argument("--gpu-name", help="with --merge: the device that trained the cells")
    parser.add_argument("--updates", type=int, help="updates a cell, other than the budget's")
    parser.add_argument("--fit", type=int, help="choose the updates so that so many cells fit into the time")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    until = time.time() + 60 * options.minutes
    budget = BUDGETS[options.budget]
    if options.updates:
        budget = replace(budget, updates=options.updates)
    cells_folder = options.cells or HERE / "cells" / options.budget
    if options.merge:
        restore(options.budget, cells_folder)
        merge(options.budget, cells_folder, options.gpu_name)
        return
    torch.set_num_threads(1)
    if options.cells is None:
        restore(options.budget, cells_folder)
    if budget.chosen_by:
        restore(budget.chosen_by, HERE / "cells" / budget.chosen_by)
    shard, shards = (int(each) for each in options.shard.split("/"))
    mine = [cell for cell in queue(budget)[shard::shards] if options.only in cell.row]
    cache = options.cache / options.budget
    if options.child == "pace":
        print(f"PACE {pace(budget, cache, 60)}", flush=True)
        return
    if options.child is not None:
        work(budget, mine, cells_folder, cache, float(options.child))
        return
    render("hard", budget, cache, min(os.cpu_count() or 1, max(options.workers, 1)))
    print(f"rendered, {until - time.time():.0f} s left", flush=True)
    arguments = [sys.executable, *sys.argv]
    if options.fit:
        seconds = together(arguments, options.workers)
        if seconds is not None:
            # a quarter of a cell is loading and evaluation
            wanted = 0.75 * (until - time.time()) * options.workers / options.fit / seconds
            arguments += ["--updates", str(int(max(100, min(wanted, 6000))))]
            print(f"{1e3 * seconds:.1f} ms a step, {arguments[-1]} updates a cell", flush=True)
    children = [subprocess.Popen([*arguments, "--child", str(until)]) for _ in range(options.workers)]
    for child in children:
        child.wait()
    if shards == 1 and options.cells is None and options.budget != "tiny":
        merge(options.budget, cells_folder, torch.cuda.get_device_name() if budget.device == "cuda" else None)


def together(arguments: list[str], workers: int) -> float | None:
    """The mean pace of all workers at once; None if one fails."""
    running = [
        subprocess.Popen([*arguments, "--child", "pace"], stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    told = [each.communicate()[0] for each in running]
    found = [float(line.split()[1]) for text in told for line in text.splitlines() if line.startswith("PACE")]
    return statistics.fmean(found) if len(found) == workers else None


if __name__ == "__main__":
    main()
