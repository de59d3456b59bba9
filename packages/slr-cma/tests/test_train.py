"""Training resumes exactly, several processes agree, models survive the disk, corruptions behave."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slr_cma import ArrayDataset, CMANet, PairedSign, TrainConfig, load_model, predict, save_model, train
from slr_cma.data.corrupt import CORRUPTIONS, corrupt
from slr_cma.engine import evaluate, mean_corruption_error, robustness_suite

NET: dict[str, Any] = {"size": (12, 12), "channels": (4, 6), "hidden": 16}
CONFIG = TrainConfig(epochs=3, batch_size=20, lr=5e-3)


def net() -> CMANet:
    torch.manual_seed(1)
    return CMANet(18, modality_dropout=0.2, **NET)


@pytest.fixture(scope="module")
def signs() -> PairedSign:
    return PairedSign(72, seed=1)


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(signs: PairedSign, tmp_path: Path) -> None:
    whole, first = net(), net()
    history = train(whole, signs.arrays(), signs.arrays(), CONFIG, folder=tmp_path / "a")
    train(first, signs.arrays(), signs.arrays(), CONFIG, folder=tmp_path / "b", stop_after=0)
    second = net()
    resumed = train(second, signs.arrays(), signs.arrays(), CONFIG, folder=tmp_path / "b")
    assert [r["loss"] for r in resumed.rows] == [r["loss"] for r in history.rows]
    for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert len((tmp_path / "b" / "metrics.csv").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "b" / "results.json").read_text())["best_epoch"] == history.best_epoch
    best, _ = load_model(tmp_path / "b" / "checkpoints" / "best")
    assert best.config == whole.config
    with pytest.raises(ValueError, match=r"another configuration \(train.lr\)"):
        train(net(), signs.arrays(), None, TrainConfig(epochs=3, batch_size=20, lr=1e-3), folder=tmp_path / "b")


def test_a_dataset_of_samples_trains_like_arrays(signs: PairedSign) -> None:
    a, b = net(), net()
    config = TrainConfig(epochs=1, batch_size=20)
    assert train(a, signs, None, config).rows[0]["loss"] == train(b, signs.arrays(), None, config).rows[0]["loss"]
    torch.testing.assert_close(predict(a, signs)[0], predict(a, signs.arrays())[0])


def test_mixed_precision_and_an_epoch_transform_run(signs: PairedSign) -> None:
    seen = []

    def transform(events: Any, frames: Any, epoch: int) -> Any:
        seen.append(epoch)
        return events * 0, frames

    data = signs.arrays(epoch_transform=transform)
    history = train(net(), data, None, TrainConfig(epochs=2, batch_size=24, amp=True, schedule="onecycle"))
    assert seen == [0, 1]
    assert np.isfinite(history.rows[-1]["loss"])
    assert data.events is not None
    assert not data.events.any()


def test_rates_rise_and_fall() -> None:
    one = TrainConfig(epochs=8, lr=1.0, schedule="onecycle")
    assert one.rate(0) == pytest.approx(0.04)
    assert one.rate(2) == pytest.approx(1.0)
    assert one.rate(8) == pytest.approx(1e-4)
    cosine = TrainConfig(epochs=40, lr=1.0)
    assert cosine.rate(0) < 0.01 < cosine.rate(3) < cosine.rate(5) == pytest.approx(1.0)
    assert cosine.rate(40) == pytest.approx(0, abs=1e-9)


def test_bad_training_is_one_clear_error(signs: PairedSign) -> None:
    with pytest.raises(ValueError, match="label 17 is in the data"):
        train(CMANet(3, **NET), signs.arrays())
    with pytest.raises(ValueError, match="at least 2"):
        train(net(), signs.arrays().subset(np.array([0])))
    with pytest.raises(ValueError, match="schedule"):
        TrainConfig(schedule="linear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size=1"):
        TrainConfig(batch_size=1)
    for change, message in (
        ({"events": np.full((2, 3, 2, 4, 4), np.nan)}, "NaN"), ({"labels": [0, -1]}, "negative"),
        ({"labels": [0.5, 1.0]}, "integers"), ({"frames": np.zeros((2, 4, 1, 4, 4))}, "expected"),
        ({"mask": np.ones((2, 9), bool)}, "mask"), ({"events": None}, "give events"),
    ):  # fmt: skip
        given: dict[str, Any] = {"events": np.zeros((2, 3, 2, 4, 4)), "frames": None, "labels": [0, 1], **change}
        with pytest.raises(ValueError, match=message):
            ArrayDataset(given["events"], given["frames"], given["labels"], mask=given.get("mask"))


DDP = """
import sys, torch
from slr_cma import CMANet, PairedSign, TrainConfig, train
torch.manual_seed(1)
net = CMANet(18, size=(12, 12), channels=(4, 6), hidden=16)
history = train(net, PairedSign(72, seed=1).arrays(), None, TrainConfig(epochs=1, batch_size=24), folder=sys.argv[1])
total = sum(p.double().sum() for p in net.parameters()).detach().reshape(1)
both = [torch.zeros_like(total) for _ in range(2)]
torch.distributed.all_gather(both, total)
assert torch.equal(both[0], both[1]), both
torch.distributed.destroy_process_group()
"""


def test_two_processes_end_with_the_same_weights(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    base = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", DDP, str(tmp_path / "run")], env={**base, "RANK": str(rank)}, stderr=subprocess.PIPE
        )
        for rank in range(2)
    ]
    told = [run.communicate(timeout=120)[1].decode()[-800:] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").is_file()


def test_models_survive_the_disk_and_refuse_other_bins(tmp_path: Path, signs: PairedSign) -> None:
    model = net().eval()
    path = save_model(model, tmp_path / "m", classes=["a"], binning={"n_bins": 12})
    again, described = load_model(path, binning={"n_bins": 12})
    assert torch.equal(predict(again, signs.arrays())[0], predict(model, signs.arrays())[0])
    assert described["classes"] == ["a"]
    with pytest.raises(ValueError, match="n_bins: 12 then, 24 now"):
        load_model(path, binning={"n_bins": 24})
    beside = path.with_suffix(".json")
    for text in ('{"schema": 1}', '{"schema": 1, "config": {"n_classes": 18, "size": 3}}'):
        beside.write_text(text)
        with pytest.raises(ValueError, match="does not fit its configuration"):
            load_model(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="no model written by save_model"):
        load_model(path)
    with pytest.raises(ValueError, match="missing"):
        load_model(tmp_path / "none")


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_corruption_strikes_its_modality_harder_and_harder(name: str, signs: PairedSign) -> None:
    strikes = CORRUPTIONS[name][0]
    e0, _ = corrupt(name, signs.events, signs.frames, severity=0)
    np.testing.assert_array_equal(e0, signs.events)
    change = []
    for severity in (1, 3, 5):
        e, f = corrupt(name, signs.events, signs.frames, severity=severity, seed=2)
        again = corrupt(name, signs.events, signs.frames, severity=severity, seed=2)
        np.testing.assert_array_equal(e, again[0])
        assert e is not None
        assert f is not None
        assert e.shape == signs.events.shape
        assert e.min() >= 0
        assert np.isfinite(f).all()
        if strikes == "events":
            np.testing.assert_array_equal(f, signs.frames)
        if strikes == "frames":
            np.testing.assert_array_equal(e, signs.events)
        change.append(float(np.abs(e - signs.events).mean() + np.abs(f - signs.frames).mean()))
    assert 0 < change[0] < change[1] < change[2]
    if name in ("time jitter", "polarity flip"):
        moved = corrupt(name, signs.events, None, severity=5)[0]
        assert moved is not None
        np.testing.assert_allclose(moved.sum((1, 2)), signs.events.sum((1, 2)))  # events move, none is lost


def test_bad_corruptions_are_one_clear_error(signs: PairedSign) -> None:
    with pytest.raises(ValueError, match="'rain' is not known"):
        corrupt("rain", signs.events, None, severity=1)
    with pytest.raises(ValueError, match="severity=6"):
        corrupt("dim", None, signs.frames, severity=6)
    with pytest.raises(ValueError, match="nothing to corrupt"):
        corrupt("dim", None, None, severity=1)


def test_evaluation_counts_right(signs: PairedSign) -> None:
    model = net().eval()
    found = evaluate(model, signs.arrays(), full=True)
    logits, labels = predict(model, signs.arrays())
    assert found.accuracy == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert np.sum(found.confusion) == 72
    assert found.low <= found.accuracy <= found.high
    assert found.prefix is not None
    assert found.prefix["100%"] == pytest.approx(found.accuracy)
    assert found.energy is not None
    # the first convolution sees counts: a multiply-accumulate for each of its connections
    assert found.energy["MAC"] > 0
    assert found.energy["energy_joule"] > 0
    rows = robustness_suite(model, signs.arrays(), corruptions=["dim", "event drop"], severities=(5,), seeds=1)
    assert [r["corruption"] for r in rows[:5]] == ["none", "no frames", "no events", "dim", "event drop"]
    assert rows[-1]["accuracy"] == min(r["accuracy"] for r in rows)
    assert rows[0]["worst_group"] is None
    assert robustness_suite(model, signs, corruptions="dim", severities=(5,), seeds=1)[3] == rows[3]
    grouped = robustness_suite(
        model, signs.arrays(groups=np.arange(72) % 3), corruptions=["dim"], severities=(5,), seeds=2
    )
    assert grouped[3]["worst_group_accuracy"] <= grouped[3]["accuracy"] == rows[3]["accuracy"]
    with pytest.raises(ValueError, match="same corruptions"):
        mean_corruption_error(rows, grouped)


def test_corruption_errors_are_relative_to_the_baseline() -> None:
    def rows(*accuracy: float) -> list[dict[str, Any]]:
        kinds = (("none", 0), ("dim", 1), ("dim", 5), ("burst", 1), ("burst", 5))
        return [
            {"corruption": c, "severity": s, "accuracy": a} for (c, s), a in zip(kinds, (1.0, *accuracy), strict=True)
        ]

    # dim: 0.3 / 0.6, burst: 0.9 / 0.6
    assert mean_corruption_error(rows(0.9, 0.8, 0.6, 0.5), rows(0.8, 0.6, 0.8, 0.6)) == pytest.approx(100)
    with pytest.raises(ValueError, match="no error under 'dim'"):
        mean_corruption_error(rows(0.9, 0.8, 0.6, 0.5), rows(1, 1, 0.8, 0.6))
