"""Run every package's quickstart and show what came out: figures, one table, one page, in ``demo/``.

``python tools/demo.py [--out demo] [name ...]``. Each quickstart is a process of its own, started with
``--out demo/<package>``. It writes its figures (png, svg or html) there, and ``result.json`` with four keys:
``system`` (what it shows), ``ran`` (what was run), ``result`` (the outcome in one line) and ``seconds``.
One that fails leaves its row and its log; the others run all the same, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import html
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

import monorepo
from monorepo import Package
from results import write_text

FIGURES = (".png", ".svg", ".html")
LIMIT = 600.0  # seconds; a quickstart takes about thirty


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    package: str
    system: str
    ran: str
    result: str
    seconds: float
    ok: bool


def run(package: Package, out: Path, limit: float = LIMIT) -> Row:
    """Run one quickstart into an empty folder and read what it says about itself."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    script = package.folder / "examples" / "quickstart.py"
    log = out / "log.txt"
    start = time.perf_counter()
    problem = None
    with log.open("w", encoding="utf-8") as file:
        command = [sys.executable, str(script), "--out", str(out)]
        try:
            status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=limit).returncode
            if status:
                problem = f"exit status {status}"
        except subprocess.TimeoutExpired:
            problem = f"not done after {limit:.0f} s"
    seconds = time.perf_counter() - start
    if problem is None:
        try:
            said = read(out / "result.json")
        except (OSError, ValueError) as error:
            problem = str(error)
        else:
            return Row(package.name, said["system"], said["ran"], said["result"], seconds, ok=True)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() or ["(it printed nothing)"]
    script_name = script.relative_to(package.folder).as_posix()
    return Row(package.name, package.name, script_name, f"failed ({problem}): {lines[-1]}", seconds, ok=False)


def read(path: Path) -> dict[str, str]:
    """The four keys of ``result.json``; ValueError says which one is missing or not what it should be."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds {type(data).__name__}, expected an object")
    for key in ("system", "ran", "result"):
        if not isinstance(data.get(key), str) or not data[key]:
            raise ValueError(f"{path.name}: {key} is {data.get(key)!r}, expected text")
    if isinstance(data.get("seconds"), bool) or not isinstance(data.get("seconds"), (int, float)):
        raise ValueError(f"{path.name}: seconds is {data.get('seconds')!r}, expected a number")
    return data


def markdown(rows: Sequence[Row]) -> str:
    """The table for a file."""
    lines = ["| system | what was run | result | time |", "|---|---|---|---:|"]
    for row in rows:
        cells = [text.replace("|", "\\|").replace("\n", " ") for text in (row.system, row.ran, row.result)]
        lines.append(f"| {' | '.join(cells)} | {row.seconds:.1f} s |")
    return "\n".join(lines) + "\n"


def plain(rows: Sequence[Row]) -> str:
    """The table for a terminal: a block a system, so that nothing is cut off."""
    lines = []
    for row in rows:
        lines += [
            f"{'✓' if row.ok else '✗'} {row.system}  ({row.package}, {row.seconds:.1f} s)",
            f"    ran     {row.ran}",
            f"    result  {row.result}",
        ]
    return "\n".join(lines)


STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 3rem auto; padding: 0 1.5rem; }
h1 { font-weight: 600; } h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; color: var(--quiet); font-weight: 500; }
th, td { border-bottom: 1px solid var(--line); padding: .5rem .75rem .5rem 0; vertical-align: top; }
td:last-child, th:last-child { text-align: right; white-space: nowrap; } .failed { color: #c33; }
figure { margin: 1.5rem 0; } figcaption { color: var(--quiet); font-size: .875rem; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
iframe { width: 100%; height: 36rem; border: 0; }
"""


def page(rows: Sequence[Row], out: Path) -> str:
    """One HTML page: the table, then each system with its figures."""
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Demo</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body>",
        "<h1>What each package does, run just now</h1>",
        "<table><tr><th>system<th>what was run<th>result<th>time</tr>",
    ]
    for row in rows:
        name, system, ran, result = map(html.escape, (row.package, row.system, row.ran, row.result))
        kind = "" if row.ok else ' class="failed"'
        lines.append(f'<tr><td><a href="#{name}">{system}</a><td>{ran}<td{kind}>{result}<td>{row.seconds:.1f} s</tr>')
    lines.append("</table>")
    for row in rows:
        lines.append(f'<h2 id="{html.escape(row.package)}">{html.escape(row.system)}</h2>')
        lines.append(f"<p>{html.escape(row.result)}</p>")
        for path in sorted(path for path in (out / row.package).rglob("*") if path.suffix in FIGURES):
            lines.append(_figure(path, path.relative_to(out).as_posix()))
        lines.append(f'<p><a href="{html.escape(row.package)}/log.txt">what it printed</a></p>')
    return "\n".join([*lines, "</body></html>", ""])


def _figure(path: Path, relative: str) -> str:
    link, caption = html.escape(relative), html.escape(path.stem.replace("_", " ").replace("-", " "))
    if path.suffix == ".html":
        shown = f'<iframe src="{link}" title="{caption}"></iframe>'
    else:
        shown = f'<img src="{link}" alt="{caption}">'
    return f'<figure>{shown}<figcaption><a href="{link}">{caption}</a></figcaption></figure>'


def main(arguments: Sequence[str] | None = None, root: Path = monorepo.ROOT) -> int:
    """Run the named quickstarts, all by default; 1 if one failed, 2 for a name that is not there."""
    parser = argparse.ArgumentParser(description="Run the quickstarts and show what came out.")
    parser.add_argument("names", nargs="*", help="packages; all by default")
    parser.add_argument("--out", type=Path, default=root / "demo")
    options = parser.parse_args(arguments)
    tree = monorepo.read(root)
    try:
        packages = [tree[name] for name in options.names or sorted(tree.names)]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    out: Path = options.out.resolve()
    rows = []
    with tqdm(packages, unit="demo", disable=None) as progress:
        for package in progress:
            progress.set_description(package.name)
            rows.append(run(package, out / package.name))
    write_text(out / "table.md", markdown(rows))
    write_text(out / "index.html", page(rows, out))
    print(f"\n{plain(rows)}\n\nfigures and the table: {out / 'index.html'}")
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
