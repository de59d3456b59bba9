"""Augmentation: what moves together, what is kept, and that a seed decides it."""

from __future__ import annotations

import pytest
import torch

from slr_cma import CMANet, PairedSign, Sample, TrainConfig, train
from slr_cma.data import Augment, Augmented

STILL = Augment(shift=0, scale=0, time_shift=0, event_drop=0, event_noise=0, light=0)


def spot(t: int = 6, size: int = 20) -> Sample:
    """One bright place, at the same pixel in events and frames, from bin to bin one column to the right."""
    events, frames = torch.zeros(t, 2, size, size), torch.zeros(t, 1, size, size)
    for k in range(t):
        events[k, :, 9, 7 + k] = 50.0
        frames[k, 0, 9, 7 + k] = 1.0
    return Sample(events, frames, torch.ones(t, dtype=torch.bool), 3)


def centre(x: torch.Tensor) -> torch.Tensor:
    """Row and column of the mass in each bin, [T, 2]."""
    mass = x.sum(1)
    axis = torch.arange(x.shape[-1], dtype=torch.float32)
    total = mass.sum((1, 2))
    return torch.stack([(mass.sum(2) * axis).sum(1) / total, (mass.sum(1) * axis).sum(1) / total], 1)


def test_nothing_happens_where_nothing_may() -> None:
    sample = spot()
    same = STILL(sample, torch.Generator().manual_seed(0))
    torch.testing.assert_close(same.events, sample.events)
    torch.testing.assert_close(same.frames, sample.frames)
    assert same.label == 3


def test_events_and_frames_move_together_and_events_are_kept() -> None:
    how = Augment(shift=0.15, scale=0.1, time_shift=0, event_drop=0, event_noise=0, light=0)
    moved = set()
    for seed in range(8):
        out = how(spot(), torch.Generator().manual_seed(seed))
        assert out.events is not None
        assert out.frames is not None
        torch.testing.assert_close(centre(out.events), centre(out.frames), atol=1e-3, rtol=0)
        assert (centre(out.events)[1:, 1] > centre(out.events)[:-1, 1]).all()  # still to the right: not mirrored
        assert out.events.sum() == pytest.approx(600, rel=0.25)
        moved.add(round(float(centre(out.events)[0, 0]), 2))
    assert len(moved) > 4


def test_time_moves_both_and_the_mask() -> None:
    how = Augment(shift=0, scale=0, time_shift=2, event_drop=0, event_noise=0, light=0)
    seen = set()
    for seed in range(12):
        sample = spot()
        out = how(sample, torch.Generator().manual_seed(seed))
        assert out.events is not None
        assert out.frames is not None
        assert sample.events is not None
        assert ((out.events.flatten(1).sum(1) > 0) == out.mask).all()
        assert ((out.frames.flatten(1).sum(1) > 0) == out.mask).all()
        late = int(out.mask.int().argmax()) if not out.mask[0] else int(out.mask.sum()) - 6
        seen.add(late)
        first = out.events[max(0, late)]
        torch.testing.assert_close(first, sample.events[max(0, -late)])
    assert seen == {-2, -1, 0, 1, 2}


def test_a_seed_and_an_epoch_decide_it_and_training_takes_it() -> None:
    signs = PairedSign(40, seed=1)
    data, again = Augmented(signs, seed=4), Augmented(signs, seed=4)
    assert torch.equal(data[3].events, again[3].events)  # type: ignore[arg-type]
    again.set_epoch(1)
    assert not torch.equal(data[3].events, again[3].events)  # type: ignore[arg-type]
    net = CMANet(18, size=(12, 12), channels=(4, 6), hidden=16)
    history = train(net, data, None, TrainConfig(epochs=2, batch_size=20))
    assert data.epoch == 1
    assert len(history.rows) == 2
    with pytest.raises(ValueError, match="shares in"):
        Augment(event_drop=1.0)
