"""Rows of the tables, from the cells done so far."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from cells import COLUMNS, INNER, METHODS, PLAIN, WHOLE, Cell

from results import Results, load

TOLD = ("rate", "overlap", "gradient")
SHARES = [
    ("weight decay", PLAIN, "weight decay"),
    ("input gradient", "weight decay", "weight decay + input gradient"),
    ("rate floor", "weight decay + input gradient", WHOLE),
    ("mean SG", WHOLE, "preset + mean SG"),
    ("MPD-SGR, eta 1", WHOLE, "preset + MPD-SGR 1"),
    ("weight decay, given the rest", "preset without weight decay", WHOLE),
    ("the whole preset", PLAIN, WHOLE),
]


class Done:
    """Values of finished cells by key and seed; "worst" is against the core battery, "strong" against both."""

    def __init__(self, out: Results) -> None:
        self.by_key: dict[str, dict[int, dict[str, float]]] = {}
        for entry in load(out.path).get("cells", []) if out.path.is_file() else []:
            values = dict(entry["values"])
            if "worst core" in values:
                values["strong"], values["worst"] = values["worst"], values.pop("worst core")
            self.by_key.setdefault(entry["cell"], {})[entry["seed"]] = values
        for title in METHODS.values():
            # the same networks: their cells of the first seeds stand in the core table
            for seed, values in self.by_key.get(f"core: digits, {title}, eta 0", {}).items():
                self.by_key.setdefault(f"remedies: {title}, {PLAIN}", {}).setdefault(seed, values)

    def seeds(self, *keys: str) -> list[int]:
        """Seeds that all of these have."""
        found = [set(self.by_key.get(key, {})) for key in keys]
        return sorted(set.intersection(*found)) if found else []

    def values(self, key: str, column: str) -> list[float]:
        """One column over the seeds."""
        return [self.by_key[key][seed][column] for seed in self.seeds(key) if column in self.by_key[key][seed]]

    def gains(self, before: str, after: str, column: str) -> list[float]:
        """after - before, seed by seed."""
        return [
            self.by_key[after][s][column] - self.by_key[before][s][column]
            for s in self.seeds(before, after)
            if column in self.by_key[before][s] and column in self.by_key[after][s]
        ]


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds."""
    return statistics.stdev(values) if len(values) > 1 else None


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in range(start, end + 1):
            found[order[place]] = (start + end) / 2
        start = end + 1
    return found


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation."""
    return statistics.correlation(ranks(a), ranks(b))


def write(out: Results, cells: Sequence[Cell]) -> None:
    """All tables from what is done."""
    done = Done(out)
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if done.seeds(cell.key):
            groups.setdefault(cell.key, []).append(cell)
    for key, group in groups.items():
        if group[0].table in ("core", "remedies"):
            _network(out, done, key, group[0])
    _shares(out, done)
    _alone(out, done, groups)
    _search(out, done, groups)
    _general(out, done, groups)
    _mechanism(out, done, groups)


def _network(out: Results, done: Done, key: str, cell: Cell) -> None:
    """A row per column of one network: accuracies in per cent, the worst case, what happens inside."""
    names = {"worst": "worst case", "strong": "strong worst case"}
    for column in (*COLUMNS, "strong", *INNER):
        values = done.values(key, column)
        if values:
            out.add(
                name=cell.name, metric=names.get(column, column), ours=statistics.mean(values), n=len(values),
                spread=spread(values), table=cell.table,
            )  # fmt: skip


def _gain(out: Results, done: Done, name: str, before: str, after: str, table: str) -> None:
    gains = done.gains(before, after, "worst")
    if not gains:
        return
    beside = ", ".join(
        f"{c} {statistics.mean(done.gains(before, after, c)):+.1f}"
        for c in ("clean", "FGSM", "PGD", "SA-PGD", "Square")
    )
    inner = ", ".join(f"{c} {statistics.mean(done.gains(before, after, c)):+.2f}" for c in TOLD)
    out.add(
        name=name, metric="gain in the worst case", unit="points", ours=statistics.mean(gains), n=len(gains),
        spread=spread(gains), table=table,
        note=f"by seed {' '.join(f'{g:+.1f}' for g in gains)}; {beside}; {inner}",
    )  # fmt: skip


def _shares(out: Results, done: Done) -> None:
    """What each part of the preset gives, seed by seed."""
    for title in METHODS.values():
        for part, before, after in SHARES:
            keys = [f"remedies: {title}, {name}" for name in (before, after)]
            _gain(out, done, f"{title}: {part}", *keys, "shares")
    for place in ("mnist", "cifar10", *(f"5 conv, {title}" for title in METHODS.values())):
        keys = [f"remedies: {place}, {name}" for name in (PLAIN, WHOLE)]
        _gain(out, done, f"{place}: the whole preset", *keys, "shares")


def _alone(out: Results, done: Done, groups: dict[str, list[Cell]]) -> None:
    """Each regulariser against none on the same seeds (the core table's plain network)."""
    for key, group in groups.items():
        if group[0].table == "alone":
            _gain(out, done, group[0].name, "core: digits, no AT, eta 0", key, "alone")


def _search(out: Results, done: Done, groups: dict[str, list[Cell]]) -> None:
    for key, group in groups.items():
        if group[0].table == "search" and group[0].name != "preset":
            _gain(out, done, group[0].name, "search: preset", key, "search")


def _general(out: Results, done: Done, groups: dict[str, list[Cell]]) -> None:
    """One eta against none for each surrogate, encoding and network."""
    for key, group in groups.items():
        if group[0].table == "general" and key.endswith("eta 3"):
            before = key.replace("eta 3", "eta 0")
            _gain(out, done, group[0].name.removesuffix(", eta 3"), before, key, "general")


def _mechanism(out: Results, done: Done, groups: dict[str, list[Cell]]) -> None:
    """Both links of the paper's argument, as rank correlations over the runs on digits."""
    for method, title in METHODS.items():
        rows: list[dict[str, float]] = []
        for key, group in groups.items():
            cell = group[0]
            if cell.data == "digits" and cell.method == method and cell.table in ("core", "remedies", "alone"):
                # the plain network stands in two tables
                seen = done.seeds(f"core: digits, {title}, eta 0") if key == f"remedies: {title}, {PLAIN}" else []
                rows += [done.by_key[key][seed] for seed in done.seeds(key) if seed not in seen]
        rows = [row for row in rows if row["clean"] >= 95]
        if len(rows) < 8:
            continue
        for a, b in (
            ("overlap", "gradient"), ("gradient", "worst"), ("relative gradient", "worst"), ("overlap", "worst"),
            ("rate", "worst"),
        ):  # fmt: skip
            value = spearman([row[a] for row in rows], [row[b] for row in rows])
            half = 1.96 / math.sqrt(len(rows) - 3)
            low, high = (math.tanh(math.atanh(max(-0.999, min(0.999, value))) + s * half) for s in (-1, 1))
            out.add(
                name=f"{title}: {a} to {b}", metric="Spearman correlation", ours=value, n=len(rows), table="mechanism",
                note=f"95 % interval {low:+.2f} to {high:+.2f} if runs were independent; runs of at least 95 % clean",
            )  # fmt: skip


def told(values: dict[str, Any]) -> str:
    """One line for the terminal."""
    return "  ".join(f"{name} {values[name]:.1f}" for name in COLUMNS if name in values)
