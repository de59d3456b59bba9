"""Scores of a partition against labels, and Dirichlet energies of features; all written out once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from demm._graph import build_operators
from demm._input import as_graph
from demm._modularity import relation_modularity
from demm._stage1 import dirichlet_energies
from demm.operators import NumbaBackend, RowPool

__all__ = ["accuracy", "ari", "dirichlet_energy", "macro_f1", "match_labels", "modularity", "mrde", "nmi"]


def _contingency(labels: Any, predicted: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ValueError(f"labels has shape {labels.shape} and predicted {predicted.shape}; expected the same [n]")
    if labels.shape[0] == 0:
        raise ValueError("labels is empty; expected at least one node")
    names, rows = np.unique(labels, return_inverse=True)
    clusters, columns = np.unique(predicted, return_inverse=True)
    table = np.zeros((names.shape[0], clusters.shape[0]), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return table, names, clusters


def match_labels(labels: Any, predicted: Any) -> np.ndarray:
    """``predicted`` renamed by the one-to-one matching with ``labels`` that agrees most often.

    Clusters left over when there are more clusters than classes become -1 (for integer labels).
    """
    from scipy.optimize import linear_sum_assignment

    table, names, clusters = _contingency(labels, predicted)
    rows, columns = linear_sum_assignment(table, maximize=True)
    renamed = {clusters[c]: names[r] for r, c in zip(rows, columns, strict=True)}
    return np.array([renamed.get(cluster, -1) for cluster in np.asarray(predicted).tolist()])


def accuracy(labels: Any, predicted: Any) -> float:
    """Share of nodes on which the best one-to-one matching of clusters and classes agrees (Hungarian).

    Example:
        >>> accuracy([0, 0, 1, 1], [5, 5, 3, 5])
        0.75
    """
    from scipy.optimize import linear_sum_assignment

    table, _, _ = _contingency(labels, predicted)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def nmi(labels: Any, predicted: Any) -> float:
    """Mutual information over the geometric mean of the two entropies, as in the paper's tables."""
    from sklearn.metrics import normalized_mutual_info_score

    _contingency(labels, predicted)
    return float(normalized_mutual_info_score(labels, predicted, average_method="geometric"))


def ari(labels: Any, predicted: Any) -> float:
    """Adjusted Rand index: 1 for equal partitions, about 0 for independent ones."""
    from sklearn.metrics import adjusted_rand_score

    _contingency(labels, predicted)
    return float(adjusted_rand_score(labels, predicted))


def macro_f1(labels: Any, predicted: Any) -> float:
    """Mean F1 over the classes after the matching of ``accuracy``."""
    from sklearn.metrics import f1_score

    names = np.unique(np.asarray(labels))
    matched = match_labels(labels, predicted)
    return float(f1_score(labels, matched, labels=names, average="macro", zero_division=0))


def dirichlet_energy(H: Any, relation: Any) -> float:
    """``DE(H, A) = 1/2 sum_ij a_ij ||h_i/sqrt(d_i) - h_j/sqrt(d_j)||^2``; isolated nodes count nothing.

    Args:
        H: features, [nodes, d].
        relation: one relation in any form that ``fit`` takes.
    Source: the paper's Section 2.
    """
    return float(_energies(H, [relation])[0])


def mrde(H: Any, graph: Any, weights: Sequence[float] | None = None) -> float:
    """Multi-relational Dirichlet energy ``sum_r w_r DE(H, A_r)``; equal weights by default."""
    energies = _energies(H, graph)
    if weights is None:
        return float(energies.mean())
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != energies.shape:
        raise ValueError(f"weights has shape {w.shape}, expected ({energies.shape[0]},): one per relation")
    return float(w @ energies)


def _energies(H: Any, graph: Any) -> np.ndarray:
    H = np.ascontiguousarray(H, dtype=np.float64)
    read = as_graph(graph, n_nodes=H.shape[0], binarize=False)
    with RowPool() as pool:
        operators = build_operators(read, dtype=np.float64, compress="auto", pool=pool)
        backend = NumbaBackend(operators, pool)
        return dirichlet_energies(backend, H, [operator.inverse_root > 0 for operator in operators])


def modularity(graph: Any, labels: Any) -> np.ndarray:
    """Newman's modularity of a partition in every relation, self-loops left out, [relations].

    ``Q_r = within_r / vol_r - sum_k (deg_r(k) / vol_r)^2``; 0 for a relation without edges.
    """
    labels = np.asarray(labels)
    read = as_graph(graph, n_nodes=labels.shape[0])
    codes = np.unique(labels, return_inverse=True)[1]
    return np.array([relation_modularity(relation, codes) for relation in read])
