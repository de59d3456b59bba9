"""What an installation may bring: the packages reachable from the declared dependencies, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from monorepo import Package, Tree, canonical

# Large libraries that somebody else's dependency could drag in: they come only where one of ours names them.
HEAVY = (
    "torch",
    "tensorflow",
    "jax",
    "triton",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "matplotlib",
    "networkx",
)
# What a fresh environment holds before anything is installed.
SEEDS = ("pip", "setuptools", "wheel")


def installed(site: Path) -> dict[str, metadata.Distribution]:
    """Distributions of a site-packages folder by canonical name."""
    return {canonical(each.metadata["Name"]): each for each in metadata.distributions(path=[str(site)])}


def reachable(
    name: str, there: Mapping[str, metadata.Distribution], environment: Mapping[str, str] | None = None
) -> set[str]:
    """Names that a plain ``pip install name`` may bring, as the installed metadata say."""
    done: set[tuple[str, str]] = set()
    queue = [(canonical(name), "")]
    while queue:
        current, extra = queue.pop()
        if (current, extra) in done or current not in there:
            continue
        done.add((current, extra))
        for requirement in map(Requirement, there[current].requires or []):
            if _applies(requirement, extra, environment):
                queue += [(canonical(requirement.name), asked) for asked in ("", *sorted(requirement.extras))]
    return {current for current, _ in done}


def _applies(requirement: Requirement, extra: str, environment: Mapping[str, str] | None) -> bool:
    if requirement.marker is None:
        return True
    return requirement.marker.evaluate({**(environment or {}), "extra": extra})


def problems(tree: Tree, package: Package, site: Path, environment: Mapping[str, str] | None = None) -> list[str]:
    """What is installed in ``site`` and should not be after a plain install of ``package``."""
    there = installed(site)
    return [f"{package.name}: {line}" for line in _problems(tree, package, there, environment)]


def _problems(
    tree: Tree,
    package: Package,
    there: Mapping[str, metadata.Distribution],
    environment: Mapping[str, str] | None,
) -> Iterator[str]:
    if package.name not in there:
        yield "is not installed"
        return
    required = map(Requirement, there[package.name].requires or [])
    published = {str(each) for each in required if _applies(each, "", environment)}
    declared = {str(each) for each in map(Requirement, package.dependencies) if _applies(each, "", environment)}
    if published != declared:
        yield f"the wheel requires {sorted(published)}, the pyproject says {sorted(declared)}"
    allowed = reachable(package.name, there, environment)
    for name in sorted(set(there) - allowed - set(SEEDS)):
        yield f"{name} {there[name].version} came in and nothing declares it"
    siblings = {other.name for other in tree.siblings(package)}
    for name in sorted(allowed & set(tree.names) - siblings - {package.name}):
        yield f"{name} is one of ours and not among its dependencies"
    owners = [package, *tree.siblings(package)]
    named = {canonical(Requirement(entry).name) for owner in owners for entry in owner.dependencies}
    for name in sorted(allowed):
        heavy = name in HEAVY or name.startswith("nvidia-")
        # torch's own companions come with torch
        if heavy and name not in named and not ("torch" in named and name in reachable("torch", there, environment)):
            yield f"{name} {there[name].version} came in, and no package of ours names it"
