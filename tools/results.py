"""Results of ``benchmarks/*.py``: one schema, one writer, checked as it is written.

A benchmark runs from a checkout, so it reaches this file by path::

    sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
    from results import Results

    out = Results("baco", "speed", threads=2)  # -> packages/baco/benchmarks/results/speed.json
    out.add(
        name="Gowalla, fit at the found gamma",
        metric="wall time",
        unit="s",
        ours=0.21,
        peer=("scikit-network Louvain", 3.9),
        ratio=3.9 / 0.21,
        target=">= 10",
        met=True,
        n=7,
        spread=0.01,
        note="median of 7, interleaved; equal rows within 3 %",
        headline="{ratio:.0f}x faster than {peer} on Gowalla",
    )
    out.write()

A queue of cells that can be stopped and resumed (``reproduce.py``)::

    out = Results("baco", "reproduce", threads=1, resume=True)
    for name, seed in queue:
        if not out.has_cell(name, seed):
            out.add_cell(name, seed, {"recall@20": run(name, seed)}, seconds=...)   # written at once
    values = out.values(name, "recall@20")                                         # over the seeds done
    out.add(name=name, metric="recall@20", ours=mean(values), n=len(values), spread=stdev(values), ...)
    out.write()

Rows of another machine (a GPU, say) go into a file of their own: ``variant="h200"`` writes
``speed-h200.json``. What each key means is in ``docs/conventions.md``; ``problems`` below is the schema.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import monorepo

SCHEMA = 1
BENCHMARKS = ("speed", "reproduce")

Number = (int, float)
# key -> types admitted; `type(None)` where the value may be null
TOP: dict[str, tuple[type, ...]] = {
    "schema": (int,),
    "package": (str,),
    "version": (str,),
    "benchmark": (str,),
    "date": (str,),
    "commit": (str,),
    "command": (str,),
    "machine": (dict,),
    "versions": (dict,),
    "rows": (list,),
}
MACHINE: dict[str, tuple[type, ...]] = {
    "cpu": (str,),
    "cores": (int,),
    "memory_gb": Number,
    "threads": (int,),
    "os": (str,),
    "python": (str,),
    "gpu": (str, type(None)),
}
ROW: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "metric": (str,),
    "unit": (str, type(None)),
    "ours": (*Number, type(None)),
    "reference": (*Number, type(None)),
    "peer": (dict, type(None)),
    "ratio": (*Number, type(None)),
    "target": (str, type(None)),
    "met": (bool, type(None)),
    "n": (int,),
    "spread": (*Number, type(None)),
    "note": (str,),
}
ROW_OPTIONAL: dict[str, tuple[type, ...]] = {"table": (str,), "headline": (str,)}
CELL: dict[str, tuple[type, ...]] = {
    "cell": (str,),
    "seed": (int,),
    "values": (dict,),
    "seconds": Number,
    "date": (str,),
    "commit": (str,),
}
ABSOLUTE = re.compile(r"(?:^|[\s='\"])(?:/|~|[A-Za-z]:[\\/])")


class Results:
    """Rows of one benchmark of one package, held in memory and written whole.

    Args:
        package: name of a package of the tree.
        benchmark: ``"speed"`` or ``"reproduce"``.
        threads: threads that our code and the peers were given.
        variant: part of the file's name for another machine's rows, such as ``"h200"``.
        resume: keep the rows and cells of an existing file; it must come from the same kind of machine.
        gpu: name of the accelerator used, if one was.
        command: what was typed; read from ``sys.argv`` when not given. May hold no absolute path.
        folder: where the file goes, instead of the package's ``benchmarks/results``.
    """

    def __init__(
        self,
        package: str,
        benchmark: str,
        *,
        threads: int,
        variant: str | None = None,
        resume: bool = False,
        gpu: str | None = None,
        command: str | None = None,
        folder: Path | None = None,
        root: Path = monorepo.ROOT,
    ) -> None:
        if benchmark not in BENCHMARKS:
            raise ValueError(f"got benchmark {benchmark!r}, expected one of {', '.join(BENCHMARKS)}")
        if variant is not None and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", variant):
            raise ValueError(f"got variant {variant!r}, expected lower-case letters, digits and dashes")
        described = monorepo.read(root)[package]
        stem = benchmark if variant is None else f"{benchmark}-{variant}"
        self.path = (folder or described.folder / "benchmarks" / "results") / f"{stem}.json"
        self._root = root
        self._data: dict[str, Any] = {
            "schema": SCHEMA,
            "package": described.name,
            "version": described.version,
            "benchmark": benchmark,
            "date": now(),
            "commit": commit(root),
            "command": typed_command(root) if command is None else command,
            "machine": machine(threads=threads, gpu=gpu),
            "versions": versions(described),
            "rows": [],
        }
        if resume and self.path.exists():
            self._take_over(load(self.path))

    def _take_over(self, old: dict[str, Any]) -> None:
        here, there = self._data["machine"], old["machine"]
        different = [key for key in ("cpu", "gpu", "threads") if here[key] != there[key]]
        if different:
            measured = ", ".join(f"{key}={there[key]!r}" for key in different)
            present = ", ".join(f"{key}={here[key]!r}" for key in different)
            raise ValueError(
                f"{self.path.name} was measured with {measured}, this run has {present}; "
                "pass variant=... to write a file of its own, or resume=False to start over"
            )
        self._data["rows"] = old["rows"]
        if "cells" in old:
            self._data["cells"] = old["cells"]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows so far, as they will be written."""
        return list(self._data["rows"])

    def add(
        self,
        *,
        name: str,
        metric: str,
        ours: float | None,
        unit: str | None = None,
        reference: float | None = None,
        peer: tuple[str, float | None] | None = None,
        ratio: float | None = None,
        target: str | None = None,
        met: bool | None = None,
        n: int,
        spread: float | None = None,
        note: str = "",
        table: str | None = None,
        headline: str | None = None,
    ) -> None:
        """Add a row, or replace the one with the same table, name, metric and peer.

        Raises:
            ValueError: the row does not fit the schema; nothing is stored then.
        """
        row: dict[str, Any] = {
            "name": name,
            "metric": metric,
            "unit": unit,
            "ours": _plain(ours),
            "reference": _plain(reference),
            "peer": None if peer is None else {"name": peer[0], "value": _plain(peer[1])},
            "ratio": _plain(ratio),
            "target": target,
            "met": None if met is None else bool(met),
            "n": int(n),
            "spread": _plain(spread),
            "note": note,
        }
        row.update({key: value for key, value in (("table", table), ("headline", headline)) if value is not None})
        _refuse(_row_problems(row, f"row {name!r}"))
        rows: list[dict[str, Any]] = self._data["rows"]
        for place, other in enumerate(rows):
            if _key(other) == _key(row):
                rows[place] = row
                return
        rows.append(row)

    def has_cell(self, cell: str, seed: int) -> bool:
        """Whether this cell of the queue is done."""
        return any(done["cell"] == cell and done["seed"] == seed for done in self._data.get("cells", []))

    def add_cell(self, cell: str, seed: int, values: Mapping[str, float], *, seconds: float) -> None:
        """Append one finished cell and write the file, so that an interruption loses nothing."""
        if self.has_cell(cell, seed):
            raise ValueError(f"cell {cell!r} with seed {seed} is there already; ask has_cell first")
        entry = {
            "cell": cell,
            "seed": int(seed),
            "values": {key: _plain(value) for key, value in values.items()},
            "seconds": round(float(seconds), 3),
            "date": now(),
            "commit": self._data["commit"],
        }
        _refuse(_cell_problems(entry, f"cell {cell!r}"))
        self._data.setdefault("cells", []).append(entry)
        self.write()

    def values(self, cell: str, metric: str) -> list[float]:
        """One metric of a cell over the seeds done, in the order of the seeds."""
        done = [entry for entry in self._data.get("cells", []) if entry["cell"] == cell and metric in entry["values"]]
        return [entry["values"][metric] for entry in sorted(done, key=lambda entry: entry["seed"])]

    def write(self) -> Path:
        """Check everything and replace the file in one step."""
        _refuse(problems(self._data))
        write_text(self.path, json.dumps(self._data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return self.path


def load(path: Path) -> dict[str, Any]:
    """Read a results file; ValueError names every departure from the schema."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    _refuse(problems(data))
    return dict(data)


def problems(data: object) -> list[str]:
    """Every way in which ``data`` departs from the schema, one line each; empty when it fits."""
    if not isinstance(data, dict):
        return [f"got {type(data).__name__}, expected an object"]
    found = _fields(data, TOP, {"cells": (list,)}, "results")
    if found:
        return found
    if data["schema"] != SCHEMA:
        found.append(f"schema: got {data['schema']}, expected {SCHEMA}")
    if data["benchmark"] not in BENCHMARKS:
        found.append(f"benchmark: got {data['benchmark']!r}, expected one of {', '.join(BENCHMARKS)}")
    if not _is_date(data["date"]):
        found.append(f"date: got {data['date']!r}, expected ISO 8601 such as 2026-01-31T12:00:00+00:00")
    if ABSOLUTE.search(data["command"]) or not data["command"].strip():
        found.append(f"command: got {data['command']!r}, expected what one types at the root, no absolute path")
    found += _fields(data["machine"], MACHINE, {}, "machine")
    found += [
        f"versions.{name}: got {version!r}, expected text"
        for name, version in data["versions"].items()
        if not isinstance(version, str)
    ]
    for place, row in enumerate(data["rows"]):
        found += _row_problems(row, f"rows[{place}]")
    keys = [_key(row) for row in data["rows"]] if not found else []
    found += [f"rows: {key} is there twice" for key in sorted(set(keys)) if keys.count(key) > 1]
    for place, cell in enumerate(data.get("cells", [])):
        found += _cell_problems(cell, f"cells[{place}]")
    return found


def _row_problems(row: object, where: str) -> list[str]:
    if not isinstance(row, dict):
        return [f"{where}: got {type(row).__name__}, expected an object"]
    found = _fields(row, ROW, ROW_OPTIONAL, where)
    if found:
        return found
    if row["peer"] is not None:
        found += _fields(row["peer"], {"name": (str,), "value": (*Number, type(None))}, {}, f"{where}.peer")
    if row["n"] < 0:
        found.append(f"{where}.n: got {row['n']}, expected the number of repetitions or seeds")
    if row["ours"] is None and not row["note"]:
        found.append(f"{where}: ours is null, so note must say why it was not measured")
    if row["met"] is not None and row["target"] is None:
        found.append(f"{where}: met is given without a target")
    if not found and "headline" in row:
        found += _headline_problems(row, where)
    return found


def _headline_problems(row: Mapping[str, Any], where: str) -> list[str]:
    if "{" not in row["headline"]:
        return [f"{where}.headline: no number is typed by hand; use fields such as {{ratio:.0f}} or {{ours:.2f}}"]
    try:
        headline(row)
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        return [f"{where}.headline: {row['headline']!r} cannot be filled from the row ({error})"]
    return []


def headline(row: Mapping[str, Any]) -> str:
    """The row's one-line summary with its numbers filled in."""
    peer = row["peer"] or {"name": "", "value": None}
    return str(row["headline"]).format(**{**row, "peer": peer["name"], "peer_value": peer["value"]})


def _cell_problems(cell: object, where: str) -> list[str]:
    if not isinstance(cell, dict):
        return [f"{where}: got {type(cell).__name__}, expected an object"]
    found = _fields(cell, CELL, {}, where)
    if not found:
        found += [
            f"{where}.values.{key}: got {value!r}, expected a finite number"
            for key, value in cell["values"].items()
            if not _admitted(value, Number)
        ]
    return found


def _fields(
    data: Mapping[str, Any],
    wanted: Mapping[str, tuple[type, ...]],
    optional: Mapping[str, tuple[type, ...]],
    where: str,
) -> list[str]:
    found = [f"{where}: {key} is missing" for key in wanted if key not in data]
    found += [f"{where}: {key} is not in the schema" for key in data if key not in wanted and key not in optional]
    for key, types in {**wanted, **optional}.items():
        if key in data and not _admitted(data[key], types):
            names = " or ".join("null" if each is type(None) else each.__name__ for each in types)
            found.append(f"{where}.{key}: got {data[key]!r}, expected {names}")
    return found


def _admitted(value: object, types: Sequence[type]) -> bool:
    if isinstance(value, bool):  # a bool is an int to Python, not to a reader of the table
        return bool in types
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, tuple(types))


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _key(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return row.get("table", ""), row["name"], row["metric"], (row["peer"] or {"name": ""})["name"]


def _plain(value: Any) -> Any:
    """A numpy scalar as the Python number it holds; a float keeps six significant digits."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.6g}")
    return value


def _refuse(found: Iterable[str]) -> None:
    lines = list(found)
    if lines:
        raise ValueError("results do not fit the schema:\n  " + "\n  ".join(lines))


def now() -> str:
    """The present in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine(*, threads: int, gpu: str | None = None) -> dict[str, Any]:
    """What a reader needs to judge a time; no host name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cpu": _cpu_name(),
        "cores": cores,
        "memory_gb": _memory_gb(),
        "threads": int(threads),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "gpu": gpu,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


def _memory_gb() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return 0.0


def commit(root: Path = monorepo.ROOT) -> str:
    """Commit that was measured, ``+changes`` when sources differ from it; ``unknown`` outside git."""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        # the results and the pages written from them change as a consequence of measuring
        changed = _git(root, "status", "--porcelain", "--", ".", ":!packages/*/benchmarks/results", ":!*.md")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if changed else head


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def typed_command(root: Path = monorepo.ROOT, argv: Sequence[str] | None = None) -> str:
    """``sys.argv`` as typed at the root: paths inside the tree relative, real data as ``$SPK_DATA``."""
    words = ["python"]
    data = os.environ.get("SPK_DATA")
    for place, word in enumerate(sys.argv if argv is None else argv):
        path = Path(word) if place else Path(word).resolve()
        if path.is_absolute() and path.is_relative_to(root.resolve()):
            word = path.relative_to(root.resolve()).as_posix()
        elif data and path.is_absolute() and path.is_relative_to(data):
            word = f"$SPK_DATA/{path.relative_to(data).as_posix()}"
        words.append(word)
    return " ".join(words)


def versions(package: monorepo.Package) -> dict[str, str]:
    """Installed versions of all that the package names: its dependencies, extras, oracles and peers."""
    extras = [entry for requirements in package.extras.values() for entry in requirements]
    asked = [*package.dependencies, *extras, *package.group("oracles"), *package.group("peers")]
    found = {}
    for name in sorted(set(map(monorepo.requirement_name, asked))):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_text(path: Path, text: str) -> None:
    """Write a temporary file beside ``path``, then rename: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
