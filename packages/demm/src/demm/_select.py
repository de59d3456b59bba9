"""``search``: settings of ``DEMMPlus`` chosen without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from demm._base import check_number
from demm._demm import DEMMPlus
from demm._search import CHOSEN, Search, SearchResult


def search(
    graph: Any,
    X: Any = None,
    n_clusters: int | Sequence[int] = 8,
    *,
    n_trials: int | str = "auto",
    relation_guard: bool = True,
    random_state: int | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    **fixed: Any,
) -> SearchResult:
    """Pick settings of ``DEMMPlus`` without labels and fit with them.

    Args:
        graph, X: as in ``DEMMPlus.fit``; X is needed.
        n_clusters: K, or several to choose from by the same score.
        n_trials: ``"auto"`` tries the whole pool (72 settings per K), a number a random part of it.
        relation_guard: leave out relations that agree neither with the attributes nor with another relation.
        random_state: seed of PCA, K-means and of the part of the pool.
        n_jobs: threads.
        verbose: 1 shows a progress bar.
        fixed: other parameters of ``DEMMPlus``, held fixed: ``features``, ``binarize``, ``n_init``, ...
    Returns:
        ``SearchResult``; ``print(result.summary())`` says what was picked and why.

    The score assumes that relations link nodes of the same cluster. Where they do not follow the clusters you
    want, it prefers over-smoothed partitions and no score made of structure can tell; compare
    ``result.attribute_labels``. The pool and the rule were developed on five public graphs with labels.
    """
    candidates = [int(k) for k in np.atleast_1d(np.asarray(n_clusters))]
    for k in candidates:
        check_number("n_clusters", k, low=1, integer=True)
    if n_trials != "auto":
        check_number("n_trials", n_trials, low=1, integer=True)
    if clash := sorted(CHOSEN & set(fixed)):
        raise ValueError(f"{', '.join(clash)}: chosen by the search, so not to be given")
    base = DEMMPlus(max(candidates), n_jobs=n_jobs, random_state=random_state, **fixed)
    base._check_parameters()
    return Search(base, candidates, n_trials, relation_guard, verbose).run(graph, X)
