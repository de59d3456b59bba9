"""torch.compile, torch.func, autocast, half precision, DDP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spk_neurons import ALIF, LIF, PLIF, CuBaLIF, surrogate
from spk_neurons import functional as F

compiling = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), PLIF(), nn.Linear(6, 3), LIF(reset="soft"), nn.Linear(3, 3), ALIF(beta=0.5))


@compiling
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_compile_fullgraph(backend: str) -> None:
    torch._dynamo.reset()
    model = net()
    for m in model.modules():
        if hasattr(m, "backend"):
            m.backend = backend
    x = torch.rand(5, 2, 4, requires_grad=True)
    want = model(x)
    want.sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    got = compiled(x)
    assert torch.equal(got, want)
    got.sum().backward()
    for p, g in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, g)


@compiling
@pytest.mark.slow
def test_compile_inductor() -> None:
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(4, 6), LIF())
    x = torch.rand(5, 2, 4)
    assert torch.equal(torch.compile(model, fullgraph=True)(x), model(x))


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_vmap_over_samples_parameters_and_time_varying_decay(backend: str, reset: str) -> None:
    x = torch.rand(3, 6, 2, 5) * 2
    threshold = torch.tensor([0.5, 1.0, 1.5])
    decay = torch.rand(6, 2, 5)

    def one(a: Tensor, th: Tensor) -> Tensor:
        return F.lif(a, decay=decay, threshold=th, reset=reset, backend=backend)

    got = torch.func.vmap(one)(x, threshold)
    want = torch.stack([one(a, th) for a, th in zip(x, threshold, strict=True)])
    assert torch.equal(got, want)
    inner = torch.func.vmap(lambda th: one(x[0], th))(threshold)
    assert torch.equal(inner, torch.stack([one(x[0], th) for th in threshold]))


def test_per_sample_gradients(backend: str) -> None:
    x = torch.rand(4, 6, 5) * 2
    decay = torch.full((5,), 0.5)

    def loss(d: Tensor, a: Tensor) -> Tensor:
        return (F.lif(a, decay=d, backend=backend) * torch.arange(1.0, 6.0)).sum()

    got = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(decay, x)
    want = torch.stack([torch.func.grad(loss)(decay, a) for a in x])
    torch.testing.assert_close(got, want)


def test_functional_call(backend: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3), PLIF(backend=backend))
    params = {k: v.detach() * 1.1 for k, v in model.named_parameters()}
    x = torch.rand(5, 2, 4)

    def loss(p: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, p, (x,)).sum()

    grads = torch.func.grad(loss)(params)
    assert set(grads) == set(params)
    assert all(bool(torch.isfinite(g).all()) for g in grads.values())


def test_cells_under_vmap(fused: str) -> None:
    x = torch.rand(3, 6, 5) * 3
    for make in (CuBaLIF, ALIF):
        m = make(backend=fused)
        if fused == "triton":
            with pytest.raises(ValueError, match="has no triton kernel"):
                m(x)
            continue
        assert torch.equal(torch.func.vmap(m)(x), torch.stack([m(a) for a in x]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_inputs_are_computed_in_float32(backend: str, dtype: torch.dtype) -> None:
    x = (torch.rand(50, 2, 8) * 2).to(dtype).requires_grad_()
    s, out = F.lif(x, tau=8.0, backend=backend, return_state=True)
    assert s.dtype == dtype
    assert out.state.v.dtype == torch.float32
    assert torch.equal(s.float(), F.lif(x.float(), tau=8.0, backend=backend))
    s.sum().backward()
    assert x.grad.dtype == dtype


def test_autocast(backend: str) -> None:
    model = nn.Sequential(nn.Linear(4, 6), LIF(backend=backend, surrogate=surrogate.Sigmoid(25.0)), nn.Linear(6, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(-10 * torch.rand(4, 3, 4))
    y.float().sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())


def test_changing_the_input_after_the_forward_pass_is_an_error(fused: str) -> None:
    x = torch.rand(4, 3, requires_grad=True)
    y = x * 1
    s = F.lif(y, backend=fused)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        s.sum().backward()


def test_second_derivatives_exist_on_the_reference() -> None:
    x = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(F.lif(x, backend="reference").sum(), x, create_graph=True)
    (gg,) = torch.autograd.grad(g.sum(), x)
    assert bool(torch.isfinite(gg).all())


# the other rank, a process of its own from text: a spawned worker could not import a test module by its name
RANK = """
import sys
import torch
from torch import nn
from spk_neurons import PLIF

heavy = ("numba", "matplotlib", "nir", "typer", "hypothesis", "triton", "sklearn", "torch._dynamo")
print([m for m in heavy if m in sys.modules])
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=sys.argv[1], rank=1, world_size=2)
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(4, 3), PLIF(backend="torch")))
x = torch.rand(2, 5, 3, 4)
model(x[1]).sum().backward()
torch.distributed.barrier()  # a rank that leaves early may take the other one's connection down
torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gloo meets through a file, which Windows locks")
def test_two_ranks_average_the_gradients_and_import_is_quiet(tmp_path: Path) -> None:
    where = f"file://{tmp_path}/meet"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    other = subprocess.Popen([sys.executable, "-W", "error", "-c", RANK, where], **pipes)
    torch.distributed.init_process_group("gloo", init_method=where, rank=0, world_size=2)
    try:
        torch.manual_seed(0)
        model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(4, 3), PLIF(backend="torch")))
        x = torch.rand(2, 5, 3, 4)
        model(x[0]).sum().backward()
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()
        said, told = other.communicate(timeout=120)
    assert other.returncode == 0, told
    # the other rank is a fresh interpreter: the package's import said nothing and brought nothing heavy
    assert (said, told) == ("[]\n", "")
    torch.manual_seed(0)
    alone = nn.Sequential(nn.Linear(4, 3), PLIF(backend="torch"))
    ((alone(x[0]).sum() + alone(x[1]).sum()) / 2).backward()
    for p, q in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
