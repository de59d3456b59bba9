"""Hook of the site's builder: pages, menu and addresses come from the tree; a new package appears by itself.

For each package: its README as the first page, every Markdown file of ``docs/<package>/``, and a reference
page made from ``__all__``. Results and the table of packages are filled in while building.
"""

from __future__ import annotations

import posixpath
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))

import monorepo
import pages
from check_files import exported
from monorepo import Package, Tree

GENERAL = {
    "Paper against here": "claims.md",
    "Results": "results.md",
    "Architecture": "architecture.md",
    "Conventions": "conventions.md",
    "Contributing": "contributing.md",
}


def title(path: Path) -> str:
    """First heading of a page, or its file name in words."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line[2:].strip()
    return path.stem.replace("-", " ").capitalize()


def guides(tree: Tree, package: Package) -> list[Path]:
    """Pages that the package's folder of the site holds, ``guide.md`` first."""
    found = (tree.root / "docs" / package.name).rglob("*.md")
    return sorted((path for path in found if path.name != "index.md"), key=lambda path: (path.stem != "guide", path))


def menu(tree: Tree) -> list[Any]:
    """The site's navigation."""
    entries: list[Any] = [{"Which package do I need?": "index.md"}]
    for package in sorted(tree.packages, key=lambda each: each.name):
        inside: list[Any] = [f"{package.name}/index.md"]
        inside += [{title(path): path.relative_to(tree.root / "docs").as_posix()} for path in guides(tree, package)]
        inside.append({"Reference": f"{package.name}/reference.md"})
        entries.append({package.name: inside})
    return [
        *entries,
        *({name: path} for name, path in GENERAL.items() if (tree.root / "docs" / path).is_file()),
    ]


def public_modules(package: Package) -> list[tuple[str, list[str]]]:
    """Modules without an underscore that have an ``__all__``, the door first, with the names in it."""
    found = []
    for path in sorted(package.source.rglob("*.py")):
        parts = path.relative_to(package.source.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if any(part.startswith("_") for part in parts) or parts[1:] == ("cli",):
            continue
        names = exported(path.read_text(encoding="utf-8"))
        if names:
            found.append((".".join(parts), [name for name in names if not name.startswith("__")]))
    return sorted(found, key=lambda each: (each[0] != package.module, each[0]))


def reference(package: Package) -> str:
    """The reference page: each public name once, under the shortest path that leads to it."""
    modules = public_modules(package)
    inner = {module for module, _ in modules}
    seen: set[str] = set()
    lines = [f"# {package.name}: reference", ""]
    for module, names in modules:
        fresh = [name for name in names if name not in seen and f"{module}.{name}" not in inner]
        seen.update(fresh)
        if not fresh:
            continue
        lines += [f"## {module}", ""]
        for name in fresh:
            lines += [f"::: {module}.{name}", "    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


def generated(tree: Tree) -> dict[str, str]:
    """Pages that no file of ``docs/`` holds, by address."""
    found = {}
    for package in tree.packages:
        readme = package.folder / "README.md"
        if not (tree.root / "docs" / package.name / "index.md").is_file():
            found[f"{package.name}/index.md"] = (
                readme.read_text(encoding="utf-8") if readme.is_file() else f"# {package.name}\n"
            )
        found[f"{package.name}/reference.md"] = reference(package)
    contributing = tree.root / ".github" / "CONTRIBUTING.md"
    if contributing.is_file():
        found["contributing.md"] = contributing.read_text(encoding="utf-8")
    return found


def owner(tree: Tree, uri: str) -> Package | None:
    """The package that a page belongs to, by the first part of its address."""
    first = uri.split(posixpath.sep)[0]
    return tree[first] if first in tree.names else None


def on_config(config: Any) -> Any:
    """Menu and addresses."""
    tree = monorepo.read()
    house = tree.settings["tool"]["monorepo"]
    config.site_url = house["site"].rstrip("/") + "/"
    config.repo_url = house["repository"]
    config.nav = menu(tree)
    if (tree.root / ".github" / "CONTRIBUTING.md").is_file() and {"Contributing": "contributing.md"} not in config.nav:
        config.nav.append({"Contributing": "contributing.md"})
    return config


def on_files(files: Any, config: Any) -> Any:
    """The pages: the builder wants its settings outside the folder of pages, and ours lie together."""
    from mkdocs.structure.files import File

    tree = monorepo.read()
    docs = tree.root / "docs"
    for path in sorted(docs.rglob("*.md")):
        uri = path.relative_to(docs).as_posix()
        if Path(config.site_dir) not in path.parents:
            files.append(
                File(
                    uri,
                    src_dir=str(docs),
                    dest_dir=config.site_dir,
                    use_directory_urls=config.use_directory_urls,
                )
            )
    for uri, text in generated(tree).items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill the tables of results."""
    del config, files
    tree = monorepo.read()
    return pages.fill(tree, markdown, owner(tree, page.file.src_uri), link="{name}/index.md")
