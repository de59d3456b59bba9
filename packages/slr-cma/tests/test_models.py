"""Attention and the network: known answers, laws, streaming, missing modality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from slr_cma import CMANet, CrossModalityAttention, load_model, save_model
from slr_cma.models import ALLOCATIONS, FUSIONS, SpatialScorer, TemporalScorer
from slr_cma.models.fusion import make_fusion
from slr_cma.models.scorers import spatial_maps, temporal_descriptors

SMALL: dict[str, Any] = {"size": (8, 8), "channels": (4, 6), "hidden": 16}


def pair(t: int = 5, b: int = 3, c: int = 4, s: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(t, b, c, s, s), torch.randn(t, b, c, s, s)


def test_the_known_temporal_score() -> None:
    scorer = TemporalScorer("mlp", length=4, reduction=1)
    for layer in (*scorer.into, *scorer.out):
        layer.weight.data = torch.eye(4)  # type: ignore[union-attr]
    x = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(4, 1, 1, 1, 1)
    p = scorer(temporal_descriptors(x))[:, 0, 0]
    torch.testing.assert_close(p, torch.tensor([0.5, 0.6225, 0.7311, 0.8808]), atol=5e-5, rtol=0)


def test_the_known_spatial_score() -> None:
    scorer = SpatialScorer("conv", kernel=3)
    scorer.net.weight.data.fill_(1 / 9)  # type: ignore[union-attr,operator]
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(1, 1, 1, 2, 2)
    torch.testing.assert_close(scorer(spatial_maps(x))[0, 0, 0], torch.full((2, 2), 0.5553), atol=5e-5, rtol=0)


@pytest.mark.parametrize("allocate", ["self", "cross"])
def test_swapping_modalities_and_scorers_swaps_the_outputs(allocate: Any) -> None:
    cma = CrossModalityAttention(4, None, allocate)
    x_e, x_f = pair()
    y_e, y_f = cma(x_e, x_f)
    for each in (cma.time, cma.space):
        first, second = each[0].state_dict(), each[1].state_dict()
        first, second = ({k: v.clone() for k, v in d.items()} for d in (first, second))
        each[0].load_state_dict(second)
        each[1].load_state_dict(first)
    z_f, z_e = cma(x_f, x_e)
    torch.testing.assert_close((z_e, z_f), (y_e, y_f))


def test_none_is_the_identity_and_factors_start_near_one() -> None:
    x_e, x_f = pair()
    assert CrossModalityAttention(4, allocate="none")(x_e, x_f) == (x_e, x_f)
    for allocate in ALLOCATIONS[:-1]:
        y_e, y_f = CrossModalityAttention(4, None, allocate)(x_e, x_f)  # type: ignore[arg-type]
        for x, y in ((x_e, y_e), (x_f, y_f)):
            assert ((y / x - 1).abs() < 0.1).all()


def test_scores_lie_in_the_unit_interval() -> None:
    x_e, x_f = pair()
    for allocate in ALLOCATIONS[:-1]:
        for score in CrossModalityAttention(4, None, allocate).scores(x_e, x_f):  # type: ignore[arg-type]
            assert score is not None
            assert bool(((score > 0) & (score < 1)).all())
    halves = CrossModalityAttention(4, spatial=False).scores(x_e, x_f)
    assert halves.P_e is not None
    assert halves.Q_e is None


@pytest.mark.parametrize(
    ("allocate", "events", "frames"),
    [("self", "P_e Q_e", "P_f Q_f"), ("cross", "P_f Q_f", "P_e Q_e"), ("complementary", "Q_f", "P_e")],
)
def test_scores_go_where_they_should(allocate: Any, events: str, frames: str) -> None:
    x_e, x_f = pair()
    cma = CrossModalityAttention(4, None, allocate)
    y_e, y_f, s = cma(x_e, x_f, return_scores=True)
    for x, y, given in ((x_e, y_e, events), (x_f, y_f, frames)):
        factor = torch.ones(())
        for name in given.split():
            score = getattr(s, name)
            factor = factor * (score[:, :, None, None, None] if name[0] == "P" else score[:, :, None])
        start = 0.5 ** len(given.split())
        torch.testing.assert_close(y, x * (1 + factor) / (1 + start))


@pytest.mark.parametrize("kind", ["mlp", "conv1d", "attention"])
@pytest.mark.parametrize("static", [False, True])
def test_what_is_masked_alters_no_unmasked_output(kind: Any, static: bool) -> None:
    cma = CrossModalityAttention(4, allocate="joint", T=5, temporal_scorer=kind, static=static)
    x_e, x_f = pair()
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[2, 1] = mask[4, :] = False
    before = cma(x_e, x_f, mask)
    x_e[2, 1], x_f[4] = 100.0, -100.0
    after = cma(x_e, x_f, mask)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a[mask], b[mask])
        assert bool(torch.isfinite(b).all())
    p = cma.scores(x_e, x_f, mask).P_e
    assert p is not None
    assert not p[~mask].any()


@pytest.mark.parametrize("kind", ["conv1d", "attention"])
def test_a_causal_score_does_not_look_ahead(kind: Any) -> None:
    cma = CrossModalityAttention(4, allocate="joint", temporal_scorer=kind, causal=True)
    x_e, x_f = pair(7)
    before = cma(x_e, x_f)[0]
    x_e[4:], x_f[4:] = 9.0, -9.0
    torch.testing.assert_close(cma(x_e, x_f)[0][:4], before[:4])
    assert not torch.allclose(cma(x_e, x_f)[0][4:], before[4:])


@pytest.mark.parametrize("kind", ["conv1d", "attention"])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_any_number_of_steps_goes(kind: Any, steps: int) -> None:
    x_e, x_f = pair(steps)
    assert CrossModalityAttention(4, temporal_scorer=kind)(x_e, x_f)[1].shape == x_f.shape


@pytest.mark.parametrize("allocate", ["joint", "self", "cross", "complementary"])
def test_gradients_reach_the_scorers_used_and_cross_the_branches(allocate: Any) -> None:
    cma = CrossModalityAttention(4, None, allocate)
    x_e, x_f = (x.requires_grad_() for x in pair())
    cma(x_e, x_f)[0].square().sum().backward()
    crosses = x_f.grad is not None and bool(x_f.grad.abs().sum() > 0)
    assert crosses == (allocate != "self")
    used = {"joint": [0], "self": [0], "cross": [1], "complementary": []}[allocate]
    for i in used:
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in cma.time[i].last.parameters())  # type: ignore[union-attr]
    x_e, x_f = (x.detach().requires_grad_() for x in (x_e, x_f))
    detached = CrossModalityAttention(4, None, allocate, detach_scores=True)
    detached(x_e, x_f)[0].sum().backward()
    assert x_f.grad is None or not x_f.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allocate": "both"}, "allocate='both'"),
        ({"temporal": False, "spatial": False}, "leave no score"),
        ({"temporal_scorer": "mlp"}, "give T"),
        ({"temporal_scorer": "mlp", "T": 4, "causal": True}, "looks at all steps"),
        ({"causal": True, "static": True}, "static"),
        ({"kernel_size": 4}, "odd"),
        ({"allocate": "complementary", "spatial": False}, "needs both"),
        ({"temporal_scorer": "rnn"}, "'mlp', 'conv1d' or 'attention'"),
    ],
)
def test_bad_attention_is_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossModalityAttention(4, **options)


def test_an_mlp_scorer_says_which_t_it_takes() -> None:
    cma = CrossModalityAttention(4, temporal_scorer="mlp", T=4, allocate="self")
    with pytest.raises(ValueError, match="weights for T=4 steps and got T=5"):
        cma(*pair(5))
    with pytest.raises(ValueError, match="equal T, B, h and w"):
        cma(pair(4)[0], pair(5)[1])
    with pytest.raises(ValueError, match="mask"):
        cma(*pair(4), torch.ones(3, 3, dtype=torch.bool))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_runs_learns_and_answers_with_a_modality_missing(fusion: str) -> None:
    net = CMANet(3, fusion=fusion, **SMALL)
    e, f = torch.rand(5, 4, 2, 8, 8), torch.rand(5, 4, 1, 8, 8)
    loss, logits = net.loss(e, f, torch.tensor([0, 1, 2, 0]), tet=0.2, label_smoothing=0.1)
    loss.backward()
    assert logits.shape == (4, 3)
    assert all(p.grad is not None for p in net.parameters())
    net.eval()
    if fusion != "events":
        torch.testing.assert_close(net(None, f), net(torch.zeros_like(e), f))
        assert bool(torch.isfinite(net(None, f)).all())
    if fusion != "frames":
        torch.testing.assert_close(net(e, None), net(e, torch.zeros_like(f)))


@pytest.mark.parametrize("readout", ["mean", "max", "last", "leaky"])
def test_a_sample_alone_equals_itself_in_a_batch_and_padding_does_not_count(readout: Any) -> None:
    net = CMANet(3, readout=readout, attention={"allocate": "joint"}, **SMALL).eval()
    e, f = torch.rand(6, 3, 2, 8, 8), torch.rand(6, 3, 1, 8, 8)
    torch.testing.assert_close(net(e, f)[1:2], net(e[:, 1:2], f[:, 1:2]))
    mask = torch.ones(6, 3, dtype=torch.bool)
    mask[4:] = False
    changed = e.clone()
    changed[4:] = 50.0
    torch.testing.assert_close(net(changed, f, mask), net(e, f, mask))
    if readout != "leaky":
        torch.testing.assert_close(net(e, f, mask), net(e[:4], f[:4]))


@pytest.mark.parametrize("kind", ["conv1d", "attention"])
@pytest.mark.parametrize("allocate", ["joint", "cross", "complementary", "self"])
@pytest.mark.parametrize("placement", ["current", "spike"])
def test_step_by_step_equals_the_whole(kind: Any, allocate: Any, placement: Any) -> None:
    attention = {"allocate": allocate, "temporal_scorer": kind, "causal": True}
    net = CMANet(3, attention=attention, cma_stages=(0, 1), placement=placement, **SMALL).eval()
    e, f = torch.rand(8, 2, 2, 8, 8), torch.rand(8, 2, 1, 8, 8)
    state, steps = None, []
    with torch.no_grad():
        for t in range(8):
            logits, state = net.step(e[t], f[t], state)
            steps.append(logits)
        torch.testing.assert_close(torch.stack(steps), net.forward_sequence(e, f), atol=1e-5, rtol=1e-5)
    assert state is not None
    assert state.total is not None
    torch.testing.assert_close(state.total / state.steps, net(e, f), atol=1e-5, rtol=1e-5)


def test_large_maps_get_wide_spatial_kernels() -> None:
    net = CMANet(3, size=(32, 32), channels=(4, 6), hidden=8, cma_stages=(0, 1))
    wide = {name: a.space[0].net[0].kernel_size for name, a in net.attention.items()}
    assert wide == {"0": (7, 7), "1": (7, 7)}
    net = CMANet(3, size=(32, 32), channels=(4, 6, 8), hidden=8, attention={"kernel_size": 5})
    assert net.attention["2"].space[0].net[0].kernel_size == (5, 5)
    assert CMANet(3, **SMALL).attention["1"].space[0].net[0].kernel_size == (3, 3)


def test_neurons_take_the_options_of_the_core(tmp_path: Path) -> None:
    net = CMANet(3, neuron={"reset": "soft", "learn_tau": False, "threshold": 0.5}, decay=0.75, **SMALL)
    neuron = net.heads[0].neuron
    assert (neuron.reset, neuron.threshold, neuron.tau) == ("soft", 0.5, 4.0)
    again, _ = load_model(save_model(net, tmp_path / "net"))
    assert again.config == net.config
    with pytest.raises(ValueError, match="threshold"):
        CMANet(3, neuron={"threshold": -1.0}, **SMALL)


def test_streaming_refuses_scores_that_look_ahead() -> None:
    net = CMANet(3, **SMALL)
    with pytest.raises(ValueError, match=r"net.eval\(\)"):
        net.step(torch.rand(1, 2, 8, 8))
    with pytest.raises(ValueError, match="causal"):
        net.eval().step(torch.rand(1, 2, 8, 8))


def test_networks_that_differ_in_attention_alone_start_from_the_same_weights() -> None:
    nets = []
    for fusion, attention in (("concat", {}), ("cma", {"allocate": "joint"}), ("cma", {"allocate": "self"})):
        torch.manual_seed(4)
        nets.append(CMANet(3, fusion=fusion, attention=attention, **SMALL).state_dict())
    for name, value in nets[0].items():
        assert all(torch.equal(value, other[name]) for other in nets[1:])


def test_modality_dropout_auxiliary_heads_and_memoryless_membranes() -> None:
    net = CMANet(3, modality_dropout=0.9, aux_heads=0.3, **SMALL)
    e, f = torch.rand(5, 40, 2, 8, 8), torch.rand(5, 40, 1, 8, 8)
    dropped = net._inputs(e, f, None)
    lost = [(~x.flatten(2).any(2)).all(0) for x in dropped]
    assert 25 <= int(lost[0].sum() + lost[1].sum()) <= 40
    assert not bool((lost[0] & lost[1]).any())
    loss, _ = net.loss(e, f, torch.zeros(40, dtype=torch.long))
    loss.backward()
    assert all(p.grad is not None for p in net.aux.parameters())
    forgetful = CMANet(3, fusion="events", reset_state=True, **SMALL).eval()
    sequence = forgetful.forward_sequence(e)
    torch.testing.assert_close(forgetful.forward_sequence(e.flip(0)).flip(0), sequence)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "sum"}, "fusion='sum'"),
        ({"size": (2, 2)}, "cannot be halved"),
        ({"decay": 1.0}, "decay=1.0"),
        ({"cma_stages": (2,)}, "cma_stages"),
        ({"modality_dropout": 1.0}, "modality_dropout"),
        ({"readout": "sum"}, "readout"),
    ],
)
def test_bad_networks_are_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CMANet(3, **{**SMALL, **options})
    with pytest.raises(ValueError, match="fusion="):
        make_fusion("sum", 3)


def test_bad_inputs_are_one_clear_error() -> None:
    net = CMANet(3, **SMALL)
    with pytest.raises(ValueError, match=r"built for \[T, B, 2, 8, 8\]"):
        net(torch.rand(5, 2, 2, 9, 8), torch.rand(5, 2, 1, 8, 8))
    with pytest.raises(ValueError, match="differ in T or B"):
        net(torch.rand(5, 2, 2, 8, 8), torch.rand(4, 2, 1, 8, 8))
    with pytest.raises(ValueError, match="no input it can use"):
        net(None, None)
