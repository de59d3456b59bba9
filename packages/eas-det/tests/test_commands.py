"""The commands of the detector, end to end on a run of seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eas_det import BOX_DTYPE, load_boxes, make_boxes, write_dat
from eas_det.cli import app, main
from eas_det.synth import EventShapes
from eas_det.viz import animate, draw

CONFIG = """
model: {variant: pico, spiking: backbone, T: 2, embedding_options: {kernel_size: 3, depth: 1}}
data: {name: shapes, level: easy, n: 3, size: [32, 32]}
validation: {n: 2, seed: 5}
epochs: 1
batch_size: 4
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "a.yaml").write_text(CONFIG)
    found = CliRunner().invoke(app, ["train", str(folder / "a.yaml"), "--out", str(folder / "run"), "--json"])
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert told["epochs"] == 1
    write_dat(folder / "clip.dat", EventShapes("easy", 1, 0, size=(32, 32))[0].events)
    return folder


def test_a_trained_model_is_measured(run: Path) -> None:
    model = str(run / "run" / "checkpoints" / "best.safetensors")
    options = json.dumps({"level": "easy", "n": 2, "size": [32, 32]})
    arguments = ["eval", model, "--data", "shapes", "--options", options, "--preset", "gen1", "--json"]
    found = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert set(found) == {"coco", "by_speed", "prophesee"}
    assert 0 <= found["coco"]["AP"] <= 1
    text = (
        CliRunner().invoke(app, ["eval", model, "--data", "shapes", "--options", options, "--protocol", "coco"]).stdout
    )
    assert "AP50" in text


def test_objects_of_a_recording_are_found_and_drawn(run: Path) -> None:
    pytest.importorskip("matplotlib")
    boxes, video = run / "boxes.npy", run / "a.gif"
    model = str(run / "run" / "checkpoints" / "best")
    arguments = ["predict", model, str(run / "clip.dat"), "-o", str(boxes), "--video", str(video), "--hop", "100000"]
    found = json.loads(CliRunner().invoke(app, [*arguments, "--conf", "0", "--json"]).stdout)
    there = load_boxes(boxes)
    assert there.dtype == BOX_DTYPE
    assert len(there) == found["boxes"] > 0
    # the first event is not at 0, so the clip's half second has four whole hops
    assert found["times"] == len(np.unique(there["t"])) == 4
    assert video.read_bytes()[:6] == b"GIF89a"


def test_a_profile_of_a_model_and_of_a_name(run: Path) -> None:
    model = str(run / "run" / "checkpoints" / "best.safetensors")
    told = json.loads(CliRunner().invoke(app, ["profile", model, "--file", str(run / "clip.dat"), "--json"]).stdout)
    assert told["trained"]
    assert told["AC"] > 0
    text = CliRunner().invoke(app, ["profile", "pico/full", "--size", "64x64"]).stdout
    assert "random weights" in text
    assert "mJ" in text


def test_mistakes_are_one_line(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(run / "run" / "checkpoints" / "best")
    for arguments, said in (
        (["train", str(run / "none.yaml"), "--out", "x"], "none.yaml"),
        (["eval", model, "--data", "coco"], "expected one of shapes"),
        (["eval", model, "--data", "shapes", "--options", "{"], "no JSON"),
        (["eval", model, "--data", "shapes", "--protocol", "voc"], "coco, prophesee or both"),
        (["eval", str(run / "none"), "--data", "shapes"], "does not exist"),
        (["predict", model, str(run / "clip.dat"), "-o", "a.csv"], "ends in .npy"),
        (["profile", "xl/full"], "expected one of pico"),
    ):
        monkeypatch.setattr("sys.argv", ["eas-det", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        err = capsys.readouterr().err
        assert said in err
        assert "Traceback" not in err


def test_overlays(run: Path) -> None:
    pytest.importorskip("matplotlib")
    clip = EventShapes("easy", 1, 0, size=(32, 32))[0]
    found = make_boxes(2, t=clip.boxes["t"].max(), x=[2, 9], y=3, w=8, h=6, class_id=[0, 7], class_confidence=0.5)
    ax = draw(clip.events, found, truth=clip.boxes, classes=("rectangle",))
    assert len(ax.patches) == 2 + len(clip.boxes)
    assert [each.get_text() for each in ax.texts] == ["rectangle 0.50", "7 0.50"]
    assert {each.get_linestyle() for each in ax.patches} == {"-", "--"}
    path = animate(run / "b.gif", clip.events, found, truth=clip.boxes, classes=("a", "b"), window_us=200_000)
    assert path.stat().st_size > 0
