"""Jobs of the workflow, from ``nox --json -l``: each session once, and ``isolated`` on every Python.

``nox --json -l -s lint isolated | python tools/matrix.py`` prints the matrix. Which Pythons a package is
for stands in its classifiers, so a new package or a new Python needs no edit of the workflow.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import monorepo
from monorepo import Package, Tree

CLASSIFIER = re.compile(r"Programming Language :: Python :: (3\.\d+)")


def pythons(package: Package) -> list[str]:
    """Versions in the classifiers, oldest first."""
    found = [match.group(1) for text in package.project.get("classifiers", []) if (match := CLASSIFIER.fullmatch(text))]
    return sorted(found, key=_minor)


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def matrix(tree: Tree, sessions: list[dict[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """Rows of session and Python for sessions as nox lists them."""
    oldest = min((version for package in tree.packages for version in pythons(package)), key=_minor, default="3.11")
    include = []
    for session in sessions:
        package = session.get("call_spec", {}).get("name")
        everywhere = session["name"] == "isolated" and package
        versions = (pythons(tree[package]) if everywhere else []) or [oldest]
        include += [{"session": session["session"], "python": version} for version in versions]
    return {"include": include}


if __name__ == "__main__":
    print(json.dumps(matrix(monorepo.read(), json.load(sys.stdin))))
