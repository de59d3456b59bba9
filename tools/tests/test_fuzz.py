from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fuzz
import fuzz_files


def sound(folder: Path) -> Path:
    path = folder / "sound.txt"
    path.write_bytes(b"0123456789" * 4)
    return path


def clean(path: Path) -> bytes:
    content = path.read_bytes()
    if content != b"0123456789" * 4:
        raise ValueError("broken")
    return content


def wrong_error(path: Path) -> None:
    if len(path.read_bytes()) < 40:
        raise KeyError("9")


def crashes(path: Path) -> None:
    if len(path.read_bytes()) < 40:
        os._exit(7)


def hangs(path: Path) -> None:
    if len(path.read_bytes()) < 40:
        time.sleep(60)


def run(load: Callable[[Path], object], seconds: float = 0.5) -> tuple[int, int, list[str]]:
    return fuzz.fuzz(fuzz_files.Loader("light", "text", sound, load), seconds)


def test_clean_errors_are_no_fault() -> None:
    tried, loaded, wrong = run(clean)
    assert tried > 20
    assert loaded < tried
    assert wrong == []


@pytest.mark.parametrize(
    ("load", "said"), [(wrong_error, "KeyError: '9'"), (crashes, "ended with status 7"), (hangs, "hung at file")]
)
def test_faults_are_named(load: Callable[[Path], object], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "HANG", 1)
    assert any(line.startswith(said) for line in run(load)[2])


def test_the_same_seed_breaks_a_file_the_same_way() -> None:
    first, second = ([fuzz.mutate(b"abcdef" * 9, random.Random(3)) for _ in range(3)] for _ in range(2))
    assert first == second
