"""A thousand flipped bytes per format: a clean error or valid events, never a crash, a hang or a wild index."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eas_det import DecodeError, Events, load_boxes, make_boxes, open_events, save_boxes

FLIPS = 1000


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four bytes changed, half of the time near the beginning; sometimes the end is missing."""
    out = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, min(len(out), 256) if rng.random() < 0.5 else len(out)))
        out[place] ^= int(rng.integers(1, 256))
    return bytes(out[: int(rng.integers(1, len(out)))] if rng.random() < 0.1 else out)


def valid(events: Events) -> bool:
    """What Events promises, looked at again."""
    return Events(events.t, events.x, events.y, events.p, events.sensor_size) == events


def overwrite(path: Path, content: bytes) -> None:
    """Without emptying the file first: ext4 then waits for the disk, thousands of times."""
    path.touch()
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def survive(path: Path, form: str, content: bytes, errors: str) -> bool:
    overwrite(path, content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader = open_events(path, form, errors=errors)  # type: ignore[arg-type]
            events = reader.read()
            cut = reader.slice(20_000, 40_000)
        except DecodeError:
            return False
    assert valid(events)
    assert cut.duration < 20_000
    return True


@pytest.mark.parametrize("form", ["dat", "evt2", "evt3", "es", "bin", "npy", "npz", "csv", "hdf5"])
def test_flipped_bytes(recipes: SimpleNamespace, form: str, recordings: Callable[[Events], dict[str, Path]]) -> None:
    paths = recordings(recipes.make_events(60))
    if form not in paths:
        pytest.skip("h5py is not installed")
    content = paths[form].read_bytes()
    rng = np.random.default_rng(5)
    outcomes = [
        survive(paths[form], form, damage(content, rng), "truncate" if turn % 2 else "raise") for turn in range(FLIPS)
    ]
    # both outcomes occur, or the test would look at nothing
    assert 0 < sum(outcomes) < FLIPS


@pytest.mark.data
def test_flipped_bytes_of_aedat4(tmp_path: Path, spk_data: Callable[[str], Path]) -> None:
    pytest.importorskip("lz4")
    content = spk_data("events/sample.aedat4").read_bytes()[:60_000]
    rng = np.random.default_rng(6)
    outcomes = [survive(tmp_path / "a.aedat4", "aedat4", damage(content, rng), "truncate") for _ in range(FLIPS)]
    assert 0 < sum(outcomes) < FLIPS


def test_random_bytes_as_any_format(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for form in ("dat", "evt2", "evt3", "es", "bin", "npy", "npz", "csv"):
        for _ in range(60):
            content = rng.integers(0, 256, int(rng.integers(1, 400)), dtype=np.uint8).tobytes()
            survive(tmp_path / "a.any", form, content, "raise")


def test_flipped_boxes(tmp_path: Path) -> None:
    path = tmp_path / "a_bbox.npy"
    save_boxes(path, make_boxes(20, t=np.arange(20), w=5, h=5))
    content = path.read_bytes()
    rng = np.random.default_rng(8)
    fine = 0
    for _ in range(FLIPS):
        overwrite(path, damage(content, rng))
        with contextlib.suppress(DecodeError):
            fine += len(load_boxes(path)) >= 0
    assert 0 < fine < FLIPS
