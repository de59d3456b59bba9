"""Overlap, suppression, assignment and losses against plain loops and laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from eas_det.losses import detection_loss, iou_loss, simota
from eas_det.models.head import Predictions
from eas_det.ops import _greedy, batched_nms, box_iou, nms


def random_boxes(n: int, seed: int, size: float = 64.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * size
    return torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=generator) * size / 2], 1)


def test_iou_loss_known_values() -> None:
    # source: K7 of the specification
    box = torch.tensor([0.0, 0, 10, 10])
    others = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 10, 5]])
    assert iou_loss(box.expand(3, 4), others).tolist() == pytest.approx([0, 1, 0.75], abs=1e-6)


@given(st.integers(0, 1000), st.integers(1, 8), st.integers(1, 8))
def test_overlap_is_symmetric_and_at_most_one(seed: int, n: int, m: int) -> None:
    a, b = random_boxes(n, seed), random_boxes(m, seed + 1)
    iou = box_iou(a, b)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert torch.equal(iou, box_iou(b, a).T)
    torch.testing.assert_close(box_iou(a, a).diagonal(), torch.ones(n))
    empty = torch.zeros(1, 4)
    assert box_iou(empty, empty).item() == 0


def slow_nms(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, threshold: float) -> list[int]:
    left = sorted(range(len(boxes)), key=lambda i: -float(scores[i]))
    kept = []
    while left:
        first = left.pop(0)
        kept.append(first)
        left = [
            i
            for i in left
            if labels[i] != labels[first] or float(box_iou(boxes[i : i + 1], boxes[first : first + 1])) <= threshold
        ]
    return kept


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 40), st.sampled_from([0.0, 0.3, 0.65, 1.0]))
def test_suppression_equals_the_plain_loop_on_either_path(seed: int, n: int, threshold: float) -> None:
    boxes = random_boxes(n, seed, 20)
    generator = torch.Generator().manual_seed(seed)
    scores, labels = torch.rand(n, generator=generator), torch.randint(0, 2, (n,), generator=generator)
    expected = slow_nms(boxes, scores, labels, threshold)
    kept = batched_nms(boxes, scores, labels, threshold)
    assert kept.tolist() == expected
    order = scores.argsort(descending=True, stable=True)
    assert order[_greedy(boxes[order], labels[order], threshold)].tolist() == expected
    # what was kept stays when suppressed once more
    assert batched_nms(boxes[kept], scores[kept], labels[kept], threshold).tolist() == list(range(len(kept)))


def test_suppression_of_one_class() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"expected \[N, 4\]"):
        nms(boxes, torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match="0 to 1"):
        nms(boxes, torch.zeros(3), 1.5)


def places(size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    centres, strides = [], []
    for stride in (8, 16, 32):
        for y in range(size // stride):
            for x in range(size // stride):
                centres.append([(x + 0.5) * stride, (y + 0.5) * stride])
                strides.append(float(stride))
    return torch.tensor(centres), torch.tensor(strides)


def predictions(batch: int, seed: int, classes: int = 3, size: int = 64) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    centres, strides = places(size)
    n = len(centres)
    middle = centres + torch.randn(batch, n, 2, generator=generator) * 4
    half = strides[:, None] * torch.rand(batch, n, 2, generator=generator).add(0.3)
    return Predictions(
        torch.cat([middle - half, middle + half], -1),
        torch.randn(batch, n, generator=generator),
        torch.randn(batch, n, classes, generator=generator),
        centres,
        strides,
    )


def slow_simota(p: Predictions, item: int, boxes: torch.Tensor, labels: torch.Tensor) -> dict[int, int]:
    """The published procedure for one image: candidates picked by index, one box after the other."""
    own = []
    for box in boxes:
        middle = (box[:2] + box[2:]) / 2
        own.append(((p.centres - middle).abs() < 1.5 * p.strides[:, None]).all(1))
    own = torch.stack(own)
    candidates = own.any(0).nonzero()[:, 0]
    if not len(candidates):
        return {}
    iou = box_iou(boxes, p.boxes[item][candidates])
    score = (p.classes[item][candidates].sigmoid() * p.objectness[item][candidates].sigmoid()[:, None]).sqrt()
    cost = torch.zeros(len(boxes), len(candidates))
    for g, label in enumerate(labels):
        onehot = F.one_hot(label, score.shape[1]).float().expand_as(score)
        cost[g] = F.binary_cross_entropy(score, onehot, reduction="none").sum(1)
    cost = cost - 3 * torch.log(iou + 1e-8) + 1e6 * ~own[:, candidates]
    matching = torch.zeros_like(cost)
    k = iou.topk(min(10, iou.shape[1]), 1).values.sum(1).int().clamp_min(1)
    for g in range(len(boxes)):
        matching[g, cost[g].topk(min(int(k[g]), len(candidates)), largest=False).indices] = 1
    for a in (matching.sum(0) > 1).nonzero()[:, 0]:
        matching[:, a] = 0
        matching[cost[:, a].argmin(), a] = 1
    return {int(candidates[a]): int(g) for g, a in matching.nonzero().tolist()}


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 6), min_size=1, max_size=3))
def test_assignment_equals_the_published_procedure(seed: int, sizes: list[int]) -> None:
    p = predictions(len(sizes), seed)
    most = max(sizes)
    boxes, labels = torch.zeros(len(sizes), most, 4), torch.zeros(len(sizes), most, dtype=torch.int64)
    mask = torch.zeros(len(sizes), most, dtype=torch.bool)
    for item, n in enumerate(sizes):
        boxes[item, :n] = random_boxes(n, seed + item, 40)
        labels[item, :n] = torch.arange(n) % 3
        mask[item, :n] = True
    found = simota(p.boxes, p.objectness, p.classes, p.centres, p.strides, boxes, labels, mask)
    for item, n in enumerate(sizes):
        expected = slow_simota(p, item, boxes[item, :n], labels[item, :n]) if n else {}
        here = found.matched[item].nonzero()[:, 0].tolist()
        assert {a: int(found.target[item, a]) for a in here} == expected
        for a in here:
            overlap = box_iou(p.boxes[item, a][None], boxes[item, found.target[item, a]][None])
            assert float(found.iou[item, a]) == pytest.approx(float(overlap), abs=1e-6)


@given(st.integers(0, 10_000))
def test_every_box_with_a_candidate_of_its_own_gets_a_place(seed: int) -> None:
    # centre regions of 24, 48 and 96 pixels: far corners of a larger frame share none at the finest level
    p = predictions(1, seed, size=128)
    boxes = torch.tensor([[[2.0, 2, 14, 14], [100, 100, 120, 124], [4, 100, 20, 120]]])
    labels, mask = torch.tensor([[0, 1, 2]]), torch.ones(1, 3, dtype=torch.bool)
    found = simota(p.boxes, p.objectness, p.classes, p.centres, p.strides, boxes, labels, mask)
    assert set(found.target[found.matched].tolist()) == {0, 1, 2}


def test_more_boxes_than_places_and_boxes_without_any() -> None:
    p = predictions(1, 0, size=32)  # 16 + 4 + 1 places
    many = random_boxes(60, 1, 24)[None]
    labels, mask = torch.zeros(1, 60, dtype=torch.int64), torch.ones(1, 60, dtype=torch.bool)
    found = simota(p.boxes, p.objectness, p.classes, p.centres, p.strides, many, labels, mask)
    assert found.matched.sum() <= 21
    away = torch.tensor([[[900.0, 900, 950, 950]]])
    losses = detection_loss(p, away, labels[:, :1], mask[:, :1])
    assert losses["num_fg"] == 0
    assert losses["iou_loss"] == 0
    assert math.isfinite(losses["loss"].item())


def test_loss_of_a_batch_without_boxes_is_objectness_alone() -> None:
    p = predictions(2, 3)
    p = p._replace(boxes=p.boxes.requires_grad_())
    losses = detection_loss(
        p, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.bool)
    )
    expected = F.binary_cross_entropy_with_logits(p.objectness, torch.zeros_like(p.objectness), reduction="sum")
    torch.testing.assert_close(losses["loss"], expected)
    losses["loss"].backward()
    assert (p.boxes.grad == 0).all()


def test_loss_by_hand() -> None:
    # one place answers: L = 5 (1 - iou²) + sum of BCE of objectness + BCE against onehot times iou
    p = predictions(1, 5, classes=2, size=32)
    box = p.boxes[0, 5] + torch.tensor([0.5, 0.0, 0.5, 0.0])
    losses = detection_loss(p, box[None, None], torch.tensor([[1]]), torch.tensor([[True]]))
    found = simota(*p, box[None, None], torch.tensor([[1]]), torch.tensor([[True]]))
    n = int(found.matched.sum())
    iou = found.iou[found.matched]
    target = torch.zeros(n, 2)
    target[:, 1] = iou
    expected = 5 * (1 - iou**2).sum()
    expected = expected + F.binary_cross_entropy_with_logits(p.objectness, found.matched.float(), reduction="sum")
    expected = expected + F.binary_cross_entropy_with_logits(p.classes[found.matched], target, reduction="sum")
    torch.testing.assert_close(losses["loss"], expected / n)


def test_gradient_reaches_matched_boxes_alone() -> None:
    p = predictions(2, 7)
    p = p._replace(boxes=p.boxes.detach().requires_grad_())
    boxes, labels = random_boxes(4, 9, 40).view(2, 2, 4), torch.zeros(2, 2, dtype=torch.int64)
    mask = torch.ones(2, 2, dtype=torch.bool)
    found = simota(*p, boxes, labels, mask)
    detection_loss(p, boxes, labels, mask)["loss"].backward()
    moved = p.boxes.grad.abs().sum(-1) > 0
    assert (moved <= found.matched).all()
    assert moved.any()
