"""Ways that were tried to reach a target: parts ``sparse`` and ``read`` of ``speed.py``, table "attempts"."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from beyond import log_of_integers, scratch
from common import interleaved, middle

from results import Results

MISSED = {"sparse": "two codes, sparse gradients", "read": "CSV to a mapped graph"}


def part_sparse(out: Results, repeats: int) -> None:
    """Gradients of two shared rows an id for ``sparse=True``, against ``nn.Embedding``'s; one thread."""
    import numba
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    from baco.torch import CompressedEmbedding

    torch.set_num_threads(1)

    @numba.njit
    def twice(grad: Any, values: Any) -> None:
        for row in range(grad.shape[0]):
            for column in range(grad.shape[1]):
                half = grad[row, column] * np.float32(0.5)
                values[2 * row, column] = half
                values[2 * row + 1, column] = half

    @numba.njit
    def added(rows: Any, grad: Any, place: Any) -> Any:
        for row in rows.ravel():
            place[row] = 1
        count = 0
        for row in range(place.size):
            if place[row]:
                place[row] = count
                count += 1
        names, values = np.empty((1, count), np.int64), np.zeros((count, grad.shape[1]), np.float32)
        for one in range(rows.shape[0]):
            for row in rows[one]:
                names[0, place[row]] = row
                for column in range(grad.shape[1]):
                    values[place[row], column] += grad[one, column] * np.float32(0.5)
        return names, values

    def by_kernel(rows: Tensor, grad: Tensor, shape: Any) -> Tensor:
        values = torch.empty(rows.numel(), grad.shape[1])
        twice(grad.numpy(), values.numpy())
        return torch.sparse_coo_tensor(rows.reshape(1, -1), values, shape, check_invariants=False)

    def one_list(rows: Tensor, grad: Tensor, shape: Any) -> Tensor:
        values = torch.cat([grad * 0.5] * 2)
        return torch.sparse_coo_tensor(rows.T.reshape(1, -1), values, shape, check_invariants=False)

    def added_by_kernel(rows: Tensor, grad: Tensor, shape: Any) -> Tensor:
        names, values = added(rows.numpy(), grad.numpy(), np.zeros(shape[0], np.int32))
        parts = torch.from_numpy(names), torch.from_numpy(values)
        return torch.sparse_coo_tensor(*parts, shape, check_invariants=False, is_coalesced=True)

    def added_by_unique(rows: Tensor, grad: Tensor, shape: Any) -> Tensor:
        names, place = torch.unique(rows.reshape(-1), return_inverse=True)
        values, half = torch.zeros(names.numel(), grad.shape[1]), grad * 0.5
        for column in place.view(-1, 2).T:
            values.index_add_(0, column, half)
        return torch.sparse_coo_tensor(names[None], values, shape, check_invariants=False, is_coalesced=True)

    def lookup(gradient: Callable[[Tensor, Tensor, Any], Tensor]) -> Callable[[Tensor], Tensor]:
        class Mean(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, rows: Tensor, table: Tensor) -> Tensor:
                ctx.save_for_backward(rows)
                return F.embedding_bag(rows, table, mode="mean")

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
                return None, gradient(*ctx.saved_tensors, grad.contiguous(), shared.weight.shape)

        return lambda ids: Mean.apply(shared._rows(ids)[0].long(), shared.weight)

    dim, batch, n_ids = 64, 65_536, 2_000_000
    draw = np.random.default_rng(0)
    shared = CompressedEmbedding(draw.integers(0, n_ids // 4, (n_ids, 2)), dim, num_rows=n_ids // 4, sparse=True)
    plain = nn.Embedding(n_ids, dim, sparse=True)
    ids, pull = torch.from_numpy(draw.integers(0, n_ids, batch)), torch.randn(batch, dim)

    def step(table: nn.Module, look: Callable[[Tensor], Tensor], ids: Tensor = ids, pull: Tensor = pull) -> None:
        table.weight.grad = None
        (look(ids) * pull).sum().backward()

    def bag(ids: Tensor) -> Tensor:
        return F.embedding_bag(shared._rows(ids)[0].long(), shared.weight, mode="mean", sparse=True)

    def two_lookups(ids: Tensor) -> Tensor:
        first, second = (F.embedding(rows, shared.weight, sparse=True) for rows in shared._rows(ids)[0].long().T)
        return (first + second) * 0.5

    def optimised(table: nn.Module, optimizer: Any) -> None:
        step(table, table)
        optimizer.step()

    calls: dict[str, Callable[[], None]] = {
        "nn.Embedding": partial(step, plain, plain),
        "as committed: values of the gradient in large pages": partial(step, shared, shared),
        "embedding_bag and its sparse gradient": partial(step, shared, bag),
        "two lookups, gradients added by PyTorch": partial(step, shared, two_lookups),
        "one list of both codes, values by torch.cat": partial(step, shared, lookup(one_list)),
        "a kernel writes both rows of each id": partial(step, shared, lookup(by_kernel)),
        "a kernel adds up rows that are named twice": partial(step, shared, lookup(added_by_kernel)),
        "torch.unique and index_add_ do": partial(step, shared, lookup(added_by_unique)),
    }
    several = torch.from_numpy(draw.integers(0, n_ids, 2 * batch)), torch.randn(2 * batch, dim)
    calls["nn.Embedding itself, of twice as many ids"] = partial(step, plain, plain, *several)
    calls["the lookup of two codes alone, no gradient"] = lambda: shared(ids).detach()
    _add(out, "sparse", interleaved(calls, max(repeats, 15)), "nn.Embedding")
    calls = {
        "nn.Embedding, with a step of SparseAdam": partial(optimised, plain, torch.optim.SparseAdam([plain.weight])),
        "as committed, with a step of SparseAdam": partial(optimised, shared, torch.optim.SparseAdam([shared.weight])),
    }
    _add(out, "sparse", interleaved(calls, repeats), "nn.Embedding, with a step of SparseAdam")


def part_read(out: Results, repeats: int) -> None:
    """A CSV of two integers: what reading takes by itself, and both ways of ``ingest``; two threads."""
    import duckdb

    from baco import ingest

    log, rows = log_of_integers(scratch())
    types = "header=true, auto_detect=false, delim=',', quote='', columns={'user_id': 'INTEGER', 'item_id': 'INTEGER'}"

    def read(options: str) -> None:
        with duckdb.connect(config={"threads": 2, "preserve_insertion_order": False}) as database:
            database.execute(f"SELECT user_id, item_id FROM read_csv('{log}', {options})").fetchnumpy()

    def build(at_once: int) -> None:
        before, ingest.TEXT_AT_ONCE = ingest.TEXT_AT_ONCE, at_once
        ingest.ingest(log, log.with_name("ingested"), threads=2)
        ingest.TEXT_AT_ONCE = before

    calls = {
        "DuckDB into arrays, types found by it": partial(read, "header=true"),
        "DuckDB into arrays, types given, no quotes": partial(read, types),
        "numbering and joining by DuckDB, by ranges": partial(build, 0),
        "as committed: numbering by arrays, at once": partial(build, 1 << 40),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(3):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - start)
    for name, taken in times.items():
        rate = rows / middle(taken)
        out.add(
            name=f"{MISSED['read']}: {name}",
            metric="rows per second",
            unit="/s",
            ours=rate,
            n=len(taken),
            note=f"{rows} rows, two threads",
            table="attempts",
        )


def _add(out: Results, part: str, times: dict[str, list[float]], peer: str) -> None:
    for name, taken in times.items():
        if name != peer:
            out.add(
                name=f"{MISSED[part]}: {name}",
                metric="wall time",
                unit="s",
                ours=middle(taken),
                peer=("nn.Embedding", middle(times[peer])),
                ratio=middle(taken) / middle(times[peer]),
                n=len(taken),
                note="one thread; batch 65536, 2000000 ids on 500000 rows of 64",
                table="attempts",
            )


PARTS = {"sparse": part_sparse, "read": part_read}
