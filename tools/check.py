"""All checks of the tree: ``python tools/check.py [root]`` prints one line per problem and exits with 1.

A check is a module with ``problems(tree) -> list[str]``; a new one joins ``CHECKS``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import check_files
import check_imports
import check_metadata
import check_results
import check_workflows
import monorepo

CHECKS = (check_files, check_metadata, check_imports, check_results, check_workflows)


def problems(root: Path) -> list[str]:
    """Every problem of the tree under ``root``."""
    tree = monorepo.read(root)
    if not tree.packages:
        return ["packages: no package"]
    return [line for check in CHECKS for line in check.problems(tree)]


def main(root: Path = monorepo.ROOT) -> int:
    """Print the problems; 1 if there are any."""
    lines = problems(root)
    for line in lines:
        print(line)
    print(f"{len(lines)} problem(s) in {', '.join(monorepo.read(root).names)}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
