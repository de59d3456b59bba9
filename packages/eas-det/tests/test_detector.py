"""The network: published sizes, time, bad input, files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from eas_det.models import (
    PAFPN,
    EventDetector,
    SpikingCSPDarknet,
    Targets,
    YOLOXHead,
    load_detector,
    save_detector,
)
from spk_neurons import PLIF, ATan


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def neurons(module: nn.Module) -> int:
    return sum(isinstance(each, PLIF) for each in module.modules())


def counts(batch: int = 2, height: int = 40, width: int = 60, bins: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full((batch, bins, 2, height, width), 0.4), generator=generator)


@pytest.mark.parametrize(
    ("depth", "width", "backbone", "neck", "head", "layers"),
    [
        pytest.param(0.33, 0.50, 4_211_520, 2_834_688, 1_890_709, (35, 24), id="S"),
        pytest.param(0.67, 0.75, 12_351_264, 8_679_168, 4_249_173, (51, 32), id="M"),
    ],
)
def test_parameters_are_those_of_the_published_networks(
    depth: float, width: float, backbone: int, neck: int, head: int, layers: tuple[int, int]
) -> None:
    # source: K5 of the specification, counted in a network built from the official code
    plain = SpikingCSPDarknet(depth, width, 2, spiking=False), PAFPN(depth, width, spiking=False)
    assert [count(each) for each in plain] == [backbone, neck]
    assert count(YOLOXHead(2, width)) == head
    spiking = SpikingCSPDarknet(depth, width, 2), PAFPN(depth, width)
    assert tuple(neurons(each) for each in spiking) == layers
    # a neuron brings one number, its time constant
    assert [count(each) for each in spiking] == [backbone + layers[0], neck + layers[1]]


def test_the_published_sampler_has_1216_parameters() -> None:
    assert count(EventDetector("pico").embedding) == 1216


@pytest.mark.parametrize(("variant", "millions"), [("s", 8.94), ("m", 25.28), ("nano", 2.24), ("tiny", 5.03)])
def test_sizes_of_the_variants(variant: str, millions: float) -> None:
    with torch.device("meta"):
        net = EventDetector(variant, 2, "backbone", embedding="count")
    assert count(net) / 1e6 == pytest.approx(millions, abs=0.005)


def test_neurons_are_those_of_the_published_code() -> None:
    neuron = SpikingCSPDarknet(0.33, 0.125, alpha=1.5).stem.conv.act
    assert isinstance(neuron, PLIF)
    assert neuron.reset == "soft"
    assert not neuron.decay_input
    assert not neuron.detach_reset
    assert isinstance(neuron.surrogate, ATan)
    assert neuron.surrogate.alpha == 1.5
    assert float(neuron.tau.detach()) == pytest.approx(2)
    # v = v / 2 + x against threshold 1: 0.8, 1.2 (fires, 0.2 is left), 0.9, 1.25
    assert neuron(torch.full((4, 1), 0.8)).flatten().tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("spiking", ["none", "backbone", "fpn", "full"])
def test_parts_that_spike(spiking: str) -> None:
    net = EventDetector("pico", 3, spiking, T=2)
    expected = {"none": (0, 0, 0), "backbone": (35, 0, 0), "fpn": (35, 24, 0), "full": (35, 24, 15)}[spiking]
    assert (neurons(net.backbone), neurons(net.neck), neurons(net.head)) == expected
    x, targets = (
        counts(),
        [Targets(torch.tensor([[4.0, 4, 24, 20]]), torch.tensor([2])), Targets(torch.zeros(0, 4), torch.zeros(0))],
    )
    net.loss(x, targets)["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_an_input_that_stays_the_same_is_convolved_once() -> None:
    torch.manual_seed(0)
    net = EventDetector("pico", 2, "backbone", T=3, embedding="count")
    seen = []
    net.backbone.stem.conv.conv.register_forward_hook(lambda *args: seen.append(len(args[2])))
    x = counts(2)
    once = net.eval()(x)
    assert seen == [2]  # the batch, not T times the batch
    repeated = EventDetector("pico", 2, "backbone", T=3, embedding="steps")
    repeated.load_state_dict(net.state_dict())
    all_steps = repeated.eval()(x.sum(1, keepdim=True).expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(once.boxes, all_steps.boxes, rtol=1e-4, atol=1e-4)


def test_items_of_a_batch_do_not_meet() -> None:
    torch.manual_seed(1)
    net = EventDetector("pico", 2, "full", T=2).eval()
    x = counts(3)
    together, alone = net(x), net(x[1:2])
    torch.testing.assert_close(together.boxes[1:2], alone.boxes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together.objectness[1:2], alone.objectness, rtol=1e-4, atol=1e-5)


def test_places_of_the_head() -> None:
    found = EventDetector("pico", 2, "none", embedding="count").eval()(counts(1, 40, 60))
    # 40 x 60 is padded to 64 x 64: 64 + 16 + 4 places
    assert found.boxes.shape == (1, 84, 4)
    assert found.strides.unique().tolist() == [8, 16, 32]
    assert found.centres[0].tolist() == [4, 4]
    assert found.centres[1].tolist() == [12, 4]
    # a rare object: the first scores are about 0.01 x 0.01
    assert 0 < found.scores.max().item() < 0.01


def test_predict_returns_boxes_in_the_frame() -> None:
    torch.manual_seed(0)
    net = EventDetector("pico", 2, "backbone", T=2)
    found = net.predict(counts(2, 33, 65), conf=0.0)
    assert net.training
    for each in found:
        assert len(each.boxes) > 0
        assert (each.boxes >= 0).all()
        assert (each.boxes <= torch.tensor([65.0, 33, 65, 33])).all()
        assert (each.scores.diff() <= 0).all()
    assert all(len(each.scores) == 3 for each in net.predict(counts(2, 33, 65), conf=0.0, max_detections=3))


@pytest.mark.parametrize("name", ["arsnn", "rsnn", "snn", "count", "steps"])
def test_any_representation_may_stand_in_front(name: str) -> None:
    options = {"n_samples": 3} if name == "arsnn" else None
    net = EventDetector("pico", 2, "backbone", T=3, embedding=name, embedding_options=options, in_channels=1)
    x = torch.rand(1, 3, 1, 32, 32)
    assert net.eval()(x).boxes.shape == (1, 21, 4)
    if name not in ("arsnn", "steps"):
        assert net(x[:, 0]).boxes.shape == (1, 21, 4)  # [B, C, H, W] is one bin
    own = EventDetector(
        "pico", 2, "none", T=1, embedding=nn.Sequential(nn.Flatten(1, 2), nn.Unflatten(0, (1, -1))), in_channels=3
    )
    assert own.eval()(x).boxes.shape == (1, 21, 4)


def test_bad_input_is_named() -> None:
    net = EventDetector("pico", 2, "none", T=1, embedding="count")
    x = counts(1)
    one = torch.tensor([[1.0, 1, 9, 9]])
    with pytest.raises(ValueError, match=r"label 2 of target 0; expected 0 to 1"):
        net.loss(x, [(one, torch.tensor([2]))])
    with pytest.raises(ValueError, match=r"box 0 of target 0 is \[1.0, 1.0, nan"):
        net.loss(x, [(torch.tensor([[1.0, 1, float("nan"), 9]]), torch.tensor([0]))])
    with pytest.raises(ValueError, match="x2 > x1"):
        net.loss(x, [(torch.tensor([[1.0, 1, 1, 9]]), torch.tensor([0]))])
    with pytest.raises(ValueError, match="2 targets for a batch of 1"):
        net.loss(x, [(one, torch.tensor([0]))] * 2)
    with pytest.raises(ValueError, match=r"expected \[N, 4\] and \[N\]"):
        net.loss(x, [(one, torch.tensor([0, 1]))])
    with pytest.raises(ValueError, match=r"expected \[B, bins, C, H, W\]"):
        net(x[0, 0])
    with pytest.raises(TypeError, match="float"):
        net(x.long())
    with pytest.raises(ValueError, match="multiples of 32"):
        net.backbone(torch.zeros(1, 1, 2, 33, 32))
    for wrong in ({"variant": "xl"}, {"spiking": "all"}, {"T": 0}, {"num_classes": 0}, {"embedding": "voxel"}):
        with pytest.raises(ValueError, match="expected"):
            EventDetector(**wrong)
    four = EventDetector("pico", 2, "backbone", T=2, embedding="steps")
    with pytest.raises(ValueError, match="made 4 samples for T=2"):
        four(x)


def test_saved_and_read_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = EventDetector("pico", 3, "full", T=2, embedding="arsnn", embedding_options={"kernel_size": 3}).eval()
    path = save_detector(net, tmp_path / "best", classes=["a", "b", "c"])
    again, facts = load_detector(path)
    assert facts == {"classes": ["a", "b", "c"]}
    assert again.config == net.config
    x = counts(1)
    assert torch.equal(again(x).boxes, net(x).boxes)
    with pytest.raises(ValueError, match=r"checkpoint of another detector \(num_classes: 3 there, 2 here\)"):
        load_detector(path, EventDetector("pico", 2, "full", T=2, embedding_options={"kernel_size": 3}))
    described = json.loads(path.with_suffix(".json").read_text())
    described["config"]["variant"] = "nano"
    path.with_suffix(".json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="does not fit the detector"):
        load_detector(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match="no detector"):
        load_detector(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_detector(tmp_path / "nowhere")


def test_an_own_embedding_must_be_given_again(tmp_path: Path) -> None:
    from eas_det.models import StepEmbedding

    path = save_detector(EventDetector("pico", 2, "none", T=1, embedding=StepEmbedding()), tmp_path / "own")
    with pytest.raises(ValueError, match="pass embedding="):
        load_detector(path)
    assert isinstance(load_detector(path, embedding=StepEmbedding())[0].embedding, StepEmbedding)


def test_half_precision_keeps_thresholds_in_float32() -> None:
    torch.manual_seed(0)
    net = EventDetector("pico", 2, "backbone", T=2)
    with torch.autocast("cpu", torch.bfloat16):
        losses = net.loss(counts(2), [(torch.tensor([[4.0, 4, 24, 20]]), torch.tensor([1]))] * 2)
    losses["loss"].backward()
    assert losses["loss"].dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in net.parameters())
