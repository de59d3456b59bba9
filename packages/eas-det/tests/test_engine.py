"""Training, evaluation, streams, energy."""

from __future__ import annotations

import json
import multiprocessing
import socket
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eas_det import Events
from eas_det.data import Rendered, Rendering, SynthShapes
from eas_det.energy import firing_rates, profile
from eas_det.engine import TrainConfig, Trainer, detect, evaluate
from eas_det.engine.config import make_dataset, read_config
from eas_det.models import EventDetector, load_detector
from eas_det.stream import StreamingDetector, detect_recording, to_boxes


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


MODEL = {"variant": "pico", "spiking": "none", "T": 1, "embedding": "count"}


@pytest.fixture(scope="module")
def data() -> tuple[Rendered, Rendered]:
    make = [Rendered.of(SynthShapes("easy", n, seed, size=(32, 32)), torch.uint8) for n, seed in ((7, 0), (3, 1))]
    return make[0], make[1]


@pytest.fixture(scope="module")
def lively() -> EventDetector:
    """A network whose norms have seen data, so that its neurons fire."""
    torch.manual_seed(0)
    net = EventDetector("pico", 3, "full", T=2)
    for _ in range(20):
        with torch.no_grad():
            net(torch.poisson(torch.full((4, 4, 2, 32, 32), 0.4)))
    return net.eval()


def settings_of(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "epochs": 3, "batch_size": 4, "lr": 2e-3, **changes}


def test_a_run_that_was_stopped_equals_one_that_was_not(data: tuple[Rendered, Rendered], tmp_path: Path) -> None:
    model = {**MODEL, "spiking": "backbone"}
    whole = Trainer(
        settings_of(epochs=2, model=model), train=data[0], validation=data[1], folder=tmp_path / "a", progress=False
    )
    losses = whole.fit().losses
    assert len(losses) == 6
    # the fourth step lies within an epoch, and the checkpoint is one step older than what was lost
    cfg = settings_of(epochs=2, model=model, checkpoint_every=4)
    Trainer(cfg, train=data[0], validation=data[1], folder=tmp_path / "b", progress=False).fit(stop_after=5)
    again = Trainer(cfg, train=data[0], validation=data[1], folder=tmp_path / "b", progress=False)
    history = again.fit()
    assert history.losses == losses
    for name, each in whole.model.state_dict().items():
        assert torch.equal(each, again.model.state_dict()[name]), name
    for name, each in whole.averaged().state_dict().items():
        assert torch.equal(each, again.averaged().state_dict()[name]), name
    drop = [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
    assert drop == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history.rows]


# both programs run in children of one server that has loaded torch already; they get `folder`, `rank`, `port`
KILLED = """
import json, torch
from eas_det.data import Rendered, Sample
from eas_det.engine import Trainer

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
counts = torch.poisson(torch.full((9, 4, 2, 32, 32), 0.4), generator=generator)
boxes, no = torch.tensor([[4.0, 6, 20, 25]]), torch.tensor([False])
samples = [Sample(x, boxes, torch.tensor([k % 2]), k, "a", no, torch.ones(1)) for k, x in enumerate(counts)]
cfg = {"model": {"variant": "pico", "spiking": "none", "T": 1, "embedding": "count"}, "epochs": 4, "batch_size": 4,
       "checkpoint_every": 1}
trainer = Trainer(cfg, train=Rendered(counts, samples, ["x", "y"]), folder=folder, progress=False)
losses = [each.hex() for each in trainer.fit().losses]
"""


