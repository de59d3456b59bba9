"""The command: what it prints and writes, and one line for an error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from eas_det import micro_counts, open_events, write_dat
from eas_det.cli import app


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_info_decode_and_bin(recipes: SimpleNamespace, tmp_path: Path) -> None:
    events = recipes.make_events(500)
    path = tmp_path / "a.dat"
    write_dat(path, events)
    told = json.loads(run("info", path, "--json").stdout)
    assert (told["format"], told["events"], told["sensor"]) == ("dat", 500, "34x34")
    for name in ("b.npz", "b.csv", "b.npy", "b.dat"):
        assert run("decode", path, "-o", tmp_path / name, "--from", 20_000, "--to", 60_000).exit_code == 0
        assert open_events(tmp_path / name, sensor_size=(34, 34)).read() == events.window(20_000, 60_000)
    done = run("bin", path, "-o", tmp_path / "c.npy", "--bins", 3)
    assert done.exit_code == 0
    assert np.array_equal(np.load(tmp_path / "c.npy"), micro_counts(events, 3))


def test_synth(tmp_path: Path) -> None:
    assert run("synth", "-o", tmp_path / "set", "--level", "easy", "--clips", 1, "--json").exit_code == 0
    assert (tmp_path / "set" / "clip_00000_bbox.npy").exists()


def test_an_error_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(b"% Width 3\n\x0c\x10")
    command = [sys.executable, "-c", "from eas_det.cli import main; main()", "info", str(tmp_path / "a.dat")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("eas-det: ")
    assert done.stderr.count("\n") == 1


def test_pictures(recipes: SimpleNamespace, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from eas_det.viz import animate, draw, sampling_map

    events = recipes.make_events(500)
    assert draw(events).images
    values = np.full((4, 5), np.nan)
    values[1, 2] = 25_000
    assert sampling_map(values).images
    assert animate(tmp_path / "a.gif", events, window_us=30_000).stat().st_size > 1000
    with pytest.raises(ValueError, match="expected one map"):
        sampling_map(np.zeros((2, 3, 4)))
