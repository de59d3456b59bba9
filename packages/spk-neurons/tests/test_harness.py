"""One harness: every neuron x reset x detach x backend against float64 autograd of the reference loop."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from spk_neurons import StatsRequest, cells, noise, surrogate
from spk_neurons import functional as F
from spk_neurons.scan import check_cell
from spk_neurons.testing import TOLERANCE, assert_close

T, B, C = 9, 3, 7
RESETS = ["hard", "soft", "none"]
DTYPES = {"f32": torch.float32, "f64": torch.float64}


def draw(*shape: int, low: float = 0.0, high: float = 1.0, seed: int = 0) -> Tensor:
    """Uniform numbers that float32 holds exactly: both precisions then compute the same problem."""
    g = torch.Generator().manual_seed(seed)
    return (low + (high - low) * torch.rand(shape, generator=g, dtype=torch.float64)).float().double()


def tensors(shapes: str) -> dict[str, Tensor]:
    """Parameters: one for all, one per channel, or one per step and neuron."""
    size = {"scalar": (), "channel": (C,), "time": (T, B, C)}[shapes]
    return {
        "decay": draw(*size, low=0.3, high=0.9, seed=1),
        "gain": draw(*size, low=0.5, high=1.2, seed=2),
        "bias": draw(*size, low=-0.1, high=0.1, seed=3),
        "threshold": draw(*size, low=0.7, high=1.1, seed=4),
    }


def run(
    x: Tensor,
    v0: Tensor,
    params: dict[str, Tensor],
    dtype: torch.dtype,
    backend: str,
    weights: list[Tensor],
    **options: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    leaves = {k: v.to(dtype).clone().requires_grad_() for k, v in {"x": x, "v0": v0, **params}.items()}
    named = {k: v for k, v in leaves.items() if k not in ("x", "v0")}
    s, out = F.lif(leaves["x"], leaves["v0"], **named, backend=backend, return_state=True, **options)
    results = [s, out.state.v, out.h, out.v]
    if out.stats is not None:
        results += [out.stats.mean, out.stats.var]
    else:
        results += [None, None]
    loss = sum((r * w.to(dtype)).sum() for r, w in zip(results, weights, strict=True) if r is not None)
    loss.backward()
    grads = {k: v.grad for k, v in leaves.items()}
    assert all(g is not None for g in grads.values())
    return s.detach(), grads  # type: ignore[return-value]


WEIGHTS = [
    draw(T, B, C, low=-1, seed=5), draw(B, C, low=-1, seed=6), draw(T, B, C, low=-1, seed=7), draw(T, B, C,
    low=-1, seed=8),
    draw(T, C, low=-1, seed=9), draw(T, C, low=-1, seed=10),
]  # fmt: skip


def case(reset: str, detach: bool, shapes: str, dtype: torch.dtype, backend: str) -> tuple[Tensor, dict[str, Tensor]]:
    x, v0 = draw(T, B, C, low=-0.5, high=2.0, seed=11), draw(B, C, low=-0.5, high=0.5, seed=12)
    params = tensors(shapes)
    channel = (C,) if shapes == "channel" else ()
    if reset == "hard":
        params["v_reset"] = draw(*channel, low=-0.2, high=0.2, seed=13)
    if reset == "soft":
        params["amount"] = draw(*channel, low=0.6, high=1.0, seed=14)
    options = {"reset": reset, "detach_reset": detach, "record": ("h", "v"), "stats": True}
    return run(x, v0, params, dtype, backend, WEIGHTS, **options)


@functools.cache
def wanted_of(reset: str, detach: bool, shapes: str) -> tuple[Tensor, dict[str, Tensor]]:
    return case(reset, detach, shapes, torch.float64, "reference")


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("shapes", ["scalar", "channel", "time"])
@pytest.mark.parametrize("detach", [False, True], ids=["through", "detach"])
@pytest.mark.parametrize("reset", RESETS)
def test_lif_all_gradients(fused: str, reset: str, detach: bool, shapes: str, dtype: torch.dtype) -> None:
    s, grads = case(reset, detach, shapes, dtype, fused)
    s_ref, ref = wanted_of(reset, detach, shapes)
    assert torch.equal(s.double(), s_ref)
    for name, want in ref.items():
        assert_close(grads[name], want, f"gradient of {name}", TOLERANCE[dtype])


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("wanted", ["spikes", "stats", "h", "v", "state"])
def test_lif_each_output_alone(fused: str, reset: str, wanted: str) -> None:
    index = {"spikes": [0], "state": [1], "h": [2], "v": [3], "stats": [4, 5]}[wanted]
    weights = [w if i in index else torch.zeros(()) for i, w in enumerate(WEIGHTS)]
    options = {
        "reset": reset, "record": tuple(n for n in ("h", "v") if n == wanted), "stats": wanted == "stats",
    }  # fmt: skip
    x, v0 = draw(T, B, C, low=-0.5, high=2.0, seed=11), draw(B, C, low=-0.5, high=0.5, seed=12)

    def grads_of(backend: str) -> tuple[Tensor, Tensor]:
        a, b = x.clone().requires_grad_(), v0.clone().requires_grad_()
        s, out = F.lif(
            a,
            b,
            decay=0.7,
            reset=reset,
            backend=backend,
            return_state=True,
            **{k: v for k, v in options.items() if k != "reset"},
        )
        parts = [s, out.state.v, out.h, out.v, *((out.stats.mean, out.stats.var) if out.stats else (None, None))]
        sum((parts[i] * weights[i]).sum() for i in index).backward()
        return a.grad, b.grad  # type: ignore[return-value]

    for got, want in zip(grads_of(fused), grads_of("reference"), strict=True):
        assert_close(got, want)


@pytest.mark.parametrize("name", sorted(c.__name__ for c in surrogate.KINDS.values()))
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_surrogate(fused: str, name: str, dtype: torch.dtype) -> None:
    shape = getattr(surrogate, name)()
    x = draw(T, 40, low=-1, high=3, seed=15).to(dtype)

    def grad(backend: str) -> Tensor:
        a = x.clone().requires_grad_()
        F.lif(a, decay=0.6, surrogate=shape, backend=backend).pow(2).sum().backward()
        return a.grad  # type: ignore[return-value]

    assert_close(grad(fused), grad("reference"))


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("detach", [False, True])
def test_rectangle_with_two_bits(fused: str, reset: str, detach: bool) -> None:
    x = draw(T + 2, 130, low=-1, high=2, seed=16)

    def grad(backend: str) -> tuple[Tensor, Tensor]:
        a = x.clone().requires_grad_()
        v0 = torch.zeros(130, dtype=torch.float64, requires_grad=True)
        s = F.lif(
            a, v0, decay=0.6, reset=reset, detach_reset=detach, surrogate=surrogate.Rectangle(0.8), backend=backend
        )
        (s * draw(T + 2, 130, low=-1, seed=17)).sum().backward()
        return a.grad, v0.grad  # type: ignore[return-value]

    for got, want in zip(grad(fused), grad("reference"), strict=True):
        assert_close(got, want)


@pytest.mark.parametrize("mode", ["escape", "diffusive", "official"])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("law", ["Gaussian", "Logistic", "Triangular", "Uniform", "Cauchy"])
def test_noisy_lif(fused: str, mode: str, reset: str, law: str) -> None:
    x = draw(T, B, C, low=-0.5, high=2.0, seed=18)

    def grad(backend: str) -> tuple[Tensor, ...]:
        a = x.clone().requires_grad_()
        decay = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
        s, out = F.noisy_lif(
            a, decay=decay, noise=getattr(noise, law)(), mode=mode, reset=reset, backend=backend, return_state=True,
            generator=torch.Generator().manual_seed(3),
        )  # fmt: skip
        ((s * WEIGHTS[0]).sum() + (out.state.v * WEIGHTS[1]).sum()).backward()
        return s.detach(), a.grad, decay.grad  # type: ignore[return-value]

    got, want = grad(fused), grad("reference")
    assert torch.equal(got[0], want[0])
    assert_close(got[1], want[1])
    assert_close(got[2], want[2])


@pytest.mark.parametrize("strict", [False, True], ids=["ge", "gt"])
@pytest.mark.parametrize("detach", [False, True], ids=["through", "detach"])
@pytest.mark.parametrize("reset", [0, 1, 2], ids=["soft", "hard", "none"])
@pytest.mark.parametrize("cell", ["cuba", "alif"])
def test_two_state_cells_on_torch(cell: str, reset: int, detach: bool, strict: bool) -> None:
    count = {"cuba": 8, "alif": 9}[cell]
    check_cell(
        getattr(cells, cell)(3, reset, detach, strict), fixed={count - 2: 2.0, count - 1: 0.0}, backends=("torch",)
    )


@pytest.mark.parametrize(("cell", "reset", "detach"), [("cuba", 1, False), ("alif", 0, False)])
def test_two_state_cells_on_numba(cell: str, reset: int, detach: bool) -> None:
    pytest.importorskip("numba")
    count = {"cuba": 8, "alif": 9}[cell]
    check_cell(
        getattr(cells, cell)(3, reset, detach, False), fixed={count - 2: 2.0, count - 1: 0.0}, backends=("numba",)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "reset", "detach"), list(itertools.product(["cuba", "alif"], [0, 1, 2], [False, True]))
)
def test_two_state_cells_on_numba_all(cell: str, reset: int, detach: bool) -> None:
    pytest.importorskip("numba")
    count = {"cuba": 8, "alif": 9}[cell]
    check_cell(
        getattr(cells, cell)(3, reset, detach, True), fixed={count - 2: 2.0, count - 1: 0.0}, backends=("numba",)
    )


def test_integrator_cell() -> None:
    check_cell(cells.li())


def test_stats_are_those_of_the_recorded_potentials(fused: str) -> None:
    for shape in ((6, 5), (6, 5, 4), (6, 3, 4, 5, 7), (4, 2, 3, 16, 16), (3, 2, 5000)):
        x = torch.randn(shape) + 0.5
        request = StatsRequest(bins=20, range=(-2, 3), window=(0.5, 1.5))
        _, out = F.lif(x, stats=request, record=("h",), backend=fused)
        h = out.h.reshape(shape[0], shape[1], shape[2] if len(shape) > 2 else 1, -1)
        assert_close(out.stats.mean, h.mean((1, 3)), tolerance=1e-5)
        assert_close(out.stats.var, h.var((1, 3), correction=0), tolerance=1e-5)
        assert int(out.stats.histogram.sum()) == x.numel()
        want = torch.histc(out.h.clamp(-2, 3), bins=20, min=-2, max=3)
        assert (out.stats.histogram - want).abs().max() <= 1
        inside = ((out.h >= 0.5) & (out.h <= 1.5)).float().reshape(shape[0], -1).mean(1)
        torch.testing.assert_close(out.stats.inside, inside)
