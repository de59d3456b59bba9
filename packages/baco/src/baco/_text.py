"""The summary that the command prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._html import number, percent


def summary(facts: dict[str, Any]) -> str:
    """`report.summarise`'s facts as a few aligned lines of plain ASCII."""
    dim = facts["embedding_dim"]
    ids = facts["users"] + facts["items"]
    sizes = [
        ("", "ids", "rows", "share"),
        ("users", number(facts["users"]), number(facts["user_rows"]), percent(facts["user_rows"] / facts["users"])),
        ("items", number(facts["items"]), number(facts["item_rows"]), percent(facts["item_rows"] / facts["items"])),
        ("together", number(ids), number(facts["rows"]), percent(facts["ratio"])),
    ]
    space = [
        ("", "parameters", "MB", ""),
        ("full table", number(facts["parameters_full"]), f"{facts['megabytes_full']:,.1f}", ""),
        (
            "compressed",
            number(facts["parameters"]),
            f"{facts['megabytes']:,.1f}",
            percent(facts["parameters"] / facts["parameters_full"]),
        ),
    ]
    lines = [facts["source"] or "codebook"]
    if facts["edges"] is not None:
        lines[0] += f": {facts['edges']:,} interactions"
    lines += ["", *_aligned(sizes), "", *_aligned(space), ""]
    if facts["budget_rows"] is not None:
        lines.append(f"budget      {facts['budget_rows']:,} rows, {percent(facts['budget_used'])} used")
    if facts["gamma"] is not None:
        weights = facts["weights"] if isinstance(facts["weights"], str) else ", ".join(facts["weights"] or ())
        lines.append(f"resolution  gamma {number(facts['gamma'])}, weights {weights}")
    if facts["inside_share"] is not None:
        lines.append(f"inside      {percent(facts['inside_share'])} of the interactions lie within co-clusters")
    lines.append(f"counted at  {dim} float32 a row; MB include the codes")
    seconds = facts["seconds"]
    if "fit" in seconds:
        lines.append(f"time        {seconds['read']:.1f} s to read, {seconds['fit']:.1f} s to compress")
    lines += [f"written     {facts[name]}" for name in ("output", "report") if facts[name]]
    return "\n".join(lines)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(max(10, widths[0])), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
