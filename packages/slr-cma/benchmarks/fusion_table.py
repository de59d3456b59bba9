"""The tables of the fusion study, made of the cells that were run, wherever that was."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import fusion_study as study
import numpy as np

from results import Results, load, problems, write_text

#: designs that allocate scores across modalities: what the paper's claim is judged by
ACROSS = (
    "joint", "cross", "complementary", "joint, faults predicted", "joint from self", "joint from self, late",
    "joint, late dropout", "balanced, joint", "balanced, cross",
)  # fmt: skip
#: the comparisons that decide: attention against none, allocation across modalities against self, the default
VERDICT = (
    ("concat, wider", "concat", "mixed"), ("self", "concat", "mixed"), ("cross", "concat", "mixed"),
    ("joint", "self", "mixed"), ("complementary", "self", "mixed"),
    *(("cross", "self", which) for which in study.SETS),
)  # fmt: skip


def cell(name: str) -> str:
    """What a cell is filed under: another world or budget is another cell."""
    variant = study.VARIANTS[name]
    return f"{study.VERSION}, {study.WORLDS[variant.world].fingerprint}, {variant.epochs} epochs, {name}"


def merge(folder: Path) -> None:
    """Put the shards in ``folder`` together, and write the tables anew.

    Raises:
        ValueError: shards of different machines.
    """
    whole = folder / "reproduce-fusion.json"
    paths = [path for path in (whole, *sorted(folder.glob("reproduce-fusion-*-of-*.json"))) if path.is_file()]
    files = [load(path) for path in paths]
    machines = {json.dumps(each["machine"], sort_keys=True) for each in files}
    if len(machines) != 1:
        raise ValueError(f"{len(files)} file(s) of {len(machines)} machines in {folder}; expected one machine")
    data = files[-1]
    cells = {(each["cell"], each["seed"]): each for file in files for each in file.get("cells", [])}
    data["cells"] = [cells[key] for key in sorted(cells)]
    table = Results("slr-cma", "reproduce", threads=1, variant="fusion", folder=folder, command=data["command"])
    _rows(table, data["cells"])
    data["rows"] = table.rows
    found = problems(data)
    if found:
        raise ValueError("; ".join(found))
    write_text(whole, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    for path in paths:
        if path != whole:
            path.unlink()


def _rows(out: Results, cells: list[dict[str, Any]]) -> None:
    done = {
        name: {each["seed"]: each["values"] for each in cells if each["cell"] == cell(name)} for name in study.VARIANTS
    }
    for name, by_seed in done.items():
        for which in study.SETS:
            values = [100 * each[which] for each in by_seed.values() if which in each]
            if not values:
                continue
            easy = name == "easy, concat"
            mean = statistics.mean(values)
            out.add(
                name=name,
                metric=which,
                ours=mean,
                target=">= 98" if easy else None,
                met=mean >= 98 if easy else None,
                n=len(values),
                spread=statistics.stdev(values) if len(values) > 1 else None,
                note=f"test accuracy, %; {by_seed[min(by_seed)]['parameters']:.0f} parameters",
                table="core" if name in study.CORE else "attempts",
            )
    for name, rivals in study.RIVALS.items():
        for rival in rivals:
            both = sorted(done[name].keys() & done[rival].keys())
            if rival == name or not both:
                continue
            pairs = [(done[name][s], done[rival][s]) for s in both]
            for which in study.SETS:
                _margin(out, name, rival, which, pairs, "core margins" if name in study.CORE else "attempted margins")
                if (name, rival, which) in VERDICT:
                    _margin(out, name, rival, which, pairs, "verdict")
    _claim(out, done)


def _claim(out: Results, done: dict[str, dict[int, dict[str, Any]]]) -> None:
    """The best design across modalities, as the validation set has it, against self-attention trained alike."""
    most = max(len(done[name]) for name in ACROSS)
    gains = {}
    for name in (name for name in ACROSS if len(done[name]) == most):
        rival = "balanced, self" if name.startswith("balanced") else "self"
        both = sorted(done[name].keys() & done[rival].keys())
        if both:
            gap = [done[name][s]["validation"] - done[rival][s]["validation"] for s in both]
            gains[name] = (statistics.mean(gap), [(done[name][s], done[rival][s]) for s in both])
    if not gains:
        return
    best = max(gains, key=lambda name: gains[name][0])
    gap, low, high, each = margins("mixed", gains[best][1])
    out.add(
        name="best allocation across modalities against self, mixed",
        metric="points",
        ours=gap,
        n=len(each),
        spread=float(np.std(each, ddof=1)) if len(each) > 1 else None,
        note=f"{best}, the best of {len(gains)} on validation; 95 % [{low:+.1f}, {high:+.1f}]",
        table="claim",
    )


def margins(which: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[float, float, float, list[float]]:
    """:func:`fusion_study.margin` of the two cells of each seed."""
    ours, theirs = ([study.right(each[f"{which}, right"]) for each in side] for side in zip(*pairs, strict=True))
    return study.margin(ours, theirs)


def _margin(
    out: Results, name: str, rival: str, which: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]], table: str
) -> None:
    gap, low, high, each = margins(which, pairs)
    verdict = "beyond noise" if low > 0 or high < 0 else "within noise"
    out.add(
        name=f"{name} against {rival}, {which}",
        metric="points",
        ours=gap,
        n=len(pairs),
        spread=float(np.std(each, ddof=1)) if len(each) > 1 else None,
        note=f"95 % [{low:+.1f}, {high:+.1f}]: {verdict}; seeds {' '.join(f'{g:+.1f}' for g in each)}",
        table=table,
    )
