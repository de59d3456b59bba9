from __future__ import annotations

from pathlib import Path

import pytest

import monorepo


def test_packages_come_in_install_order(tree_root: Path) -> None:
    tree = monorepo.read(tree_root)
    assert sorted(tree.names) == ["a-dependent", "light", "spk-neurons"]
    assert tree.names.index("spk-neurons") < tree.names.index("a-dependent")


def test_package_reads_its_own_settings(tree_root: Path) -> None:
    package = monorepo.read(tree_root)["a_dependent"]
    assert package.module == "a_dependent"
    assert package.version == "0.1.0"
    assert package.dependencies == ["spk-neurons>=0.1,<0.2"]
    assert package.requires("plot") == ["spk-neurons>=0.1,<0.2", "matplotlib>=3.9"]
    assert package.group("oracles") == ["networkx>=3.3"]
    assert package.group("peers") == []


def test_siblings_and_torch_follow_from_the_dependencies(tree_root: Path) -> None:
    tree = monorepo.read(tree_root)
    assert [package.name for package in tree.siblings(tree["a-dependent"])] == ["spk-neurons"]
    assert [package.name for package in tree.dependents(tree["spk-neurons"])] == ["a-dependent"]
    assert tree.siblings(tree["light"]) == []
    assert tree.needs_torch(tree["a-dependent"])
    assert not tree.needs_torch(tree["light"])


def test_unknown_package_is_told_what_there_is(tree_root: Path) -> None:
    with pytest.raises(ValueError, match=r"got package 'nothing', expected one of .*light"):
        monorepo.read(tree_root)["nothing"]


def test_circle_is_an_error(tree_root: Path) -> None:
    settings = tree_root / "packages" / "spk-neurons" / "pyproject.toml"
    settings.write_text(settings.read_text().replace("torch>=2.6", "a-dependent>=0.1"))
    with pytest.raises(ValueError, match="in a circle: a-dependent -> spk-neurons -> a-dependent"):
        monorepo.read(tree_root)


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("numpy>=1.26", "numpy"),
        ("Scikit_Learn", "scikit-learn"),
        ("a.b[x]>=1; extra == 'y'", "a-b"),
        (" z <2", "z"),
    ],
)
def test_requirement_name(requirement: str, name: str) -> None:
    assert monorepo.requirement_name(requirement) == name


def test_requirement_without_a_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected a requirement"):
        monorepo.requirement_name(">=1")
