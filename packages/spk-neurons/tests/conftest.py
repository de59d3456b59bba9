"""Shared by the tests: which backends are present, seeds."""

from __future__ import annotations

import os

import pytest
import torch

from spk_neurons._kernels.backends import why_not

CPU = torch.device("cpu")
# interpreted, so in a process of its own: test_triton.py starts it
FUSED = ["torch", "numba", *(["triton"] if os.environ.get("TRITON_INTERPRET") == "1" else [])]


@pytest.fixture(params=["reference", *FUSED])
def backend(request: pytest.FixtureRequest) -> str:
    reason = why_not(request.param, CPU, torch.float32)
    if reason:
        pytest.skip(f"backend {request.param}: {reason}")
    return str(request.param)


@pytest.fixture(params=FUSED)
def fused(request: pytest.FixtureRequest) -> str:
    reason = why_not(request.param, CPU, torch.float32)
    if reason:
        pytest.skip(f"backend {request.param}: {reason}")
    return str(request.param)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
