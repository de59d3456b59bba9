"""Places for ids that come after the fit: codes from their edges, while those of known ids stay as they are."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ._codes import Anchors, Assigned, Codes
from ._ids import IdIndex, plain_ids
from .graph import BipartiteGraph

Array = np.ndarray[Any, Any]


def assign(codebook: Codes, new_users: Any, new_items: Any) -> Assigned:
    """Codes of new users from the known items they took, of new items from the known users who took them."""
    if codebook.anchors is None:
        raise ValueError(
            "this codebook does not know its co-clusters (it was not made by BACO, or by an older version); fit again"
        )
    if new_users is None and new_items is None:
        raise ValueError("give interactions of new users, of new items, or both")
    found: dict[str, Any] = {}
    for side, given in (("user", new_users), ("item", new_items)):
        if given is not None:
            edges, ids = _new_edges(codebook, side, given)
            codes, _ = place(codebook.anchors, side, edges, _known(codebook, side), _places(codebook, side))
            found |= {f"{side}_codes": codes, f"{side}_ids": ids}
    return Assigned(**found)


def place(anchors: Anchors, side: str, edges: BipartiteGraph, other_labels: Array, places: int) -> tuple[Array, Array]:
    """Codes int32 (k, places) of new ids, whose edges to the other side are the graph's rows, and their labels.

    A newcomer takes the labels of its neighbours that score best among those its side has rows of; without any, the
    row of least volume, which is the one that ids without interactions share, where there is one.
    """
    from ._solver import _kernels

    row_labels, own_volumes = (
        (anchors.user_labels, anchors.user_volumes) if side == "user" else (anchors.item_labels, anchors.item_volumes)
    )
    volume = anchors.item_volumes if side == "user" else anchors.user_volumes
    mass = masses(anchors.schemes[side == "item"], edges.user_degrees, side)
    held = np.zeros(volume.size, bool)
    held[row_labels] = True
    chosen = np.full((edges.n_users, places), -1, np.int64)
    _kernels.further_labels(
        edges.user_ptr,
        edges.user_items,
        edges.user_weights,
        mass,
        anchors.scale,
        np.full(edges.n_users, -1, np.int64),
        other_labels,
        volume,
        held,
        chosen,
        0,
        edges.n_users,
    )
    lost = chosen[:, 0] < 0
    chosen[lost, 0] = row_labels[np.argmin(own_volumes[row_labels])]
    without = int((lost & (np.diff(edges.user_ptr) > 0)).sum())
    if without:
        warnings.warn(
            f"{without} of {edges.n_users} new {side}s touch no co-cluster that holds {side}s; they share the row of "
            "least volume until the next fit",
            stacklevel=4,
        )
    row_of = np.full(volume.size, -1, np.int64)
    row_of[row_labels] = np.arange(row_labels.size)
    return np.where(chosen >= 0, row_of[chosen], -1).astype(np.int32), chosen[:, 0]


def masses(scheme: str, degrees: Array, side: str) -> Array:
    """Unnormalised balance weights of new ids."""
    if scheme == "degree":
        return degrees
    if scheme == "uniform":
        return np.ones_like(degrees)
    if scheme in ("sqrt", "log"):
        return np.sqrt(degrees) if scheme == "sqrt" else np.log1p(degrees)
    raise ValueError(
        f"the {side} weights were given as numbers, which new {side}s do not have; fit again with a named scheme"
    )


def split_log(codebook: Codes, graph: BipartiteGraph) -> tuple[Any, Any]:
    """The parts of a log that tell about new ids: (new users, known items) and (known users, new items).

    Each as arrays (users, items, weights) for `assign`, or None where there is nothing. What joins two known ids, or
    two new ones, is in neither.
    """
    coo = graph.to_scipy().tocoo()
    users = np.arange(graph.n_users) if graph.user_ids is None else graph.user_ids
    items = np.arange(graph.n_items) if graph.item_ids is None else graph.item_ids
    known_user = codebook.index("user").find(users)[coo.row] >= 0
    known_item = codebook.index("item").find(items)[coo.col] >= 0
    parts = []
    for wanted in (~known_user & known_item, known_user & ~known_item):
        some = wanted.any()
        parts.append((users[coo.row[wanted]], items[coo.col[wanted]], coo.data[wanted]) if some else None)
    return parts[0], parts[1]


def _known(codebook: Codes, side: str) -> Array:
    """Labels of the other side's ids."""
    assert codebook.anchors is not None
    if side == "user":
        return codebook.anchors.item_labels[codebook.item_codes[:, 0]]
    return codebook.anchors.user_labels[codebook.user_codes[:, 0]]


def _places(codebook: Codes, side: str) -> int:
    return int((codebook.user_codes if side == "user" else codebook.item_codes).shape[1])


