"""Check: the workflows are YAML, pin what they use, and start jobs that exist.

No package may be named in them: the matrix comes from ``nox --json -l``, so a new package needs no edit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from monorepo import Tree


def problems(tree: Tree) -> list[str]:
    """One line per problem of ``.github/workflows``."""
    found = []
    noxfile = tree.root / "noxfile.py"
    sessions = _sessions(noxfile.read_text(encoding="utf-8")) if noxfile.is_file() else None
    for path in sorted((tree.root / ".github" / "workflows").glob("*")):
        lines = _workflow(tree, path, sessions)
        found += [f"{path.relative_to(tree.root).as_posix()}: {line}" for line in lines]
    return found


def _sessions(text: str) -> set[str]:
    """Names of nox sessions: the functions under a ``session`` decorator."""
    found = re.findall(r"@(?:nox\.)?session\b(.*\n(?:.*\n)*?)def (\w+)\(", text)
    given = [(re.search(r"\bname=\"([^\"]+)\"", decorators), function) for decorators, function in found]
    return {name.group(1) if name else function for name, function in given}


def _workflow(tree: Tree, path: Path, sessions: set[str] | None) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        yield f"not YAML: {str(error).splitlines()[0]}"
        return
    if not isinstance(data, dict) or not isinstance(data.get("jobs"), dict):
        yield "no jobs"
        return
    if "permissions" not in data:
        yield "no top-level permissions: a job gets what it asks for and nothing else"
    for name, job in data["jobs"].items():
        yield from _job(name, job)
    if sessions is not None:
        asked = " ".join(re.findall(r"nox (?:-\S+ )*-s ([\w \"']+)", text))
        for session in sorted(set(re.findall(r"\w+", asked)) - sessions):
            yield f"runs nox -s {session}, which noxfile.py does not have"
    for package in tree.names:
        if re.search(rf"(?<![\w/-]){re.escape(package)}(?![\w/-])", _without_comments(text)):
            yield f"names {package}: read the packages from the tree instead"


def _job(name: str, job: dict[str, Any]) -> Iterator[str]:
    if "uses" in job:
        return
    if "timeout-minutes" not in job:
        yield f"job {name}: no timeout-minutes"
    for step in job.get("steps", []):
        uses = step.get("uses", "")
        if uses and not uses.startswith("./") and "@" not in uses:
            yield f"job {name}: {uses} names no version"


def _without_comments(text: str) -> str:
    return "\n".join(line.split(" #")[0] for line in text.splitlines() if not line.lstrip().startswith("#"))
