"""Rows shared by hashing: what an id gets depends on its number, its frequency, or its own interactions."""

from __future__ import annotations

from typing import Any

import numpy as np

from baco.codebook import Codebook
from baco.graph import BipartiteGraph, as_graph

Array = np.ndarray[Any, Any]

# odd constants of splitmix64 (Steele et al., 2014): they spread consecutive numbers over 64 bits
_STEP, _MIX_A, _MIX_B = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)


def modulo(X: Any, rows: int) -> Codebook:
    """Row ``id mod rows`` on each side: the hashing trick, "Random" in the BACO paper's tables.

    Args:
        X: interactions, as `baco.BACO.fit` takes them; here only their sizes count.
        rows: budget of both sides together, split in proportion to the numbers of ids. So in all functions here.
    """
    graph = as_graph(X)
    sizes = split_rows(graph, rows)
    return _book(graph, [np.arange(n) % size for n, size in _sides(graph, sizes)], sizes, "modulo")


def frequency(X: Any, rows: int) -> Codebook:
    """Half of the rows to the most frequent ids, one each; the others share the rest by modulo."""
    graph = as_graph(X)
    sizes = split_rows(graph, rows)
    codes = []
    for degrees, size in zip((graph.user_degrees, graph.item_degrees), sizes, strict=True):
        own, rank = _frequent(degrees, size)
        codes.append(np.where(rank < own, rank, own + (np.arange(degrees.size) % (size - own) if size > own else 0)))
    return _book(graph, codes, sizes, "frequency")


def double(X: Any, rows: int, *, seed: int = 0) -> Codebook:
    """Two hashed rows, added (double hashing of Zhang et al., 2020)."""
    graph = as_graph(X)
    sizes = split_rows(graph, rows)
    codes = [_two(np.arange(n), size, seed) for n, size in _sides(graph, sizes)]
    return _book(graph, codes, sizes, "double", summed=True)


def hybrid(X: Any, rows: int, *, seed: int = 0) -> Codebook:
    """Half of the rows to the most frequent ids, one each; the others add two hashed rows of the rest."""
    graph = as_graph(X)
    sizes = split_rows(graph, rows)
    codes = []
    for degrees, size in zip((graph.user_degrees, graph.item_degrees), sizes, strict=True):
        own, rank = _frequent(degrees, size)
        pair = own + _two(np.arange(degrees.size), max(size - own, 1), seed)
        codes.append(np.where((rank < own)[:, None], np.column_stack([rank, np.full(rank.size, -1)]), pair))
    return _book(graph, codes, sizes, "hybrid", summed=True)


def quotient_remainder(X: Any, rows: int) -> Codebook:
    """A row for ``id // c`` and one for ``id mod c``, added (Shi et al., 2020); no two ids share both.

    Of all c whose quotients and remainders together fit the budget of a side, the one that uses most of it. A side
    for which even the fewest, about twice the root of its ids, are too many, shares quotients too.
    """
    graph = as_graph(X)
    sizes = split_rows(graph, rows)
    codes, used = [], []
    for n, size in _sides(graph, sizes):
        ids = np.arange(n)
        if size < 2:
            codes.append(np.column_stack([ids % size, np.full(n, -1)]))
            used.append(size)
            continue
        counts = np.arange(1, size)
        needed = counts + -(-n // counts)
        fits = counts[needed <= size]
        count = int(fits.max()) if fits.size else size // 2
        quotients = min(-(-n // count), size - count)
        codes.append(np.column_stack([ids % count, count + (ids // count) % quotients]))
        used.append(count + quotients)
    return _book(graph, codes, (used[0], used[1]), "quotient-remainder", summed=True)


def lsh(X: Any, rows: int, *, seed: int = 0) -> Codebook:
    """Rows by the signs of random projections of an id's interactions (locality-sensitive hashing).

    As many signs as it takes to name every row; names beyond the last row wrap around.
    """
    graph = as_graph(X)
    matrix = graph.to_scipy()
    sizes = split_rows(graph, rows)
    rng = np.random.default_rng(seed)
    codes = []
    for one, size in zip((matrix, matrix.T.tocsr()), sizes, strict=True):
        name = np.zeros(one.shape[0], np.int64)
        for bit in range(int(np.ceil(np.log2(max(size, 2))))):
            name |= (one @ rng.standard_normal(one.shape[1]) > 0).astype(np.int64) << bit
        codes.append(_mixed(name, seed) % np.uint64(size))
    return _book(graph, [one.astype(np.int64) for one in codes], sizes, "lsh")


def split_rows(graph: BipartiteGraph, rows: int) -> tuple[int, int]:
    """Rows of users and of items: the budget in proportion to their numbers, at least one and at most one an id."""
    if isinstance(rows, bool) or int(rows) != rows or rows < 2:
        raise ValueError(f"rows={rows!r}: a budget is a whole number of at least 2, one row for each side")
    users = round(rows * graph.n_users / (graph.n_users + graph.n_items))
    users = min(max(int(users), 1, rows - graph.n_items), graph.n_users, int(rows) - 1)
    return users, min(int(rows) - users, graph.n_items)


def _sides(graph: BipartiteGraph, sizes: tuple[int, int]) -> list[tuple[int, int]]:
    return [(graph.n_users, sizes[0]), (graph.n_items, sizes[1])]


def _frequent(degrees: Array, size: int) -> tuple[int, Array]:
    """How many ids get a row of their own, and each id's place by falling frequency."""
    rank = np.empty(degrees.size, np.int64)
    rank[np.argsort(-degrees, kind="stable")] = np.arange(degrees.size)
    return (size if size >= degrees.size else size // 2), rank


def _mixed(numbers: Array, seed: int) -> Array:
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + _STEP * np.uint64(seed + 1)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_A
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_B
        return mixed ^ (mixed >> np.uint64(31))


def _two(ids: Array, size: int, seed: int) -> Array:
    """Two different rows of [0, size) for each id; one where there is only one."""
    first = (_mixed(ids, 2 * seed) % np.uint64(size)).astype(np.int64)
    if size == 1:
        return np.column_stack([first, np.full(ids.size, -1)])
    offset = (_mixed(ids, 2 * seed + 1) % np.uint64(size - 1)).astype(np.int64)
    return np.column_stack([first, (first + 1 + offset) % size])


def _book(
    graph: BipartiteGraph, codes: list[Array], sizes: tuple[int, int], name: str, *, summed: bool = False
) -> Codebook:
    weights = [(one >= 0).astype(np.float32) if summed and one.ndim == 2 else None for one in codes]
    return Codebook(
        codes[0],
        codes[1],
        *sizes,
        user_weights=weights[0],
        item_weights=weights[1],
        user_ids=graph.user_ids,
        item_ids=graph.item_ids,
        meta={"method": name},
    )
