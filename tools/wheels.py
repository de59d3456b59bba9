"""Wheels of our own: built from the tree, installed so that the one just built arrives, looked into."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from email.parser import BytesParser
from pathlib import Path

from monorepo import Package


def find(folder: Path, package: Package) -> Path:
    """The one wheel of a package in a folder."""
    stem = package.name.replace("-", "_")
    found = sorted(folder.glob(f"{stem}-*.whl"))
    if len(found) != 1:
        raise ValueError(f"got {len(found)} wheels of {package.name} in {folder}, expected one")
    return found[0]


def install_arguments(wheels: Iterable[Path], names: Iterable[str], *, uv: bool) -> list[str]:
    """Arguments to ``pip install`` for wheels of ours, all by path.

    By path, because an index may hold a newer sibling that the range admits as well, and because uv
    remembers what a wheel found through ``--find-links`` held and installs that again after a rebuild. Refreshed
    as well, so that this does not hang on how uv tells two files of one path apart.
    """
    refresh = [word for name in names for word in ("--refresh-package", name)] if uv else []
    return [*refresh, *map(str, wheels)]


def differences(first: Path, second: Path) -> list[str]:
    """What is not the same, byte for byte, in two folders of built files, one line each."""
    names = sorted({path.name for folder in (first, second) for path in folder.glob("*.*")})
    if not names:
        return [f"{first} holds no built file"]
    return [
        f"{name}: two builds of the same tree differ"
        for name in names
        if not all((folder / name).is_file() for folder in (first, second))
        or (first / name).read_bytes() != (second / name).read_bytes()
    ]


def problems(wheel: Path, package: Package) -> list[str]:
    """What a wheel lacks or holds too much of, one line each."""
    return [f"{wheel.name}: {line}" for line in _problems(wheel, package)]


def _problems(wheel: Path, package: Package) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next((name.split("/")[0] for name in names if name.endswith(".dist-info/METADATA")), None)
        if info is None:
            yield "no METADATA"
            return
        metadata = BytesParser().parsebytes(archive.read(f"{info}/METADATA"))
    if metadata["Version"] != package.version:
        yield f"version {metadata['Version']}, expected {package.version}"
    if not any(name.startswith(info) and name.endswith("LICENSE") for name in names):
        yield "no LICENSE"
    if not str(metadata.get_payload() or metadata["Description"] or "").strip():
        yield "no README as its description"
    if f"{package.module}/py.typed" not in names:
        yield "no py.typed"
    others = {name.split("/")[0] for name in names} - {package.module, info}
    if others:
        yield f"holds {', '.join(sorted(others))} beside {package.module}"
