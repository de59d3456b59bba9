"""CuBaLIF and ALIF: the same numbers on every backend, and recordings with their graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from spk_neurons import ALIF, CuBaLIF, StatsRequest, record, set_backend
from spk_neurons import functional as F
from spk_neurons._kernels import backends
from spk_neurons.testing import assert_close

OPTIONS: dict[Any, dict[str, Any]] = {
    F.cuba_lif: {"tau": 3.0, "tau_syn": 1.5, "decay_input": False},
    F.alif: {"tau": 3.0, "beta": 0.5, "tau_adapt": 8.0, "decay_input": False},
}
FUNCTIONS = pytest.mark.parametrize("function", list(OPTIONS), ids=lambda f: f.__name__)


def currents(dtype: torch.dtype) -> Tensor:
    g = torch.Generator().manual_seed(1)
    return (torch.rand(12, 3, 7, generator=g, dtype=torch.float64) * 0.8).float().to(dtype)


@FUNCTIONS
@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
def test_recorded_potentials_and_their_gradients(function: Any, reset: str) -> None:
    options = {**OPTIONS[function], "reset": reset}
    results = []
    for backend in ("reference", "torch"):
        x = currents(torch.float64).requires_grad_()
        s, out = function(x, record=("h", "v"), stats=True, backend=backend, **options)
        w = torch.linspace(-1.0, 1.0, x.numel(), dtype=x.dtype).reshape(x.shape)
        loss = (s * w).sum() + (out.h * w.flip(0)).sum() + (out.v * w.flip(1)).sum() + out.stats.var.sqrt().sum()
        loss.backward()
        results.append([s.detach(), *(t.detach() for t in out.state), out.h.detach(), out.v.detach(), x.grad])
    assert 0.02 < results[0][0].mean() < 0.9
    for want, got in zip(*results, strict=True):
        assert_close(got, want)


@FUNCTIONS
def test_the_graph_of_a_recording_is_that_of_the_spikes(function: Any) -> None:
    """h leads to earlier spikes through currents, thresholds and resets: by differences, where nothing is a step."""
    x = currents(torch.float64).requires_grad_()
    _, out = function(x, record=("h",), backend="torch", reset="none", **{**OPTIONS[function], "threshold": 50.0})
    assert torch.autograd.gradcheck(
        lambda a: (
            function(a, record=("h",), backend="torch", reset="none", **{**OPTIONS[function], "threshold": 50.0})[1].h
        ),
        (x[:4, :1, :2].detach().requires_grad_(),),
    )
    assert bool(torch.isfinite(out.h).all())


@FUNCTIONS
def test_recording_changes_nothing_and_backends_agree_to_the_bit(function: Any) -> None:
    x = currents(torch.float32)
    plain, state = function(x, return_state=True, backend="reference", **OPTIONS[function])
    assert 0.02 < plain.mean() < 0.9
    for backend in ("reference", "torch", "numba"):
        if backends.why_not(backend, x.device, x.dtype):
            continue
        s, last = function(x, return_state=True, backend=backend, **OPTIONS[function])
        seen, out = function(x, record=("h", "v"), backend=backend, **OPTIONS[function])
        assert torch.equal(s, plain)
        assert torch.equal(seen, plain)
        for a, b, c in zip(state, last, out.state, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(a, c)
        assert torch.equal(out.v[-1], out.state.v)


@pytest.mark.parametrize("make", [CuBaLIF, ALIF])
def test_record_sees_them(make: Any) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(7, 5), make(backend="torch"))
    x = 3 * torch.rand(6, 4, 7)
    want = net(x)
    with record(net, "s", "h", "v") as rec:
        assert torch.equal(net(x), want)
    assert rec["1"].h.shape == rec["1"].v.shape == (6, 4, 5)
    with record(net, "h", stats=StatsRequest(bins=4)) as rec:
        net(x)
        net(x[:0])
    assert [row.stats.mean.shape for row in rec.calls["1"]] == [(6, 5), (0, 5)]
    assert rec["1"].h is None


def test_triton_asked_for_never_becomes_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "why_not", lambda *_: None)  # as on a machine with a GPU
    x = torch.rand(3, 2)
    try:
        set_backend("triton")
        for call in (F.li, F.alif, F.cuba_lif):
            with pytest.raises(ValueError, match=r"has no triton kernel; use backend='torch'"):
                call(x)
        assert F.li(x, backend="torch").shape == x.shape
    finally:
        set_backend("auto")
