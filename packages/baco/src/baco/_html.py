"""The report's page: facts in, one self-contained HTML string out."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2429; --dim: #5e6a72; --page: #fcfcfa; --line: #dcdfe0; --bar: #3d7ea6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe4e6; --dim: #96a2a9; --page: #171b1e; --line: #343b40; --bar: #6fb0d6; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
       max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; }
p { margin: .4rem 0; } .dim { color: var(--dim); }
.big { font-size: 2.4rem; font-weight: 650; line-height: 1.1; margin: 1.4rem 0 .2rem; }
.bar { height: .6rem; background: var(--line); border-radius: .3rem; overflow: hidden; margin: .6rem 0; }
.bar > div { height: 100%; background: var(--bar); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; min-width: 60%; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: var(--dim); }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } figcaption { color: var(--dim); font-size: .9rem; }
"""


def page(facts: dict[str, Any], figures: list[tuple[str, bytes]] | None, title: str) -> str:
    """The page for `report.summarise`'s facts; ``figures`` are (caption, PNG), None where none could be drawn."""
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=dim>compressed by baco {escape(facts['version'])}</p>",
        _headline(facts),
        _section("Size", _sizes(facts)),
        _section("Budget and objective", _found(facts)),
        _section("Balance", _balance(facts["balance"])),
        *_pictures(figures),
        _section("Sweeps", _sweeps(facts["history"])),
        _section("Budget search", _search(facts["search_path"])),
    ]
    return _document(title, "\n".join(part for part in body if part))


def _document(title: str, body: str) -> str:
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)} - baco</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def comparison_page(lines: list[tuple[str, ...]], title: str, version: str) -> str:
    """The page for the lines of `compare.comparison_table`, its heading first."""
    width = len(lines[0])
    rows = [(*line, *[""] * (width - len(line))) for line in lines[1:]]
    body = (
        f"<h1>{escape(title)}</h1><p class=dim>compared by baco {escape(version)}</p>"
        + _table(lines[0], rows)
        + "<p class=dim>Objective at the resolution that BACO found for the budget; volume Gini: 0 where every row "
        "stands for as many interactions. Not run: what no maintained library has.</p>"
    )
    return _document(title, body)


def number(value: Any, digits: int = 4) -> str:
    """A number for people: thousands separated, ``digits`` significant places, a dash for none."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == int(value) and abs(value) < 1e15:
            return f"{int(value):,}"
        return f"{value:,.{max(0, digits - len(str(int(abs(value)))))}f}" if abs(value) >= 1 else f"{value:.{digits}g}"
    return str(value)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _headline(facts: dict[str, Any]) -> str:
    share = facts["parameters"] / facts["parameters_full"]
    return (
        f"<p class=big>{facts['users'] + facts['items']:,} ids &rarr; {facts['rows']:,} rows</p>"
        f"<div class=bar><div style='width:{min(100.0, 100 * share):.2f}%'></div></div>"
        f"<p>{percent(share)} of the parameters of a full table, at {facts['embedding_dim']} numbers a row.</p>"
    )


def _sizes(facts: dict[str, Any]) -> str:
    sides = [
        ("users", facts["users"], facts["user_rows"]),
        ("items", facts["items"], facts["item_rows"]),
        ("together", facts["users"] + facts["items"], facts["rows"]),
    ]
    rows = [(name, number(ids), number(rows), percent(rows / ids)) for name, ids, rows in sides]
    size = [
        ("full table", number(facts["parameters_full"]), number(facts["megabytes_full"])),
        ("compressed", number(facts["parameters"]), number(facts["megabytes"])),
    ]
    return (
        _table(("", "ids", "codebook rows", "share"), rows)
        + _table(("", "parameters", "MB to serve"), size)
        + "<p class=dim>Megabytes count float32 rows and, compressed, the int32 codes of every id.</p>"
    )


def _found(facts: dict[str, Any]) -> str:
    weights = facts["weights"]
    lines = [
        ("interactions (distinct pairs)", number(facts["edges"])),
        ("rows allowed", number(facts["budget_rows"])),
        ("of these used", percent(facts["budget_used"])),
        ("resolution gamma", number(facts["gamma"])),
        ("balance weights", weights if isinstance(weights, str) or weights is None else ", ".join(map(str, weights))),
        ("objective F", number(facts["objective"], 6)),
        ("interactions inside co-clusters", percent(facts["inside_share"])),
    ]
    return _table((), [(name, value) for name, value in lines if value not in (None, "-")])


def _balance(balance: dict[str, Any]) -> str:
    sides = [(side, balance[side]) for side in ("user", "item")]
    rows = [("rows", *(number(side["rows"]) for _, side in sides))]
    rows += [
        (f"ids per row, {name}", *(number(side["ids_per_row"][key], 3) for _, side in sides))
        for name, key in (("least", "min"), ("median", "median"), ("mean", "mean"), ("most", "max"), ("Gini", "gini"))
    ]
    if all("volume_share" in side for _, side in sides):
        rows.append(("volume, largest row's share", *(percent(side["volume_share"]["max"]) for _, side in sides)))
        rows.append(("volume, Gini", *(number(side["volume_share"]["gini"], 3) for _, side in sides)))
    rows.append(("ids with a second code", *(number(side["with_secondary"]) for _, side in sides)))
    return _table(("", "users", "items"), rows) + (
        "<p class=dim>Volume is what balancing evens out: the interactions of a row's ids. Numbers of ids differ a "
        "lot, "
        "and are meant to.</p>"
    )


def _sweeps(history: list[dict[str, Any]]) -> str:
    if not history:
        return ""
    rows = [
        (*(number(step.get(key)) for key in ("sweep", "moves", "rows_u", "rows_i", "inside")), number(step.get("F"), 6))
        for step in history
    ]
    return _table(("sweep", "moves", "user rows", "item rows", "inside", "objective F"), rows)


def _search(path: list[dict[str, Any]]) -> str:
    if not path:
        return ""
    rows = [
        (str(trial), number(step.get("gamma")), number(step.get("rows")), number(step.get("F"), 6))
        for trial, step in enumerate(path, 1)
    ]
    return _table(("trial", "gamma", "rows", "objective F"), rows)


def _pictures(figures: list[tuple[str, bytes]] | None) -> list[str]:
    if figures is None:
        return ['<p class=dim>No pictures: they need matplotlib, <code>pip install "baco[plot]"</code>.</p>']
    return [
        f"<figure><img alt='{escape(caption, quote=True)}' "
        f"src='data:image/png;base64,{base64.b64encode(png).decode()}'>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, png in figures
    ]


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>\n{content}" if content else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    top = "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>" if head else ""
    lines = ["<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<div class=wide><table>{top}{''.join(lines)}</table></div>"
