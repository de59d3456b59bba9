"""The tree as data: which packages there are, read from ``packages/*/pyproject.toml`` and nowhere else.

Every job asks this module, so a new package that follows the tree is picked up with no edit elsewhere.
The standard library alone is enough to import it: the jobs use it before anything is installed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def canonical(name: str) -> str:
    """The one spelling of a distribution's name: ``Scikit_Learn`` and ``scikit-learn`` are the same."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    """Canonical name of the distribution that a requirement such as ``"numpy>=1.26"`` names."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    if match is None:
        raise ValueError(f"got {requirement!r}, expected a requirement such as 'numpy>=1.26'")
    return canonical(match.group(1).rstrip("._-"))


@dataclass(frozen=True)
class Package:
    """One folder of ``packages/``; everything else is read from its ``pyproject.toml``."""

    folder: Path

    @cached_property
    def settings(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "pyproject.toml").read_text(encoding="utf-8"))

    @property
    def project(self) -> dict[str, Any]:
        project = self.settings.get("project", {})
        return project if isinstance(project, dict) else {}

    @property
    def name(self) -> str:
        """Name on the index, canonical; by the tree's rule also the name of the folder."""
        return canonical(str(self.project.get("name", self.folder.name)))

    @property
    def module(self) -> str:
        """Name to import: the distribution's with underscores."""
        return self.name.replace("-", "_")

    @property
    def version(self) -> str:
        return str(self.project.get("version", ""))

    @property
    def source(self) -> Path:
        return self.folder / "src" / self.module

    @property
    def tests(self) -> Path:
        return self.folder / "tests"

    @property
    def dependencies(self) -> list[str]:
        return list(self.project.get("dependencies", []))

    @property
    def extras(self) -> dict[str, list[str]]:
        return dict(self.project.get("optional-dependencies", {}))

    @property
    def scripts(self) -> dict[str, str]:
        return dict(self.project.get("scripts", {}))

    def group(self, name: str) -> list[str]:
        """Requirements of a dependency group (``oracles``, ``peers``, ...); empty where there is none."""
        return [entry for entry in self.settings.get("dependency-groups", {}).get(name, []) if isinstance(entry, str)]

    def requires(self, *extras: str) -> list[str]:
        """Direct requirements, with those of the named extras."""
        return self.dependencies + [entry for extra in extras for entry in self.extras.get(extra, [])]


@dataclass(frozen=True)
class Tree:
    """All packages of a checkout, in the order in which they can be installed: siblings first."""

    root: Path
    packages: tuple[Package, ...]

    @cached_property
    def settings(self) -> dict[str, Any]:
        return tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))

    @property
    def names(self) -> list[str]:
        return [package.name for package in self.packages]

    def __getitem__(self, name: str) -> Package:
        for package in self.packages:
            if package.name == canonical(name):
                return package
        raise ValueError(f"got package {name!r}, expected one of {', '.join(self.names) or '(none in the tree)'}")

    def siblings(self, package: Package) -> list[Package]:
        """Packages of the tree that this one needs, directly or through another; in install order."""
        needed: set[str] = set()
        queue = [package]
        while queue:
            for name in map(requirement_name, queue.pop().dependencies):
                if name in self.names and name not in needed and name != package.name:
                    needed.add(name)
                    queue.append(self[name])
        return [other for other in self.packages if other.name in needed]

    def dependents(self, package: Package) -> list[Package]:
        """Packages of the tree that need this one."""
        return [other for other in self.packages if package in self.siblings(other)]

    def needs_torch(self, package: Package) -> bool:
        """Whether a plain install brings torch, be it through a sibling."""
        everyone = [package, *self.siblings(package)]
        return any(requirement_name(entry) == "torch" for each in everyone for entry in each.dependencies)

    def group(self, name: str) -> list[str]:
        """Requirements of one of the root's dependency groups."""
        return [entry for entry in self.settings.get("dependency-groups", {}).get(name, []) if isinstance(entry, str)]


def read(root: Path = ROOT) -> Tree:
    """Read the tree under ``root``: every folder of ``packages/`` that has a ``pyproject.toml``."""
    found = [Package(path.parent) for path in sorted((root / "packages").glob("*/pyproject.toml"))]
    return Tree(root, tuple(_siblings_first(found)))


def _siblings_first(packages: list[Package]) -> Iterable[Package]:
    by_name = {package.name: package for package in packages}
    done: dict[str, Package] = {}

    def visit(package: Package, path: tuple[str, ...]) -> None:
        if package.name in path:
            raise ValueError(f"packages depend on each other in a circle: {' -> '.join((*path, package.name))}")
        for name in map(requirement_name, package.dependencies):
            if name in by_name and name != package.name:
                visit(by_name[name], (*path, package.name))
        done.setdefault(package.name, package)

    for package in packages:
        visit(package, ())
    return done.values()
