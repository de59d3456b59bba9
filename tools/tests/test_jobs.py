"""What the jobs are told by their surroundings: matrix, releases, environment, printed examples, menu."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import matrix
import monorepo
import pytest_blocks
import releases
import site_tree
import surroundings


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def released(tree_root: Path) -> Path:
    git(tree_root, "init", "-q")
    git(tree_root, "add", "-A")
    git(tree_root, "commit", "-qm", "all")
    for tag in (
        "spk-neurons-v0.1.0",
        "spk-neurons-v0.1.2",
        "spk-neurons-v0.0.9",
        "spk-neurons-vnext",
        "light-v0.1.0",
    ):
        git(tree_root, "tag", tag)
    return tree_root


def test_matrix_runs_isolated_on_every_python_and_the_rest_once(tree_root: Path) -> None:
    settings = tree_root / "packages/light/pyproject.toml"
    rows = "".join(f'"Programming Language :: Python :: 3{minor}", ' for minor in ("", ".13", ".11", ".9"))
    settings.write_text(
        settings.read_text().replace("dependencies = [", f"classifiers = [{rows}]\ndependencies = [", 1)
    )
    tree = monorepo.read(tree_root)
    sessions = [
        {"name": "lint", "session": "lint", "call_spec": {}},
        {"name": "isolated", "session": "isolated(light)", "call_spec": {"name": "light"}},
        {"name": "floors", "session": "floors(light)", "call_spec": {"name": "light"}},
    ]
    assert matrix.matrix(tree, sessions)["include"] == [
        {"session": "lint", "python": "3.9"},
        {"session": "isolated(light)", "python": "3.9"},
        {"session": "isolated(light)", "python": "3.11"},
        {"session": "isolated(light)", "python": "3.13"},
        {"session": "floors(light)", "python": "3.9"},
    ]


def test_a_package_without_classifiers_is_not_forgotten(tree_root: Path) -> None:
    sessions = [{"name": "isolated", "session": "isolated(light)", "call_spec": {"name": "light"}}]
    rows = matrix.matrix(monorepo.read(tree_root), sessions)["include"]
    assert rows == [{"session": "isolated(light)", "python": "3.11"}]


def test_a_tag_agrees_with_version_and_changelog(tree_root: Path) -> None:
    assert releases.problems(monorepo.read(tree_root), "light-v0.1.0") == []
    assert releases.problems(monorepo.read(tree_root), "spk-neurons-v0.1.0") == []


@pytest.mark.parametrize(
    ("tag", "problem"),
    [
        ("light-v0.2.0", "says version 0.1.0"),
        ("light-v0.2.0", "no heading '## 0.2.0'"),
        ("dark-v0.1.0", "expected name-vX.Y.Z"),
        ("v0.1.0", "expected name-vX.Y.Z"),
    ],
)
def test_a_tag_that_does_not_agree_is_refused(tree_root: Path, tag: str, problem: str) -> None:
    assert [line for line in releases.problems(monorepo.read(tree_root), tag) if problem in line]


@pytest.mark.parametrize("heading", ["## 0.1.0", "## 0.1.0 - unreleased", "## 0.1.0 - 2026-13-45"])
def test_a_release_needs_a_date(tree_root: Path, heading: str) -> None:
    (tree_root / "packages/light/CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")
    assert "has no date" in releases.problems(monorepo.read(tree_root), "light-v0.1.0")[0]


def test_tags_are_ordered_as_versions_and_matched_to_ranges(released: Path) -> None:
    tree = monorepo.read(released)
    core, dependent = tree["spk-neurons"], tree["a-dependent"]
    assert releases.newest(released, core) == "spk-neurons-v0.1.2"
    assert releases.newest(released, dependent) is None
    assert releases.oldest_admitted(released, dependent, core) == "spk-neurons-v0.1.0"
    assert releases.newest(released / "packages", tree["light"]) == "light-v0.1.0"


def test_export_is_the_folder_as_it_was(released: Path, tmp_path: Path) -> None:
    package = monorepo.read(released)["light"]
    (package.folder / "README.md").write_text("changed since")
    folder = releases.export(released, "light-v0.1.0", package, tmp_path / "then")
    assert monorepo.Package(folder).version == "0.1.0"
    assert "changed since" not in (folder / "README.md").read_text()


def test_a_range_that_leaves_the_new_core_out_is_named(tree_root: Path) -> None:
    tree = monorepo.read(tree_root)
    assert releases.refuses(tree["a-dependent"], [tree["spk-neurons"]]) is None
    settings = tree_root / "packages/spk-neurons/pyproject.toml"
    settings.write_text(settings.read_text().replace('"0.1.0"', '"0.2.0"'))
    tree = monorepo.read(tree_root)
    assert releases.refuses(tree["a-dependent"], [tree["spk-neurons"]]) == "spk-neurons 0.2.0"


def test_pips_settings_are_passed_on_to_uv(tree_root: Path) -> None:
    (tree_root.parent / "shared" / "data").mkdir(parents=True)
    links = tree_root.parent / "links"
    links.mkdir()
    (links / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    environment = {"PIP_FIND_LINKS": f"{links} https://example.org/wheels", "PIP_CERT": "/c.pem"}
    surroundings.prepare(environment, tree_root)
    assert environment["UV_FIND_LINKS"] == f"{links},https://example.org/wheels"
    assert environment["SSL_CERT_FILE"] == "/c.pem"
    assert environment["SPK_DATA"] == str(tree_root.parent / "shared" / "data")
    assert environment["UV_CONSTRAINT"].endswith("tools/constraints.txt")
    assert "UV_TORCH_BACKEND" not in environment


def test_without_a_wheel_of_torch_at_hand_uv_takes_the_cpu_build(tmp_path: Path) -> None:
    environment = {"PIP_FIND_LINKS": str(tmp_path)}
    surroundings.prepare(environment, tmp_path)
    assert environment["UV_TORCH_BACKEND"] == "cpu"
    assert "SPK_DATA" not in environment


def test_what_is_set_already_stays(tmp_path: Path) -> None:
    given = {"PIP_FIND_LINKS": "/a", "UV_FIND_LINKS": "/b", "SPK_DATA": "/d", "UV_TORCH_BACKEND": "auto"}
    environment = dict(given)
    surroundings.prepare(environment, tmp_path)
    assert {key: environment[key] for key in given} == given


def test_other_pythons_are_tried_before_they_are_named(tmp_path: Path) -> None:
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    works, broken = [version for version in surroundings.PYTHONS if version != running][:2]
    for version, status in ((works, 0), (broken, 1), (running, 0)):
        script = tmp_path / f"python{version}"
        script.write_text(f"#!/bin/sh\nexit {status}\n")
        script.chmod(0o755)
    found = surroundings.other_pythons({"PATH": str(tmp_path), "PYENV_ROOT": str(tmp_path)})
    assert found == {works: tmp_path / f"python{works}"}


PAGE = """# Title

