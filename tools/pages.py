"""Tables of READMEs and pages, written from ``benchmarks/results/*.json``; no number is typed by hand.

Between a pair of marks everything is replaced::

    <!-- results: speed table=headline columns=name,ours,peer,ratio -->
    <!-- /results -->

``speed`` is the results file without its suffix (``speed-h200`` for another machine's). ``table=`` keeps
the rows that carry this ``table``; ``columns=`` picks and orders; ``package=`` names the package where the
page does not lie in its folder. ``pivot=clean,FGSM`` makes one line of the rows of each name, a column per
metric. ``<!-- results: packages -->`` writes the table of packages with their
measured headlines, ``<!-- results: all -->`` every table there is, ``<!-- results: claims -->`` what the papers claim
beside what was measured.

``python tools/pages.py`` writes the READMEs, ``--check`` fails where one is out of date. Pages of the site
are filled while it is built (``site_tree.py``), so they are never out of date.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import claims
import monorepo
import results
from monorepo import Package, Tree

# at the start of a line: an indented pair is an example of itself
MARK = re.compile(
    r"^(?P<open><!-- results: (?P<what>[^\n]*?) -->\n).*?^(?P<close><!-- /results -->)",
    re.DOTALL | re.MULTILINE,
)
TITLES = {
    "name": "case",
    "metric": "metric",
    "ours": "ours",
    "peer": "peer",
    "reference": "paper",
    "ratio": "ratio",
    "target": "target",
    "n": "n",
    "note": "note",
}


def number(value: float | None, unit: str | None = None) -> str:
    """Three significant digits, thousands separated: 0.214 s, 12,300, 1.2e-05."""
    if value is None:
        return ""
    size = abs(value)
    if isinstance(value, int) or (size >= 1000 and size < 1e9):
        text = f"{value:,.0f}" if size < 1e9 else f"{value:.3g}"
    else:
        text = f"{value:.3g}"
    return f"{text} {unit}" if unit else text


def _cell(row: Mapping[str, Any], column: str) -> str:
    unit = row["unit"]
    if column == "ours":
        spread = f" ± {number(row['spread'])}" if row["spread"] is not None else ""
        text = "not measured" if row["ours"] is None else number(row["ours"]) + spread + (f" {unit}" if unit else "")
    elif column == "peer":
        peer = row["peer"]
        text = "" if peer is None else ", ".join(filter(None, (peer["name"], number(peer["value"], unit))))
    elif column == "reference":
        text = number(row["reference"], unit)
    elif column == "ratio":
        text = "" if row["ratio"] is None else f"{number(row['ratio'])}×"
    elif column == "target":
        text = row["target"] or ""
        text += {True: " — met", False: " — **missed**", None: ""}[row["met"]] if text else ""
    else:
        text = str(row[column])
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def table(data: Mapping[str, Any], *, only: str | None = None, columns: Sequence[str] | None = None) -> str:
    """Markdown table of the rows, with the command, date and machine in a line under it.

    Args:
        data: a results file that fits the schema.
        only: keep the rows whose ``table`` is this; all of them by default.
        columns: columns in order; by default all that some row fills.
    """
    rows = [row for row in data["rows"] if only is None or row.get("table") == only]
    if not rows and only is None:
        return f"No row yet.\n\n{origin(data)}\n"
    if not rows:
        raise ValueError(f"no row of {data['package']} {data['benchmark']} has table={only!r}")
    unknown = [column for column in columns or () if column not in TITLES]
    if unknown:
        raise ValueError(f"got column {unknown[0]!r}, expected some of {', '.join(TITLES)}")
    cells = {column: [_cell(row, column) for row in rows] for column in columns or TITLES}
    if columns is None:
        cells = {column: texts for column, texts in cells.items() if any(texts)}
    right = {"ours", "reference", "ratio", "n"}
    lines = [
        "| " + " | ".join(TITLES[column] for column in cells) + " |",
        "|" + "|".join("---:" if column in right else "---" for column in cells) + "|",
        *("| " + " | ".join(line) + " |" for line in zip(*cells.values(), strict=True)),
    ]
    return "\n".join(lines) + f"\n\n{origin(data)}\n"


def pivoted(data: Mapping[str, Any], metrics: Sequence[str], *, only: str | None = None) -> str:
    """Markdown table with a line per name and a column per metric, the repetitions last.

    Raises: ValueError: a metric that no row has.
    """
    lines: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in data["rows"]:
        if only is None or row.get("table") == only:
            lines.setdefault(row["name"], {})[row["metric"]] = row
    unknown = [metric for metric in metrics if not any(metric in rows for rows in lines.values())]
    if unknown:
        raise ValueError(f"no row of {data['package']} {data['benchmark']}, table={only!r}, has metric {unknown[0]!r}")
    text = ["| case | " + " | ".join(metrics) + " | n |", "|---|" + "---:|" * (len(metrics) + 1)]
    for name, rows in lines.items():
        cells = [_cell(rows[metric], "ours") if metric in rows else "" for metric in metrics]
        most = max(row["n"] for row in rows.values())
        text.append("| " + " | ".join([_cell({"name": name, "unit": None}, "name"), *cells, str(most)]) + " |")
    return "\n".join(text) + f"\n\n{origin(data)}\n"


def origin(data: Mapping[str, Any]) -> str:
    """Where the numbers come from, in one line."""
    machine = data["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    where = ", ".join(filter(None, (machine["gpu"], machine["cpu"], threads, f"Python {machine['python']}")))
    return f"<sub>`{data['command']}`, {data['date'][:10]}, commit {data['commit']}; {where}.</sub>"


def fill(tree: Tree, text: str, package: Package | None = None, *, link: str | None = None) -> str:
    """The text with what lies between its marks written anew.

    Args:
        package: owner of the page, where it has one.
        link: where the table of packages points, with ``{name}`` in it; by default its folder on the web.
    """

    def section(match: re.Match[str]) -> str:
        inside = packages(tree, link) if match["what"] == "packages" else _section(tree, match["what"], package)
        return f"{match['open']}\n{inside}\n{match['close']}"

    return MARK.sub(section, text)


def _section(tree: Tree, what: str, package: Package | None) -> str:
    stem, *words = shlex.split(what)
    options = dict(word.split("=", 1) for word in words if "=" in word)
    if len(options) != len(words) or set(options) - {"table", "columns", "package", "pivot"}:
        raise ValueError(f"got <!-- results: {what} -->, expected options table=, columns=, pivot= and package=")
    if stem == "all":
        return everything(tree)
    if stem == "claims":
        return claims.table(tree, _cell)
    package = tree[options["package"]] if "package" in options else package
    if package is None:
        raise ValueError(f"<!-- results: {what} --> outside a package's folder needs package=")
    path = package.folder / "benchmarks" / "results" / f"{stem}.json"
    if not path.is_file():
        session = stem.split("-")[0].replace("speed", "bench")
        return f'Not measured yet: `nox -s "{session}({package.name})"`.\n'
    if "pivot" in options:
        return pivoted(results.load(path), options["pivot"].split(","), only=options.get("table"))
    columns = options["columns"].split(",") if "columns" in options else None
    return table(results.load(path), only=options.get("table"), columns=columns)


def everything(tree: Tree) -> str:
    """Every results file of every package, under a heading each."""
    parts = []
    for package in sorted(tree.packages, key=lambda each: each.name):
        for path in sorted((package.folder / "benchmarks" / "results").glob("*.json"), reverse=True):
            parts.append(f"## {package.name}: {path.stem}\n\n{table(results.load(path))}")
    return "\n".join(parts) or "Nothing was measured yet.\n"


def packages(tree: Tree, link: str | None = None) -> str:
    """Table of the packages in the tree: what one does with each, what was measured, how its paper's claims fare."""
    repository = tree.settings.get("tool", {}).get("monorepo", {}).get("repository", "")
    link = link or f"{repository}/tree/main/packages/{{name}}"
    lines = ["| package | what you do with it | measured | against its paper |", "|---|---|---|---|"]
    for package in sorted(tree.packages, key=lambda each: each.name):
        name = f"[`{package.name}`]({link.format(name=package.name)})"
        measured = headline(package) or "not yet"
        described = package.project.get("description", "")
        lines.append(f"| {name} | {described} | {measured} | {claims.summary(tree, package.name)} |")
    return "\n".join(lines) + "\n"


