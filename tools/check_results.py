"""Check: every ``benchmarks/results/*.json`` fits the one schema and belongs to the package it lies in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import results
from monorepo import Package, Tree


def problems(tree: Tree) -> list[str]:
    """One line per departure."""
    found = []
    for package in tree.packages:
        for path in sorted((package.folder / "benchmarks" / "results").glob("*")):
            where = path.relative_to(tree.root).as_posix()
            found += [f"{where}: {line}" for line in _file(package, path)]
    return found


def _file(package: Package, path: Path) -> Iterator[str]:
    if path.suffix != ".json":
        yield "only results as *.json belong here"
        return
    try:
        data = results.load(path)
    except (ValueError, UnicodeDecodeError) as error:
        text = str(error).removeprefix("results do not fit the schema:\n")
        yield from map(str.strip, text.splitlines())
        return
    if data["package"] != package.name:
        yield f"package is {data['package']!r}, expected {package.name!r}"
    if path.stem != data["benchmark"] and not path.stem.startswith(f"{data['benchmark']}-"):
        yield f"benchmark is {data['benchmark']!r}, so the name should start with it"
