"""A small tree to try the tools on: a light package, a neuron core and a package that depends on it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

LICENSE = "Apache License\nVersion 2.0, January 2004\n"
SITE = "https://example.org/site"
REPOSITORY = "https://example.org/repository"


def make_package(root: Path, name: str, *, version: str = "0.1.0", dependencies: tuple[str, ...] = ()) -> Path:
    """Write one package that breaks no rule of the tree."""
    module = name.replace("-", "_")
    folder = root / "packages" / name
    quoted = ", ".join(f'"{entry}"' for entry in dependencies)
    files = {
        "pyproject.toml": f"""
            [build-system]
            requires = ["hatchling>=1.27"]
            build-backend = "hatchling.build"

            [project]
            name = "{name}"
            version = "{version}"
            description = "A package to try the tools on"
            readme = "README.md"
            license = "Apache-2.0"
            license-files = ["LICENSE"]
            requires-python = ">=3.11"
            dependencies = [{quoted}]

            [project.optional-dependencies]
            plot = ["matplotlib>=3.9"]

            [project.scripts]
            {name} = "{module}.cli:main"

            [project.urls]
            Homepage = "{SITE}/{name}/"
            Repository = "{REPOSITORY}"
            Issues = "{REPOSITORY}/issues"
            Changelog = "{REPOSITORY}/blob/main/packages/{name}/CHANGELOG.md"

            [dependency-groups]
            oracles = ["networkx>=3.3"]

            [tool.hatch.build.targets.wheel]
            packages = ["src/{module}"]
            """,
        "README.md": f"# {name}\n\n```python\nimport {module}\n\nassert {module}.answer() == 42\n```\n",
        "CHANGELOG.md": f"# Changelog\n\n## {version} - 2026-01-31\n\n- First version.\n",
        "LICENSE": LICENSE,
        f"src/{module}/__init__.py": f"""
            \"\"\"The public door of {name}.\"\"\"

            from {module}.api import answer

            __all__ = ["answer"]
            """,
        f"src/{module}/api.py": '''
            """What the package does."""


            def answer() -> int:
                """The answer."""
                return 42
            ''',
        f"src/{module}/cli.py": '''
            """The command."""


            def main() -> None:
                """Print the answer."""
            ''',
        f"src/{module}/py.typed": "",
        "tests/test_api.py": f"""
            import {module}


            def test_answer() -> None:
                assert {module}.answer() == 42
            """,
        "benchmarks/speed.py": '"""Nothing to measure."""\n',
        "examples/quickstart.py": '''
            """Write the two things that every quickstart writes."""

            import argparse
            import json
            from pathlib import Path

            parser = argparse.ArgumentParser()
            parser.add_argument("--out", type=Path, required=True)
            out = parser.parse_args().out
            out.mkdir(parents=True, exist_ok=True)
            summary = {"system": "Answers", "ran": "the question", "result": "42", "seconds": 0.1}
            (out / "result.json").write_text(json.dumps(summary))
            ''',
    }
    for relative, text in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    (folder / "benchmarks" / "results").mkdir()
    return folder


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[[], Path]:
    """Function that writes a tree of three packages which no check has anything against."""

    def make() -> Path:
        root = tmp_path / "tree"
        root.mkdir()
        (root / "pyproject.toml").write_text(
            f'[tool.monorepo]\nrepository = "{REPOSITORY}"\nsite = "{SITE}"\n'
            '[dependency-groups]\ntest = ["pytest>=8.3"]\n'
        )
        make_package(root, "light", dependencies=("numpy>=1.26",))
        make_package(root, "a-dependent", dependencies=("spk-neurons>=0.1,<0.2",))
        make_package(root, "spk-neurons", dependencies=("torch>=2.6",))
        return root

    return make


@pytest.fixture
def tree_root(make_tree: Callable[[], Path]) -> Path:
    """Root of a fresh sound tree."""
    return make_tree()
