"""A fitted model and new interactions: its attributes after taking them in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from baco import _growth
from baco._codes import Anchors
from baco.codebook import Codebook
from baco.graph import BipartiteGraph

from .growth import sweep_dirty
from .problem import Problem

Array = np.ndarray[Any, Any]


def grow(
    book: Codebook,
    old: BipartiteGraph,
    new: BipartiteGraph,
    labels: tuple[Array, Array],
    *,
    gamma: float,
    weights: Any,
    max_sweeps: int,
) -> dict[str, Any]:
    """New values of a fitted model's attributes, from its codebook, interactions and labels; these are left alone."""
    anchors = book.anchors
    assert anchors is not None  # every fit makes them
    graph, users, items = _growth.join_logs(old, new)
    if "array" in anchors.schemes and graph.n_users + graph.n_items > book.n_users + book.n_items:
        raise ValueError("balance weights were given as arrays, which new ids do not have; fit again on the whole log")
    problem = Problem(graph, weights)
    # an identity map has no resolution: newcomers then go where most of their edges go
    gamma = gamma if np.isfinite(gamma) else 0.0
    anchors = replace(anchors, scale=gamma / problem.norm)
    labels = _start(book, anchors, graph, labels)
    masses = (problem.user_mass, problem.item_mass)
    labels, touched, sweeps = sweep_dirty(graph, masses, gamma, problem.norm, labels, (users, items), max_sweeps)
    codes = []
    for side, own, swept, codes_before, row_labels in (
        ("user", labels[0], touched[0], book.user_codes, anchors.user_labels),
        ("item", labels[1], touched[1], book.item_codes, anchors.item_labels),
    ):
        row_of = np.full(int(max(labels[0].max(), labels[1].max(), anchors.user_volumes.size - 1)) + 1, -1, np.int64)
        row_of[row_labels] = np.arange(row_labels.size)
        more = problem.further(side, *labels, gamma, codes_before.shape[1] - 1, 1)
        fresh = np.column_stack([row_of[own], np.where(more >= 0, row_of[more], -1)]).astype(np.int32)
        swept[codes_before.shape[0] :] = True  # new ids, those without an interaction included
        kept = np.where(swept[: codes_before.shape[0], None], fresh[: codes_before.shape[0]], codes_before)
        codes.append(np.concatenate([kept, fresh[codes_before.shape[0] :]]))
    n_labels = anchors.user_volumes.size
    volumes = [np.bincount(own, mass, minlength=n_labels) for own, mass in zip(labels, masses, strict=True)]
    codebook = Codebook(
        codes[0],
        codes[1],
        book.n_user_rows,
        book.n_item_rows,
        user_ids=graph.user_ids,
        item_ids=graph.item_ids,
        meta={**book.meta, "edges": graph.n_edges},
        anchors=replace(anchors, user_volumes=volumes[0], item_volumes=volumes[1]),
    )
    second = codebook.user_codes[:, 1] if codebook.user_codes.shape[1] > 1 else np.full(graph.n_users, -1)
    return {
        "row_labels_": labels[0],
        "column_labels_": labels[1],
        "secondary_": np.where(second >= 0, anchors.user_labels[second], -1),
        "codebook_": codebook,
        "graph_": graph,
        "objective_": problem.objective(*labels, gamma),
        "history_": [problem.record(sweep, number, gamma) for number, sweep in enumerate(sweeps, 1)],
        "search_path_": [],
    }


def _start(book: Codebook, anchors: Anchors, graph: BipartiteGraph, labels: tuple[Array, Array]) -> tuple[Array, Array]:
    """Labels of all ids: the known ones' own, the new ones' as `assign` gives them, users first."""
    new_users, new_items = graph.n_users - book.n_users, graph.n_items - book.n_items
    matrix = graph.to_scipy() if new_users or new_items else None
    users, items = labels
    if matrix is not None and new_users:
        edges = _growth.graph_or_empty(matrix[book.n_users :, : book.n_items])
        users = np.concatenate([users, _growth.place(anchors, "user", edges, items, 1)[1]])
    if matrix is not None and new_items:
        edges = _growth.graph_or_empty(matrix[:, book.n_items :].T)
        items = np.concatenate([items, _growth.place(anchors, "item", edges, users, 1)[1]])
    return users, items