def headline(package: Package) -> str | None:
    """The one line that stands for the package: the first that its results carry, ``speed`` before the others."""
    paths = sorted((package.folder / "benchmarks" / "results").glob("*.json"), key=lambda path: (len(path.stem), path))
    rows = [row for path in paths for row in results.load(path)["rows"]]
    return next((results.headline(row) for row in rows if "headline" in row), None)


def written(tree: Tree) -> dict[Path, str]:
    """What each README should hold."""
    owners: dict[Path, Package | None] = {tree.root / "README.md": None}
    owners.update({package.folder / "README.md": package for package in tree.packages})
    found = {}
    for path, package in owners.items():
        if path.is_file():
            try:
                found[path] = fill(tree, path.read_text(encoding="utf-8"), package)
            except ValueError as error:
                raise ValueError(f"{path.relative_to(tree.root).as_posix()}: {error}") from error
    return found


def main(arguments: Sequence[str] = (), root: Path = monorepo.ROOT) -> int:
    """Write the READMEs, or with ``--check`` say which are out of date; 1 if any is."""
    try:
        pages = written(monorepo.read(root))
    except ValueError as error:
        print(error)
        return 1
    stale = [path for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    for path in stale:
        where = path.relative_to(root).as_posix()
        if "--check" in arguments:
            print(f"{where}: its tables differ from the results; run python tools/pages.py")
        else:
            results.write_text(path, pages[path])
            print(f"{where}: written")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
