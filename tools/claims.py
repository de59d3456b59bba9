"""What the papers claim against what was measured here: the rows of ``docs/claims.toml``, judged by rule.

Each ``[[claim]]`` names a ``system``, the ``package``, the ``claim`` in words, the ``paper``'s figure in words, the
``results`` file and the ``row`` in it by name (and ``metric`` where several rows share it), what ``differs`` in
protocol, and ``confirmed``, the condition that our figure (or with ``judge = "ratio"`` the row's ratio) must meet, such
as ``">= 0.9"``. The figure and the verdict are never typed: a row that is not there is "not measured".
"""

from __future__ import annotations

import operator
import re
import tomllib
from collections.abc import Callable
from typing import Any

import results
from monorepo import Tree

KEYS = {"system", "package", "claim", "paper", "results", "row", "differs", "confirmed"}
RULE = re.compile(r"(>=|<=|>|<) (-?[0-9.]+)")
HOLDS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


def read(tree: Tree) -> list[dict[str, str]]:
    """The claims, each checked for its keys, its package and its rule."""
    path = tree.root / "docs" / "claims.toml"
    if not path.is_file():
        return []
    found = tomllib.loads(path.read_text(encoding="utf-8")).get("claim", [])
    for claim in found:
        title = f"docs/claims.toml, {claim.get('system', 'a claim without a system')}"
        if set(claim) - {"judge", "metric"} != KEYS:
            raise ValueError(f"{title}: got {sorted(claim)}, expected {sorted(KEYS)} and perhaps judge, metric")
        if claim["package"] not in tree.names:
            raise ValueError(f"{title}: no package {claim['package']!r}; there are {', '.join(tree.names)}")
        if not RULE.fullmatch(claim["confirmed"]) or claim.get("judge", "ours") not in ("ours", "ratio"):
            raise ValueError(f"{title}: expected confirmed such as '>= 0.9', and judge 'ours' or 'ratio'")
    return list(found)


def measured(tree: Tree, claim: dict[str, str]) -> dict[str, Any] | None:
    """The row that a claim is judged by; None where it was not measured yet."""
    path = tree[claim["package"]].folder / "benchmarks" / "results" / f"{claim['results']}.json"
    if not path.is_file():
        return None
    rows = [
        row
        for row in results.load(path)["rows"]
        if row["name"] == claim["row"] and row["metric"] == claim.get("metric", row["metric"])
    ]
    if len(rows) > 1:
        raise ValueError(
            f"docs/claims.toml, {claim['system']}: {path.name} has {len(rows)} rows named {claim['row']!r}"
        )
    return rows[0] if rows else None


def verdict(claim: dict[str, str], row: dict[str, Any] | None) -> str:
    """``confirmed``, ``not confirmed`` or ``not measured``, by the claim's own rule."""
    value = None if row is None else row[claim.get("judge", "ours")]
    if value is None:
        return "not measured"
    match = RULE.fullmatch(claim["confirmed"])
    assert match is not None  # read() has checked it
    return "confirmed" if HOLDS[match[1]](value, float(match[2])) else "**not confirmed**"


def summary(tree: Tree, package: str) -> str:
    """How many of a package's claims hold, in words; empty where it makes none."""
    judged = [verdict(claim, measured(tree, claim)) for claim in read(tree) if claim["package"] == package]
    if not judged:
        return ""
    waiting = judged.count("not measured")
    words = f"{judged.count('confirmed')} of {len(judged)} claims confirmed"
    return f"{words}, {waiting} not measured" if waiting else words


def table(tree: Tree, show: Callable[[dict[str, Any], str], str]) -> str:
    """The page's table; ``show`` writes a row's column as the other tables do."""
    lines = [
        "| system | the paper's claim | paper | here | what differs | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for claim in read(tree):
        row = measured(tree, claim)
        here = "" if row is None else f"{row['name']}: {show(row, claim.get('judge', 'ours'))}"
        judged = f"{verdict(claim, row)} ({claim['confirmed']})"
        cells = (claim["system"], claim["claim"], claim["paper"], here, claim["differs"], judged)
        lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
