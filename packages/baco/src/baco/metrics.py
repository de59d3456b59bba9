"""How good and how even a co-clustering is.

A co-clustering is a pair ``(row_labels, column_labels)`` of integer arrays, (n_users,) and (n_items,), with one
set of labels for both sides; a fitted `baco.BACO` has both as attributes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._codes import Codes
from .graph import BipartiteGraph, as_graph

Array = np.ndarray[Any, Any]


def objective(X: Any, labels: tuple[Any, Any], gamma: float = 1.0, weights: Any = "paper") -> float:
    """The quantity BACO maximises: edge weight inside clusters less gamma times the product of their volumes.

    ``F = sum_l [L_l - gamma * W_U(l) * W_V(l)]`` with L_l the edge weight inside co-cluster l and W_U, W_V its
    summed balance weights (source: the update rule of the BACO authors' software; closed form ours).

    Args:
        X: interactions, in any form `baco.BACO.fit` takes.
        labels: (row_labels, column_labels).
        gamma: resolution >= 0.
        weights: balance weights as in `baco.BACO`.
    """
    from ._solver.weights import balance_weights

    graph = as_graph(X)
    users, items, n = _joint_labels(graph, labels)
    user_mass, item_mass, norm = balance_weights(graph, weights)
    user_volume = np.bincount(users, user_mass, minlength=n)
    item_volume = np.bincount(items, item_mass, minlength=n)
    return _inside(graph, users, items) - gamma / norm * float(user_volume @ item_volume)


def barber_modularity(X: Any, labels: tuple[Any, Any], resolution: float = 1.0) -> float:
    """Bipartite modularity of Barber (2007): ``sum_l [L_l/E - resolution * D_U(l) D_V(l) / E^2]``, at most 1.

    Equals ``objective(X, labels, resolution, ("degree", "degree")) / E``.
    """
    graph = as_graph(X)
    return objective(graph, labels, resolution, ("degree", "degree")) / graph.total_weight


def accl(X: Any, labels: tuple[Any, Any]) -> float:
    """Average cross-cluster links: edge weight between different co-clusters per pair of co-clusters.

    ``(sum of weights between clusters) / (K (K-1) / 2)`` (BACO, appendix B.3); 0 for a single cluster.
    """
    graph = as_graph(X)
    users, items, _ = _joint_labels(graph, labels)
    clusters = np.union1d(users, items).size
    if clusters < 2:
        return 0.0
    return (graph.total_weight - _inside(graph, users, items)) / (clusters * (clusters - 1) / 2)


def gini(values: Any) -> float:
    """Gini coefficient of sizes or volumes >= 0: 0 for equal ones, towards 1 for one that holds all.

    ``(2/K) * sum_i (i/K - (sum_{j<=i} c_j) / (sum_k c_k))`` over ascending c (BACO, appendix B.3).
    """
    sizes = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if sizes.size == 0 or not np.isfinite(sizes).all() or sizes[0] < 0:
        raise ValueError("gini needs at least one finite value >= 0 and none below 0")
    total = sizes.sum()
    if total == 0:
        return 0.0
    ranks = np.arange(1, sizes.size + 1) / sizes.size
    return float(2 / sizes.size * np.sum(ranks - np.cumsum(sizes) / total))


def balance_report(codebook: Codes, X: Any = None) -> dict[str, Any]:
    """Sizes and, with the interactions, volumes of the codebook's rows as plain numbers.

    Rows are those of the first code. Entries: rows and ids a side, ratio, ids per row (min, median, mean, max, Gini)
    a side; with ``X`` also the share of edges per row (max, Gini) a side and the number of edges.

    Balance is meant in volume, not in ids: heavy ids sit nearly alone, light ones in large groups.
    """
    report: dict[str, Any] = {"rows": codebook.n_rows, "ratio": codebook.ratio}
    graph = None if X is None else as_graph(X)
    if graph is not None:
        if (graph.n_users, graph.n_items) != (codebook.n_users, codebook.n_items):
            raise ValueError(
                f"the codebook is of {codebook.n_users} users and {codebook.n_items} items, the interactions of "
                f"{graph.n_users} and {graph.n_items}; give the data the codebook was made from"
            )
        report["edges"] = graph.n_edges
    sides: list[tuple[str, Array, int]] = [
        ("user", codebook.user_codes, codebook.n_user_rows),
        ("item", codebook.item_codes, codebook.n_item_rows),
    ]
    for side, codes, n_rows in sides:
        sizes = np.bincount(codes[:, 0], minlength=n_rows)
        entry: dict[str, Any] = {
            "ids": int(codes.shape[0]),
            "rows": int(n_rows),
            "ids_per_row": {
                "min": int(sizes.min()),
                "median": float(np.median(sizes)),
                "mean": float(sizes.mean()),
                "max": int(sizes.max()),
                "gini": gini(sizes),
            },
            "with_secondary": int((codes[:, 1:] >= 0).any(1).sum()) if codes.shape[1] > 1 else 0,
        }
        if graph is not None:
            degrees = graph.user_degrees if side == "user" else graph.item_degrees
            volumes = np.bincount(codes[:, 0], degrees, minlength=n_rows)
            entry["volume_share"] = {"max": float(volumes.max() / volumes.sum()), "gini": gini(volumes)}
        report[side] = entry
    return report


def joint_labels(X: Any, codebook: Codes) -> tuple[Array, Array]:
    """One set of labels for both sides of any codebook: an item row goes with the user row it shares most edges with.

    Codes number the rows of each side apart; what BACO had clustered together is in its ``row_labels_`` and
    ``column_labels_``. This makes hashed tables, too, comparable by `objective`.
    """
    import scipy.sparse as sp

    graph = as_graph(X)

    def members(codes: Array, n_rows: int) -> Any:
        rows = codes[:, 0].astype(np.int64)
        return sp.csr_matrix((np.ones(rows.size), (rows, np.arange(rows.size))), shape=(n_rows, rows.size))

    shared = members(codebook.item_codes, codebook.n_item_rows) @ graph.to_scipy().T
    shared = (shared @ members(codebook.user_codes, codebook.n_user_rows).T).tocsr()
    best = np.asarray(shared.argmax(axis=1)).ravel()
    return codebook.user_codes[:, 0].astype(np.int64), best.astype(np.int64)[codebook.item_codes[:, 0]]


def _joint_labels(graph: BipartiteGraph, labels: tuple[Any, Any]) -> tuple[Array, Array, int]:
    """Labels of both sides as int64 in [0, n), n the number of distinct ones."""
    try:
        users, items = (np.asarray(side) for side in labels)
    except (TypeError, ValueError):
        raise ValueError("labels must be a pair (row_labels, column_labels)") from None
    for side, given, size in (("row", users, graph.n_users), ("column", items, graph.n_items)):
        if given.shape != (size,) or given.dtype.kind not in "iu":
            raise ValueError(f"{side}_labels must be {size} integers, got {given.dtype} of shape {given.shape}")
    names, joint = np.unique(np.concatenate([users, items]), return_inverse=True)
    return joint[: graph.n_users], joint[graph.n_users :], names.size


def _inside(graph: BipartiteGraph, users: Array, items: Array) -> float:
    from ._solver.blocks import inside_weight

    return inside_weight(graph, users, items)
