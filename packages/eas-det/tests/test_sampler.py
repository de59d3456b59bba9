"""The sampler: known answers, its slow twin, the gradient's trap, laws."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eas_det import (
    ARSNNSampler,
    CountEmbedding,
    RSNNEmbedding,
    SamplerOutput,
    SNNEmbedding,
    sampling_intervals,
    to_steps,
)
from eas_det.sampler import arsnn
from eas_det.sampler.reference import sample

# K1, measured with the official class: one pixel, gamma = 0.5, chronological bins
BINS = [0.3, 0.9, 0.2, 0.6, 0.8, 0.4, 0.1, 0.05]
# d out.sum() / d (input weights [gate, current], input biases, recurrent weights, recurrent biases)
K1_GRADIENTS = {
    True: ([0.645227, 6.943748], [1.102950, 15.179542], [0.0, 1.525]),
    False: ([0.204535, 2.957490], [0.444302, 8.668163], [0.0, 1.3]),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def one_pixel(**options: object) -> ARSNNSampler:
    sampler = ARSNNSampler(1, 1, 1, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter.zero_()
        sampler.conv_in[0].weight[1] = 1
    return sampler.eval()


def k1() -> Tensor:
    return torch.tensor(BINS).view(1, 8, 1, 1, 1)


def busy(batch: int = 2, steps: int = 8, side: int = 12) -> Tensor:
    return 3 * torch.rand(batch, steps, 2, side, side + 2)


@pytest.mark.parametrize(
    ("n", "rpd", "readout", "expected"),
    [
        (1, True, "sum", [1.66875]),
        (2, True, "sum", [1.66875, 2.25]),
        (3, True, "sum", [1.66875, 2.25, 0]),
        (3, False, "sum", [1.66875, 2.25, 0.3]),
        (4, False, "sum", [1.66875, 2.25, 0.3, 0]),
        (3, True, "avg", [0.4171875, 0.75, 0]),
        (3, False, "avg", [0.4171875, 0.75, 0.3]),
        (3, True, "last", [1.03125, 1.15, 0]),
        (3, False, "last", [1.03125, 1.15, 0.3]),
    ],
)
def test_k1_samples(n: int, rpd: bool, readout: str, expected: list[float]) -> None:
    out = one_pixel(n_samples=n, rpd=rpd, readout=readout)(k1())
    torch.testing.assert_close(out.flatten(), torch.tensor(expected))


def test_k1_official_last_is_zero_at_pixels_that_fired() -> None:
    out = one_pixel(n_samples=2, readout="last", official=True)(k1())
    assert out.flatten().tolist() == [0, 0]


@pytest.mark.parametrize("sat", [True, False])
def test_k1_gradients(sat: bool) -> None:
    sampler = one_pixel(n_samples=3, sat=sat)
    sampler(k1()).sum().backward()
    weight, bias, feedback = (torch.tensor(each) for each in K1_GRADIENTS[sat])
    torch.testing.assert_close(sampler.conv_in[0].weight.grad.flatten(), weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sampler.conv_in[0].bias.grad, bias, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sampler.conv_rec[0].weight.grad.flatten(), feedback, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sampler.conv_rec[0].bias.grad, bias, rtol=1e-5, atol=1e-6)


def test_k1_intervals_and_times() -> None:
    out = one_pixel(n_samples=3)(k1(), return_info=True)
    assert isinstance(out, SamplerOutput)
    assert out.spikes.flatten().tolist() == [0, 0, 0, 1, 0, 0, 1, 0]
    assert out.t_fire.flatten().tolist() == [3, 6, -1]
    assert out.interval.flatten().tolist() == [4, 3, 0]
    assert out.n_fired.item() == 2
    assert out.firing_fraction.item() == 0.25
    intervals = sampling_intervals(out, 25_000).flatten()
    assert intervals[:2].tolist() == [100_000, 75_000]
    assert intervals[2].isnan()


@pytest.mark.parametrize("readout", ["sum", "avg", "last"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("rpd", [True, False])
@pytest.mark.parametrize("sat", [True, False])
def test_equals_its_slow_twin_with_all_gradients(sat: bool, rpd: bool, n: int, readout: str) -> None:
    for depth, kernel, v_reset, order, side in (
        (2, 5, 0.0, "newest_first", 12),
        (2, 5, 0.0, "newest_first", 11),  # an odd side is not folded
        (1, 7, None, "oldest_first", 6),
        (1, 3, 0.2, "newest_first", 4),
        (2, 1, 0.0, "newest_first", 2),
    ):
        sampler = ARSNNSampler(
            2,
            kernel,
            depth,
            n,
            sat=sat,
            rpd=rpd,
            readout=readout,
            v_reset=v_reset,
            order=order,  # type: ignore[arg-type]
        ).double()
        x = busy(steps=5, side=side).double().requires_grad_()
        ours, theirs = sampler(x), sample(sampler, x)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        weight = torch.randn_like(ours)
        variables = [x, *sampler.parameters()]
        a = torch.autograd.grad((ours * weight).sum(), variables)
        b = torch.autograd.grad((theirs * weight).sum(), variables)
        for left, right in zip(a, b, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


def test_the_trap_without_the_fired_mask_values_agree_and_gradients_do_not() -> None:
    """Specification 2.3: without the mask, pixels that did not fire receive d out / d s; off by 40 to 90 %."""
    sampler = ARSNNSampler(2, 5, 2, 3)
    variant = ARSNNSampler(2, 5, 2, 3, sat="near_miss")
    variant.load_state_dict(sampler.state_dict())
    x = busy()
    a, b = sampler(x), variant(x)
    assert torch.equal(a, b)
    wanted = torch.autograd.grad(sample(sampler, x).sum(), list(sampler.parameters()))
    masked = torch.autograd.grad(a.sum(), list(sampler.parameters()))
    unmasked = torch.autograd.grad(b.sum(), list(variant.parameters()))
    flat = [torch.cat([each.flatten() for each in grads]) for grads in (wanted, masked, unmasked)]
    assert (flat[1] - flat[0]).norm() / flat[0].norm() < 1e-5
    assert (flat[2] - flat[0]).norm() / flat[0].norm() > 0.1


def test_sat_changes_no_value() -> None:
    sampler, plain = ARSNNSampler(n_samples=3), ARSNNSampler(n_samples=3, sat=False)
    plain.load_state_dict(sampler.state_dict())
    x = busy()
    assert torch.equal(sampler(x), plain(x))


def test_rpd_changes_only_pixels_silent_at_the_last_step_with_room() -> None:
    sampler, keep = ARSNNSampler(n_samples=2), ARSNNSampler(n_samples=2, rpd=False)
    keep.load_state_dict(sampler.state_dict())
    x = busy()
    out = sampler(x, return_info=True)
    left = (out.spikes[-1] == 0) & (out.n_fired < 2)
    changed = (out.samples != keep(x)).any(0)
    assert changed.any()
    assert not (changed & ~left).any()


def test_fires_strictly_above_the_threshold() -> None:
    sampler = one_pixel(n_samples=1)
    assert sampler(torch.ones(1, 1, 1, 1, 1)).item() == 0
    assert sampler(torch.full((1, 1, 1, 1, 1), 1 + 1e-6)).item() > 1


def test_all_samples_and_the_rest_sum_to_rsnn() -> None:
    sampler, rsnn = ARSNNSampler(n_samples=9, rpd=False).double(), RSNNEmbedding().double()
    rsnn.load_state_dict(sampler.state_dict())
    x = busy().double()
    torch.testing.assert_close(sampler(x).sum(0), rsnn(x)[0])


def test_older_bins_do_not_matter_once_every_pixel_has_its_samples() -> None:
    sampler = ARSNNSampler(1, 1, 1)
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter.zero_()
        sampler.conv_in[0].weight[1] = 1
    x = torch.rand(2, 6, 1, 4, 4)
    x[:, 4:] += 1.5  # newest first: all fire at the first step
    older = x.clone()
    older[:, :4] = torch.rand(2, 4, 1, 4, 4)
    assert torch.equal(sampler(x), sampler(older))


def test_batch_items_do_not_meet() -> None:
    sampler = ARSNNSampler(n_samples=2).double()
    x = busy(3).double()
    torch.testing.assert_close(sampler(x)[:, 1], sampler(x[1:2])[:, 0])


def test_translation_away_from_the_border() -> None:
    sampler = ARSNNSampler(2, 3, 1).double()
    x = torch.zeros(1, 3, 2, 40, 40, dtype=torch.float64)
    x[..., 15:22, 15:22] = 3 * torch.rand(1, 3, 2, 7, 7)
    moved = torch.roll(x, (2, 3), (-2, -1))
    inner = (..., slice(8, 32), slice(8, 32))
    torch.testing.assert_close(torch.roll(sampler(x), (2, 3), (-2, -1))[inner], sampler(moved)[inner])


def test_flipped_kernels_see_a_flipped_world() -> None:
    sampler, mirror = ARSNNSampler().double(), ARSNNSampler().double()
    mirror.load_state_dict({k: v.flip(-1) if v.dim() == 4 else v for k, v in sampler.state_dict().items()})
    x = busy().double()
    torch.testing.assert_close(sampler(x).flip(-1), mirror(x.flip(-1)))


def test_gradcheck_with_a_smooth_spike(monkeypatch: pytest.MonkeyPatch) -> None:
    def smooth(u: Tensor, threshold: float, surrogate: object) -> Tensor:
        return torch.sigmoid(4 * (u - threshold))

    monkeypatch.setattr(arsnn, "fire", smooth)
    sampler = ARSNNSampler(1, 3, 1, 1, sat=False, v_reset=None).double()
    # with n held at the detached spike, samples are a smooth function only if nothing is detached on the way
    names = [name for name, _ in sampler.named_parameters()]
    x = torch.rand(1, 1, 1, 3, 3, dtype=torch.float64)

    def run(*values: Tensor) -> Tensor:
        out = torch.func.functional_call(sampler.eval(), dict(zip(names, values, strict=True)), (x, True))
        return out.spikes

    values = [each.detach().clone().requires_grad_() for each in sampler.parameters()]
    assert torch.autograd.gradcheck(run, values)


def compiles(backend: str, **options: object) -> None:
    sampler = ARSNNSampler(kernel_size=3, depth=1, **options)  # type: ignore[arg-type]
    compiled = torch.compile(sampler, fullgraph=True, backend=backend)
    x = busy(steps=2, side=4)
    ours, plain = compiled(x), sampler(x)
    torch.testing.assert_close(ours, plain)
    variables = list(sampler.parameters())
    for a, b in zip(
        torch.autograd.grad(ours.sum(), variables), torch.autograd.grad(plain.sum(), variables), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own tracing
def test_compiles_without_a_graph_break() -> None:
    compiles("aot_eager", n_samples=2, readout="avg", rpd=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
@pytest.mark.parametrize("sat", [True, False, "near_miss"])
@pytest.mark.parametrize("readout", ["sum", "avg", "last"])
def test_compiled_code_equals_the_plain_form(readout: str, sat: object) -> None:
    compiles("inductor", n_samples=2, readout=readout, sat=sat)


def test_runs_where_no_value_can_be_read() -> None:
    """Meta tensors have no values: any look at one by the host would raise."""
    sampler = ARSNNSampler(n_samples=3).to("meta")
    out = sampler(torch.empty(2, 4, 2, 16, 16, device="meta"))
    assert out.shape == (3, 2, 2, 16, 16)


def test_half_precision_compares_in_float32() -> None:
    sampler = ARSNNSampler()
    with torch.autocast("cpu", torch.bfloat16):
        out = sampler(busy())
    assert out.dtype == torch.float32
    assert out.isfinite().all()


def test_a_dead_sampler_says_so() -> None:
    sampler = one_pixel().train()
    with pytest.warns(UserWarning, match="dead"):
        out = sampler(torch.zeros(1, 4, 1, 2, 2))
    assert out.abs().sum() == 0
    with pytest.warns(UserWarning, match="dead"):
        assert sampler.check_alive(sampler.eval()(torch.zeros(1, 4, 1, 2, 2), return_info=True)) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ARSNNSampler().train()(busy())


def test_counts_of_parameters() -> None:
    assert sum(each.numel() for each in ARSNNSampler(2, 5, 2).parameters()) == 1216  # K5


def test_the_family() -> None:
    x = busy()
    assert torch.equal(CountEmbedding()(x)[0], x.sum(1))
    snn = SNNEmbedding(1, 1, 1)
    with torch.no_grad():
        snn.conv_in[0].weight.fill_(1)
        snn.conv_in[0].bias.zero_()
    # K1's potentials, summed: decay 0.5, the same resets
    assert snn.decay.item() == 0.5
    total = sum([0.05, 0.125, 0.4625, 1.03125, 0.6, 0.5, 1.15, 0.3])
    torch.testing.assert_close(snn(k1()).item(), total, rtol=1e-6, atol=0)
    for each in (SNNEmbedding(), RSNNEmbedding()):
        each(x).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in each.parameters())


def test_steps() -> None:
    one, three = torch.rand(1, 2, 2, 4, 4), torch.rand(3, 2, 2, 4, 4)
    assert to_steps(one, 3).shape == (3, 2, 2, 4, 4)
    assert torch.equal(to_steps(three, 3), three)
    with pytest.raises(ValueError, match="3 samples for 4 steps"):
        to_steps(three, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_samples": 0}, {"n_samples": 2, "steps": 3}, {"kernel_size": 4}, {"threshold": 0.0}, {"order": "random"},
        {"readout": "max"}, {"sat": "yes"}, {"official": True}, {"surrogate": "cubic"}, {"depth": 0},
    ],
)  # fmt: skip
def test_wrong_arguments(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="given"):
        ARSNNSampler(**wrong)  # type: ignore[arg-type]


def test_wrong_counts() -> None:
    sampler = ARSNNSampler()
    with pytest.raises(ValueError, match=r"expected \[B, T >= 1, 2, H, W\]"):
        sampler(torch.rand(2, 4, 3, 8, 8))
    with pytest.raises(TypeError, match="floating point"):
        sampler(torch.ones(2, 4, 2, 8, 8, dtype=torch.long))


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 3))
def test_more_samples_than_bins_stay_zero(steps: int, n: int, batch: int) -> None:
    out = ARSNNSampler(2, 3, 1, n).eval()(busy(batch, steps, 4))
    assert out.shape == (n, batch, 2, 4, 6)
    assert n <= steps or not out[steps:].any()
