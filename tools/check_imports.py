"""Check by syntax tree: no undeclared import between packages, and never of another one's private module.

import-linter holds the first rule for ``src`` too, chains included; here the tests, benchmarks and examples
are read as well, and imports by name (``importlib.import_module``) and by attribute (``spk_neurons._x``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from monorepo import Package, Tree


def problems(tree: Tree) -> list[str]:
    """One line per import that the rules forbid."""
    found = []
    for package in tree.packages:
        for path in sorted(package.folder.rglob("*.py")):
            parts = path.relative_to(package.folder).parts
            if parts[0] in ("src", "tests", "benchmarks", "examples"):
                where = path.relative_to(tree.root).as_posix()
                combined = parts[:2] == ("tests", "combined")
                lines = check_text(tree, package, path.read_text(encoding="utf-8"), combined=combined)
                found += [f"{where}:{line}" for line in lines]
    return found


def check_text(tree: Tree, package: Package, text: str, *, combined: bool = False) -> list[str]:
    """Forbidden imports of one source file of ``package``; ``combined`` tests may import any of ours."""
    modules = {other.module: other for other in tree.packages}
    allowed = {package.module, *(other.module for other in tree.siblings(package))}
    found = set()
    for line, dotted in _references(ast.parse(text), set(modules)):
        parts = dotted.split(".")
        if parts[0] == package.module or parts[0] not in modules:
            continue
        if parts[0] not in allowed and not combined:
            found.add((line, f"imports {parts[0]}, which {package.name} does not depend on"))
        private = next((part for part in parts if _is_private(part)), None)
        if private:
            found.add((line, f"reaches into {parts[0]}: {private} is private to it"))
    return [f"{line}: {message}" for line, message in sorted(found)]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _references(tree: ast.Module, modules: set[str]) -> Iterator[tuple[int, str]]:
    """Dotted names that the file imports, or reaches through what it imported, with their lines."""
    names: dict[str, str] = {}  # what a local name stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
                top = alias.name.split(".")[0]
                if top in modules:
                    names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
                if node.module.split(".")[0] in modules:
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            if dotted and dotted.split(".")[0] in names:
                first, _, rest = dotted.partition(".")
                yield node.lineno, f"{names[first]}.{rest}"
        elif isinstance(node, ast.Call) and node.args and _called(node.func) in ("import_module", "__import__"):
            first_argument = node.args[0]
            if isinstance(first_argument, ast.Constant) and isinstance(first_argument.value, str):
                yield node.lineno, first_argument.value


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
