"""The command: every sub-command once, and errors in one line."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import demm
from demm import cli


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["demm", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return stopped.value.code or 0, captured.out, captured.err


@pytest.fixture
def edges(easy, tmp_path):
    lines = ["src,dst,relation"]
    for name, a in easy.graph.items():
        coo = a.tocoo()
        lines += [f"{i},{j},{name}" for i, j in zip(*coo.coords, strict=True) if i < j]
    (tmp_path / "edges.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.save(tmp_path / "x.npy", easy.X)
    return tmp_path


def test_convert_info_fit_and_search(edges, easy, monkeypatch, capsys):
    code, out, err = run(
        monkeypatch, capsys, "convert", edges / "edges.csv", edges / "store", "--x", edges / "x.npy", "--json"
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["nodes"] == 240
    code, out, _ = run(monkeypatch, capsys, "info", edges / "store", "--json")
    assert json.loads(out)["relations"]["informative_0"]["form"] == "csr"
    for name in ("labels.csv", "labels.npy"):
        code, out, _ = run(
            monkeypatch, capsys, "fit", edges / "store", "--k", 3, "--out", edges / name, "--json",
            "--model", edges / "model",
        )  # fmt: skip
        assert code == 0
        assert sum(json.loads(out)["relation_weights"].values()) == pytest.approx(1, abs=1e-3)
    labels = np.load(edges / "labels.npy")
    assert demm.metrics.accuracy(easy.labels, labels) > 0.95
    rows = (edges / "labels.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "node,label"
    assert [int(row.split(",")[1]) for row in rows[1:]] == labels.tolist()
    np.testing.assert_array_equal(demm.load(edges / "model").labels_, labels)
    code, out, _ = run(monkeypatch, capsys, "search", edges / "store", "--k", 3, "--trials", 3)
    assert "modularity x stability" in out
    assert code == 0


def test_bench_compares_with_scipy(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "bench", "--nodes", 2000, "--columns", 8, "--json")
    assert code == 0
    assert json.loads(out)["largest_relative_difference"] < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "nowhere.csv", "--k", "3", "--out", "l.csv"), "nowhere.csv is not there"),
        (("fit", "edges.csv", "--k", "0", "--out", "l.csv"), "n_clusters=0"),
        (("fit", "edges.csv", "--k", "3", "--out", "l.txt"), "got suffix '.txt'"),
        (("info", "nowhere"), "not there"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(edges, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(edges)
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_usage_errors_are_typers(monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "fit")
    assert code == 2
    assert "Missing argument" in err
