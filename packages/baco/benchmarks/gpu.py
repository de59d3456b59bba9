"""Rows that need a GPU: the paper's training of compressed tables, other logs by the short recipe, and speed.

    python packages/baco/benchmarks/gpu.py [--minutes N] [--only TEXT ...] [--recipe NAME] [--out FOLDER] [--speed]
    python packages/baco/benchmarks/gpu.py --merge FOLDER ... [--out FOLDER]

A queue of cells as in ``reproduce.py``, into ``reproduce-gpu.json``. A training that the clock ends is measured at its
best validation until then, and its note says so. ``--merge`` joins what runs beside each other wrote to folders of
their own. ``--speed`` measures single steps first, into ``speed-gpu.json``.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
import numpy as np
import torch
from cells import DIM, RECIPES, Cell, codebook, load, run
from common import data_file, interleaved, middle, spread
from recall import summarise
from torch import nn

from baco.torch import CompressedEmbedding, LightGCN, TrainConfig, Trainer, compressed_tables, full_tables
from results import Results
from results import load as read

#: What results say they come from: the folders and limits of a run change nothing of them.
COMMAND = "python packages/baco/benchmarks/gpu.py"
CORE = ("BACO", "full", "modulo", "graphhash", "BACO, one code", "BACO, paper weights")
WHERE = " on a GPU"


def queue() -> Iterator[Cell]:
    """The two targets first, then what they are compared with, then seeds and other logs."""
    for data in ("Beauty", "Gowalla"):
        yield Cell(data, "LightGCN", "BACO", 0, "paper")
    for table in CORE[1:]:
        yield Cell("Beauty", "LightGCN", table, 0, "paper")
    for data in ("Gowalla", "ML-1M"):
        for table in CORE[:-1]:
            yield Cell(data, "LightGCN", table, 0)
    for table in CORE[1:]:
        yield Cell("Gowalla", "LightGCN", table, 0, "paper")
    for seed in (1, 2):
        for table in CORE:
            yield Cell("Beauty", "LightGCN", table, seed, "paper")
    for data in ("Gowalla", "ML-1M"):
        for seed in (1, 2):
            for table in CORE[:-1]:
                yield Cell(data, "LightGCN", table, seed)


def speed(out: Results) -> None:
    """Lookups against ``nn.Embedding``, and steps of LightGCN recorded against launched one kernel after the other."""

    def timed(call: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            call()
            torch.cuda.synchronize()

        return run

    def step(table: nn.Module, ids: torch.Tensor, pull: torch.Tensor) -> None:
        table.weight.grad = None
        (table(ids) * pull).sum().backward()

    batch, n_ids = 65_536, 2_000_000
    draw = np.random.default_rng(0)
    ids, pull = torch.from_numpy(draw.integers(0, n_ids, batch)).cuda(), torch.randn(batch, DIM).cuda()
    for sparse in (False, True):
        plain = nn.Embedding(n_ids, DIM, sparse=sparse, device="cuda")
        for places in (1, 2):
            codes = draw.integers(0, n_ids // 4, (n_ids, places))
            shared = CompressedEmbedding(codes, DIM, num_rows=n_ids // 4, sparse=sparse, device="cuda")
            calls = {"ours": partial(step, shared, ids, pull), "peer": partial(step, plain, ids, pull)}
            times = interleaved({name: timed(call) for name, call in calls.items()}, 31)
            kind = f"{'two codes' if places == 2 else 'one code'}, {'sparse' if sparse else 'dense'} gradients"
            _row(out, f"forward and backward, {kind}", times, "nn.Embedding", f"batch {batch}, {n_ids} ids", 1.3)
    for data in ("Beauty", "Gowalla"):
        train = load(data)[0]
        for name in ("BACO", "full"):
            cell = Cell(data, "LightGCN", name, 0)
            calls = {}
            for kind in ("ours", "peer"):
                tables = full_tables(train.n_users, train.n_items, DIM)
                if name == "BACO":
                    tables = compressed_tables(codebook(cell, train), DIM)
                model = LightGCN(*tables, train).to("cuda")
                trainer = Trainer(model, train, config=TrainConfig(cuda_graph=kind == "ours"))
                sides = (train.n_users, train.n_items, train.n_items)
                triplet = [torch.from_numpy(draw.integers(0, size, 1024)).cuda() for size in sides]

                def many(trainer: Trainer = trainer, triplet: list[torch.Tensor] = triplet) -> None:
                    for _ in range(20):
                        trainer._batch(triplet)

                calls[kind] = timed(many)
            times = interleaved(calls, 7)
            note = "20 steps of batches of 1,024; recorded as a CUDA graph"
            _row(out, f"LightGCN on {data}, {name}", times, "one kernel after the other", note)


def _row(
    out: Results, name: str, times: dict[str, list[float]], peer: str, note: str, most: float | None = None
) -> None:
    ratio = middle(times["ours"]) / middle(times["peer"])
    out.add(
        name=name,
        metric="wall time",
        unit="s",
        ours=middle(times["ours"]),
        peer=(peer, middle(times["peer"])),
        ratio=ratio,
        target=None if most is None else f"<= {most}",
        met=None if most is None else ratio <= most,
        n=len(times["ours"]),
        spread=spread(times["ours"]),
        note=note,
        table="gpu",
    )
    print(f"{name}: {middle(times['ours']):.3g} s, {peer} {middle(times['peer']):.3g} s, x{ratio:.2f}", flush=True)


def train(out: Results, cells: list[Cell], minutes: float) -> None:
    """Cells until the clock says stop; one that fails is told, and the next goes on."""
    started = time.perf_counter()
    for cell in cells:
        left = minutes - (time.perf_counter() - started) / 60
        if out.has_cell(str(cell), cell.seed):
            continue
        if left < 0.2:
            break
        begin = time.perf_counter()
        try:
            values = run(cell, "cuda", left if left < float("inf") else None)
        except Exception:
            print(f"{cell}, seed {cell.seed}: failed", flush=True)
            traceback.print_exc()
            continue
        taken = time.perf_counter() - begin
        out.add_cell(str(cell), cell.seed, values, seconds=taken)
        summarise(out, queue(), WHERE)
        out.write()
        told = ", ".join(f"{name} {values[name]:.4f}" for name in ("recall@10", "recall@20", "recall@50"))
        print(f"{cell}, seed {cell.seed}: {told}, {values['epochs']:.0f} epochs, {taken:.0f} s", flush=True)


def merge(out: Results, folders: list[Path]) -> None:
    """Cells of other runs on this machine."""
    for folder in folders:
        for done in read(folder / "reproduce-gpu.json").get("cells", []):
            if not out.has_cell(done["cell"], done["seed"]):
                out.add_cell(done["cell"], done["seed"], done["values"], seconds=done["seconds"])
    summarise(out, queue(), WHERE)
    out.write()


def gpu() -> str:
    return str(torch.cuda.get_device_name())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="end trainings after so long; the last is measured then"
    )
    parser.add_argument("--only", nargs="+", default=[""], help="cells whose name contains one of these")
    parser.add_argument("--recipe", choices=RECIPES, help="cells of this recipe; default: both")
    parser.add_argument("--out", type=Path, help="folder of the results, instead of the package's")
    parser.add_argument("--speed", action="store_true", help="measure steps too")
    parser.add_argument("--merge", type=Path, nargs="+", help="folders whose cells to take over, and stop")
    options = parser.parse_args()
    if data_file("beauty/beauty.npz") is None:
        sys.exit("SPK_DATA is not set: these rows need the Beauty, MovieLens-1M and Gowalla logs")
    if not torch.cuda.is_available():
        sys.exit("these rows need a GPU: run this where torch sees one")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    common: dict[str, Any] = {"threads": 1, "variant": "gpu", "gpu": gpu(), "folder": options.out}
    if options.speed:
        steps = Results("baco", "speed", command=f"{COMMAND} --speed", **common)
        speed(steps)
        steps.write()
    out = Results("baco", "reproduce", resume=True, command=COMMAND, **common)
    if options.merge:
        return merge(out, options.merge)
    cells = [cell for cell in queue() if any(text in str(cell) for text in options.only)]
    train(out, [cell for cell in cells if options.recipe in (None, cell.recipe)], options.minutes)


if __name__ == "__main__":
    main()
