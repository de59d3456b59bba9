"""Pictures of a fit; every function draws on ``ax`` (or a new one) and returns it. Extra ``demm[plot]``."""

from __future__ import annotations

from typing import Any

import numpy as np

from demm._input import as_graph

__all__ = ["embedding", "energies", "relation_heatmap", "search_surface", "weights"]


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "demm[plot]"') from error
    return Figure(figsize=(5, 4), layout="constrained").add_subplot()


def weights(model: Any, ax: Any = None) -> Any:
    """Relation weights after every round."""
    ax = _axes(ax)
    history = model.relation_weights_history_
    rounds = np.arange(1, history.shape[0] + 1)
    for r, name in enumerate(model.relation_names_):
        ax.plot(rounds, history[:, r], marker="o", label=name)
    ax.set(xlabel="round", ylabel="relation weight", ylim=(0, 1))
    ax.legend(frameon=False)
    return ax


def energies(model: Any, ax: Any = None) -> Any:
    """Dirichlet energy of the features in each relation, after every round."""
    ax = _axes(ax)
    history = model.energies_history_
    rounds = np.arange(1, history.shape[0] + 1)
    for r, name in enumerate(model.relation_names_):
        ax.plot(rounds, history[:, r], marker="o", label=name)
    ax.plot(rounds, model.energy_history_, "k--", label="weighted sum")
    ax.set(xlabel="round", ylabel="Dirichlet energy")
    ax.legend(frameon=False)
    return ax


def embedding(model: Any, ax: Any = None, *, max_points: int = 5000, random_state: int = 0) -> Any:
    """The first two principal axes of ``embedding_``, coloured by cluster.

    Args:
        max_points: a random sample is drawn of larger graphs.
    """
    ax = _axes(ax)
    Z = np.asarray(model.embedding_)
    rng = np.random.default_rng(random_state)
    n = Z.shape[0]
    chosen = np.sort(rng.choice(n, max_points, replace=False)) if n > max_points else np.arange(n)
    points = Z[chosen] - Z[chosen].mean(axis=0)
    _, _, axes = np.linalg.svd(points, full_matrices=False)
    plane = points @ axes[:2].T
    if plane.shape[1] < 2:
        plane = np.column_stack([plane, np.zeros(plane.shape[0])])
    ax.scatter(plane[:, 0], plane[:, 1], c=model.labels_[chosen], s=6, cmap="tab20", linewidths=0)
    ax.set(xlabel="first axis", ylabel="second axis", xticks=[], yticks=[])
    return ax


def relation_heatmap(model: Any, graph: Any, ax: Any = None) -> Any:
    """Share of each cluster's links that stay inside it, cluster by relation."""
    ax = _axes(ax)
    labels = np.asarray(model.labels_)
    k = int(labels.max()) + 1
    read = as_graph(graph, n_nodes=labels.shape[0])
    shares = np.full((k, len(read)), np.nan)
    for r, relation in enumerate(read):
        a = relation.tocsr(np.float64)
        a.setdiag(0)
        for cluster in range(k):
            members = np.flatnonzero(labels == cluster)
            rows = a[members]
            total = rows.sum()
            if total > 0:
                shares[cluster, r] = rows[:, members].sum() / total
    image = ax.imshow(shares, vmin=0, vmax=1, aspect="auto", cmap="viridis")
    ax.set_xticks(range(len(read)), read.names)
    ax.set_yticks(range(k))
    ax.set(xlabel="relation", ylabel="cluster")
    ax.figure.colorbar(image, ax=ax, label="share of links inside the cluster")
    return ax


def search_surface(result: Any, ax: Any = None) -> Any:
    """Score of every setting of a search: smoothing strength by hops, the best of what else varied."""
    ax = _axes(ax)
    alphas = sorted({trial["alpha"] for trial in result.trials})
    hops = sorted({trial["n_hops"] for trial in result.trials})
    surface = np.full((len(hops), len(alphas)), np.nan)
    for trial in result.trials:
        i, j = hops.index(trial["n_hops"]), alphas.index(trial["alpha"])
        surface[i, j] = np.nanmax([surface[i, j], trial["score"]])
    image = ax.imshow(surface, aspect="auto", cmap="viridis")
    ax.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
    ax.set_yticks(range(len(hops)), [str(hop) for hop in hops])
    ax.plot(alphas.index(result.best_params["alpha"]), hops.index(result.best_params["n_hops"]), "r*", ms=14)
    ax.set(xlabel="alpha", ylabel="hops")
    ax.figure.colorbar(image, ax=ax, label="modularity x stability")
    return ax
