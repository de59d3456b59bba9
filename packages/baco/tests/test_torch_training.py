"""Recommenders, evaluation and training."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, the extra baco[torch]")
pytest.importorskip("torch_geometric", reason="needs torch-geometric, the extra baco[torch]")

from baco import BACO, BipartiteGraph  # noqa: E402
from baco.datasets import make_coclusters  # noqa: E402
from baco.ranking import ranking_metrics, top_items  # noqa: E402
from baco.torch import (  # noqa: E402
    CompressedEmbedding,
    LightGCN,
    MatrixFactorization,
    TrainConfig,
    Trainer,
    bpr_loss,
    compressed_tables,
    evaluate,
    full_tables,
)

CONFIG = {"batch_size": 512, "lr": 0.03, "eval_every": 2, "ks": (5, 20)}


@pytest.fixture(scope="module")
def split():
    """Train, validation and test of 240 users and 160 items in 8 co-clusters, and a codebook of the first."""
    graph = make_coclusters(240, 160, 8, mean_degree=12, mu=0.9, random_state=0).graph
    edges = graph.to_scipy().tocoo()
    part = np.random.default_rng(0).choice(3, edges.nnz, p=[0.8, 0.1, 0.1])
    size = {"n_users": 240, "n_items": 160}
    parts = [BipartiteGraph.from_arrays(edges.row[part == i], edges.col[part == i], **size) for i in range(3)]
    return *parts, BACO(ratio=0.25).fit(parts[0]).codebook_


def lightgcn(split, seed=0, **options):
    torch.manual_seed(seed)
    return LightGCN(*compressed_tables(split[3], 8, init_std=0.1, **options), split[0])


def test_propagation_equals_dense_algebra(split):
    train = split[0]
    model = lightgcn(split).double()
    matrix = torch.from_numpy(train.to_scipy().toarray())
    whole = torch.zeros(400, 400, dtype=torch.float64)
    whole[:240, 240:], whole[240:, :240] = matrix, matrix.T
    root = whole.sum(1).clamp(min=1e-7).rsqrt()
    step = root[:, None] * whole * root
    start = torch.cat([model.users.full(), model.items.full()])
    expected = (start + step @ start + step @ step @ start) / 3
    got = torch.cat(model.vectors())
    assert torch.allclose(got, expected, atol=1e-6)  # the kept adjacency is float32
    pull = torch.randn(400, 8, dtype=torch.float64)
    wanted = torch.autograd.grad(expected, model.users.weight, pull)[0]
    assert torch.allclose(torch.autograd.grad(got, model.users.weight, pull)[0], wanted, atol=1e-6)


def test_propagation_equals_lightgcn_of_pytorch_geometric(split):
    from torch_geometric.nn.models import LightGCN as Theirs

    train = split[0]
    model = LightGCN(*full_tables(240, 160, 8), train, n_layers=3)
    theirs = Theirs(400, 8, num_layers=3)
    theirs.embedding.weight.data = torch.cat([model.users.weight, model.items.weight]).detach()
    edges = train.to_scipy().tocoo()
    pairs = torch.from_numpy(np.stack([edges.row, edges.col + 240])).long()
    both = torch.cat([pairs, pairs.flip(0)], 1)
    assert torch.allclose(torch.cat(model.vectors()), theirs.get_embedding(both), atol=1e-5)


def test_the_loss_is_minus_log_sigmoid():
    positive, negative = torch.tensor([1.0, -2.0]), torch.tensor([0.0, 1.0])
    assert torch.isclose(bpr_loss(positive, negative), -torch.log(torch.sigmoid(positive - negative)).mean())


def test_evaluation_equals_ranking_with_numpy(split):
    train, valid, test, _ = split
    model = lightgcn(split)
    users, items = (one.detach().numpy() for one in model.vectors())
    seen = BipartiteGraph.from_scipy(train.to_scipy() + valid.to_scipy())
    expected = ranking_metrics(top_items(users, items, 20, seen=seen), test, ks=(5, 20))
    assert evaluate(model, test, seen=seen, ks=(5, 20), chunk=7) == pytest.approx(expected)
    with pytest.raises(ValueError, match="test has 3 users and 3 items, the model 240 and 160"):
        evaluate(model, np.eye(3))


@pytest.mark.parametrize("kind", ["lightgcn", "mf", "sparse"])
def test_training_finds_what_was_planted(split, kind):
    train, valid, test, book = split
    torch.manual_seed(0)
    if kind == "lightgcn":
        model = lightgcn(split)
    else:
        model = MatrixFactorization(*compressed_tables(book, 8, init_std=0.1, sparse=kind == "sparse"))
    chance = evaluate((torch.randn(240, 8), torch.randn(160, 8)), test, seen=train, ks=(20,))["recall@20"]
    result = Trainer(model, train, valid, TrainConfig(epochs=12, **CONFIG)).fit()
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.best["recall@20"] == max(one.get("recall@20", 0) for one in result.history)
    assert evaluate(model, test, seen=train, ks=(20,))["recall@20"] > 2 * chance
    # the model was left with the weights of its best validation
    assert evaluate(model, valid, seen=train, ks=(5, 20)) == pytest.approx(result.best)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one(split, tmp_path, sparse):
    train, valid, _, _ = split

    def run(folder, stop=None):
        def interrupt(record):
            if record["epoch"] == stop:
                raise KeyboardInterrupt

        # another start, so that what is right afterwards came from the checkpoint
        model = lightgcn(split, seed=0 if stop or folder == "whole" else 9, sparse=sparse)
        trainer = Trainer(model, train, valid, TrainConfig(epochs=6, **CONFIG), folder=tmp_path / folder)
        trainer.callback = interrupt
        return model, trainer

    whole, trainer = run("whole")
    expected = trainer.fit()
    _, trainer = run("parts", stop=3)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    model, trainer = run("parts")
    got = trainer.fit()
    assert got.history == expected.history
    for name, one in whole.state_dict().items():
        assert torch.equal(one, model.state_dict()[name])
    assert (got.best_epoch, got.best) == (expected.best_epoch, expected.best)
    for file in ("metrics.csv", "checkpoints/best.npz"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()
    assert json.loads((tmp_path / "parts/results.json").read_text())["finished"] is True
    assert sorted(one.name for one in (tmp_path / "parts").iterdir()) == [
        "checkpoints",
        "config.json",
        "metrics.csv",
        "results.json",
    ]


def test_early_stopping_and_the_time_limit(split, tmp_path):
    train, valid, _, _ = split
    config = TrainConfig(epochs=50, **{**CONFIG, "lr": 1e-9, "patience": 4})
    result = Trainer(lightgcn(split), train, valid, config).fit()
    assert len(result.history) == result.best_epoch + 4
    config = TrainConfig(epochs=5, minutes=0, **CONFIG)
    trainer = Trainer(lightgcn(split), train, valid, config, folder=tmp_path)
    assert trainer.fit().finished is False
    trainer.restore_best()  # there is none yet
    without = Trainer(lightgcn(split), train, None, TrainConfig(epochs=2, **CONFIG)).fit()
    assert (without.finished, without.best_epoch, without.best) == (True, 2, {})


def test_a_run_that_was_stopped_has_its_best_weights_to_give(split, tmp_path):
    train, valid, _, _ = split

    def stop(record):
        if record["epoch"] == 5:
            raise KeyboardInterrupt

    model = lightgcn(split)
    trainer = Trainer(model, train, valid, TrainConfig(epochs=9, **CONFIG), folder=tmp_path, callback=stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    best = trainer.result.best["recall@20"]
    assert trainer.result.best_epoch == 4
    trainer.restore_best()
    assert evaluate(model, valid, seen=train, ks=(20,))["recall@20"] == best
    again = lightgcn(split, seed=1)
    Trainer(again, train, valid, TrainConfig(epochs=9, **CONFIG), folder=tmp_path).restore_best()
    assert evaluate(again, valid, seen=train, ks=(20,))["recall@20"] == best


def test_checkpoints_of_another_run_are_refused(split, tmp_path):
    train, valid, _, book = split
    Trainer(lightgcn(split), train, valid, TrainConfig(epochs=1, **CONFIG), folder=tmp_path).fit()
    wider = LightGCN(*compressed_tables(book, 16), train)
    with pytest.raises(ValueError, match="holds a run of another kind"):
        Trainer(wider, train, valid, TrainConfig(epochs=2, **CONFIG), folder=tmp_path).fit()
    config = TrainConfig(epochs=2, **{**CONFIG, "lr": 0.5})
    with pytest.raises(ValueError, match=r"another kind \(lr=0.03\)"):
        Trainer(lightgcn(split), train, valid, config, folder=tmp_path).fit()
    (tmp_path / "checkpoints/last.npz").write_bytes(b"cut short")
    with pytest.raises(ValueError, match="not a baco checkpoint"):
        Trainer(lightgcn(split), train, valid, TrainConfig(epochs=2, **CONFIG), folder=tmp_path).fit()


def test_checkpoints_keep_bfloat16(tmp_path):
    from baco.torch import _checkpoint

    tensor = torch.randn(3, 2).to(torch.bfloat16)
    _checkpoint.save(tmp_path / "a.npz", {"a": tensor, "step": torch.tensor(3.0)}, {"epoch": 1})
    tensors, values = _checkpoint.load(tmp_path / "a.npz")
    assert torch.equal(tensors["a"], tensor)
    assert (tensors["step"].shape, values) == (torch.Size([]), {"epoch": 1})


def test_bad_input(split):
    train, valid, _, book = split
    model = lightgcn(split)
    with pytest.raises(ValueError, match="the tables are of 240 users and 160 items, the interactions of 3 and 3"):
        LightGCN(*compressed_tables(book, 8), np.eye(3))
    with pytest.raises(ValueError, match="valid has 3 users"):
        Trainer(model, train, np.eye(3))
    with pytest.raises(ValueError, match="equally wide, got 8"):
        MatrixFactorization(compressed_tables(book, 8)[0], compressed_tables(book, 4)[1])
    with pytest.raises(TypeError, match="got Linear"):
        MatrixFactorization(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="metric must be one of"):
        TrainConfig(metric="recall@7")
    with pytest.raises(ValueError, match="epochs must be an integer >= 1, got 0"):
        TrainConfig(epochs=0)
    config = TrainConfig(epochs=3, **{**CONFIG, "lr": 1e30})
    with pytest.raises(ValueError, match="the loss became"):
        Trainer(model, train, valid, config).fit()


RANK = """
import sys
import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from baco import Codebook
from baco.torch import CompressedEmbedding, MatrixFactorization, TrainConfig, Trainer, compressed_tables

