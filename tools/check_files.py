"""Check: every package has the files of the tree, and its ``__init__`` is the public door alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from monorepo import Package, Tree

WANTED = (
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "benchmarks/speed.py",
    "examples/quickstart.py",
)


def problems(tree: Tree) -> list[str]:
    """One line per departure from the tree."""
    found = [
        f"packages/{folder.name}: no pyproject.toml"
        for folder in sorted((tree.root / "packages").iterdir())
        if folder.is_dir() and not (folder / "pyproject.toml").exists()
    ]
    for package in tree.packages:
        found += [f"packages/{package.folder.name}/{line}" for line in _package(tree, package)]
    return found


def _package(tree: Tree, package: Package) -> Iterator[str]:
    folder = package.folder
    if folder.name != package.name:
        yield f"pyproject.toml: the name is {package.name!r}, so the folder should be too"
    module = f"src/{package.module}"
    for relative in (*WANTED, f"{module}/__init__.py", f"{module}/py.typed"):
        if not (folder / relative).is_file():
            yield f"{relative}: missing"
    licence = tree.root / "LICENSE"
    own = folder / "LICENSE"
    if licence.exists() and own.exists() and licence.read_bytes() != own.read_bytes():
        yield "LICENSE: differs from the one at the root"
    if (folder / "src").is_dir():
        others = {path.name for path in (folder / "src").iterdir()} - {package.module, "__pycache__"}
        for other in sorted(name for name in others if not name.endswith(".egg-info")):
            yield f"src/{other}: only {module} belongs there"
    if not any(package.tests.rglob("test_*.py")):
        yield "tests: no test_*.py"
    for path in sorted(package.tests.rglob("__init__.py")):
        # with one in two packages the first one's tests run twice and the second one's never, all green
        yield f"{path.relative_to(folder).as_posix()}: tests have no __init__.py"
    if not any((folder / "benchmarks" / "results").glob("*.json")):
        yield "benchmarks/results: no *.json; `nox -s bench` writes one"
    readme = folder / "README.md"
    if readme.is_file() and "```python" not in readme.read_text(encoding="utf-8"):
        yield "README.md: no ```python block that shows it at work"
    yield from _changelog(package)
    if (package.source / "__init__.py").is_file():
        for line in door(package, (package.source / "__init__.py").read_text(encoding="utf-8")):
            yield f"{module}/__init__.py{line}"


def _changelog(package: Package) -> Iterator[str]:
    path = package.folder / "CHANGELOG.md"
    if path.is_file() and changelog_heading(path.read_text(encoding="utf-8"), package.version) is None:
        yield f"CHANGELOG.md: no heading '## {package.version}'"


def changelog_heading(text: str, version: str) -> str | None:
    """The ``## version`` line of a changelog, or None; brackets and a date after it are fine."""
    match = re.search(rf"^##\s+\[?{re.escape(version)}\]?(?:\s.*)?$", text, flags=re.MULTILINE)
    return match.group(0) if match else None


def door(package: Package, text: str) -> list[str]:
    """What in an ``__init__`` is more than re-exports, ``__all__``, ``__version__`` and lazy loading."""
    found = []
    bound: set[str] = set()
    exported: list[str] | None = None
    lazy = False
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= _bound(node)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            for inner in node.body:
                if isinstance(inner, (ast.Import, ast.ImportFrom)):
                    bound |= _bound(inner)
                else:
                    found.append(f":{inner.lineno}: only imports belong under TYPE_CHECKING")
        elif isinstance(node, ast.FunctionDef) and node.name in ("__getattr__", "__dir__"):
            lazy = True
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            bound |= set(names)
            if names == ["__all__"]:
                exported = _strings(node.value)
            elif names == ["__version__"]:
                if isinstance(node.value, ast.Constant) and node.value.value != package.version:
                    found.append(f":{node.lineno}: __version__ is {node.value.value!r}, not {package.version!r}")
            elif not all(name.startswith("_") for name in names) or not names:
                found.append(f":{node.lineno}: only re-exports, __all__ and __version__ belong in the public door")
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            found.append(f":{node.lineno}: only re-exports, __all__ and __version__ belong in the public door")
    if exported is None:
        found.append(": no __all__ written out as a list of names")
    else:
        found += [f": __all__ names {name}, which is not there" for name in exported if name not in bound and not lazy]
    return found


def exported(text: str) -> list[str] | None:
    """Names in the ``__all__`` of a module's source; None where there is no list written out."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]:
            return _strings(node.value)
    return None


def _bound(node: ast.Import | ast.ImportFrom) -> set[str]:
    return {(alias.asname or alias.name).split(".")[0] for alias in node.names}


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _strings(value: ast.expr | None) -> list[str] | None:
    if not isinstance(value, (ast.List, ast.Tuple)):
        return None
    names = [item.value for item in value.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return names if len(names) == len(value.elts) else None
