"""Import contracts, generated from the tree: each package imports the siblings it declares and no other.

``python tools/contracts.py`` writes import-linter's settings to a temporary file and runs it. A new package
is under contract as soon as its folder is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import monorepo
from monorepo import Tree


def settings(tree: Tree) -> str:
    """import-linter's settings for this tree; empty where there is nothing to hold apart."""
    modules = [package.module for package in tree.packages]
    blocks = []
    for package in tree.packages:
        siblings = [other.module for other in tree.siblings(package)]
        others = [module for module in modules if module not in (package.module, *siblings)]
        if others:
            may = f"only {', '.join(siblings)} of ours" if siblings else "none of ours"
            blocks.append(
                f"[importlinter:contract:{package.name}]\n"
                f"name = {package.name} imports {may}\n"
                "type = forbidden\n"
                f"source_modules =\n    {package.module}\n"
                f"forbidden_modules =\n    " + "\n    ".join(others) + "\n"
            )
    if not blocks:
        return ""
    return "[importlinter]\nroot_packages =\n    " + "\n    ".join(modules) + "\n\n" + "\n".join(blocks)


def main(root: Path = monorepo.ROOT) -> int:
    """Run import-linter on the tree; its exit status."""
    tree = monorepo.read(root)
    text = settings(tree)
    if not text:
        print(f"{len(tree.packages)} package(s): nothing to hold apart")
        return 0
    path = os.pathsep.join(str(package.source.parent) for package in tree.packages)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "contracts.ini"
        config.write_text(text, encoding="utf-8")
        start = "from importlinter.cli import lint_imports_command; lint_imports_command()"
        command = [sys.executable, "-c", start, "--config", str(config), "--no-cache", "--no-logo"]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
