"""The research bar: TeCoS against both LNs, the GLM, CNN and CRNN on two generators, and the paper's recordings.

    python packages/tecos-lvm/benchmarks/reproduce.py [--minutes N] [--only TEXT] [--seed N] [--list] [--jobs N]
    python packages/tecos-lvm/benchmarks/reproduce.py --dryad FOLDER --movie Movie1 --recording FILE.mat

A queue of cells (what, seed), the headline comparison first; each is written as soon as it is done, and a stopped
queue goes on where it was. Weights are chosen on the validation movie; the test movie is scored once per cell. Seeds
11 to 13 were not used while the recipe was chosen, nor were the recordings Movie1Exp1 and Movie1Exp2.

The second form runs the real experiment for somebody who has the stimuli of the Dryad archive (10.5061/dryad.4ch10).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
sys.path.append(str(Path(__file__).resolve().parent))
import numpy as np
import recordings
import tables
import torch

from results import Results, load
from tecos_lvm import TeCoSConfig, TeCoSLoss, TeCoSLVM, TrainConfig, evaluate, fit, length_curve
from tecos_lvm.baselines import CNN, CRNN, LNModel, PoissonGLM
from tecos_lvm.datasets import load_onken, make_nonlinear_retina, make_retina

SEEDS = (11, 12, 13)
CORE = ("TeCoS", "LN softplus", "LN exp", "GLM", "CRNN", "TeCoS, no memory")
MORE = ("TeCoS, deterministic", "TeCoS, standard prior", "CNN")
STEPS = {"retina": 2400, "nonlinear": 1200}
# a check of the queue itself: TECOS_SMOKE=1, with --out
SMOKE = os.environ.get("TECOS_SMOKE") == "1"
TINY = {"n_neurons": 3, "size": 10, "train_s": 16, "val_s": 3, "test_s": 19, "val_trials": 3, "test_trials": 6}
# what training takes where it is not the default: nothing adapts in the first generator, so clips need not go on
RECIPE: dict[str, dict[str, Any]] = {"retina": {"clip_s": 1.0, "carry_s": 0.0, "batch": 16}}
#: seconds of film before a stretch in the length curve, and how its scores are told apart
WARM = {0.25: "", 2.0: " after 2 s"}
WIDE: dict[str, dict[str, Any]] = {
    "retina": {},
    "nonlinear": {"encoder": "rectified", "feature_dim": 96, "hidden_dim": 96, "decoder_dim": 256},
}


@lru_cache(maxsize=1)
def data(generator: str, seed: int) -> Any:
    make = make_retina if generator == "retina" else make_nonlinear_retina
    return make(seed=seed, **(TINY if SMOKE else {}))  # type: ignore[operator]


def model(name: str, generator: str, train: Any, val: Any, seed: int) -> Any:
    if name.startswith("TeCoS"):
        torch.manual_seed(seed)
        options = dict(WIDE.get(generator, {}))
        loss, steps = None, 4 if SMOKE else STEPS.get(generator, 1200)
        if name.endswith("no memory"):
            options["memory"] = "none"
        elif name.endswith("deterministic"):
            options.update(hidden="lif", output="lif")
            loss, steps = TeCoSLoss(nll=0.0, mmd=1.0), -(-steps // 3)
        elif name.endswith("standard prior"):
            options["prior"] = "standard"
        found = TeCoSLVM(TeCoSConfig(train.stimulus.shape[1:], train.n_neurons, train.dt_ms, **options))
        recipe = TrainConfig(steps=steps, seed=seed, **RECIPE.get(generator, {}))
        fit(found, train, val, config=recipe, loss=loss, progress=False)
        return found
    if name == "CRNN":
        return CRNN(epochs=12, seed=seed).fit(train, val=val)
    if name == "CNN":
        return CNN(epochs=2, batch=256, seed=seed).fit(train, val=val)
    options = {"epochs": 4, "seed": seed, "lr": 1e-2}
    if name == "GLM":
        return PoissonGLM(**options).fit(train, val=val)
    return LNModel(output=name.split()[1], **options).fit(train, val=val)


def score(found: Any, train: Any, test: Any) -> dict[str, float]:
    """Everything that the tables show, on the test movie."""
    scores = evaluate(found, test, train.spikes.mean(axis=(0, 1)))
    if isinstance(found, TeCoSLVM) and test.n_bins * test.dt_ms >= 18_000:
        for warm, after in WARM.items():
            curve = length_curve(found, test, warm_s=warm)
            scores.update({f"cc at {row['length_s']:g} s{after}": row["cc"] for row in curve})
            scores.update({f"rate at {row['length_s']:g} s{after}": row["rate_ratio"] for row in curve})
            rates = np.array([row["rate_hz"] for row in curve])
            scores[f"rate drift{after}"] = float(np.abs(rates / rates[0] - 1).max())
    return {name: value for name, value in scores.items() if np.isfinite(value)}


def run(cell: tuple[str, str, int]) -> tuple[dict[str, float], float]:
    torch.set_num_threads(1)
    begin = time.perf_counter()
    generator, name, seed = cell
    if generator == "repeats":
        return recordings.repeat_fit(name, seed, **({"steps": 2} if SMOKE else {})), time.perf_counter() - begin
    retina = data(generator, seed)
    values = score(model(name, generator, retina.train, retina.val, seed), retina.train, retina.test)
    return values, time.perf_counter() - begin


def key(cell: tuple[str, str, int]) -> str:
    return f"{cell[0]}, {cell[1]}"


def queue() -> list[tuple[str, str, int]]:
    both = ("retina", "nonlinear")
    first = [(g, m, s) for s in SEEDS for g in both for m in CORE[:4]]
    repeats = [("repeats", name, 11) for name in recordings.FITTED]
    second = [(g, m, s) for s in SEEDS for m in CORE[4:] for g in both]
    return [*first, *repeats, *second, *[(g, m, s) for m in MORE for s in SEEDS for g in both]]


def work(cells: list[tuple[str, str, int]], jobs: int, until: float) -> Iterator[tuple[Any, Any]]:
    """(cell, values and seconds, or the exception) as they finish; none starts after ``until``."""
    if jobs == 1:
        for cell in cells:
            if time.monotonic() > until:
                return
            try:
                yield cell, run(cell)
            except Exception as problem:
                yield cell, problem
        return
    # fresh processes: a forked one cannot use autograd once its parent has; one goes first and fills numba's cache
    fresh = get_context("spawn")
    first = fresh.Process(target=warm)
    first.start()
    first.join()
    with ProcessPoolExecutor(jobs, mp_context=fresh) as pool:
        waiting = {pool.submit(run, cell): cell for cell in cells}
        try:
            for done in as_completed(waiting, timeout=None if until == float("inf") else until - time.monotonic()):
                yield waiting[done], done.exception() or done.result()
        except TimeoutError:
            running = list(pool._processes.values())  # before the pool forgets them
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:  # the cells that still run are lost, the others written
                process.kill()


def warm() -> None:
    """Compile everything once."""
    small = make_retina(n_neurons=2, size=6, train_s=20, val_s=3, test_s=3, val_trials=2, test_trials=4)
    make_nonlinear_retina(n_neurons=3, size=10, train_s=5, val_s=2, test_s=2, val_trials=2, test_trials=4)
    found = TeCoSLVM(TeCoSConfig((6, 6), 2, feature_dim=8, hidden_dim=8, decoder_dim=8))
    fit(found, small.train, small.val, config=TrainConfig(steps=2, batch=2), progress=False)
    score(found, small.train, small.test)


def real_experiment(folder: Path, movie: str, recording: Path) -> None:
    """TeCoS and the baselines on a recording with its own movie: 70 % of the movie trains, 10 % selects, 20 % tests."""
    found = load_onken(recording, frames=folder / "Stimuli" / movie, size=24, stimulus_id=movie)
    whole = found.select(trials=range(5, found.n_trials)).bin(1000 / 120)
    train, val, test = whole.segments(0.7, 0.1, 0.2)
    for name in ("TeCoS", "LN softplus", "LN exp", "GLM", "CNN", "CRNN"):
        values = score(model(name, "dryad", train, val, 0), train, test)
        print(name, {k: round(v, 4) for k, v in values.items()}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=None, help="stop after so many; finished cells are kept")
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    parser.add_argument("--seed", type=int, default=None, choices=SEEDS, help="cells of this seed")
    parser.add_argument("--list", action="store_true", help="show the queue and what is done")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time, one thread each")
    parser.add_argument("--variant", default=None, help="name of another machine's results file")
    parser.add_argument("--out", type=Path, default=None, help="folder of the results file, another than the package's")
    parser.add_argument("--merge", type=Path, nargs="*", default=[], help="take over cells of other results files")
    parser.add_argument("--data", type=Path, default=None, help="folder of the recordings (default: $SPK_DATA/retina)")
    parser.add_argument("--dryad", type=Path, default=None, help="folder of the Dryad archive: the real experiment")
    parser.add_argument("--movie", default="Movie1", help="with --dryad: which movie was shown")
    parser.add_argument("--recording", type=Path, default=None, help="with --dryad: the .mat file of spikes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.data is not None:
        os.environ["TECOS_RECORDINGS"] = str(options.data.resolve())
    if options.dryad is not None:
        if options.recording is None:
            parser.error("--dryad needs --recording")
        real_experiment(options.dryad, options.movie, options.recording)
        return
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    out = Results(
        "tecos-lvm", "reproduce", threads=1, resume=True, variant=options.variant, folder=options.out,
        command="python packages/tecos-lvm/benchmarks/reproduce.py",
    )  # fmt: skip
    cells = [cell for cell in queue() if options.only in key(cell) and options.seed in (None, cell[2])]
    if options.list:
        for cell in cells:
            print(f"{key(cell)}, seed {cell[2]}: {'done' if out.has_cell(key(cell), cell[2]) else 'open'}")
        return
    for path in options.merge:
        for cell in load(path)["cells"]:
            if not out.has_cell(cell["cell"], cell["seed"]):
                out.add_cell(cell["cell"], cell["seed"], cell["values"], seconds=cell["seconds"])
    cells = [cell for cell in cells if not out.has_cell(key(cell), cell[2])]
    until = float("inf") if options.minutes is None else time.monotonic() + 60 * options.minutes
    for cell, found in work(cells, options.jobs, until):
        if isinstance(found, BaseException):
            print(f"{key(cell)}, seed {cell[2]}: FAILED", flush=True)
            traceback.print_exception(found)
            continue
        values, seconds = found
        out.add_cell(key(cell), cell[2], values, seconds=seconds)
        shown = {k: round(v, 4) for k, v in values.items() if k in ("cc", "ceiling", "bits_per_spike", "rate drift")}
        print(f"{key(cell)}, seed {cell[2]}: {shown} ({seconds:.0f} s)", flush=True)
    tables.fill(out, SEEDS)
    recordings.repeats(out)
    if options.variant is None:
        recordings.ceilings(out)
    out.write()


if __name__ == "__main__":
    main()