def job(rank):
    mine = slice(rank * 4, rank * 4 + 4) if dist.is_initialized() else slice(None)
    book = Codebook(np.arange(24).reshape(-1, 2) % 7, np.arange(10) % 5, 7, 5)
    torch.manual_seed(0)
    table = CompressedEmbedding.from_codebook(book, "user", 4)
    ids, pull = torch.arange(8), torch.arange(32.0).reshape(8, 4)
    wrapped = DistributedDataParallel(table) if dist.is_initialized() else table
    (wrapped(ids[mine]) * pull[mine]).sum().backward()
    model = MatrixFactorization(*compressed_tables(book, 4))
    taken = (np.arange(12)[:, None] * np.arange(10)) % 3 == 1
    Trainer(model, taken, None, TrainConfig(epochs=2, batch_size=7, lr=0.05)).fit()
    # DDP averages over the two ranks what one process sums
    gradient = table.weight.grad * (2 if dist.is_initialized() else 1)
    return {"gradient": gradient.numpy(), "rows": model.users.weight.detach().numpy()}

if __name__ == "__main__":
    torch.set_num_threads(1)
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
    np.savez(sys.argv[3], **job(rank))
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    """Distributed data parallel over gloo: gradients, and two epochs of training."""
    jobs = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path / "meeting"), tmp_path / f"{rank}.npz"])
        for rank in (0, 1)
    ]
    names: dict[str, Any] = {"__name__": "alone"}
    exec(RANK, names)
    alone = names["job"](0)
    assert [job.wait(timeout=120) for job in jobs] == [0, 0]
    first, second = (dict(np.load(tmp_path / f"{rank}.npz")) for rank in (0, 1))
    assert np.allclose(first["gradient"], alone["gradient"])
    assert np.array_equal(first["rows"], second["rows"])
    assert np.allclose(first["rows"], alone["rows"], atol=1e-4)


