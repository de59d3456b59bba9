"""Releases: one tag ``name-vX.Y.Z`` per package, checked against its version and its changelog.

``python tools/releases.py baco-v0.2.0`` says what is wrong with a tag before anything is published.
``python tools/releases.py --matrix`` prints which package admits which version of the sibling it builds on: those that
were released, and that of the tree. That what is admitted works is shown by ``isolated``, ``floors`` and ``compat``.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from datetime import date
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

import monorepo
from check_files import changelog_heading
from monorepo import Package, Tree, canonical


def problems(tree: Tree, tag: str) -> list[str]:
    """Why this tag may not be released; empty when it may."""
    name, separator, version = tag.rpartition("-v")
    if not separator or name not in tree.names:
        return [f"tag {tag!r}: expected name-vX.Y.Z with name one of {', '.join(tree.names)}"]
    package = tree[name]
    found = []
    if version != package.version:
        found.append(f"tag {tag!r}: packages/{name}/pyproject.toml says version {package.version}")
    changelog = package.folder / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8") if changelog.exists() else ""
    heading = changelog_heading(text, version)
    if heading is None:
        found.append(f"packages/{name}/CHANGELOG.md: no heading '## {version}'")
    elif not _has_date(heading):
        found.append(f"packages/{name}/CHANGELOG.md: {heading!r} has no date, such as '## {version} - 2026-01-31'")
    return found


def _has_date(heading: str) -> bool:
    match = re.search(r"\d{4}-\d{2}-\d{2}", heading)
    if match is None:
        return False
    try:
        date.fromisoformat(match.group(0))
    except ValueError:
        return False
    return True


def versions(root: Path, package: Package) -> list[tuple[Version, str]]:
    """Released versions of a package with their tags, oldest first; none outside git."""
    command = ["git", "-C", str(root), "tag", "--list", f"{package.name}-v*"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []
    found = []
    for tag in lines:
        try:
            found.append((Version(tag.removeprefix(f"{package.name}-v")), tag))
        except InvalidVersion:
            continue
    return sorted(found)


def newest(root: Path, package: Package) -> str | None:
    """Tag of the last release of a package."""
    released = versions(root, package)
    return released[-1][1] if released else None


def oldest_admitted(root: Path, package: Package, sibling: Package) -> str | None:
    """Tag of the oldest release of ``sibling`` in the range that ``package`` declares."""
    ranges = [
        requirement.specifier
        for requirement in map(Requirement, package.dependencies)
        if canonical(requirement.name) == sibling.name
    ]
    for version, tag in versions(root, sibling):
        if all(admitted.contains(version, prereleases=True) for admitted in ranges):
            return tag
    return None


def refuses(package: Package, siblings: list[Package]) -> str | None:
    """The first sibling, with its version, that the ranges of ``package`` leave out."""
    by_name = {sibling.name: sibling for sibling in siblings}
    for requirement in map(Requirement, package.dependencies):
        sibling = by_name.get(canonical(requirement.name))
        if sibling and not requirement.specifier.contains(sibling.version, prereleases=True):
            return f"{sibling.name} {sibling.version}"
    return None


def export(root: Path, tag: str, package: Package, out: Path) -> Path:
    """Write the package's folder as it was at the tag under ``out``; its path there."""
    relative = f"packages/{package.folder.name}"
    command = ["git", "-C", str(root), "archive", "--format=tar", tag, relative]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(out, filter="data")
    return out / relative


def matrix(tree: Tree) -> str:
    """A Markdown table: packages that build on a sibling, and its versions; "yes" where the range admits one."""
    blocks = []
    for sibling in tree.packages:
        dependents = tree.dependents(sibling)
        if not dependents:
            continue
        known = sorted({*(version for version, _ in versions(tree.root, sibling)), Version(sibling.version)})
        lines = [f"| on {sibling.name} | {' | '.join(map(str, known))} |", "|---" * (len(known) + 1) + "|"]
        for package in dependents:
            (wanted,) = [r for r in map(Requirement, package.dependencies) if canonical(r.name) == sibling.name]
            cells = ["yes" if wanted.specifier.contains(version, prereleases=True) else "no" for version in known]
            lines.append(f"| {package.name} {package.version} ({wanted.specifier}) | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def main(tag: str) -> int:
    """Print what is wrong with a tag, 1 if anything is; or the matrix."""
    if tag == "--matrix":
        print(matrix(monorepo.read()))
        return 0
    lines = problems(monorepo.read(), tag)
    print("\n".join(lines) or f"{tag}: version, changelog and date agree")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
