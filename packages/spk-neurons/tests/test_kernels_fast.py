"""The quick paths of the kernels against the reference: layouts, limits, and memory that is given out again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from spk_neurons import LIF
from spk_neurons import functional as F
from spk_neurons._kernels import memory
from spk_neurons.noise import Gaussian
from spk_neurons.surrogate import ATan, Sigmoid

SHAPES = [(5, 3, 7), (4, 6, 130), (3, 2, 3, 5, 4), (3, 2, 3, 12, 12), (6, 40), (3, 2, 600)]


def moments(x: Tensor, backend: str, noisy: bool) -> list[Tensor]:
    """Spikes, statistics and the gradient of a loss on all three."""
    x = x.clone().requires_grad_()
    if noisy:
        g = torch.Generator().manual_seed(3)
        s, out = F.noisy_lif(x, decay=0.6, noise=Gaussian(0.3), generator=g, stats=True, backend=backend)
    else:
        s, out = F.lif(x, decay=0.6, stats=True, backend=backend)
    w = torch.linspace(0.5, 1.5, out.stats.mean.numel(), dtype=x.dtype).reshape(out.stats.mean.shape)
    ((s * x.detach()).sum() + (w * out.stats.mean).sum() + (w * out.stats.var.sqrt()).sum()).backward()
    assert x.grad is not None
    return [s.detach(), out.stats.mean.detach(), out.stats.var.detach(), x.grad]


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_equal_autograd_in_every_layout(shape: tuple[int, ...], noisy: bool, fused: str) -> None:
    x = 1.5 * torch.randn(shape, dtype=torch.float64) + 0.4
    want, got = moments(x, "reference", noisy), moments(x, fused, noisy)
    assert torch.equal(want[0], got[0])
    for a, b in zip(want[1:], got[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-3), (torch.float64, 1e-6)])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 300, 8), (2, 2, 9000)])
def test_variance_keeps_its_digits_far_from_zero(
    shape: tuple[int, ...], dtype: torch.dtype, tolerance: float, fused: str
) -> None:
    """Squares of 1e4 leave float32 nothing for a variance of one. Potentials there are 1e-3 apart, hence the bound."""
    x = (torch.randn(shape, dtype=torch.float64) + 1e4).to(dtype)
    _, out = F.lif(x, decay=0.0, threshold=1e9, stats=True, backend=fused)
    y = x.double().reshape(shape[0], shape[1], shape[2] if len(shape) > 2 else 1, -1)
    torch.testing.assert_close(out.stats.mean.double(), y.mean((1, 3)), rtol=1e-6, atol=0)
    want = y.var((1, 3), correction=0)
    torch.testing.assert_close(out.stats.var.double(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("fire", ["ge", "gt"])
@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("surrogate", [ATan(1.3), Sigmoid(3.0)])
def test_scalar_paths_equal_the_reference(reset: str, fire: str, surrogate: object, fused: str) -> None:
    # quarters hit the threshold exactly; a level, a bias and a gain of their own leave no term out
    x = (torch.randn(9, 70, dtype=torch.float64) * 8).round() / 4
    options = {
        "decay": 0.5, "gain": 0.75, "bias": 0.25, "reset": reset, "fire": fire, "surrogate": surrogate,
        ("amount" if reset == "soft" else "v_reset"): 0.5,
    }  # fmt: skip
    results = []
    for backend in ("reference", fused):
        xi, v0 = x.clone().requires_grad_(), torch.full((70,), 0.25, dtype=torch.float64, requires_grad=True)
        s, out = F.lif(xi, v0, backend=backend, return_state=True, **options)
        ((s * x).sum() + (out.state.v**2).sum()).backward()
        results.append([s.detach(), out.state.v.detach(), xi.grad, v0.grad])
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    for a, b in zip(results[0][2:], results[1][2:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_infinite_and_missing_inputs_spike_as_in_the_reference(reset: str, fused: str) -> None:
    x = torch.tensor([[math.inf, -math.inf, math.nan, 1.0]] * 3)
    x[1] = 3.0
    want, state = F.lif(x, decay=0.5, reset=reset, backend="reference", return_state=True)
    got, here = F.lif(x, decay=0.5, reset=reset, backend=fused, return_state=True)
    assert torch.equal(want, got)
    torch.testing.assert_close(state.state.v, here.state.v, equal_nan=True, rtol=0, atol=0)


def test_chunks_of_the_torch_backend_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    from spk_neurons._kernels import eager_plain

    x = torch.randn(6, 2, 35) + 0.5
    results = []
    for width in (1 << 15, 16):
        monkeypatch.setattr(eager_plain, "CHUNK", width)
        xi = x.clone().requires_grad_()
        s = F.lif(xi, backend="torch")
        s.backward(x)
        results.append((s.detach(), xi.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_one_step_keeps_a_given_state_and_the_graph() -> None:
    lif = LIF(detach_reset=True)
    x, v = torch.full((2, 3), 1.2), torch.full((2, 3), 0.4)
    s, state = lif.step(x, v)
    torch.testing.assert_close(state.v, torch.full((2, 3), 0.8))
    assert float(v[0, 0]) == pytest.approx(0.4)
    v.requires_grad_()
    _, state = lif.step(x, v)
    _, state = lif.step(0.1 * x, state)
    state.v.sum().backward()
    assert v.grad is not None
    torch.testing.assert_close(v.grad, torch.full((2, 3), 0.25))
    assert s.shape == (2, 3)


def test_large_outputs_come_back_once_nobody_holds_them() -> None:
    like = torch.empty(memory.LEAST // 4)
    a = memory.empty_like(like)
    view, where = a[3:5], a.data_ptr()
    del a
    b = memory.empty_like(like)
    assert b.data_ptr() != where  # a view still holds it
    as_array = b.numpy()
    there = b.data_ptr()
    del view, b
    c = memory.empty_like(like)
    assert c.data_ptr() == where
    assert c.data_ptr() % 64 == 0
    del c, as_array
    again = {memory.empty_like(like).data_ptr() for _ in range(2)}
    assert again <= {where, there}
    memory.release()
    assert memory.kept_bytes() == 0


def test_spikes_of_one_call_survive_the_next() -> None:
    x = torch.randn(8, memory.LEAST // 32)
    first = F.lif(x)
    copy = first.clone()
    F.lif(-x)
    assert torch.equal(first, copy)
