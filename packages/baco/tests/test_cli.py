"""The command: what it writes, what it prints, and that nothing half-done is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from baco import BACO, Codebook
from baco.cli import app
from baco.datasets import make_coclusters
from baco.io import read_csv


def baco(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interactions of 300 users and 200 items under string ids, as CSV."""
    graph = make_coclusters(300, 200, 10, random_state=0).graph
    edges = graph.to_scipy().tocoo()
    path = tmp_path_factory.mktemp("log") / "log.csv"
    lines = [f"u{u},i{i},{1 + (u + i) % 3}\n" for u, i in zip(edges.row, edges.col, strict=True)]
    path.write_text("who,what,times\n" + "".join(lines))
    return path


def test_compress_writes_the_codebook_that_the_estimator_gives(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.npz"
    done = baco("compress", log, "--user", "who", "--item", "what", "--weight", "times", "--ratio", 0.3, "-o", out)
    assert done.exit_code == 0, done.stderr
    graph = read_csv(log, user="who", item="what", weight="times")
    expected = BACO(ratio=0.3).fit(graph).codebook_
    got = Codebook.load(out)
    for name in ("user_codes", "item_codes", "user_ids", "item_ids", "n_rows"):
        assert np.array_equal(getattr(got, name), getattr(expected, name))
    assert os.listdir(tmp_path) == ["map.npz"]
    assert "budget      150 rows" in done.stdout
    assert "log.csv" in done.stdout


def test_the_same_command_writes_the_same_bytes(log: Path, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        baco("compress", log, "-u", "who", "-i", "what", "--rows", 90, "-o", tmp_path / name, "--jobs", 1)
    assert Codebook.load(tmp_path / "a.npz") == Codebook.load(tmp_path / "b.npz")


def test_json_is_one_object_on_stdout_and_agrees_with_the_file(log: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "map.npz", tmp_path / "map.html"
    done = baco(
        "compress",
        log,
        "-u",
        "who",
        "-i",
        "what",
        "--megabytes",
        0.03,
        "--dim",
        32,
        "-o",
        out,
        "--report",
        page,
        "--json",
    )
    facts = json.loads(done.stdout)
    codebook = Codebook.load(out)
    assert facts["rows"] == codebook.n_rows <= facts["budget_rows"]
    assert facts["megabytes"] == codebook.nbytes(32) / 1e6 <= 0.03
    assert facts["parameters"] == codebook.parameters(32)
    assert facts["report"] == str(page)
    assert page.read_text().startswith("<!doctype html>")
    again = json.loads(baco("report", out, "--json").stdout)
    same = ("users", "items", "edges", "rows", "ratio", "embedding_dim", "gamma", "objective", "inside_share", "source")
    assert {name: again[name] for name in same} == {name: facts[name] for name in same}


def test_report_of_a_saved_codebook(log: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "map.npz", tmp_path / "page.html"
    baco("compress", log, "-u", "who", "-i", "what", "--gamma", 1, "--no-secondary", "-o", out)
    done = baco("report", out, log, "--user", "who", "--item", "what", "-o", page)
    assert done.exit_code == 0, done.stderr
    assert "together" in done.stdout
    assert Codebook.load(out).user_codes.shape[1] == 1
    text = page.read_text()
    assert "log.csv" in text
    assert "volume, Gini" in text
    other = tmp_path / "other.csv"
    other.write_text("user,item\n1,2\n")
    done = baco("report", out, other)
    assert done.exit_code == 2
    assert "the data the codebook was made from" in done.stderr


def test_quiet_says_nothing_and_weights_may_be_a_pair(log: Path, tmp_path: Path) -> None:
    double = tmp_path / "double.csv"
    double.write_text(log.read_text() + "u1,i1,1\nu1,i1,1\n")
    arguments = ("compress", double, "-u", "who", "-i", "what", "--ratio", 0.5, "--weights", "degree,uniform")
    done = baco(*arguments, "-o", tmp_path / "map.npz", "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert Codebook.load(tmp_path / "map.npz").meta["weights"] == ["degree", "uniform"]
    done = baco(*arguments, "-o", tmp_path / "map.npz")
    assert "weights degree, uniform" in done.stdout
    assert done.stderr.startswith("baco: warning: ")
    assert "each pair counts once" in done.stderr


def test_columns_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "log.data"
    path.write_text("7::a::1::9\n8::b::2::9\n7::b::3::9\n")
    done = baco("compress", path, "--no-header", "-u", 0, "-i", 1, "--rows", 4, "-o", tmp_path / "m.npz")
    assert done.exit_code == 0, done.stderr
    assert Codebook.load(tmp_path / "m.npz").item_ids.tolist() == ["a", "b"]  # type: ignore[union-attr]


BAD = {
    "two_budgets": (["--ratio", 0.2, "--rows", 10], "give exactly one of rows, ratio, megabytes, gamma; got"),
    "no_budget": ([], "give exactly one of rows, ratio, megabytes, gamma; got none"),
    "ratio": (["--ratio", 1.5], "ratio=1.5 must lie in (0, 1]"),
    "small": (["--rows", 1], "rows=1: a budget is a whole number of at least 2"),
    "gamma": (["--gamma", -1], "gamma=-1.0 must be"),
    "weights": (["--ratio", 0.2, "--weights", "heavy"], "weights"),
    "column": (["--ratio", 0.2, "--item", "sku"], "no column 'sku'; it has the columns 'who', 'what', 'times'"),
    "format": (["--ratio", 0.2, "--format", "xml"], "format must be one of auto, csv"),
    "key": (["--ratio", 0.2, "--key", "train"], "has no use for key='train'"),
    "jobs": (["--ratio", 0.2, "--jobs", 0], "n_jobs"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_error_is_one_line_and_exit_code_2(log: Path, tmp_path: Path, name: str) -> None:
    options, message = BAD[name]
    done = baco("compress", log, "--user", "who", "--item", "what", "-o", tmp_path / "m.npz", *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("baco: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        (b"", "is empty"),
        (b"user,item\n\x00\x01,2\n", "is binary"),
        (b"user,item,w\n1,2,-3\n", "the weight is -3"),
        pytest.param(
            b"PAR1 cut short",
            "not a readable parquet file",
            marks=pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow, the extra baco[parquet]"),
        ),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_nothing(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "out"
    out.mkdir()
    weight = ("--weight", "w") if content and b"-3" in content else ()
    done = baco("compress", path, "--ratio", 0.5, *weight, "-o", out / "m.npz", "--report", out / "m.html")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(out) == []


def test_a_target_that_cannot_be_written_is_seen_before_the_work(log: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.csv"  # never read: the target is looked at first
    for target, message in (
        (tmp_path / "no" / "m.npz", "does not exist; create it first"),
        (tmp_path / "m.txt", "must end in .npz"),
        (tmp_path / "f.npz", "is a folder"),
    ):
        (tmp_path / "f.npz").mkdir(exist_ok=True)
        done = baco("compress", missing, "--ratio", 0.5, "-o", target)
        assert done.exit_code == 2
        assert message in done.stderr
    done = baco("report", tmp_path / "none.npz")
    assert (done.exit_code, done.stdout) == (2, "")
    npz = tmp_path / "in.npz"
    np.savez(npz, users=[1], items=[2])
    done = baco("compress", npz, "--ratio", 1, "-o", npz)
    assert "is the input" in done.stderr


def test_usage_and_version() -> None:
    assert baco("--version").stdout.startswith("baco 0.")
    done = baco("compress", "x.csv")
    assert done.exit_code == 2
    assert "Usage" in done.stderr


# --- the real process

INTERRUPT = """
import os, signal, sys
import numpy as np
import baco.cli, baco.cluster

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits it ignored

def stop(*_):
    os.kill(os.getpid(), signal.SIGINT)

fit = baco.cluster.BACO.fit

def interrupted(self, *arguments):
    self.callbacks = [stop]
    return fit(self, *arguments)

baco.cluster.BACO.fit = interrupted
baco.cli.main()
"""


def test_an_interrupted_fit_leaves_what_was_there(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.npz"
    out.write_bytes(b"what was there before")
    command = [sys.executable, "-c", INTERRUPT, "compress", log, "-u", "who", "-i", "what", "--ratio", "0.3"]
    command += ["-o", out, "--report", tmp_path / "map.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "baco: interrupted; unfinished files were not written\n"
    assert done.stdout == ""
    assert os.listdir(tmp_path) == ["map.npz"]
    assert out.read_bytes() == b"what was there before"


def test_an_interrupted_write_leaves_what_was_there(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(file: Any, **_: Any) -> None:
        file.write(b"half an archive")
        raise KeyboardInterrupt

    out = tmp_path / "map.npz"
    out.write_bytes(b"what was there before")
    monkeypatch.setattr(np, "savez_compressed", half)
    done = baco("compress", log, "-u", "who", "-i", "what", "--ratio", 0.3, "-o", out)
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr == "baco: interrupted; unfinished files were not written\n"
    assert os.listdir(tmp_path) == ["map.npz"]
    assert out.read_bytes() == b"what was there before"


def test_the_installed_command_is_silent_off_the_terminal(log: Path, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("baco")
    arguments = ["compress", log, "-u", "who", "-i", "what", "--ratio", "0.3", "-o", tmp_path / "map.npz", "--json"]
    done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    assert json.loads(done.stdout)["users"] == 300


# --- real logs


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "options", "ratio"),
    [("gowalla/train.txt", (), 0.17), ("beauty/beauty.npz", ("--key", "train"), 0.25)],
    ids=["gowalla", "beauty"],
)
def test_real_logs_meet_their_budget(
    spk_data: Callable[[str], Path], tmp_path: Path, file: str, options: tuple[str, ...], ratio: float
) -> None:
    out = tmp_path / "map.npz"
    done = baco("compress", spk_data(f"interactions/{file}"), *options, "--ratio", ratio, "-o", out, "--json")
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    budget = int(ratio * (facts["users"] + facts["items"]))
    assert 0.97 * budget <= Codebook.load(out).n_rows <= budget
