"""Answers worked out by hand: spikes exactly, gradients to the digits given, on every backend and dtype."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from spk_neurons import functional as F
from spk_neurons import noise

KNOWN = json.loads((Path(__file__).parent / "known_answers.json").read_text())
X = KNOWN["x"]
DTYPES = [torch.float32, torch.float64]


def ids(row: dict[str, Any]) -> str:
    return "-".join(
        f"{k}={v}" for k, v in row.items() if not isinstance(v, list) and k in ("reset", "detach", "gain", "law", "u")
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
@pytest.mark.parametrize("row", KNOWN["forward"], ids=ids)
def test_potentials_and_spikes(backend: str, row: dict[str, Any], dtype: torch.dtype) -> None:
    x = torch.tensor(X, dtype=dtype)
    s, out = F.lif(x, decay=0.5, gain=row["gain"], reset=row["reset"], record=("h", "v"), backend=backend)
    assert s.tolist() == row["s"]
    assert out.h.tolist() == row["h"]
    assert out.v.tolist() == row["v"]
    assert out.state.v.item() == row["v"][-1]


@pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
@pytest.mark.parametrize("row", KNOWN["gradients"], ids=ids)
def test_gradients(backend: str, row: dict[str, Any], dtype: torch.dtype) -> None:
    x = torch.tensor(X, dtype=dtype, requires_grad=True)
    decay, threshold = (torch.tensor(v, dtype=dtype, requires_grad=True) for v in (0.5, 1.0))
    v0 = torch.zeros((), dtype=dtype, requires_grad=True)
    s = F.lif(
        x, v0, decay=decay, gain=row["gain"], threshold=threshold, reset=row["reset"], detach_reset=row["detach"],
        backend=backend,
    )  # fmt: skip
    (torch.arange(1, 7, dtype=dtype) * s).sum().backward()
    # the answers carry six decimals; exactness beyond them is test_harness's business
    torch.testing.assert_close(x.grad, torch.tensor(row["x"], dtype=dtype), rtol=1e-5, atol=1e-6)
    for leaf, name in ((decay, "decay"), (threshold, "threshold"), (v0, "v0")):
        torch.testing.assert_close(leaf.grad, torch.tensor(row[name], dtype=dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", KNOWN["gradients"], ids=ids)
def test_gradient_of_x_alone_takes_the_short_path_to_the_same_answer(backend: str, row: dict[str, Any]) -> None:
    x = torch.tensor(X, requires_grad=True)
    s = F.lif(x, decay=0.5, gain=row["gain"], reset=row["reset"], detach_reset=row["detach"], backend=backend)
    (torch.arange(1.0, 7.0) * s).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor(row["x"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", KNOWN["noise"], ids=ids)
def test_noise_laws(row: dict[str, Any]) -> None:
    law = getattr(noise, row["law"])(row["scale"])
    u = torch.tensor(row["u"], dtype=torch.float64)
    assert law.cdf(u).item() == pytest.approx(row["cdf"], abs=1e-6)
    assert law.pdf(u).item() == pytest.approx(row["pdf"], abs=1e-6)


def test_equality_with_the_threshold_fires_on_ge_and_not_on_gt(backend: str) -> None:
    x = torch.tensor([1.0, 0.75])  # ge: h = 1, .75; gt: h = 1, 1.25
    assert F.lif(x, decay=0.5, backend=backend).tolist() == [1.0, 0.0]
    assert F.lif(x, decay=0.5, fire="gt", backend=backend).tolist() == [0.0, 1.0]
