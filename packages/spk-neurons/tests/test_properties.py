"""Laws of the transition, for any input that hypothesis finds."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spk_neurons import ALIF, IF, LI, LIF, PLIF, CuBaLIF, NoisyLIF, Recurrent, noise
from spk_neurons import functional as F
from spk_neurons._kernels.backends import why_not
from spk_neurons.testing import inputs

RESETS = st.sampled_from(["hard", "soft", "none"])
PRESENT = [name for name in ("reference", "torch", "numba") if not why_not(name, torch.device("cpu"), torch.float32)]
BACKENDS = st.sampled_from(PRESENT)
few = settings(max_examples=25)


@few
@given(inputs(), RESETS, BACKENDS, st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
def test_spikes_are_zero_or_one_and_equal_on_all_backends(x: Tensor, reset: str, backend: str, decay: float) -> None:
    s, out = F.lif(x, decay=decay, reset=reset, backend=backend, record=("h", "v"))
    assert bool(((s == 0) | (s == 1)).all())
    t, ref = F.lif(x, decay=decay, reset=reset, backend="reference", record=("h", "v"))
    assert torch.equal(s, t)
    assert torch.equal(out.h, ref.h)
    assert torch.equal(out.v, ref.v)


@few
@given(inputs(), RESETS, BACKENDS, st.data())
def test_splitting_anywhere_and_stepping_change_nothing(
    x: Tensor, reset: str, backend: str, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, x.shape[0]))
    neuron = LIF(3.0, reset=reset, backend=backend)

    def whole(a: Tensor) -> tuple[Tensor, Tensor]:
        s, state = neuron(a, return_state=True)
        return s, state.v

    def split(a: Tensor) -> tuple[Tensor, Tensor]:
        s1, state = neuron(a[:cut], return_state=True)
        s2, state = neuron(a[cut:], state, return_state=True)
        return torch.cat([s1, s2]), state.v

    def stepped(a: Tensor) -> tuple[Tensor, Tensor]:
        state, rows = None, []
        for t in range(a.shape[0]):
            s, state = neuron.step(a[t], state)
            rows.append(s)
        return torch.stack(rows), state.v

    grads = []
    for run in (whole, split, stepped):
        a = x.clone().requires_grad_()
        s, v = run(a)
        if run is whole:
            s0, v0 = s.detach(), v.detach()
        assert torch.equal(s, s0)
        assert torch.equal(v, v0)
        (s.sum() + v.sum()).backward()
        grads.append(a.grad)
    torch.testing.assert_close(grads[1], grads[0])
    torch.testing.assert_close(grads[2], grads[0])


@few
@given(inputs(), RESETS, BACKENDS)
def test_samples_do_not_see_each_other(x: Tensor, reset: str, backend: str) -> None:
    order = torch.randperm(x.shape[1])
    s = F.lif(x, reset=reset, backend=backend)
    assert torch.equal(F.lif(x[:, order], reset=reset, backend=backend), s[:, order])
    assert torch.equal(F.lif(x[:, :1], reset=reset, backend=backend), s[:, :1])


@few
@given(inputs(), RESETS, BACKENDS)
def test_strides_do_not_matter(x: Tensor, reset: str, backend: str) -> None:
    def grad(a: Tensor, g: Tensor) -> Tensor:
        a = a.detach().requires_grad_()
        F.lif(a, reset=reset, backend=backend).backward(g)
        return a.grad  # type: ignore[return-value]

    g = torch.randn_like(x)
    want = grad(x, g)
    strided = x.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert torch.equal(grad(strided, g.permute(1, 2, 0).contiguous().permute(2, 0, 1)), want)
    one = x[:1].expand_as(x)
    assert torch.equal(F.lif(one, reset=reset, backend=backend), F.lif(one.contiguous(), reset=reset, backend=backend))
    ones = torch.ones(()).expand_as(x)
    assert torch.equal(grad(x, ones), grad(x, ones.contiguous()))


@few
@given(inputs(), BACKENDS, st.sampled_from([0.5, 0.75]))
def test_silence_is_a_linear_filter(x: Tensor, backend: str, decay: float) -> None:
    x = x.double()
    _, out = F.lif(x, decay=decay, gain=0.5, threshold=1e9, backend=backend, record=("h",))
    lag = torch.arange(x.shape[0])[:, None] - torch.arange(x.shape[0])[None, :]
    kernel = torch.where(lag >= 0, decay ** lag.clamp_min(0).double(), 0.0)
    want = 0.5 * torch.einsum("tk,kbc->tbc", kernel, x)
    torch.testing.assert_close(out.h, want)
    torch.testing.assert_close(F.li(x, decay=decay, gain=0.5, backend=backend), want)


@few
@given(inputs(), BACKENDS)
def test_soft_reset_keeps_the_charge(x: Tensor, backend: str) -> None:
    x = x.double()
    s, out = F.lif(x, decay=0.75, gain=0.5, reset="soft", backend=backend, return_state=True)
    steps = x.shape[0]
    powers = 0.75 ** torch.arange(steps - 1, -1, -1).double()
    torch.testing.assert_close(out.state.v, torch.einsum("t,tbc->bc", powers, 0.5 * x - s))


@few
@given(inputs(), RESETS, BACKENDS)
def test_no_decay_is_no_memory(x: Tensor, reset: str, backend: str) -> None:
    assert torch.equal(F.lif(x, tau=1.0, decay_input=False, reset=reset, backend=backend), (x >= 1).float())


@few
@given(st.integers(1, 15), st.integers(1, 60), BACKENDS)
def test_integrator_counts(rate: int, steps: int, backend: str) -> None:
    x = torch.full((steps, 1), rate / 16, dtype=torch.float64)
    count = IF(reset="soft", backend=backend)(x).sum().item()
    assert abs(count - math.floor(steps * rate / 16)) <= 1


@few
@given(inputs(), RESETS, BACKENDS, st.sampled_from([0.25, 2.0, 1024.0]))
def test_units_do_not_matter(x: Tensor, reset: str, backend: str, c: float) -> None:
    v = torch.full(x.shape[1:], 0.25)
    s = F.lif(x, v, reset=reset, backend=backend)
    assert torch.equal(F.lif(c * x, c * v, threshold=c, reset=reset, backend=backend), s)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (3, 4097), (2, 63), (2, 65), (5, 0, 3), (0, 2, 3), (7,)])
@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
def test_sizes_at_the_edges(backend: str, shape: tuple[int, ...], reset: str) -> None:
    x = (torch.randn(shape) + 1).requires_grad_()
    s, out = F.lif(x, reset=reset, backend=backend, return_state=True)
    assert s.shape == x.shape
    assert out.state.v.shape == x.shape[1:]
    (s.sum() + out.state.v.sum()).backward()
    if x.shape[0]:
        y = x.detach().clone().requires_grad_()
        t, ref = F.lif(y, reset=reset, backend="reference", return_state=True)
        (t.sum() + ref.state.v.sum()).backward()
        assert torch.equal(s, t)
        torch.testing.assert_close(x.grad, y.grad)


def test_no_time_leaves_the_state(backend: str) -> None:
    v = torch.randn(2, 3)
    s, out = F.lif(torch.empty(0, 2, 3), v, backend=backend, return_state=True)
    assert s.shape == (0, 2, 3)
    assert torch.equal(out.state.v, v)


def test_a_second_pass_needs_no_reset() -> None:
    net = nn.Sequential(nn.Linear(4, 5), LIF(), nn.Linear(5, 3), PLIF())
    x = torch.rand(6, 2, 4) * 3
    first = net(x)
    first.sum().backward()
    second = net(x)
    second.sum().backward()
    assert torch.equal(first, second)


def test_two_networks_do_not_interact() -> None:
    a, b = nn.Sequential(LIF()), nn.Sequential(LIF())
    x = torch.rand(5, 2, 3) * 2
    want = a(x)
    b(torch.rand(5, 7, 3))
    assert torch.equal(a(x), want)


def test_a_deleted_network_is_freed() -> None:
    net = nn.Sequential(nn.Linear(4, 4), LIF(), Recurrent(LIF(), nn.Linear(4, 4)))
    net(torch.rand(3, 2, 4)).sum().backward()
    watch = [weakref.ref(m) for m in net.modules()]
    del net
    gc.collect()
    assert all(w() is None for w in watch)


@pytest.mark.parametrize("make", [LIF, PLIF, IF, LI, CuBaLIF, ALIF, NoisyLIF])
def test_copies_and_state_dicts(make: type[nn.Module]) -> None:
    m = make()
    x = torch.rand(5, 3, 4) * 2
    torch.manual_seed(1)
    want = m(x)
    for twin in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        torch.manual_seed(1)
        assert torch.equal(twin(x), want)
    other = make()
    other(torch.rand(2, 9, 4))
    other.load_state_dict(m.state_dict())
    torch.manual_seed(1)
    assert torch.equal(other(x), want)
    assert not any(k == "v" for k in m.state_dict())


def test_escape_noise_fires_with_probability_f() -> None:
    n = 200_000
    for law in (noise.Gaussian(0.3), noise.Logistic(0.2), noise.Triangular(0.6), noise.Uniform(0.4), noise.Cauchy(0.2)):
        for u in (-0.25, 0.0, 0.1):
            x = torch.full((1, n), 1.0 + u)
            s = F.noisy_lif(x, decay=0.0, noise=law, generator=torch.Generator().manual_seed(0))
            p = float(law.cdf(torch.tensor(u)))
            assert abs(s.mean().item() - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_the_published_code_draws_twice() -> None:
    """Both noises widen the firing curve by sqrt(2): P = Phi((u - theta) / (sigma sqrt 2)) = 0.5932 at u - theta
    = 0.1."""
    n = 400_000
    x = torch.full((1, n), 1.1)
    s = F.noisy_lif(x, decay=0.0, mode="official", generator=torch.Generator().manual_seed(0))
    p = float(noise.Gaussian(0.3 * math.sqrt(2)).cdf(torch.tensor(0.1)))
    assert p == pytest.approx(0.5932, abs=1e-4)
    assert abs(s.mean().item() - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_noise_driven_gradient_is_the_derivative_of_the_rate() -> None:
    n = 100_000
    law = noise.Gaussian(0.3)
    x = torch.full((1, n), 1.1, dtype=torch.float64, requires_grad=True)
    F.noisy_lif(x, decay=0.0, noise=law).sum().backward()
    torch.testing.assert_close(x.grad, law.pdf(torch.full((1, n), 0.1, dtype=torch.float64)))


@pytest.mark.parametrize("mode", ["escape", "diffusive", "official"])
def test_a_reset_happens_exactly_with_an_emitted_spike(backend: str, mode: str) -> None:
    x = torch.rand(20, 50) * 2
    s, out = F.noisy_lif(x, mode=mode, backend=backend, record=("h", "v"), generator=torch.Generator().manual_seed(0))
    assert torch.equal(out.v, torch.where(s > 0, 0.0, out.h))
    assert 0 < s.mean() < 1


def test_noise_comes_from_the_generator_alone(backend: str) -> None:
    x = torch.rand(6, 40) * 2

    def spikes(seed: int) -> Tensor:
        return F.noisy_lif(x, backend=backend, generator=torch.Generator().manual_seed(seed))

    before = torch.get_rng_state()
    assert torch.equal(spikes(1), spikes(1))
    assert not torch.equal(spikes(1), spikes(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_nan_never_fires_and_stays(backend: str) -> None:
    x = torch.tensor([2.0, math.nan, 5.0, 5.0])
    s, out = F.lif(x, backend=backend, return_state=True)
    assert s.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert math.isnan(out.state.v.item())
    with pytest.raises(ValueError, match=r"1 nan or inf values, the first at \(1,\)"):
        F.lif(x, check_finite=True, backend=backend)


def test_gradient_is_a_difference_quotient_where_nothing_fires(backend: str) -> None:
    x = torch.rand(5, 3, dtype=torch.float64, requires_grad=True) * 0.1
    assert torch.autograd.gradcheck(
        lambda a: F.lif(a, detach_reset=True, reset="none", backend=backend, record=("h",))[1].h, (x,)
    )


@pytest.mark.skipif("numba" not in PRESENT, reason="numba is not importable")
def test_threads_do_not_change_results() -> None:
    x = (torch.randn(8, 16, 20_000) + 0.5).requires_grad_()
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            x.grad = None
            s, out = F.lif(x, stats=True, backend="numba")
            (s.sum() + out.stats.var.sum()).backward()
            results.append((s.detach(), x.grad.clone(), out.stats.mean.detach()))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
