from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest

import results
from results import Results


@pytest.fixture
def out(tree_root: Path) -> Results:
    return Results("light", "speed", threads=2, command="python packages/light/benchmarks/speed.py", root=tree_root)


def fill(out: Results) -> dict[str, Any]:
    out.add(
        name="one million edges",
        metric="wall time",
        unit="s",
        ours=0.5,
        peer=("other", 5.0),
        ratio=10.0,
        target=">= 10",
        met=True,
        n=7,
        spread=0.01,
        headline="{ratio:.0f}x faster than {peer}",
    )
    return dict(json.loads(out.write().read_text()))


def test_what_is_written_fits_the_schema(out: Results, tree_root: Path) -> None:
    data = fill(out)
    assert out.path == tree_root / "packages/light/benchmarks/results/speed.json"
    assert results.problems(data) == []
    assert data["package"] == "light"
    assert data["version"] == "0.1.0"
    assert data["machine"]["threads"] == 2
    assert data["commit"] == "unknown"
    assert results.load(out.path) == data
    assert [path.name for path in out.path.parent.iterdir()] == ["speed.json"]


def test_same_row_is_replaced_and_another_peer_is_another_row(out: Results) -> None:
    fill(out)
    out.add(name="one million edges", metric="wall time", ours=0.4, peer=("other", 5.0), n=7)
    out.add(name="one million edges", metric="wall time", ours=0.4, peer=("third", 2.0), n=7)
    assert [(row["peer"]["name"], row["ours"]) for row in out.rows] == [("other", 0.4), ("third", 0.4)]


def test_numpy_scalars_become_numbers(out: Results) -> None:
    class Scalar(float):
        """What a numpy float32 looks like from here: 0.1 comes back as 0.10000000149."""

        def item(self) -> float:
            return 0.10000000149011612

    out.add(name="a", metric="m", ours=Scalar(), n=3)
    assert json.loads(out.write().read_text())["rows"][0]["ours"] == 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ours": math.nan}, "ours: got nan, expected int or float or null"),
        ({"ours": None}, "note must say why"),
        ({"ours": "fast"}, "ours: got 'fast'"),
        ({"met": True, "target": None}, "met is given without a target"),
        ({"headline": "10x faster"}, "no number is typed by hand"),
        ({"headline": "{ours:.1f} {nothing}"}, "cannot be filled"),
        ({"ratio": None, "headline": "{ratio:.1f}"}, "cannot be filled"),
        ({"n": -1}, "expected the number of repetitions"),
    ],
)
def test_a_bad_row_is_refused_and_not_stored(out: Results, change: dict[str, Any], message: str) -> None:
    row: dict[str, Any] = {"name": "a", "metric": "m", "ours": 1.0, "n": 7, **change}
    with pytest.raises(ValueError, match=message):
        out.add(**row)
    assert out.rows == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema: got 2"),
        ({"benchmark": "other"}, "benchmark: got 'other'"),
        ({"date": "yesterday"}, "date: got 'yesterday'"),
        ({"command": "python /home/me/speed.py"}, "no absolute path"),
        ({"command": "python speed.py --out=~/x"}, "no absolute path"),
        ({"hostname": "box"}, "hostname is not in the schema"),
        ({"machine": {}}, "machine: cpu is missing"),
        ({"versions": {"numpy": 2}}, r"versions.numpy: got 2"),
        ({"rows": [1]}, r"rows\[0\]: got int"),
        ({"cells": [{}]}, r"cells\[0\]: cell is missing"),
    ],
)
def test_departures_from_the_schema_are_named(out: Results, change: dict[str, Any], message: str) -> None:
    data = {**fill(out), **change}
    out.path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        results.load(out.path)


def test_two_equal_rows_are_a_problem(out: Results) -> None:
    data = fill(out)
    data["rows"].append(copy.deepcopy(data["rows"][0]))
    assert [line for line in results.problems(data) if "is there twice" in line]


def test_cells_survive_an_interruption(tree_root: Path) -> None:
    def queue() -> Results:
        return Results("light", "reproduce", threads=1, resume=True, command="python reproduce.py", root=tree_root)

    first = queue()
    first.add_cell("small", 1, {"recall": 0.25}, seconds=1.0)
    first.add_cell("small", 0, {"recall": 0.5}, seconds=1.0)
    second = queue()
    assert second.has_cell("small", 1)
    assert not second.has_cell("small", 2)
    assert second.values("small", "recall") == [0.5, 0.25]
    with pytest.raises(ValueError, match="is there already"):
        second.add_cell("small", 1, {"recall": 0.3}, seconds=1.0)
    with pytest.raises(ValueError, match="expected a finite number"):
        second.add_cell("small", 2, {"recall": math.inf}, seconds=1.0)
    assert len(json.loads(second.path.read_text())["cells"]) == 2


def test_resuming_on_another_machine_is_refused(out: Results, tree_root: Path) -> None:
    fill(out)
    with pytest.raises(ValueError, match="measured with threads=2, this run has threads=1"):
        Results("light", "speed", threads=1, resume=True, command="python speed.py", root=tree_root)
    variant = Results("light", "speed", threads=1, variant="h200", resume=True, command="python x", root=tree_root)
    assert variant.path.name == "speed-h200.json"


def test_a_failed_write_leaves_the_old_file(out: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill(out)

    def broken(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", broken)
    out.add(name="b", metric="m", ours=1.0, n=7)
    with pytest.raises(OSError, match="disk full"):
        out.write()
    assert json.loads(out.path.read_text()) == before
    assert [path.name for path in out.path.parent.iterdir()] == ["speed.json"]


def test_typed_command_holds_no_absolute_path(tree_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPK_DATA", "/real/data")
    argv = [str(tree_root / "packages/light/benchmarks/speed.py"), "--data", "/real/data/x.npz", "--quick"]
    assert (
        results.typed_command(tree_root, argv)
        == "python packages/light/benchmarks/speed.py --data $SPK_DATA/x.npz --quick"
    )


def test_unknown_benchmark_and_variant_are_refused(tree_root: Path) -> None:
    with pytest.raises(ValueError, match="expected one of speed, reproduce"):
        Results("light", "fast", threads=1, root=tree_root)
    with pytest.raises(ValueError, match="got variant 'A B'"):
        Results("light", "speed", threads=1, variant="A B", root=tree_root)
