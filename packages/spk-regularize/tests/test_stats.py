"""Overlap, moments, closed forms: known answers, the slow reference, laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spk_neurons import ATan, FastSigmoid, Sigmoid, Surrogate, Triangle, functional
from spk_regularize import _reference, stats
from spk_regularize.windows import half_width, measure_half_width

reals = st.floats(-5, 5)
widths = st.floats(0.05, 3)


def double(*values: float) -> list[Tensor]:
    return [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]


def test_overlap_table(known: dict[str, Any]) -> None:
    for mu, sigma, gamma, omega, by_mu, by_sigma in known["overlap"]["rows"]:
        m, s = double(mu, sigma)
        value = stats.overlap(m, s, gamma)
        value.backward()
        assert value.item() == pytest.approx(omega, rel=1e-6)
        assert m.grad is not None
        assert s.grad is not None
        assert m.grad.item() == pytest.approx(by_mu, rel=1e-6, abs=1e-200)
        assert s.grad.item() == pytest.approx(by_sigma, rel=1e-6)


def test_float32_keeps_the_tail_on_either_side() -> None:
    for mu in (-6.0, 6.0):
        value = stats.overlap(torch.tensor(mu), torch.tensor(1.0), 1.0)
        assert value.item() == pytest.approx(2.866502921e-07, rel=1e-4)


def test_expected_triangle_table(known: dict[str, Any]) -> None:
    for mu, sigma, gamma, value in known["expected_triangle"]["rows"]:
        assert stats.expected_surrogate(*double(mu, sigma), gamma).item() == pytest.approx(value, rel=1e-9)


@given(mu=reals, sigma=widths, gamma=widths)
def test_expected_rectangle_is_the_overlap_over_the_width(mu: float, sigma: float, gamma: float) -> None:
    m, s = double(mu, sigma)
    flat = stats.expected_surrogate(m, s, gamma, "rectangle")
    assert flat.item() == pytest.approx(stats.overlap(m, s, gamma).item() / (2 * gamma))


@given(mu=reals, sigma=st.floats(0.2, 3), gamma=widths)
def test_expected_triangle_matches_quadrature(mu: float, sigma: float, gamma: float) -> None:
    x = torch.linspace(-gamma, gamma, 4001, dtype=torch.float64)
    density = torch.exp(-0.5 * ((x - mu) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    area = torch.trapezoid(Triangle(gamma).derivative(x) * density, x)
    assert stats.expected_surrogate(*double(mu, sigma), gamma).item() == pytest.approx(area.item(), abs=1e-6)


@given(mu=reals, sigma=widths, gamma=widths, more=st.floats(0.01, 1), c=st.floats(0.1, 10))
def test_overlap_laws(mu: float, sigma: float, gamma: float, more: float, c: float) -> None:
    m, s = double(mu, sigma)
    omega = stats.overlap(m, s, gamma).item()
    assert 0 <= omega <= 1
    assert stats.overlap(-m, s, gamma).item() == omega
    assert stats.overlap(m, s, gamma + more).item() >= omega
    assert stats.overlap(m + more * (1 if mu >= 0 else -1), s, gamma).item() <= omega + 1e-15
    assert stats.overlap(c * m, c * s, c * gamma).item() == pytest.approx(omega, rel=1e-9, abs=1e-12)


def test_overlap_is_what_samples_tend_to() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 0.8 * torch.randn(1, 200_000, 1, generator=generator, dtype=torch.float64) - 0.5
    # 4 standard errors of a share of 0.7 among 200,000
    assert stats.empirical_overlap(x, 1.0).item() == pytest.approx(0.7036181092, abs=0.0041)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_micro_case(reset: Any, known: dict[str, Any]) -> None:
    case = known["micro_case"]
    current = torch.tensor(case["input"], dtype=torch.float64)
    _, out = functional.lif(current, decay=0.5, reset=reset, record=("h",), return_state=True, backend="reference")
    x = out.h - 1.0
    assert torch.allclose(x, torch.tensor(case[reset]["x"], dtype=torch.float64), atol=1e-12)
    mean, var = stats.moments(x)
    assert mean[:, 0].tolist() == pytest.approx(case[reset]["mu"], rel=1e-7)
    assert var.sqrt()[:, 0].tolist() == pytest.approx(case[reset]["sigma"], rel=1e-7)
    omega = stats.overlap(mean, var.sqrt(), 1.0)[:, 0]
    assert omega.tolist() == pytest.approx(case[reset]["omega"], rel=1e-9)
    assert omega.mean().item() == pytest.approx(case[reset]["loss"], rel=1e-9)
    inside = stats.empirical_overlap(x, 1.0)
    assert inside.tolist() == [[case["inside"]]] * 2


@pytest.mark.parametrize("shape", [(1, 4, 1), (3, 5), (2, 1, 3, 4, 5), (4, 6, 3), (2, 3, 4, 2, 2)])
def test_fused_equals_the_reference_with_gradients(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.rand(shape[0], shape[2] if len(shape) > 2 else 1, generator=generator, dtype=torch.float64)
    results = []
    for function in (stats.overlap_of, _reference.overlap_of):
        leaf = x.clone().requires_grad_()
        value = function(leaf, 0.9)
        (value * weight).sum().backward()
        results.append((value.detach(), leaf.grad))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-12)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-12)


def test_fused_gradcheck() -> None:
    x = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: stats.overlap_of(z, torch.tensor([0.5, 1.5])), x)


def test_fused_in_single_and_half_precision() -> None:
    x = torch.randn(2, 8, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    exact = stats.overlap_of(x.double(), 1.0)
    assert torch.allclose(stats.overlap_of(x, 1.0).double(), exact, atol=1e-6)
    half = x.bfloat16().requires_grad_()
    value = stats.overlap_of(half, 1.0)
    value.sum().backward()
    assert value.dtype == torch.float32
    assert torch.allclose(value.double(), exact, atol=1e-2)
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_order_of_samples_and_layout_change_nothing() -> None:
    x = torch.randn(2, 6, 3, 4, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    omega = stats.overlap_of(x, 1.0)
    assert torch.allclose(stats.overlap_of(x[:, torch.randperm(6)], 1.0), omega, atol=1e-12)
    assert torch.allclose(stats.overlap_of(x.flip(3, 4), 1.0), omega, atol=1e-12)
    other = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    assert not other.is_contiguous()
    assert torch.allclose(stats.overlap_of(other, 1.0), omega, atol=1e-12)


def test_dead_layer_has_finite_gradients() -> None:
    x = torch.full((2, 4, 3), -1.0, requires_grad=True)
    stats.overlap_of(x, 1.0).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_bad_potentials_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        stats.overlap_of(torch.randn(4, 1, 3), 1.0)
    with pytest.raises(ValueError, match="nan or inf"):
        stats.overlap_of(torch.full((2, 3, 1), torch.nan), 1.0)
    with pytest.raises(ValueError, match="sigma has a value of 0"):
        stats.overlap(torch.zeros(2), torch.zeros(2), 1.0)
    with pytest.raises(ValueError, match="do not broadcast"):
        stats.overlap(torch.zeros(2), torch.ones(3), 1.0)
    with pytest.raises(ValueError, match="gamma has a value of -1"):
        stats.overlap_of(torch.zeros(2, 3, 1), -1.0)


def test_soft_window_tends_to_the_count() -> None:
    x = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert torch.allclose(stats.soft_window(x, 1.0, 1e-4), stats.empirical_overlap(x, 1.0), atol=2e-3)


def test_geometric_sums(known: dict[str, Any]) -> None:
    for a in ("0.5", "0.25"):
        assert stats.geometric_sum(float(a), 5) == known["geometric"][a]


def test_theorem_without_reset(known: dict[str, Any]) -> None:
    want = known["theorem"]
    mu, sigma = stats.tdbn_moments(torch.tensor([0.7]), torch.tensor([0.3]), 0.5, 1.0, 4)
    assert mu[3, 0].item() + 1.0 == pytest.approx(want["mean"], rel=1e-6)
    assert sigma[3, 0].item() == pytest.approx(want["std"], rel=1e-5)
    generator = torch.Generator().manual_seed(6)
    current = 0.3 + 0.7 * torch.randn(4, 200_000, generator=generator, dtype=torch.float64)
    _, out = functional.lif(current, decay=0.5, reset="none", record=("h",), return_state=True)
    assert out.h[3].mean().item() == pytest.approx(want["mean"], abs=0.008)
    assert out.h[3].std().item() == pytest.approx(want["std"], abs=0.006)
    _, same = functional.lif(current[:1].expand(4, -1), decay=0.5, reset="none", record=("h",), return_state=True)
    assert same.h[3].std().item() == pytest.approx(want["std_direct"], abs=0.01)


def test_theorem_with_a_soft_reset_subtracts_what_was_fired() -> None:
    rate = torch.tensor([[0.5], [0.25], [0.0]])
    mu, _ = stats.tdbn_moments(torch.tensor([1.0]), torch.tensor([0.0]), 0.5, 1.0, 3, rate=rate)
    # S(3) = 0.25 * 0.5 + 0.5 * 0.25
    assert mu[:, 0].tolist() == pytest.approx([-1.0, -1.25, -1.25])


def test_half_widths(known: dict[str, Any]) -> None:
    want = known["half_widths"]
    made: dict[str, Surrogate] = {"sigmoid": Sigmoid(4.0), "atan": ATan(2.0), "superspike": FastSigmoid(10.0)}
    for name, surrogate in made.items():
        assert half_width(surrogate) == pytest.approx(want[name][1], rel=1e-5)
    assert half_width(Triangle(1.0)) == 1.0
    assert half_width(Triangle(1.0), mass=0.8) == pytest.approx(1 - math.sqrt(0.2))


class _Fire(torch.autograd.Function):
    shape: Surrogate

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * _Fire.shape.derivative(ctx.saved_tensors[0])


@pytest.mark.parametrize("surrogate", [Triangle(1.5), Sigmoid(4.0), ATan(2.0)], ids=repr)
def test_measured_half_width_is_the_stated_one(surrogate: Surrogate) -> None:
    _Fire.shape = surrogate
    assert measure_half_width(_Fire.apply) == pytest.approx(half_width(surrogate), rel=5e-3)


def test_surrogate_without_a_range_is_named() -> None:
    class Odd(Surrogate):
        def derivative(self, u: Tensor) -> Tensor:
            return torch.ones_like(u)

    with pytest.raises(ValueError, match=r"Odd\(1\) states no gradient range"):
        half_width(Odd())
    with pytest.raises(ValueError, match="passes no gradient"):
        measure_half_width(lambda x: (x > 0).float())
