"""What the package claims, measured: ``python packages/slr-cma/benchmarks/reproduce.py --part NAME``.

Parts: ``signs`` (probes on real signs), ``ceilings`` (PairedSign keeps its guarantees), ``chains`` (order-chains of
real recordings), ``fusion`` (attention against concatenation under faults; a queue of cells that is resumed, in a
file for each machine; ``results/reproduce-fusion.json`` holds the tables of all). Without ``--part`` all of them, the
quick ones first.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import spk_neurons

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
import fusion_study as study
import fusion_table

from results import Results, machine
from slr_cma import CMANet, PairedSign, TrainConfig, predict, train
from slr_cma.diagnostics import TemporalReport, audit_generator, temporal_report
from slr_cma.synth import order_chain

RESULTS = Path(__file__).parent / "results"
#: three standard errors of an accuracy of 1/6 on 300 samples
CHANCE = 3 * math.sqrt(1 / 6 * 5 / 6 / 300)
PARTS = ("signs", "ceilings", "chains", "fusion")


def fusion(options: argparse.Namespace) -> None:
    """Part 3: the core table first, seed by seed, then the attempts."""
    began = time.perf_counter()
    shard, shards = (int(x) for x in options.shard.split("/"))
    command = "python packages/slr-cma/benchmarks/reproduce.py --part fusion"
    folder = options.folder or RESULTS
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else None
    variant = fusion_table.file_of(machine(threads=1, gpu=gpu)) + (f"-{shard}-of-{shards}" if shards > 1 else "")
    out = Results(
        "slr-cma", "reproduce", threads=1, resume=True, variant=variant, folder=folder, command=command, gpu=gpu
    )
    chosen = [(name, seed) for name, seed in study.queue() if not options.cells or f"{name}:{seed}" in options.cells]
    for name, seed in chosen[shard::shards]:
        if out.has_cell(fusion_table.cell(name), seed):
            continue
        start = time.perf_counter()
        if start - began > 60 * options.minutes:
            break
        values = attempted(name, seed, options.device)
        if values is None:
            continue
        seconds = time.perf_counter() - start
        out.add_cell(fusion_table.cell(name), seed, values, seconds=seconds)
        told = ", ".join(f"{each} {values[each]:.3f}" for each in study.SETS if each in values)
        print(f"{name}, seed {seed}: {told} ({seconds:.0f} s)", flush=True)
    if shards == 1 and out.path.exists():
        fusion_table.merge(folder)


def attempted(name: str, seed: int, device: str) -> dict[str, float] | None:
    """One cell; if it breaks, once more on the plainest backend: hours of a queue should not end with one cell."""
    for backend in ("auto", "torch"):
        try:
            with spk_neurons.use_backend(backend):
                return study.run(name, seed, device)
        except Exception as error:
            print(f"{name}, seed {seed}, backend {backend}: {type(error).__name__}: {error}", flush=True)
    return None


def rows_of(out: Results, name: str, report: TemporalReport, *, least: float | None, note: str = "") -> None:
    """A row per probe, and what the report says. least: TCI expected where order matters; None: near zero."""
    for probe, row in report.table.items():
        out.add(
            name=f"{name}: {probe}",
            metric="test accuracy",
            ours=row["accuracy"],
            n=1,
            note=f"Wilson {row['low']:.3f}-{row['high']:.3f}, {row['n']} test samples, chance {report.chance:.3f}",
            table="probes",
        )
    low, high = report.ci["order_gain"]
    out.add(
        name=name,
        metric="TCI",
        ours=report.tci,
        target="<= 0.1" if least is None else f">= {least}",
        met=report.tci <= 0.1 if least is None else report.tci >= least,
        n=1,
        note=f"order adds {report.order_gain:+.3f} [{low:+.3f}, {high:+.3f}] accuracy to "
        f"{report.table['bag']['accuracy']:.3f}; the naive shuffle test would say {report.naive_tsi:.2f}{note}",
        table="time",
    )


def signs_file() -> dict[str, NDArray[Any]] | None:
    folder = os.environ.get("SPK_DATA")
    path = Path(folder) / "signs" / "signs15_T20_32x32.npz" if folder else None
    if path is None or not path.is_file():
        print("SPK_DATA holds no signs/signs15_T20_32x32.npz: skipped")
        return None
    with np.load(path) as file:
        return {"x": file["X"], "y": file["Y"].astype(int), "s": file["S"]}


def signs(out: Results) -> None:
    """Part 1: real signs need little order, and random splits leak."""
    data = signs_file()
    if data is None:
        return
    x, y, s = data["x"], data["y"], data["s"]
    apart = temporal_report(x, y, split=(s == 0, s == 1), tiers=(1,))
    rows_of(out, "real signs, authors' split", apart, least=None)
    gaps = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(y))
        report = temporal_report(x, y, split=(order[150:], order[:150]), tiers=(1,), seed=seed)
        gaps.append(report.table["bag"]["accuracy"] - apart.table["bag"]["accuracy"])
        if seed == 0:
            rows_of(out, "real signs, random split", report, least=None)
    out.add(
        name="real signs: accuracy of the bag, random splits minus the authors'",
        metric="accuracy",
        ours=statistics.mean(gaps),
        target=">= 0.1",
        met=statistics.mean(gaps) >= 0.1,
        n=3,
        spread=statistics.stdev(gaps),
        note="recordings of one signer stand on both sides: the leak",
        table="time",
    )


def ceilings(out: Results) -> None:
    """Part 2: PairedSign keeps its guarantees, networks stay under the ceilings, sabotage is found."""
    signs = PairedSign(900, seed=11)
    split = np.arange(600), np.arange(600, 900)
    report = temporal_report(signs.events, signs.orders, split=split, tiers=(1, 2), epochs=15)
    rows_of(out, f"PairedSign {signs.world.fingerprint}, order from events", report, least=0.9)
    for probe in ("collapsed", "bag", "pyramid, shuffled", "ordered, shuffled"):
        row = report.table[probe]
        out.add(
            name=f"PairedSign, probe: {probe}", metric="test accuracy", ours=row["accuracy"],
            target=f"<= {1 / 6 + CHANCE:.3f}", met=row["accuracy"] <= 1 / 6 + CHANCE, n=1,
            note="chance 0.167 and three standard errors of 300 samples", table="ceilings",
        )  # fmt: skip
    assert report.tier2 is not None
    two, accuracy = report.tier2, {}
    wanted = {
        "trained ordered": (two["trained"]["ordered"], ">= 0.95", two["trained"]["ordered"] >= 0.95),
        **{
            f"trained {name}": (value, f"<= {1 / 6 + CHANCE:.3f}", value <= 1 / 6 + CHANCE)
            for name, value in two["trained"].items()
            if name in ("shuffled", "collapsed")
        },
        "ordered, tested reversed": (two["tested"]["reversed"], "<= 0.10", two["tested"]["reversed"] <= 0.10),
        "TDI": (two["tdi"], ">= 0.9", two["tdi"] >= 0.9),
    }
    for name, (value, target, met) in wanted.items():
        out.add(
            name=f"PairedSign, network: {name}", metric="test accuracy, TDI", ours=value, target=target, met=met, n=1,
            note="chance 0.167, 300 test samples", table="ceilings",
        )  # fmt: skip
    for name, fusion in (("events", "events"), ("frames", "frames"), ("both", "cma"), ("both, concat", "concat")):
        torch.manual_seed(0)
        net = CMANet(signs.n_classes, size=(12, 12), channels=(8, 16), hidden=64, fusion=fusion)
        part = signs.arrays()
        train(net, part.subset(split[0]), None, TrainConfig(15, 50, 8e-3, schedule="onecycle"), progress=False)
        logits, labels = predict(net, part.subset(split[1]))
        accuracy[name] = float((logits.argmax(1) == labels).double().mean())
        ceiling = signs.ceilings[name.split(",")[0]]
        low = {"both": 0.95, "both, concat": 0.98}.get(name)
        # three standard errors of 300 samples above the ceiling are chance
        met = accuracy[name] >= low if low else accuracy[name] <= ceiling + 3 * math.sqrt(ceiling * (1 - ceiling) / 300)
        out.add(
            name=f"PairedSign, 18 classes: {name}", metric="test accuracy", ours=accuracy[name], reference=None,
            target=f">= {low}" if low else f"<= {ceiling:.3f} + 3 SE", met=met, n=1,
            note=f"ceiling {ceiling:.3f}, 600 training and 300 test samples, 15 epochs", table="ceilings",
        )  # fmt: skip
    for leaky in (False, True):
        found = audit_generator(PairedSign(600, task="order", seed=5, leaky=leaky))
        out.add(
            name=f"audit of the {'sabotaged ' if leaky else ''}generator", metric="guarantees broken", ours=len(found),
            target=">= 1" if leaky else "0", met=bool(found) == leaky, n=1, note=found[0] if found else "",
            table="ceilings",
        )  # fmt: skip


def chains(out: Results) -> None:
    """Part 4: chains of real recordings need order, sources kept apart between train and test."""
    data = signs_file()
    if data is None:
        return
    x, y, s = data["x"], data["y"], data["s"]
    for classes in ((0, 1, 2), (3, 4, 5), (6, 7, 8)):
        parts = [
            order_chain(x, y, classes=classes, n=n, bins=4, sources=np.flatnonzero(s == side), seed=side)
            for side, n in ((0, 400), (1, 200))
        ]
        report = temporal_report(
            np.concatenate([p.data for p in parts]),
            np.concatenate([p.labels for p in parts]),
            split=(np.arange(400), np.arange(400, 600)),
            tiers=(1,),
        )
        note = "; 10 test recordings a class, drawn anew"
        rows_of(out, f"chains of real signs {classes}", report, least=0.5, note=note)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="one part; by default all")
    parser.add_argument("--minutes", type=float, default=math.inf, help="fusion: start no cell later than this")
    parser.add_argument("--shard", default="0/1", help="fusion: i/n: every n-th cell from the i-th, in its own file")
    parser.add_argument("--cells", nargs="+", help="fusion: these alone, such as cross:4 'concat, wider:4'")
    parser.add_argument("--merge", action="store_true", help="fusion: put the shards in --folder together and stop")
    parser.add_argument("--folder", type=Path, help="fusion: where results go; by default benchmarks/results")
    parser.add_argument("--device", default="cpu", help="fusion: cpu or cuda")
    options = parser.parse_args()
    if options.merge:
        fusion_table.merge(options.folder or RESULTS)
        return
    parts = [options.part] if options.part else list(PARTS)
    quick = {"signs": signs, "ceilings": ceilings, "chains": chains}
    if set(parts) & set(quick):
        out = Results("slr-cma", "reproduce", threads=1, resume=True)
        for part in parts:
            if part in quick:
                quick[part](out)
                out.write()
    if "fusion" in parts:
        fusion(options)


if __name__ == "__main__":
    main()
