"""On a GPU: the same numbers as on the CPU, and recorded steps that equal those launched one by one."""

import numpy as np
import pytest

from baco import BACO, BipartiteGraph
from baco.datasets import make_coclusters

torch = pytest.importorskip("torch")
pytest.importorskip("torch_geometric")
if not torch.cuda.is_available():
    pytest.skip("torch sees no GPU", allow_module_level=True)

from baco.torch import (  # noqa: E402
    CompressedEmbedding,
    LightGCN,
    MatrixFactorization,
    TrainConfig,
    Trainer,
    compressed_tables,
    evaluate,
)


@pytest.fixture(scope="module")
def log() -> tuple[BipartiteGraph, BipartiteGraph]:
    edges = make_coclusters(300, 200, 10, mean_degree=15, random_state=0).graph.to_scipy().tocoo()
    kept = np.random.default_rng(0).random(edges.nnz) < 0.9
    parts = (BipartiteGraph.from_arrays(edges.row[k], edges.col[k], n_users=300, n_items=200) for k in (kept, ~kept))
    return tuple(parts)


def model(train, kind=LightGCN):
    torch.manual_seed(0)
    book = BACO(ratio=0.3).fit(train).codebook_
    tables = compressed_tables(book, 16, init_std=0.1)
    return LightGCN(*tables, train) if kind is LightGCN else kind(*tables)


@pytest.mark.parametrize("places", [1, 2, 3])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_lookup_and_gradient_are_those_of_the_cpu(places, sparse):
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 40, (100, places))
    codes[::3, 1:] = -1
    ids, pull = torch.from_numpy(draw.integers(0, 100, (7, 5))), torch.randn(7, 5, 8)
    here = CompressedEmbedding(codes, 8, sparse=sparse)
    there = CompressedEmbedding(codes, 8, sparse=sparse, device="cuda")
    there.load_state_dict(here.state_dict())
    for table in (here, there):
        (table(ids.to(table.codes.device)) * pull.to(table.codes.device)).sum().backward()
    torch.testing.assert_close(there(ids.cuda()).cpu(), here(ids), rtol=1e-5, atol=1e-6)
    gradients = [table.weight.grad.to_dense().cpu() if sparse else table.weight.grad.cpu() for table in (there, here)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(there.full().cpu(), here.full(), rtol=1e-5, atol=1e-6)


def test_propagated_vectors_and_their_gradient_are_those_of_the_cpu(log):
    here = model(log[0])
    there = model(log[0]).to("cuda")
    for one in (here, there):
        users, items = one.vectors()
        (users.square().sum() + (items**3).sum()).backward()
    torch.testing.assert_close(there.vectors()[0].cpu(), here.vectors()[0], rtol=1e-5, atol=1e-6)
    for side in ("users", "items"):
        gradients = [getattr(one, side).weight.grad.cpu() for one in (there, here)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [LightGCN, MatrixFactorization])
def test_recorded_training_equals_plain_training_and_that_of_the_cpu(log, kind):
    train, valid = log
    losses = {}
    for name, device, recorded in (("cpu", "cpu", False), ("plain", "cuda", False), ("recorded", "cuda", True)):
        config = TrainConfig(epochs=4, batch_size=64, lr=0.01, eval_every=2, cuda_graph=recorded)
        trainer = Trainer(model(train, kind).to(device), train, valid, config)
        losses[name] = [one["loss"] for one in trainer.fit().history]
        if name == "recorded":
            assert trainer._batch.graph is not None
    assert losses["plain"] == pytest.approx(losses["cpu"], rel=1e-3)
    assert losses["recorded"] == pytest.approx(losses["plain"], rel=1e-4)


def test_a_run_resumes_on_a_gpu(log, tmp_path):
    train, valid = log
    config = TrainConfig(epochs=4, batch_size=64, lr=0.01, eval_every=2)
    whole = Trainer(model(train).to("cuda"), train, valid, config).fit()
    Trainer(model(train).to("cuda"), train, valid, TrainConfig(**{**vars(config), "epochs": 2}), folder=tmp_path).fit()
    again = Trainer(model(train).to("cuda"), train, valid, config, folder=tmp_path).fit()
    assert [one["loss"] for one in again.history] == pytest.approx([one["loss"] for one in whole.history], rel=1e-4)


def test_ranking_is_that_of_the_cpu(log):
    train, valid = log
    here, there = model(train), model(train).to("cuda")
    assert evaluate(there, valid, seen=train) == pytest.approx(evaluate(here, valid, seen=train), rel=1e-3)