```python
x = 2
```

```console
$ rm -rf /
```

<!-- skip: needs a camera -->
```python
raise RuntimeError
```

- in a list

  ```python
  assert x == 2
  ```
"""


def test_python_blocks_are_found_with_line_and_reason() -> None:
    found = pytest_blocks.blocks(PAGE)
    assert [(block.source, block.line, block.skip) for block in found] == [
        ("x = 2", 4, None),
        ("raise RuntimeError", 13, "needs a camera"),
        ("assert x == 2", 19, None),
    ]


def test_a_block_that_is_not_closed_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 3: this block is not closed"):
        pytest_blocks.blocks("a\n\n```python\nx = 2\n")


def test_blocks_run_in_order_and_fail_on_their_line(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text(PAGE)
    (tmp_path / "bad.md").write_text("\n\n```python\nopen('x.txt', 'w').close()\nassert 1 == 2\n```\n")
    command = [sys.executable, "-m", "pytest", "-p", "pytest_blocks", "-p", "no:cacheprovider", "-rs", "."]
    path = str(monorepo.ROOT / "tools")
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert "1 failed, 2 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "bad.md:5: AssertionError" in done.stdout
    assert "needs a camera" in done.stdout
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == []


def test_menu_finds_packages_and_their_pages(tree_root: Path) -> None:
    for relative in ("light/guide.md", "light/a-deeper-look.md", "results.md"):
        path = tree_root / "docs" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text before\n# The title\n" if "guide" in relative else "no heading\n")
    tree = monorepo.read(tree_root)
    menu = site_tree.menu(tree)
    assert [next(iter(entry)) for entry in menu] == [
        "Which package do I need?", "a-dependent", "light", "spk-neurons", "Results",
    ]  # fmt: skip
    assert menu[2]["light"] == [
        "light/index.md",
        {"The title": "light/guide.md"},
        {"A deeper look": "light/a-deeper-look.md"},
        {"Reference": "light/reference.md"},
    ]


def test_reference_lists_each_public_name_once(tree_root: Path) -> None:
    source = tree_root / "packages/light/src/light"
    (source / "api.py").write_text("__all__ = ['answer', 'other']\n")
    (source / "_private.py").write_text("__all__ = ['hidden']\n")
    (source / "__init__.py").write_text("__all__ = ['answer', '__version__']\n")
    page = site_tree.reference(monorepo.read(tree_root)["light"])
    assert [line for line in page.splitlines() if line.startswith(":::")] == [
        "::: light.answer",
        "::: light.api.other",
    ]


def test_pages_of_the_site_that_no_file_holds(tree_root: Path) -> None:
    (tree_root / ".github").mkdir()
    (tree_root / ".github" / "CONTRIBUTING.md").write_text("# Contributing\n")
    found = site_tree.generated(monorepo.read(tree_root))
    assert found["light/index.md"].startswith("# light")
    assert found["contributing.md"] == "# Contributing\n"
    assert set(found) > {"light/reference.md", "spk-neurons/index.md"}
