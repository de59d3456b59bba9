"""Wheels: looked into, installed alone, and the one just built is the one that arrives."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import closure
import monorepo
import quick_import
import surroundings
import wheels

METADATA = "Metadata-Version: 2.4\nName: {name}\nVersion: 0.1.0\n{requires}\n# A package\n"


def make_wheel(
    folder: Path, name: str, content: str = "", *, requires: tuple[str, ...] = (), leave_out: str = ""
) -> Path:
    """Write a wheel without a build: seconds less, and no index is asked."""
    module = name.replace("-", "_")
    info = f"{module}-0.1.0.dist-info"
    files = {
        f"{module}/__init__.py": content,
        f"{module}/py.typed": "",
        f"{info}/METADATA": METADATA.format(name=name, requires="".join(f"Requires-Dist: {r}\n" for r in requires)),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/licenses/LICENSE": "Apache",
    }
    files = {path: text for path, text in files.items() if not leave_out or leave_out not in path}
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{module}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, date_time=(2026, 1, 1, 0, 0, 0)), text)
    return wheel


def install(uv: str, where: Path, *arguments: str) -> Path:
    """Install into a fresh environment; its site-packages."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("UV_CONSTRAINT", "VIRTUAL_ENV"))}
    run = {"check": True, "capture_output": True, "env": clean}
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(where)], **run)  # type: ignore[call-overload]
    python = str(where / "bin" / "python")
    subprocess.run([uv, "pip", "install", "--no-index", "--python", python, *arguments], **run)  # type: ignore[call-overload]
    return next(where.glob("lib/python*/site-packages"))


@pytest.fixture
def uv() -> str:
    found = surroundings.uv()
    if found is None:
        pytest.skip("uv is not installed")
    return found


def build_and_install_twice(uv: str, folder: Path, *, ours: bool) -> list[str]:
    """Same name, version, place and time, other content: what arrives after each build."""
    arrived = []
    for content in ("first", "second"):
        wheel = make_wheel(folder / "wheels", "twice-built", content)
        os.utime(wheel, (1_800_000_000, 1_800_000_000))
        if ours:
            arguments = wheels.install_arguments([wheel], ["twice-built"], uv=True)
        else:
            arguments = ["--find-links", str(wheel.parent), "twice-built"]
        site = install(uv, folder / "env", *arguments)
        arrived.append((site / "twice_built/__init__.py").read_text())
    return arrived


def test_the_wheel_just_built_arrives(uv: str, tmp_path: Path) -> None:
    assert build_and_install_twice(uv, tmp_path, ours=True) == ["first", "second"]


def test_without_our_arguments_uv_serves_the_older_wheel(uv: str, tmp_path: Path) -> None:
    """Why ``install_arguments`` is there; should uv change, this fails and it may be simpler."""
    assert build_and_install_twice(uv, tmp_path, ours=False) == ["first", "first"]


