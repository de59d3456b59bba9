"""Shared by the tests: which backends are present, seeds."""

from __future__ import annotations

import pytest
import torch

from spk_neurons._kernels.backends import why_not

CPU = torch.device("cpu")


def present(dtype: torch.dtype = torch.float32) -> list[str]:
    return [b for b in ("reference", "torch", "numba", "triton") if why_not(b, CPU, dtype) is None]


@pytest.fixture(params=["reference", "torch", "numba"])
def backend(request: pytest.FixtureRequest) -> str:
    reason = why_not(request.param, CPU, torch.float32)
    if reason:
        pytest.skip(f"backend {request.param}: {reason}")
    return str(request.param)


@pytest.fixture(params=["torch", "numba"])
def fused(request: pytest.FixtureRequest) -> str:
    reason = why_not(request.param, CPU, torch.float32)
    if reason:
        pytest.skip(f"backend {request.param}: {reason}")
    return str(request.param)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
