"""The tables of the fusion study, made of the cells that were run, wherever that was."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import fusion_study as study
import numpy as np

from results import Results, load, problems, write_text

#: designs that allocate scores across modalities: what the paper's claim is judged by
ACROSS = (
    "joint", "cross", "complementary", "joint, faults predicted", "joint from self", "joint from self, late",
    "cross, late dropout", "balanced, joint", "balanced, cross",
)  # fmt: skip
#: the row by which the site judges that claim
CLAIM = "best allocation across modalities against self, mixed"
#: the comparisons that decide: attention against none, allocation across modalities against self, the default
VERDICT = (
    ("concat, wider", "concat", "mixed"), ("self", "concat", "mixed"), ("cross", "concat", "mixed"),
    ("gated", "concat", "mixed"), ("joint", "self", "mixed"), ("complementary", "self", "mixed"),
    *(("cross", "self", which) for which in study.SETS),
)  # fmt: skip


def cell(name: str) -> str:
    """What a cell is filed under: another world or budget is another cell."""
    variant = study.VARIANTS[name]
    return f"{study.VERSION}, {study.WORLDS[variant.world].fingerprint}, {variant.epochs} epochs, {name}"


def file_of(machine: dict[str, Any]) -> str:
    """The variant of the results file that holds a machine's cells."""
    words = re.sub(r"\(\w+\)|processor", " ", f"{machine['cpu']} {machine['gpu'] or ''}".lower())
    return "fusion-" + re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def merge(folder: Path) -> None:
    """Write the tables anew, of the cells of all machines in ``folder``; shards go into their machine's file.

    A seed that ran on several machines counts by the mean of its runs. Start weights, batches and faults of a seed are
    the same everywhere; what differs is rounding.
    """
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("reproduce-fusion-*.json")):
        groups.setdefault(re.sub(r"-\d+-of-\d+$", "", path.stem), []).append(path)
    files = []
    runs: list[Run] = []
    for stem, paths in groups.items():
        parts = [load(path) for path in paths]
        data = parts[-1]
        cells = {(each["cell"], each["seed"]): each for part in parts for each in part.get("cells", [])}
        data["cells"] = [cells[key] for key in sorted(cells)]
        machine = re.sub(r"\(\w+\)| Processor", "", data["machine"]["cpu"])
        own = [Run(each["cell"], each["seed"], machine, each["values"]) for each in data["cells"]]
        _write(folder / f"{stem}.json", data, _accuracies(own))
        for path in paths:
            if path.stem != stem:
                path.unlink()
        files.append(data)
        runs += own
    newest = max(files, key=lambda data: data["date"])
    whole = {key: value for key, value in newest.items() if key != "cells"}
    whole["machine"] = dict(newest["machine"])
    for key in ("cpu", "python"):
        whole["machine"][key] = " and ".join(sorted({str(data["machine"][key]) for data in files}))
    _write(folder / "reproduce-fusion.json", whole, _accuracies(runs) + _margins(runs))


def _write(path: Path, data: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    data["rows"] = rows
    found = problems(data)
    if found:
        raise ValueError("; ".join(found))
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


class Run(NamedTuple):
    """One cell, once: what was trained, from which seed, on which machine, and what came out."""

    cell: str
    seed: int
    machine: str
    values: dict[str, Any]


Seeds = dict[int, list[Run]]


def _by_name(runs: list[Run]) -> dict[str, Seeds]:
    """The runs of each variant, seed by seed."""
    found: dict[str, Seeds] = {}
    for name in study.VARIANTS:
        seeds: Seeds = {}
        for run in sorted(run for run in runs if run.cell == cell(name)):
            seeds.setdefault(run.seed, []).append(run)
        found[name] = seeds
    return found


def _where(seeds: Seeds) -> str:
    """Which seeds ran on which machine."""
    found: dict[str, list[str]] = {}
    for seed, runs in seeds.items():
        for run in runs:
            found.setdefault(run.machine, []).append(str(seed))
    return ", ".join(f"{machine}: seeds {' '.join(own)}" for machine, own in sorted(found.items()))


def _accuracies(runs: list[Run]) -> list[dict[str, Any]]:
    out = _table()
    for name, seeds in _by_name(runs).items():
        for which in study.SETS:
            values = [100 * _mean(own, which) for own in seeds.values() if which in own[0].values]
            if not values:
                continue
            easy = name == "easy, concat"
            mean = statistics.mean(values)
            parameters = next(iter(seeds.values()))[0].values["parameters"]
            out.add(
                name=name,
                metric=which,
                ours=mean,
                target=">= 98" if easy else None,
                met=mean >= 98 if easy else None,
                n=len(values),
                spread=statistics.stdev(values) if len(values) > 1 else None,
                note=f"test accuracy, %; {parameters:.0f} parameters; {_where(seeds)}",
                table="core" if name in study.CORE else "attempts",
            )
    return out.rows


def _margins(runs: list[Run]) -> list[dict[str, Any]]:
    out, done = _table(), _by_name(runs)
    for name, rivals in study.RIVALS.items():
        for rival in rivals:
            if done[name].keys() & done[rival].keys():
                for which in study.SETS:
                    table = "core margins" if name in study.CORE else "attempted margins"
                    _margin(out, name, rival, which, done, table)
                    if (name, rival, which) in VERDICT:
                        _margin(out, name, rival, which, done, "verdict")
    _claim(out, done)
    return out.rows


def _table() -> Results:
    """Somewhere to make rows; it is not written."""
    return Results("slr-cma", "reproduce", threads=1, variant="fusion")


def _mean(runs: list[Run], which: str) -> float:
    return statistics.mean(run.values[which] for run in runs)


def _claim(out: Results, done: dict[str, Seeds]) -> None:
    """The best design across modalities, as the validation set has it, against self-attention trained alike."""
    most = max(len(done[name]) for name in ACROSS)
    gains = {}
    for name in (name for name in ACROSS if len(done[name]) == most):
        rival = _self(name)
        both = sorted(done[name].keys() & done[rival].keys())
        if both:
            gains[name] = statistics.mean(
                _mean(done[name][seed], "validation") - _mean(done[rival][seed], "validation") for seed in both
            )
    if gains:
        best = max(gains, key=lambda name: gains[name])
        row, before = CLAIM, f"{best}, the best of {len(gains)} on validation; "
        _margin(out, best, _self(best), "mixed", done, "claim", row, before)


def _self(name: str) -> str:
    return "balanced, self" if name.startswith("balanced") else "self"


def _margin(
    out: Results,
    name: str,
    rival: str,
    which: str,
    done: dict[str, Seeds],
    table: str,
    row: str | None = None,
    before: str = "",
) -> None:
    both = sorted(done[name].keys() & done[rival].keys())
    ours, theirs = (
        [np.mean([study.right(run.values[f"{which}, right"]) for run in done[each][seed]], 0) for seed in both]
        for each in (name, rival)
    )
    gap, low, high, each = study.margin(ours, theirs)
    verdict = "beyond noise" if low > 0 or high < 0 else "within noise"
    if len(both) == 1:
        verdict = "of the test samples; one seed decides nothing"
    seeds = " ".join(f"{g:+.1f}" for g in each)
    out.add(
        name=row or f"{name} against {rival}, {which}",
        metric="points",
        ours=gap,
        n=len(both),
        spread=float(np.std(each, ddof=1)) if len(each) > 1 else None,
        note=f"{before}95 % [{low:+.1f}, {high:+.1f}]: {verdict}; seeds {' '.join(map(str, both))}: {seeds}",
        table=table,
    )
