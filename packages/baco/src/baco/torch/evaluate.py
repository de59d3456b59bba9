"""Recall and NDCG of a recommender on the full ranking, a block of users at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from baco.graph import as_graph
from baco.ranking import ranking_metrics

if TYPE_CHECKING:
    from .recommenders import Recommender


@torch.no_grad()
def evaluate(
    model: Recommender | tuple[Tensor, Tensor],
    test: Any,
    *,
    seen: Any = None,
    ks: tuple[int, ...] = (10, 20, 50),
    chunk: int = 1024,
) -> dict[str, float]:
    """Recall (both conventions) and NDCG at each k, averaged over users with test items.

    Every item is ranked, except those in ``seen``; no more than ``chunk`` × items scores exist at a time.

    Args:
        model: `Recommender`, or its final vectors (users (n_users, d), items (n_items, d)).
        test: interactions to be found again, as `baco.BACO.fit` takes them; users × items of the model.
        seen: interactions not to recommend again (train, or train and validation); None: every item competes.
        ks: cut-offs.
        chunk: users at a time.
    Returns:
        "recall@k" (hits over the smaller of k and the number of test items, the BACO authors' convention),
        "recall_all@k" (hits over the number of test items, the usual one), "ndcg@k".
    Raises:
        ValueError: sizes that differ, or no user with test items.
    """
    users, items = model if isinstance(model, tuple) else model.vectors()
    graph, known = as_graph(test), None if seen is None else as_graph(seen)
    shape = (users.shape[0], items.shape[0])
    for name, one in (("test", graph), ("seen", known)):
        if one is not None and (one.n_users, one.n_items) != shape:
            raise ValueError(
                f"{name} has {one.n_users} users and {one.n_items} items, the model {shape[0]} and {shape[1]}; build "
                "both from the same row numbers"
            )
    asked = np.flatnonzero(np.diff(graph.user_ptr) > 0)
    most = min(max(ks), items.shape[0])
    top = np.empty((asked.size, most), np.int64)
    for start in range(0, asked.size, chunk):
        rows = asked[start : start + chunk]
        scores = users[torch.from_numpy(rows).to(users.device)] @ items.T
        if known is not None:
            counts = known.user_ptr[rows + 1] - known.user_ptr[rows]
            within = np.repeat(known.user_ptr[rows] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
            hide = np.repeat(np.arange(rows.size), counts), known.user_items[within].astype(np.int64)
            scores[
                torch.from_numpy(hide[0]).to(scores.device), torch.from_numpy(hide[1]).to(scores.device)
            ] = -torch.inf
        top[start : start + chunk] = torch.topk(scores, most, dim=1).indices.cpu().numpy()
    return ranking_metrics(top, graph, asked, ks)
