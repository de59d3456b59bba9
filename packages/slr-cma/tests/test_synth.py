"""The generator keeps its guarantees, and its sabotage is found."""

from __future__ import annotations

import numpy as np
import pytest

from slr_cma import HARD, PairedSign, SignWorld
from slr_cma.diagnostics import audit_generator
from slr_cma.synth import draw_faults, order_chain
from slr_cma.synth.render import PRIMITIVES, emit_events, primitive_path


def test_same_seed_same_signs_and_classes_balance() -> None:
    a, b, c = PairedSign(90, seed=3), PairedSign(90, seed=3), PairedSign(90, seed=4)
    np.testing.assert_array_equal(a.events, b.events)
    np.testing.assert_array_equal(a.frames, b.frames)
    assert (a.events != c.events).any()
    assert set(np.bincount(a.labels)) == {5}
    assert a.ceilings == pytest.approx(
        {"events": 1 / 3, "frames": 1 / 6, "both": 1, "collapsed": 1 / 6, "collapsed events": 1 / 18, "chance": 1 / 18}
    )
    assert PairedSign(2, task="order").ceilings["events"] == 1
    assert PairedSign(2, world=HARD).ceilings["frames"] == 1
    short = PairedSign(48, K=4, A=2, T=8)
    assert (short.n_classes, short.events.shape[1], short.ceilings["events"]) == (48, 8, 0.5)
    with pytest.raises(ValueError, match="K=9 given; expected 2 to 6"):
        PairedSign(2, K=9)
    assert a.world.fingerprint == SignWorld().fingerprint != HARD.fingerprint


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_loops_are_closed_at_the_rest_pose(name: str) -> None:
    path = primitive_path(name, np.array([0.0, 1.0], np.float32))
    np.testing.assert_allclose(path, 0, atol=1e-5)


def test_events_of_a_known_ramp() -> None:
    light = np.exp(np.array([0.0, 0.25, 0.5, 0.1], np.float32))[:, None]
    off, on, reference = emit_events(light, 0.2)
    assert on[:, 0].tolist() == [1, 1, 0]  # 0.25 -> 1, reference 0.2; 0.5 -> 1, 0.4; 0.1 -> -1, 0.2
    assert off[:, 0].tolist() == [0, 0, 1]
    assert reference[0] == pytest.approx(0.2)


def test_noise_free_segments_do_not_know_their_position() -> None:
    """Without nuisance a primitive gives the same events wherever it stands; a leaky world does not."""
    still = {"noise": 0.0, "gain": (1.0, 1.0), "warp": (1.0, 1.0), "jitter": 0.0}
    for leaky in (False, True):
        signs = PairedSign(18, leaky=leaky, **still)
        found = {}
        for i in range(18):
            for place, primitive in enumerate(signs.world.orders[signs.orders[i]]):
                found.setdefault(primitive, []).append(signs.events[i, 4 * place : 4 * place + 4])
        same = all((np.stack(parts) == parts[0]).all() for parts in found.values())
        assert same != leaky


def test_the_audit_passes_the_generator_and_flags_the_sabotaged_one() -> None:
    assert audit_generator(PairedSign(300, task="order", seed=5)) == []
    found = audit_generator(PairedSign(300, task="order", seed=5, leaky=True))
    assert any("events, collapsed: knows the order" in line for line in found)
    with pytest.raises(ValueError, match="at least 150"):
        audit_generator(PairedSign(60))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 10}, "multiple of the 3 primitives"),
        ({"primitives": ("circle",)}, "at least two"),
        ({"primitives": ("circle", "spiral")}, "'spiral' is not known"),
        ({"size": 25}, "not a multiple of down"),
        ({"exposure": "long"}, "exposure"),
        ({"threshold": 0.0}, "threshold"),
    ],
)
def test_bad_worlds_are_one_clear_error(options: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        PairedSign(10, **options)


def test_faults_strike_where_their_mask_says_and_nowhere_else() -> None:
    signs = PairedSign(120, world=HARD, seed=1)
    faults = draw_faults(120, 9, 12, seed=2)
    masks = faults.masks(9, 12, 12)
    events, frames = faults.apply(signs.events, signs.frames)
    assert not (events != signs.events)[~np.repeat(masks[:, 0, :, None], 2, 2)].any()
    assert not (frames != signs.frames)[~masks[:, 1, :, None]].any()
    struck = (events != signs.events).any((1, 2, 3, 4)) | (frames != signs.frames).any((1, 2, 3, 4))
    assert (struck == (faults.modality >= 0)).all()
    again = draw_faults(120, 9, 12, seed=2).apply(signs.events, signs.frames)
    np.testing.assert_array_equal(again[0], events)
    assert set(draw_faults(50, 9, 12, shares=(0, 1, 0)).modality) == {0}
    with pytest.raises(ValueError, match="shares"):
        draw_faults(5, 9, 12, shares=(0.5, 0.1, 0.1))


def test_order_chains_hold_what_they_say() -> None:
    rng = np.random.default_rng(0)
    data, labels = rng.poisson(1.0, (30, 6, 2, 4, 4)), np.arange(30) % 3
    chain = order_chain(data, labels, classes=(0, 1, 2), n=24, bins=3, sources=np.arange(15), seed=1)
    assert chain.data.shape == (24, 9, 2, 4, 4)
    assert chain.sources.max() < 15
    for i in range(24):
        assert tuple(labels[chain.sources[i]]) == chain.orders[chain.labels[i]]
        np.testing.assert_array_equal(chain.data[i, :3].sum(0), data[chain.sources[i, 0]].sum(0))
    assert set(np.bincount(chain.labels)) == {4}
    for options, message in (
        ({"classes": (0, 7)}, "class 7 has no recording"), ({"classes": (0, 1), "k": 3}, "k=3"),
        ({"classes": (0, 1), "bins": 4}, "does not divide"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            order_chain(data, labels, **options)  # type: ignore[arg-type]