def test_pip_needs_no_refreshing(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    assert wheels.install_arguments([wheel], ["a"], uv=False) == [str(wheel)]


def test_a_complete_wheel_has_no_problem(tree_root: Path, tmp_path: Path) -> None:
    package = monorepo.read(tree_root)["light"]
    wheel = make_wheel(tmp_path / "w", "light")
    assert wheels.find(tmp_path / "w", package) == wheel
    assert wheels.problems(wheel, package) == []


@pytest.mark.parametrize(
    ("leave_out", "problem"),
    [("LICENSE", "no LICENSE"), ("py.typed", "no py.typed"), ("METADATA", "no METADATA")],
)
def test_what_a_wheel_lacks_is_named(tree_root: Path, tmp_path: Path, leave_out: str, problem: str) -> None:
    wheel = make_wheel(tmp_path, "light", leave_out=leave_out)
    assert [line for line in wheels.problems(wheel, monorepo.read(tree_root)["light"]) if problem in line]


def test_a_wheel_holds_its_module_alone(tree_root: Path, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "light")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tests/test_x.py", "")
    assert "holds tests beside light" in wheels.problems(wheel, monorepo.read(tree_root)["light"])[0]


def test_no_wheel_or_two_is_an_error(tree_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got 0 wheels of light"):
        wheels.find(tmp_path, monorepo.read(tree_root)["light"])


def environment(tmp_path: Path, *distributions: tuple[str, tuple[str, ...]]) -> Path:
    """A site-packages folder with the metadata of distributions and nothing else."""
    for name, requires in distributions:
        wheel = make_wheel(tmp_path / "w", name, requires=requires)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def test_declared_dependencies_may_come_in(tree_root: Path, tmp_path: Path) -> None:
    tree = monorepo.read(tree_root)
    site = environment(
        tmp_path,
        ("light", ("numpy>=1.26", "pyarrow>=17; extra == 'parquet'")),
        ("numpy", ("inner[fast]",)),
        ("inner", ("quick; extra == 'fast'", "pandas; python_version < '3'")),
        ("quick", ()),
    )
    assert closure.problems(tree, tree["light"], site) == []


@pytest.mark.parametrize(
    ("numpy_requires", "beside", "problem"),
    [
        ((), "stowaway", "stowaway 0.1.0 came in and nothing declares it"),
        (("torch",), "torch", "torch 0.1.0 came in, and no package of ours names it"),
        (("pandas",), "pandas", "pandas 0.1.0 came in, and no package of ours names it"),
        (("spk-neurons",), "spk-neurons", "spk-neurons is one of ours and not among its dependencies"),
    ],
)
def test_what_nobody_declares_is_found(
    tree_root: Path, tmp_path: Path, numpy_requires: tuple[str, ...], beside: str, problem: str
) -> None:
    tree = monorepo.read(tree_root)
    site = environment(tmp_path, ("light", ("numpy>=1.26",)), ("numpy", numpy_requires), (beside, ()))
    assert closure.problems(tree, tree["light"], site) == [f"light: {problem}"]


def test_torch_may_bring_its_companions(tree_root: Path, tmp_path: Path) -> None:
    tree = monorepo.read(tree_root)
    site = environment(
        tmp_path,
        ("a-dependent", ("spk-neurons<0.2,>=0.1",)),
        ("spk-neurons", ("torch>=2.6",)),
        ("torch", ("networkx",)),
        ("networkx", ()),
    )
    assert closure.problems(tree, tree["a-dependent"], site) == []


def test_a_wheel_that_requires_other_than_its_pyproject_is_found(tree_root: Path, tmp_path: Path) -> None:
    tree = monorepo.read(tree_root)
    site = environment(tmp_path, ("light", ("numpy>=2",)), ("numpy", ()))
    assert "the wheel requires ['numpy>=2']" in closure.problems(tree, tree["light"], site)[0]


def test_import_that_is_loud_or_heavy_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud_door.py").write_text("import heavy_part\nprint('hello')\n")
    (tmp_path / "heavy_part.py").write_text("")
    (tmp_path / "quiet_door.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert quick_import.problems("quiet_door", ["heavy_part"]) == []
    assert quick_import.problems("loud_door", ["heavy_part"]) == [
        "import loud_door loads heavy_part; load it where it is used",
        "import loud_door prints 'hello\\n'",
    ]


def test_environment_is_described_for_its_markers() -> None:
    told = quick_import.describe()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert told["markers"] == {"python_version": version, "python_full_version": sys.version.split()[0]}


def test_builds_that_differ_are_named(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "a-1.whl").write_bytes(b"same")
    assert wheels.differences(first, second) == []
    (second / "a-1.whl").write_bytes(b"other")
    (first / "b-1.tar.gz").write_bytes(b"alone")
    assert [line.split(":")[0] for line in wheels.differences(first, second)] == ["a-1.whl", "b-1.tar.gz"]
    assert "holds no built file" in wheels.differences(tmp_path / "none", tmp_path / "nor")[0]
