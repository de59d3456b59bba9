"""Check: what each ``pyproject.toml`` promises holds: ranges, floors, extras, entry points, addresses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from monorepo import Package, Tree, canonical


def problems(tree: Tree) -> list[str]:
    """One line per broken promise."""
    found = []
    if "uv" in tree.settings.get("tool", {}):
        found.append("pyproject.toml: [tool.uv] at the root; workspace sources switch the published ranges off")
    for package in tree.packages:
        lines = [
            *_project(package),
            *_requirements(tree, package),
            *_entry_points(package),
            *_addresses(tree, package),
            *_tools(package),
        ]
        found += [f"packages/{package.folder.name}/pyproject.toml: {line}" for line in lines]
    return found + _mentioned_extras(tree)


def _project(package: Package) -> Iterator[str]:
    project = package.project
    try:
        Version(package.version)
    except InvalidVersion:
        yield f"version is {package.version!r}, expected it as text, such as '0.1.0'"
    if not SpecifierSet(project.get("requires-python", "")).filter(["3.11"]) or list(
        SpecifierSet(project.get("requires-python", "")).filter(["3.10"])
    ):
        yield f"requires-python is {project.get('requires-python')!r}, expected '>=3.11'"
    for key, wanted in (("readme", "README.md"), ("license", "Apache-2.0"), ("license-files", ["LICENSE"])):
        if project.get(key) != wanted:
            yield f"{key} is {project.get(key)!r}, expected {wanted!r}"
    if not project.get("description"):
        yield "description is missing"


def _requirements(tree: Tree, package: Package) -> Iterator[str]:
    groups = {name: package.group(name) for name in package.settings.get("dependency-groups", {})}
    places = {"dependencies": package.dependencies, **package.extras, **groups}
    for place, entries in places.items():
        for text in entries:
            try:
                requirement = Requirement(text)
            except InvalidRequirement as error:
                yield f"{place}: {text!r} is not a requirement: {error}"
                continue
            if requirement.url:
                yield f"{place}: {text!r} names a place; a published package names a range"
            elif canonical(requirement.name) == package.name:
                continue  # an extra made of others: baco[all]
            elif canonical(requirement.name) in tree.names:
                yield from _sibling(tree, tree[requirement.name], requirement, place)
            elif not any(part.operator in (">=", "==", "~=") for part in requirement.specifier):
                yield f"{place}: {text!r} has no floor"


def _sibling(tree: Tree, sibling: Package, requirement: Requirement, place: str) -> Iterator[str]:
    operators = sorted(part.operator for part in requirement.specifier)
    if operators != ["<", ">="]:
        yield f"{place}: {str(requirement)!r} should read '{sibling.name}>=X.Y,<X.Z'"
    elif not requirement.specifier.contains(sibling.version, prereleases=True):
        yield f"{place}: {str(requirement)!r} does not admit {sibling.name} {sibling.version} of this tree"
    if tree.siblings(sibling):
        yield f"{place}: {sibling.name} depends on one of ours itself, so nobody else may depend on it"


def _entry_points(package: Package) -> Iterator[str]:
    project = package.project
    points = {**package.scripts, **project.get("gui-scripts", {})}
    for group in project.get("entry-points", {}).values():
        points.update(group)
    for name, target in points.items():
        module, _, function = str(target).partition(":")
        path = _module_file(package, module)
        if path is None:
            yield f"entry point {name} = {target!r}: no module {module}"
        elif function and function.split(".")[0] not in _defined(path):
            yield f"entry point {name} = {target!r}: {module} has no {function}"


def _module_file(package: Package, module: str) -> Path | None:
    base = package.folder / "src" / Path(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _defined(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _addresses(tree: Tree, package: Package) -> Iterator[str]:
    house = tree.settings.get("tool", {}).get("monorepo", {})
    repository, site = house.get("repository", ""), house.get("site", "")
    wanted = {
        "Homepage": f"{site}/{package.name}/",
        "Repository": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{repository}/blob/main/packages/{package.folder.name}/CHANGELOG.md",
    }
    given = package.project.get("urls", {})
    for key, address in wanted.items():
        if given.get(key) != address:
            yield f"urls.{key} is {given.get(key)!r}, expected {address!r}"


def _tools(package: Package) -> Iterator[str]:
    for name in package.settings.get("tool", {}):
        if name != "hatch":
            yield f"[tool.{name}]: settings that packages share live in the root's pyproject.toml"


def _mentioned_extras(tree: Tree) -> list[str]:
    """Extras that a README, a page or a message tells people to install, and that do not exist."""
    found = []
    names = "|".join(re.escape(package.name) for package in tree.packages)
    if not names:
        return []
    pattern = re.compile(rf"(?<![\w.-])({names})\[([a-z][a-z0-9_, -]*)\]")
    texts = [*tree.root.glob("docs/**/*.md"), *tree.root.glob("packages/*/README.md")]
    for path in sorted([*texts, *tree.root.glob("packages/*/src/**/*.py"), tree.root / "README.md"]):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            text = "\n".join(_literals(text))
        for name, extras in sorted(set(pattern.findall(text))):
            known = {canonical(extra) for extra in tree[name].extras}
            where = path.relative_to(tree.root).as_posix()
            found += [
                f"{where}: names {name}[{extra}], which does not exist"
                for extra in map(str.strip, extras.split(","))
                if canonical(extra) not in known
            ]
    return found


def _literals(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
