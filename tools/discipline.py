"""Proof, in scratch copies of the repository, that the declared ranges and the jobs catch a bad release of a sibling.

``python tools/discipline.py [dependent ...]`` copies the tree as committed, changes the sibling there, and looks:

1. a release outside the range, with the dependent's wheel as it is: the resolver refuses it;
2. a release inside the range that lost a public name the dependent uses: ``isolated`` and ``compat`` fail;
3. a release inside the range that lost nothing: both pass.

``compat`` runs on a tag that the scratch copy gets. ``-- FILE`` at the end, one test file of the dependent, keeps it
short; without it the whole of its tests runs four times.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

import monorepo
from monorepo import Package, Tree, canonical


def scratch(root: Path, out: Path) -> Path:
    """The tree as committed, in a repository of its own."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(root), str(out)], check=True)
    for key, value in (("user.name", "scratch"), ("user.email", "scratch@example.org")):
        subprocess.run(["git", "-C", str(out), "config", key, value], check=True)
    return out


def outside(sibling: Package) -> str:
    """The next minor version of the sibling: the first that a dependent's range must leave out."""
    now = Version(sibling.version)
    return f"{now.major}.{now.minor + 1}.0"


def inside(package: Package, sibling: Package) -> str:
    """The next patch of the sibling; admitted, or the range is wrong."""
    now = Version(sibling.version)
    then = f"{now.major}.{now.minor}.{now.micro + 1}"
    (wanted,) = [
        Requirement(text) for text in package.dependencies if canonical(Requirement(text).name) == sibling.name
    ]
    if not wanted.specifier.contains(then):
        raise ValueError(f"{package.name} asks for {wanted}; expected a range that admits the patch release {then}")
    return then


def set_version(package: Package, version: str) -> None:
    path = package.folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'(?m)^version = "[^"]+"', f'version = "{version}"', text, count=1), encoding="utf-8")


def used_names(package: Package, sibling: Package) -> list[tuple[str, str]]:
    """Module and name of what the package's sources import from the sibling by name, sorted; no modules."""
    found: set[tuple[str, str]] = set()
    for path in package.source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) and not node.level else None
            if isinstance(node, ast.ImportFrom) and module and module.split(".")[0] == sibling.module:
                found.update((module, alias.name) for alias in node.names)
    return sorted((module, name) for module, name in found if _file(sibling, f"{module}.{name}") is None)


def _file(package: Package, module: str) -> Path | None:
    """The file of a module of the package, or None where there is no such module."""
    path = package.source.parent.joinpath(*module.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def lose(sibling: Package, module: str, name: str) -> None:
    """Take a public name away, as a careless release would, whether the module holds it or makes it when asked."""
    door = _file(sibling, module)
    if door is None:
        raise ValueError(f"{sibling.name} has no module {module}")
    with door.open("a", encoding="utf-8") as file:
        file.write(f"""
globals().pop({name!r}, None)
_kept_getattr = globals().get("__getattr__")


def __getattr__(name: str) -> object:
    if name == {name!r} or _kept_getattr is None:
        raise AttributeError(name)
    return _kept_getattr(name)
""")


def run(command: Sequence[str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def resolver_refuses(tree: Tree, package: Package, sibling: Package, out: Path) -> tuple[bool, str]:
    """Whether the package's wheel and a sibling's wheel from outside its range can not be installed together."""
    set_version(sibling, outside(sibling))
    wheels = []
    for each in (sibling, package):
        folder = out / each.name
        code, said = run(["uv", "build", "--wheel", "--quiet", "--out-dir", str(folder), str(each.folder)], tree.root)
        if code:
            raise RuntimeError(f"the wheel of {each.name} can't be built: {said[-500:]}")
        wheels += [str(path) for path in folder.glob("*.whl")]
    run(["uv", "venv", "--quiet", str(out / "venv")], tree.root)
    python = str(out / "venv" / "bin" / "python")
    code, said = run(["uv", "pip", "install", "--dry-run", "--python", python, *wheels], tree.root)
    lines = [line.strip() for line in said.splitlines() if sibling.name in line]
    return code != 0 and bool(lines), " ".join(lines)[:300]


def jobs(tree: Tree, package: Package, arguments: Sequence[str]) -> dict[str, int]:
    """Exit status of ``isolated`` and ``compat`` for the package in this scratch copy."""
    found = {}
    for session in ("isolated", "compat"):
        words = ["nox", "-s", f"{session}({package.name})", "--", *arguments]
        found[session], said = run(words, tree.root)
        lines = [line for line in said.splitlines() if "Error" in line or " passed" in line or " failed" in line]
        print(
            f"    {session}: status {found[session]}; {lines[-1].strip() if lines else said[-200:].strip()}", flush=True
        )
    return found


def prove(root: Path, package: Package, sibling: Package, arguments: Sequence[str]) -> list[str]:
    """What did not come out as it must, one line each."""
    wrong = []
    with tempfile.TemporaryDirectory() as place:
        tree = monorepo.read(scratch(root, Path(place) / "outside"))
        refused, why = resolver_refuses(tree, tree[package.name], tree[sibling.name], Path(place))
        print(f"  outside the range: {'refused' if refused else 'INSTALLED'}: {why}", flush=True)
        if not refused:
            wrong.append(f"{package.name}: a {sibling.name} outside its range was not refused")
        names = used_names(package, sibling)
        if not names:
            return [*wrong, f"{package.name} imports no public name of {sibling.name}"]
        for lost, expected in ((".".join(names[0]), False), (None, True)):
            tree = monorepo.read(scratch(root, Path(place) / ("lost" if lost else "kept")))
            subprocess.run(["git", "-C", str(tree.root), "tag", f"{package.name}-v{package.version}"], check=True)
            set_version(tree[sibling.name], inside(package, sibling))
            if lost:
                lose(tree[sibling.name], *names[0])
            print(f"  inside the range, {f'without {lost}' if lost else 'compatible'}:", flush=True)
            wrong += [
                f"{package.name}: {session} {'passed' if status == 0 else 'failed'} with a {sibling.name} that "
                f"{f'lost {lost}' if lost else 'lost nothing'}"
                for session, status in jobs(tree, package, arguments).items()
                if (status == 0) != expected
            ]
    return wrong


def main(words: Sequence[str]) -> int:
    names, arguments = list(words), list[str]()
    if "--" in names:
        names, arguments = names[: names.index("--")], names[names.index("--") + 1 :]
    tree = monorepo.read()
    wrong = []
    for package in tree.packages:
        if (names and package.name not in names) or not tree.siblings(package):
            continue
        for sibling in tree.siblings(package):
            print(f"{package.name} on {sibling.name}", flush=True)
            wrong += prove(tree.root, package, sibling, arguments)
    print("\n".join(wrong) or "every range holds, and every job sees what it must")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
