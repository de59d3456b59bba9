"""Every trainer killed at random moments: started again on its folder, it must end as if nothing had happened.

``python tools/kills.py [--kills 3] [name ...]``. Each trainer is run through its command, on one thread, once whole
and once with so many SIGKILLs at random moments (fixed seed), each followed by the same command on the same folder.
The two folders must then tell the same: every number of ``metrics.csv`` but times, every array of the models kept,
and nothing of an unfinished file may lie about.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faults
import monorepo

SEED = 20261128
LIMIT = 300  # seconds for one uninterrupted run
TIMES = ("seconds", "time", "speed", "fps")  # columns that differ between equal runs


@dataclass(frozen=True)
class Trainer:
    """What is killed: ``prepare`` makes its inputs in a folder, ``words`` is the command that trains into a folder."""

    package: str
    name: str
    prepare: Callable[[Path], None]
    words: Callable[[Path, Path], list[str]]
    kept: tuple[str, ...]  # patterns of the models in the run folder


def _interactions(place: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 300, 6000), rng.integers(0, 200, 6000)
    seen = sorted({(int(u), int(i)) for u, i in zip(users, items, strict=True)})
    rng.shuffle(seen)
    for name, part in (("train", seen[:-800]), ("valid", seen[-800:])):
        lines: dict[int, list[int]] = {user: [] for user in range(300)}
        for user, item in part:
            lines[user].append(item)
        text = "".join(f"{user} {' '.join(map(str, sorted(of)))}\n" for user, of in lines.items() if of)
        (place / f"{name}.txt").write_text(text)


def _recommender(model: str) -> Callable[[Path, Path], list[str]]:
    def words(place: Path, out: Path) -> list[str]:
        recipe = "--dim 16 --epochs 12 --batch-size 512 --lr 0.01 --init-std 0.1 --eval-every 2 --quiet"
        valid = ["--valid", str(place / "valid.txt")]
        return ["train", str(place / "train.txt"), *valid, "-o", str(out), "--model", model, *recipe.split()]

    return words


def _digits(method: str) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        config = {
            "data": {"name": "digits"},
            "model": {"name": "mlp", "hidden": [32]},
            "train": {"epochs": 4, "method": method, "seed": 3},
        }
        (place / "config.json").write_text(json.dumps(config))

    return prepare


def _recording(place: Path) -> None:
    from tecos_lvm.datasets import make_retina, save_npz

    retina = make_retina(n_neurons=3, size=8, train_s=20, val_s=4, test_s=4, val_trials=4, test_trials=4, seed=1)
    save_npz(place / "train.npz", retina.train)
    save_npz(place / "val.npz", retina.val)


def _shapes(place: Path) -> None:
    (place / "config.yaml").write_text(
        "model: {variant: pico, spiking: backbone, T: 2, embedding_options: {kernel_size: 3, depth: 1}}\n"
        "data: {name: shapes, level: easy, n: 12, size: [32, 32]}\n"
        "validation: {n: 4, seed: 5}\nepochs: 5\nbatch_size: 4\ncheckpoint_every: 2\n"
    )


def _signs(place: Path) -> None:
    from slr_cma.data import convert, split_keys
    from slr_cma.synth.layout import write_layout

    users = {"user0", "user1", "user30", "user40"}
    keys = [k for k in split_keys("all") if k.user in users and k.label in ("at", "home") and k.light == "dimLED"]
    write_layout(place / "tree", keys, seconds=1.6, rate=2000, size=(60, 80))
    convert(place / "tree", place / "cache", on_missing="skip", progress=False,
            size=(60, 80), crop=(2, 10, 56, 60), down=4, n_bins=5)  # fmt: skip


def _nothing(place: Path) -> None:
    """Games need no files."""


def _agent(env: str, algo: str, steps: int, *settings: str) -> Callable[[Path, Path], list[str]]:
    def words(place: Path, out: Path) -> list[str]:
        given = [word for setting in settings for word in ("--set", setting)]
        return ["train", "--env", env, "--algo", algo, "--steps", str(steps), "--out", str(out), *given]

    return words


TRAINERS = [
    Trainer("baco", "lightgcn", _interactions, _recommender("lightgcn"), ("checkpoints/best.npz",)),
    Trainer("baco", "mf", _interactions, _recommender("mf"), ("checkpoints/best.npz",)),
    *(
        Trainer("spk-regularize", method, _digits(method),
                lambda place, out: ["train", str(place / "config.json"), "-o", str(out), "--quiet"], ("model.npz",))
        for method in ("clean", "at")
    ),
    Trainer("tecos-lvm", "fit", _recording,
            lambda place, out: ["fit", str(place / "train.npz"), "--val", str(place / "val.npz"), "-o", str(out),
                                "--steps", "80"], ("model/weights.npz",)),
    Trainer("eas-det", "detector", _shapes,
            lambda place, out: ["train", str(place / "config.yaml"), "-o", str(out)],
            ("checkpoints/best.safetensors",)),
    Trainer("slr-cma", "fusion", _signs,
            lambda place, out: ["train", str(place / "cache"), "-o", str(out), "--epochs", "8", "--batch-size", "2",
                                "--channels", "4,6"], ("checkpoints/best.safetensors",)),
    Trainer("grsn-rl", "ppo", _nothing, _agent("CartPole-P", "ppo", 30_000), ("checkpoints/last.npz",)),
    Trainer("grsn-rl", "sac", _nothing, _agent("Pendulum-V", "sac", 1500), ("checkpoints/last.npz",)),
]  # fmt: skip


def start(package: str, words: Sequence[str], log: Path) -> int:
    """The command in a fork that leads a process group of its own; its number."""
    child = os.fork()
    if child == 0:
        entry = importlib.import_module(f"{package.replace('-', '_')}.cli").main
        with log.open("a") as told:
            faults.become(entry, package, words, log.parent, told.fileno(), told.fileno())
    return child


def outcome(folder: Path, kept: Sequence[str]) -> dict[str, Any]:
    """What a finished run folder tells, without times."""
    with (folder / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if not k.endswith(TIMES)} for row in csv.DictReader(file)]
    told: dict[str, Any] = {"metrics.csv": rows}
    for pattern in kept:
        found = sorted(folder.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{folder.name} holds no {pattern}")
        for path in found:
            told |= {f"{path.relative_to(folder)}: {name}": value for name, value in _arrays(path).items()}
    return told


def _arrays(path: Path) -> dict[str, bytes]:
    import numpy as np

    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        found = load_file(path)
    else:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    # headers are text, and may hold times
    return {name: value.tobytes() for name, value in found.items() if value.dtype.kind in "biufc" and value.ndim}


def differences(whole: dict[str, Any], resumed: dict[str, Any]) -> list[str]:
    """Names of what is not the same in both."""
    return sorted(name for name in whole.keys() | resumed.keys() if whole.get(name) != resumed.get(name))


def check(trainer: Trainer, kills: int) -> tuple[float, list[str]]:
    """Seconds of the whole run, and what went wrong."""
    chance = random.Random(f"{SEED} {trainer.package} {trainer.name}")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if faults.wait(_prepared(trainer, place), LIMIT) != 0:
            return 0.0, ["its inputs could not be made"]
        log = place / "log"

        def run(folder: str, seconds: float) -> int | None:
            return faults.wait(start(trainer.package, trainer.words(place, place / folder), log), seconds)

        for folder in ("warm", "whole"):  # the first one compiles
            begin = time.monotonic()
            status = run(folder, LIMIT)
            took = time.monotonic() - begin
            if status != 0:
                return took, [f"the whole run ended with {status}: {_last(log)}"]
        for _ in range(kills):
            status = run("killed", chance.uniform(0, took))
            if status not in (None, 0):
                return took, [f"started again, it ended with {status}: {_last(log)}"]
        status = run("killed", LIMIT)
        if status != 0:
            return took, [f"started again, it ended with {status}: {_last(log)}"]
        try:
            whole, killed = (outcome(place / folder, trainer.kept) for folder in ("whole", "killed"))
        except (OSError, ValueError) as error:
            return took, [str(error)]
        found = [f"differs: {name}" for name in differences(whole, killed)]
        names = [{str(p.relative_to(place / f)) for p in (place / f).rglob("*")} for f in ("whole", "killed")]
        return took, found + [f"left behind: {path}" for path in sorted(names[1] - names[0]) if "tb/" not in path]


def _prepared(trainer: Trainer, place: Path) -> int:
    """The inputs are made in a child as well: threads that it starts would not live on in a fork."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            trainer.prepare(place)
            status = 0
        finally:
            os._exit(status)
    return child


def _last(log: Path) -> str:
    lines = [line for line in log.read_text().splitlines() if line.strip()] if log.is_file() else []
    return lines[-1] if lines else "it said nothing"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=3, help="of each trainer")
    parser.add_argument("names", nargs="*", help="packages; all that train by default")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - {trainer.package for trainer in TRAINERS})
    if unknown:
        parser.error(f"{', '.join(unknown)} given; packages that train are {sorted({t.package for t in TRAINERS})}")
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    wrong = 0
    for package in sorted(monorepo.read().names):
        chosen = [t for t in TRAINERS if t.package == package and (not options.names or package in options.names)]
        for trainer in chosen:
            importlib.import_module(f"{package.replace('-', '_')}.cli")
            seconds, found = check(trainer, options.kills)
            told = "as if nothing had happened" if not found else "; ".join(found[:4])
            print(f"{package} {trainer.name}: {seconds:.1f} s whole, {options.kills} kills, {told}", flush=True)
            wrong += bool(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
