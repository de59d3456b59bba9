"""The command: the whole way on a small tree, and its errors."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from slr_cma import PairedSign, SignWorld, plot
from slr_cma.cli import app, main
from slr_cma.data import convert
from slr_cma.diagnostics import TemporalReport, temporal_report
from slr_cma.models import CMANet

#: the sensor of conftest's tree, and keywords that fit it
SIZE = (60, 80)
SMALL: dict[str, Any] = {"size": SIZE, "crop": (2, 10, 56, 60), "down": 4, "n_bins": 5}


def call(*words: str) -> Any:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1] if "{" not in result.stdout[:2] + "[" else result.stdout)


@pytest.fixture(scope="module")
def cache(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "cache"
    convert(tree, out, on_missing="skip", progress=False, **SMALL)
    return out


def test_train_eval_robustness_info(cache: Path, tree: Path, tmp_path: Path) -> None:
    assert call("info", str(cache), "--json")["users"] == 4
    assert call("info", str(tree), "--json")["complete"] == 16
    run = tmp_path / "run"
    words = [
        "train",
        str(cache),
        "--out",
        str(run),
        "--epochs",
        "1",
        "--batch-size",
        "4",
        "--channels",
        "4,6",
        "--augment",
        "--json",
    ]
    assert call(*words)["epochs"] == 1
    model = str(run / "checkpoints" / "best.safetensors")
    found = call("eval", model, str(cache), "--json")
    assert found["n"] == 4
    assert set(found["groups"]["position"]) == {"front", "back"}
    words = ["robustness", model, str(cache), "--severities", "5", "--seeds", "1", "--against", model, "--json"]
    found = call(*words)
    assert len(found["rows"]) == 1 + 2 + 15 + 1
    assert found["rows"][0]["worst_group"] == "user40"
    assert found["mean corruption error"] == pytest.approx(100)


def test_diagnose_writes_its_report(tmp_path: Path) -> None:
    signs = PairedSign(300, task="order", seed=1)
    np.savez(tmp_path / "d.npz", X=signs.events, Y=signs.labels, S=np.arange(300) >= 200)
    words = [
        "diagnose",
        str(tmp_path / "d.npz"),
        "--split",
        "S",
        "--permutations",
        "20",
        "--html",
        str(tmp_path / "r.html"),
    ]
    found = call(*words, "--json")
    assert found["tci"] > 0.9
    assert found["n_test"] == 100
    assert (tmp_path / "r.html").stat().st_size > 3000


def test_errors_are_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main replaces it: put it back afterwards
    for words in (["diagnose", str(tmp_path / "no.npz")], ["info", str(tmp_path / "no")]):
        monkeypatch.setattr(sys, "argv", ["slr-cma", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        told = capsys.readouterr().err
        assert told.startswith("slr-cma: ")
        assert told.count("\n") == 1


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    signs, many = PairedSign(4, seed=1), PairedSign(200, world=SignWorld(bins=3, size=8), seed=1)
    net = CMANet(18, size=(12, 12), channels=(4, 6), hidden=16).eval()
    batch = signs.arrays().batch(np.arange(2))
    figures = {
        "strip": plot.filmstrip(signs[0], title="x"),
        "attention": plot.attention(signs[1], net.attention_scores(batch.events, batch.frames)["1"], index=1),
        "probes": temporal_report(
            many.events, many.orders, tiers=(1,), n_perm=5, split=(np.arange(100), np.arange(100, 200))
        ).plot(),
        "prefix": plot.prefix({"50%": 0.4, "100%": 0.8}).figure,
        "severity": plot.severity(
            [{"corruption": c, "severity": s, "accuracy": 1 - s / 9} for c, s in (("none", 0), ("dim", 1), ("dim", 5))]
        ).figure,
        "confusion": plot.confusion(np.eye(3), ["a", "b", "c"]).figure,
    }
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 3000
    with pytest.raises(ValueError, match="square"):
        plot.confusion(np.ones((2, 3)))
    with pytest.raises(ValueError, match="no probes"):
        TemporalReport(1, 1, 2, 0.5).plot()
    assert torch.is_grad_enabled()


def test_info_says_that_a_folder_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.argv", ["slr-cma", "info", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "is empty; expected a cache" in capsys.readouterr().err