class Ranks:
    """Two ranks as threads, in the place of ``torch.distributed``."""

    def __init__(self):
        self.here, self.barrier, self.given = threading.local(), threading.Barrier(2, timeout=60), {}

    def is_initialized(self):
        return hasattr(self.here, "rank")

    def get_rank(self):
        return self.here.rank

    def get_world_size(self):
        return 2

    def all_reduce(self, tensor):
        self.given[self.here.rank] = tensor.clone()
        self.barrier.wait()
        total = self.given[0] + self.given[1]
        self.barrier.wait()
        tensor.copy_(total)


def test_two_ranks_train_as_one_does(split, monkeypatch, tmp_path):
    """Each takes its part of every batch, 7 interactions among them: the parts are of different sizes."""
    from baco.torch import trainer

    ranks = Ranks()
    monkeypatch.setattr(trainer, "dist", ranks)
    torch.manual_seed(0)
    start = MatrixFactorization(*compressed_tables(split[3], 4))
    config = TrainConfig(epochs=2, batch_size=307, lr=0.05)
    models = [copy.deepcopy(start) for _ in range(3)]

    def train(rank):
        ranks.here.rank = rank
        Trainer(models[rank], split[0], None, config, folder=tmp_path).fit()

    threads = [threading.Thread(target=train, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    Trainer(models[2], split[0], None, config).fit()
    for thread in threads:
        thread.join()
    rows = [model.users.weight.detach() for model in models]
    assert torch.equal(rows[0], rows[1])
    assert torch.allclose(rows[0], rows[2], atol=1e-4)
    assert not torch.allclose(rows[2], start.users.weight)
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 3  # written by one of the two


def test_wrapped_for_data_parallel_over_processes(tmp_path):
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    table = CompressedEmbedding([[0, 1], [2, -1], [1, 2]], 3)
    ids = torch.tensor([0, 2, 2])
    table(ids).sum().backward()
    alone, table.weight.grad = table.weight.grad.clone(), None
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        DistributedDataParallel(table)(ids).sum().backward()
    finally:
        distributed.destroy_process_group()
    assert torch.equal(table.weight.grad, alone)