def child(program: str, **names: Any) -> BaseProcess:
    """A process that runs a program with these names in it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["eas_det.engine", "eas_det.models.detector"])
    process = context.Process(target=exec, args=(program, {"__name__": "here", **names}))
    process.start()
    return process


def test_a_killed_run_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    cut = child(KILLED, folder=str(tmp_path / "a"))
    last = tmp_path / "a" / "checkpoints" / "last.pt"
    here: dict[str, Any] = {"folder": tmp_path / "b"}
    exec(KILLED, here)  # the same program, not disturbed, in this process meanwhile
    end = time.time() + 60
    while not last.exists() and time.time() < end:
        time.sleep(0.01)
    cut.kill()
    cut.join()
    assert len(torch.load(last, weights_only=True)["history"][1]) >= 1
    again: dict[str, Any] = {"folder": tmp_path / "a"}
    exec(KILLED, again)
    assert again["losses"] == here["losses"]
    assert len(here["losses"]) == 8


def test_the_folder_of_a_run(data: tuple[Rendered, Rendered], tmp_path: Path) -> None:
    trainer = Trainer(settings_of(epochs=2), train=data[0], validation=data[1], folder=tmp_path, progress=False)
    history = trainer.fit()
    model, facts = load_detector(tmp_path / "checkpoints" / "best")
    assert facts["classes"] == ["rectangle", "ellipse", "diamond"]
    assert model.config == trainer.model.config
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,step,loss,iou_loss,obj_loss,cls_loss,num_fg,AP,AP50")
    assert len(lines) == 3
    assert json.loads((tmp_path / "results.json").read_text())["best_epoch"] == history.best_epoch
    other = settings_of(epochs=2, lr=1e-3)
    with pytest.raises(ValueError, match=r"another configuration \(config.lr\)"):
        Trainer(other, train=data[0], validation=data[1], folder=tmp_path, progress=False).fit()


def test_learning_lowers_the_loss_and_the_average_follows(data: tuple[Rendered, Rendered]) -> None:
    trainer = Trainer(settings_of(epochs=12, lr=5e-3), train=data[0], progress=False)
    losses = trainer.fit().losses
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    averaged, last = trainer.averaged(), trainer.model
    pairs = list(zip(averaged.parameters(), last.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert max(float((a - b).detach().abs().max()) for a, b in pairs) < 0.1


def test_settings_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("epochs: 2\nmodel: {variant: nano}\ndata: {name: shapes, level: easy, n: 2, size: [32, 32]}\n")
    cfg = read_config(path)
    assert (cfg.epochs, cfg.model["variant"]) == (2, "nano")
    assert len(make_dataset(cfg.data, cfg.rendering, {"flip": 1.0})) >= 2
    assert cfg.rate(0) == cfg.rate(1.5) == 1e-3
    assert TrainConfig(schedule="cosine", epochs=10, warmup=1).rate(10) == 0
    path.write_text("epoch: 2\n")
    with pytest.raises(ValueError, match="unknown setting 'epoch'"):
        read_config(path)
    path.write_text("[1, 2\n")
    with pytest.raises(ValueError, match="no YAML"):
        read_config(path)
    for wrong in ({"epochs": 0}, {"schedule": "step"}, {"ema": 1.0}, {"clip": -1}):
        with pytest.raises(ValueError, match=r"expected|>=|need"):
            TrainConfig(**wrong)
    with pytest.raises(ValueError, match="validation is the training data"):
        Trainer({"data": {"name": "shapes", "level": "easy", "n": 1, "size": (32, 32)}, "validation": {"n": 1}})
    with pytest.raises(ValueError, match="expected one of shapes"):
        make_dataset({"name": "coco"}, {})
    with pytest.raises(ValueError, match="unexpected keyword"):
        make_dataset({"name": "shapes", "clips": 3}, {})


def test_a_loss_that_is_lost_is_told(data: tuple[Rendered, Rendered]) -> None:
    trainer = Trainer(settings_of(lr=1e30), train=data[0], progress=False)
    with pytest.raises(ValueError, match=r"the loss became (nan|inf).*lower lr"):
        trainer.fit()


TWO = """
import os, torch
# what torchrun tells its processes; without it, because it loads torch once more
os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank}
from eas_det.data import Rendered, Sample
from eas_det.engine import Trainer, detect
torch.set_num_threads(1)
counts = torch.poisson(torch.full((8, 4, 2, 32, 32), 0.4), generator=torch.Generator().manual_seed(0))
boxes, no = torch.tensor([[4.0, 6, 20, 25]]), torch.tensor([False])
samples = [Sample(x, boxes, torch.tensor([0]), k, "a", no, torch.ones(1)) for k, x in enumerate(counts)]
data = Rendered(counts, samples, ["x"])
cfg = {"model": {"variant": "pico", "spiking": "none", "T": 1, "embedding": "count"}, "epochs": 1, "batch_size": 4}
trainer = Trainer(cfg, train=data, validation=data, folder=folder, progress=False)
trainer.fit()
total = float(sum(p.detach().double().sum() for p in trainer.model.parameters()))
found = detect(trainer.averaged(), data)
open(f"{folder}.{torch.distributed.get_rank()}", "w").write(f"{total!r} {len(found)} {len(trainer.history.losses)}")
torch.distributed.destroy_process_group()
"""


def test_two_processes_share_a_run(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    both = [child(TWO, folder=str(tmp_path / "run"), rank=rank, port=port) for rank in ("0", "1")]
    for each in both:
        each.join(200)
    assert [each.exitcode for each in both] == [0, 0]
    rows = [(tmp_path / f"run.{rank}").read_text().split() for rank in range(2)]
    assert rows[0] == rows[1]  # the same weights, all detections, as many steps
    assert rows[0][1:] == ["8", "2"]
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").exists()


def test_evaluation_gathers_every_item_in_order(data: tuple[Rendered, Rendered], lively: EventDetector) -> None:
    found = detect(lively, data[0], batch_size=5, conf=0.0)
    assert [each.t for each in found] == [data[0][k].t_label for k in range(len(data[0]))]
    assert all(len(each.truth) == len(data[0][k].labels) for k, each in enumerate(found))
    assert all(0 < len(each.found) <= 100 for each in found)
    measured = evaluate(lively, data[0], found=found, preset="gen1")
    assert set(measured) == {"coco", "by_speed", "prophesee"}
    mirrored = Rendered(data[1].counts, [data[1][0]] * len(data[1]), data[1].classes, symmetric=True)
    with pytest.raises(ValueError, match="symmetric=True, which is for training"):
        detect(lively, mirrored)
    perfect = [type(each)(each.recording_id, each.t, each.truth, each.truth, each.ignore, each.speed) for each in found]
    assert evaluate(lively, data[0], found=perfect)["coco"]["AP"] == 1.0


def clip(seed: int, n: int = 3000) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(5_000, 400_000, n))
    return Events(t, rng.integers(0, 30, n), rng.integers(0, 40, n), rng.integers(0, 2, n), (30, 40))


@settings(max_examples=4)
@given(
    st.integers(0, 1000),
    st.lists(st.integers(0, 3000), max_size=30),
    st.sampled_from([(90_000, 60_000), (30_000, 70_000)]),
)
def test_streaming_equals_offline(lively: EventDetector, seed: int, cuts: list[int], spans: tuple[int, int]) -> None:
    events = clip(seed)
    window, hop = spans
    offline = list(detect_recording(lively, events, window, hop, conf=0.0))
    stream = StreamingDetector(lively, window, hop, conf=0.0)
    online = []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), len(events)], strict=True):
        online += stream.push(events[first:last])
    assert len(offline) == len(online) >= 5
    for a, b in zip(offline, online, strict=True):
        assert a.t == b.t
        assert torch.equal(a.boxes, b.boxes)
        assert torch.equal(a.scores, b.scores)
        assert len(a.scores) > 0
    # events older than a window are let go
    assert len(stream._held) <= 31


def test_streams_say_what_is_wrong(lively: EventDetector) -> None:
    stream = StreamingDetector(lively, 50_000, 25_000)
    events = clip(0)
    stream.push(events[1000:])
    with pytest.raises(ValueError, match="push them in order"):
        stream.push(events[:500])
    with pytest.raises(ValueError, match="sensor_size"):
        StreamingDetector(lively).push(Events([1], [2], [3], [1]))
    with pytest.raises(ValueError, match=">= 1"):
        StreamingDetector(lively, 0)
    quiet = StreamingDetector(lively, 50_000, 25_000, t0=0, sensor_size=(30, 40), conf=0.0)
    assert quiet.push(Events.empty((30, 40))) == []
    assert [each.t for each in quiet.advance(60_000)] == [25_000, 50_000]
    assert len(to_boxes(quiet.advance(80_000))) > 0


def test_energy_counts_spikes_as_accumulates(lively: EventDetector) -> None:
    x = torch.poisson(torch.full((3, 4, 2, 32, 32), 0.4))
    table = profile(lively, x)
    kinds = {row.layer: row.kind for row in table.rows}
    assert kinds["embedding.conv_in.0"] == "MAC"  # counts are whole numbers, but no spikes
    assert kinds["embedding.conv_rec.0"] == "AC"
    rsnn = EventDetector("pico", 2, "none", T=1, embedding="rsnn")
    rsnn.embedding.load_state_dict(lively.embedding.state_dict())
    of_both = [
        [(row.layer, row.operations) for row in each.rows if row.layer.startswith("embedding")]
        for each in (table, profile(rsnn, x))
    ]
    assert of_both[0] == of_both[1]  # the recurrence is the same, the read-out alone differs
    assert kinds["backbone.stem.conv.conv"] == "MAC"
    assert kinds["backbone.dark2.0.conv"] == "AC"
    # by hand: 8 x 16 x 16 places of stride 2, T steps, 9 edges each, fewer at the border
    row = next(each for each in table.rows if each.layer == "backbone.dark2.0.conv")
    assert row.dense == 2 * 16 * 8 * (3 * 8 - 1) ** 2
    seen: list[torch.Tensor] = []
    handle = lively.backbone.dark2[0].conv.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        lively(x)
    handle.remove()
    edges = torch.nn.grad.conv2d_input(seen[0].shape, torch.ones(16, 8, 3, 3), torch.ones(6, 16, 8, 8), 2, 1)
    assert row.operations == pytest.approx(float((seen[0] * edges).sum()) / 3, rel=1e-5)
    assert row.energy == pytest.approx(0.9e-12 * row.operations)
    assert table.picojoule < table.dense_picojoule
    assert json.loads(json.dumps(table.to_dict()))["AC"] > 0
    assert "mJ" in str(table)
    rates = firing_rates(lively, x)
    assert len(rates) == 35 + 24 + 15
    assert 0 < rates["backbone.stem.conv.act"] < 1


def test_a_conventional_network_is_all_multiplications() -> None:
    net = EventDetector("pico", 2, "none", T=1, embedding="count").train()
    x = torch.rand(2, 4, 2, 32, 32)
    net(x)
    table = profile(net, x)
    assert table.total("AC") == 0
    assert table.picojoule == pytest.approx(table.dense_picojoule)


def test_rendering_is_kept_with_the_model(tmp_path: Path) -> None:
    cfg = settings_of(
        epochs=1, data={"name": "shapes", "level": "easy", "n": 3, "size": (32, 32)},
        rendering={"kind": "voxel", "bins": 3},
        model={**MODEL, "embedding": "stack", "in_channels": 3}, batch_size=2,
    )  # fmt: skip
    Trainer(cfg, folder=tmp_path, progress=False).fit()
    facts = load_detector(tmp_path / "checkpoints" / "best")[1]
    assert Rendering(**facts["rendering"]).channels == 1
