"""Recall and NDCG of ranked lists, in both of the conventions that papers use. Needs numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import as_graph

__all__ = ["ranking_metrics", "top_items"]

Array = np.ndarray[Any, Any]


def ranking_metrics(top: Any, test: Any, users: Any = None, ks: tuple[int, ...] = (10, 20, 50)) -> dict[str, float]:
    """Metrics at each k, averaged over users that have test items.

    Args:
        top: (n, K), item row numbers, best first; K at least the largest k, or all items there are.
        test: the interactions to be found, as `baco.BACO.fit` takes them.
        users: (n,), the user of each line of ``top``; None: user 0, 1, ...
        ks: cut-offs >= 1.
    Returns:
        for each k: "recall@k", hits over min(k, test items of the user), as the BACO authors' software has it;
        "recall_all@k", hits over all test items of the user; "ndcg@k", with gain 1 for a hit and the ideal list
        holding min(k, test items) of them.
    Raises:
        ValueError: no user has test items, a k below 1, or lists of another length.
    """
    graph = as_graph(test)
    lists = np.asarray(top)
    rows = np.arange(lists.shape[0]) if users is None else np.asarray(users)
    if lists.ndim != 2 or lists.shape[0] != rows.size:
        raise ValueError(f"top must be (users, K), one line for each of {rows.size} users, got {lists.shape}")
    if not ks or min(ks) < 1:
        raise ValueError(f"each k must be >= 1, got {ks!r}")
    if lists.shape[1] < min(max(ks), graph.n_items):
        raise ValueError(f"top lists {lists.shape[1]} items, k={max(ks)} asks for more; rank at least that many")
    relevant = (graph.user_ptr[rows + 1] - graph.user_ptr[rows]).astype(np.float64)
    some = relevant > 0
    if not some.any():
        raise ValueError("no user has test items; evaluate on interactions of users in the model")
    lists, rows, relevant = lists[some], rows[some], relevant[some]
    # (user, item) as one sorted number each: membership is then a binary search
    pairs = np.repeat(np.arange(graph.n_users), np.diff(graph.user_ptr)) * np.int64(graph.n_items) + graph.user_items
    asked = rows[:, None] * np.int64(graph.n_items) + lists
    place = np.minimum(np.searchsorted(pairs, asked), pairs.size - 1)
    hits = (pairs[place] == asked).astype(np.float64)
    gain = hits / np.log2(np.arange(2, lists.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, max(ks) + 2)))])
    found: dict[str, float] = {}
    for k in ks:
        possible = np.minimum(relevant, k)
        got = hits[:, :k].sum(1)
        found[f"recall@{k}"] = float(np.mean(got / possible))
        found[f"recall_all@{k}"] = float(np.mean(got / relevant))
        found[f"ndcg@{k}"] = float(np.mean(gain[:, :k].sum(1) / ideal[possible.astype(int)]))
    return found


def top_items(user_vectors: Any, item_vectors: Any, k: int, *, seen: Any = None, chunk: int = 1024) -> Array:
    """The k items of largest dot product for every user, best first; ties by the smaller item number.

    For vectors from any framework; `baco.torch.evaluate` does the same on an accelerator. No more than ``chunk`` ×
    items scores exist at a time.

    Args:
        user_vectors, item_vectors: (n_users, d) and (n_items, d).
        k: length of the lists, at most n_items.
        seen: interactions not to list, as `baco.BACO.fit` takes them.
    Returns:
        int64 (n_users, k). A user who has seen nearly everything gets seen items last.
    """
    users, items = np.asarray(user_vectors), np.asarray(item_vectors)
    if users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        raise ValueError(f"vectors must be (n_users, d) and (n_items, d), got {users.shape} and {items.shape}")
    if not 1 <= k <= items.shape[0]:
        raise ValueError(f"k must lie in [1, {items.shape[0]}], got {k!r}")
    graph = None if seen is None else as_graph(seen)
    if graph is not None and (graph.n_users, graph.n_items) != (users.shape[0], items.shape[0]):
        raise ValueError(
            f"seen is of {graph.n_users} × {graph.n_items} ids, the vectors of {len(users)} × {len(items)}"
        )
    top = np.empty((users.shape[0], k), np.int64)
    for start in range(0, users.shape[0], chunk):
        stop = min(start + chunk, users.shape[0])
        scores = users[start:stop] @ items.T
        if graph is not None:
            part = slice(int(graph.user_ptr[start]), int(graph.user_ptr[stop]))
            lines = np.repeat(np.arange(stop - start), np.diff(graph.user_ptr[start : stop + 1]))
            scores[lines, graph.user_items[part]] = -np.inf
        best = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        top[start:stop] = np.take_along_axis(best, order, 1)
    return top