def _new_edges(codebook: Codes, side: str, given: Any) -> tuple[BipartiteGraph, Array]:
    """Edges of the new ids as rows, known ids of the other side as columns, and the raw id of each row."""
    other = "item" if side == "user" else "user"
    known, size = (codebook.n_items, codebook.n_users) if side == "user" else (codebook.n_users, codebook.n_items)
    if hasattr(given, "shape") and not hasattr(given, "columns"):  # new ids × known ids, or for items its transpose
        matrix = given if side == "user" else given.T
        if len(matrix.shape) != 2 or matrix.shape[1] != known:
            expected = f"(new users, {known})" if side == "user" else f"({known}, new items)"
            raise ValueError(f"a matrix of new {side}s must be {expected}, got {given.shape}")
        ids = size + np.arange(matrix.shape[0])
        return graph_or_empty(matrix), ids
    users, items, *weights = [given[name] for name in given.columns] if hasattr(given, "columns") else given
    own, others = (users, items) if side == "user" else (items, users)
    own, others = plain_ids(own, side), plain_ids(others, other)
    ids, rows = np.unique(own, return_inverse=True)
    already = codebook.index(side).find(ids) >= 0
    if already.any():
        raise ValueError(
            f"{side} {ids[already][:1].tolist()[0]!r} has codes already ({int(already.sum())} of {ids.size} do); for "
            "new interactions of known ids use partial_fit"
        )
    columns = codebook.index(other).find(others)
    if (columns < 0).any():
        dropped = int((columns < 0).sum())
        warnings.warn(
            f"{dropped} of {columns.size} interactions are with unknown {other}s and tell nothing", stacklevel=4
        )
    use = columns >= 0
    values = np.asarray(weights[0], dtype=np.float64)[use] if weights else None
    if not use.any():
        return _no_edges(ids.size, known), ids
    return BipartiteGraph.from_arrays(rows[use], columns[use], values, n_users=ids.size, n_items=known), ids


def graph_or_empty(matrix: Any) -> BipartiteGraph:
    stored = getattr(matrix, "nnz", None)
    empty = stored == 0 if stored is not None else not np.asarray(matrix).any()
    return _no_edges(*matrix.shape) if empty else BipartiteGraph.from_scipy(matrix)


def _no_edges(n_rows: int, n_columns: int) -> BipartiteGraph:
    """New ids without a single known neighbour; `BipartiteGraph` itself refuses to be empty."""
    graph = BipartiteGraph.__new__(BipartiteGraph)
    graph.n_users, graph.n_items, graph.n_edges = n_rows, n_columns, 0
    graph.user_ptr, graph.user_items = np.zeros(n_rows + 1, np.int64), np.empty(0, np.int32)
    graph.user_weights = np.empty(0, np.float64)
    return graph


def join_logs(old: BipartiteGraph, new: BipartiteGraph) -> tuple[BipartiteGraph, Array, Array]:
    """Both logs as one graph whose first rows are the old ones, and the users and items that ``new`` touches.

    Weights add up; in binary graphs a repeated pair counts once.
    """
    import scipy.sparse as sp

    sides: list[tuple[Array, int, Array | None]] = []
    for side, known, ids, fresh_ids, fresh_size in (
        ("user", old.n_users, old.user_ids, new.user_ids, new.n_users),
        ("item", old.n_items, old.item_ids, new.item_ids, new.n_items),
    ):
        fresh = np.arange(fresh_size) if fresh_ids is None else fresh_ids
        if ids is None:  # row numbers, those beyond the known ones included
            if fresh.dtype.kind == "U" or (fresh.size and int(fresh.min()) < 0):
                raise ValueError(f"{side} ids are row numbers here, got {fresh[:1].tolist()[0]!r}")
            sides.append((fresh.astype(np.int64), max(known, int(fresh.max()) + 1), None))
            continue
        if fresh_ids is None:
            raise ValueError(
                f"the fit was on raw {side} ids; give new interactions with raw ids too, as arrays or a table"
            )
        rows = IdIndex(ids, known, side).find(fresh)
        unknown = rows < 0
        rows[unknown] = known + np.arange(int(unknown.sum()))
        sides.append((rows, known + int(unknown.sum()), np.concatenate([ids, fresh[unknown]])))
    (user_rows, n_users, user_ids), (item_rows, n_items, item_ids) = sides
    coo = new.to_scipy().tocoo()
    users, items = user_rows[coo.row], item_rows[coo.col]
    shape = (n_users, n_items)
    before = old.to_scipy()
    pointer = np.concatenate([before.indptr, np.full(n_users - old.n_users, before.indptr[-1])])
    joined = sp.csr_matrix((before.data, before.indices, pointer), shape=shape)
    joined = (joined + sp.csr_matrix((coo.data, (users, items)), shape=shape)).tocsr()
    if not (old.weighted or new.weighted):
        joined.data[:] = 1.0
    joined.sort_indices()
    graph = BipartiteGraph.from_scipy(joined, user_ids=user_ids, item_ids=item_ids)
    return graph, np.unique(users), np.unique(items)
