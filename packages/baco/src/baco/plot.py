"""Pictures of a compression (extra ``baco[plot]``); every function returns the Axes it drew on.

``source`` is a fitted `BACO` or a `Codebook`. matplotlib is loaded at the first call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .graph import as_graph
from .metrics import joint_labels

if TYPE_CHECKING:
    from .cluster import BACO
    from .codebook import Codebook
    from .graph import BipartiteGraph

__all__ = ["block_order", "plot_matrix", "plot_search", "plot_volumes"]

Array = np.ndarray[Any, Any]
USERS, ITEMS = "#3d7ea6", "#c8763a"


def plot_matrix(X: Any, source: BACO | Codebook, *, bins: int = 400, ax: Any = None) -> Any:
    """The interactions as a picture, users and items ordered by co-cluster.

    Co-clusters lie along the diagonal, the one with most interactions first; what they catch is the dark line, what
    falls outside is the grey around it. A large matrix is shown by the density of its bins, on a log scale.

    Args:
        X: interactions, in any form `BACO.fit` takes.
        source: fitted `BACO`, `Codebook`, or a pair (row_labels, column_labels).
        bins: most bins a side.
        ax: matplotlib Axes; None makes a figure.
    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the interactions are not those of ``source``.
    """
    ax = _axes(ax, (6.0, 5.0))
    from matplotlib.colors import LogNorm

    graph = as_graph(X)
    user_order, item_order = block_order(graph, source)
    places = [np.empty(order.size, np.int64) for order in (user_order, item_order)]
    for place, order in zip(places, (user_order, item_order), strict=True):
        place[order] = np.arange(order.size)
    rows, columns = min(bins, graph.n_users), min(bins, graph.n_items)
    user_bin = places[0] * rows // graph.n_users
    item_bin = places[1] * columns // graph.n_items
    cells = np.repeat(user_bin, np.diff(graph.user_ptr)) * columns + item_bin[graph.user_items]
    weights = graph.user_weights if graph.weighted else None
    sums = np.bincount(cells, weights, minlength=rows * columns).reshape(rows, columns)
    size = np.outer(np.bincount(user_bin), np.bincount(item_bin))
    density = np.ma.masked_equal(sums / size, 0)
    norm = LogNorm() if density.max() > density.min() else None
    picture = ax.imshow(
        density,
        norm=norm,
        cmap="viridis_r",
        interpolation="nearest",
        aspect="auto",
        extent=(0, graph.n_items, graph.n_users, 0),
    )
    ax.figure.colorbar(picture, ax=ax, label="interactions per (user, item) pair")
    ax.set(xlabel="items, by co-cluster", ylabel="users, by co-cluster", title="interactions by co-cluster")
    return ax


def plot_volumes(source: BACO | Codebook, X: Any = None, *, ax: Any = None) -> Any:
    """What each codebook row has to stand for, largest first, on log scales.

    Args:
        source: fitted `BACO` or `Codebook`.
        X: interactions; with them a row's volume is shown (the summed interactions of its ids, which balancing
            evens out), without them its number of ids.
        ax: matplotlib Axes; None makes a figure.
    """
    ax = _axes(ax, (6.0, 3.6))
    codebook = _codebook(source)
    graph = None if X is None else as_graph(X)
    if graph is not None:
        _check_match(graph, codebook)
    for side, codes, n_rows, colour in (
        ("user", codebook.user_codes, codebook.n_user_rows, USERS),
        ("item", codebook.item_codes, codebook.n_item_rows, ITEMS),
    ):
        degrees = None if graph is None else getattr(graph, f"{side}_degrees")
        volumes = np.sort(np.bincount(codes[:, 0], degrees, minlength=n_rows))[::-1]
        volumes = volumes[volumes > 0]  # the row that isolated ids share has no interactions
        ax.plot(
            np.arange(1, volumes.size + 1),
            volumes,
            color=colour,
            label=f"{n_rows:,} {side} rows",
            drawstyle="steps-mid",
        )
    what = "ids of a row" if graph is None else "interactions of a row's ids"
    ax.set(xscale="log", yscale="log", xlabel="codebook rows, largest first", ylabel=what, title=f"{what}, by row")
    ax.legend(frameon=False)
    return ax


def plot_sizes(source: BACO | Codebook, *, ax: Any = None) -> Any:
    """How many rows stand for 1, 2-3, 4-7, ... ids, a pair of bars each for users and items.

    Args:
        source: fitted `BACO` or `Codebook`.
        ax: matplotlib Axes; None makes a figure.
    """
    ax = _axes(ax, (6.0, 3.6))
    codebook = _codebook(source)
    sides = [
        np.bincount(codes[:, 0], minlength=n_rows)
        for codes, n_rows in (
            (codebook.user_codes, codebook.n_user_rows),
            (codebook.item_codes, codebook.n_item_rows),
        )
    ]
    bins = int(np.log2(max(one.max() for one in sides))) + 1
    places = np.arange(bins)
    for shift, (sizes, side, colour) in zip(
        (-0.2, 0.2), zip(sides, ("user", "item"), (USERS, ITEMS), strict=True), strict=True
    ):
        counts = np.bincount(np.log2(np.maximum(sizes, 1)).astype(int), minlength=bins)
        ax.bar(places + shift, counts, width=0.4, color=colour, label=f"{side} rows")
    ax.set_xticks(places, [str(2**k) if k == 0 else f"{2**k}-{2 ** (k + 1) - 1}" for k in places], rotation=30)
    ax.set(yscale="log", xlabel="ids that share a row", ylabel="rows", title="sizes of the groups")
    ax.legend(frameon=False)
    return ax


def plot_search(source: BACO | Codebook, *, ax: Any = None) -> Any:
    """Codebook rows at each resolution that the budget search tried, in the order of the numbers; the last is kept.

    Raises:
        ValueError: there was no search (``gamma`` was given), or the codebook does not carry it.
    """
    tried = search_steps(source)
    if not tried:
        raise ValueError("there is no search to show: it is recorded by a fit with a budget (rows, ratio or megabytes)")
    ax = _axes(ax, (6.0, 3.6))
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    gammas, rows = np.array(tried).T
    ax.plot(gammas, rows, "o-", color=USERS, linewidth=0.8, clip_on=False)
    for number, (gamma, count) in enumerate(tried, 1):
        ax.annotate(str(number), (gamma, count), textcoords="offset points", xytext=(5, 5), fontsize=8)
    ax.set(xscale="log", xlabel="resolution gamma", ylabel="codebook rows", title="budget search, trial by trial")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_ylim(0, 1.1 * rows.max())
    return ax


def search_steps(source: Any) -> list[tuple[float, int]]:
    """(gamma, rows) of the trials of a budget search, empty where there was none."""
    path = source.meta.get("search_path") if hasattr(source, "meta") else getattr(source, "search_path_", None)
    steps = [(step["gamma"], step["rows"]) for step in path or []]
    return [(gamma, rows) for gamma, rows in steps if gamma and np.isfinite(gamma)]


def block_order(graph: BipartiteGraph, source: Any) -> tuple[Array, Array]:
    """Users and items sorted by co-cluster, the one with most interactions first, heavy ids first within it.

    Args:
        graph: the interactions.
        source: fitted `BACO`, `Codebook`, or a pair (row_labels, column_labels).
    Returns:
        (user_order, item_order), int64 (n_users,) and (n_items,): row numbers in the order of display.
    """
    if isinstance(source, tuple):
        users, items = (np.asarray(side) for side in source)
    elif hasattr(source, "row_labels_"):
        users, items = source.row_labels_, source.column_labels_
    else:
        codebook = _codebook(source)
        _check_match(graph, codebook)
        users, items = joint_labels(graph, codebook)
    if (users.size, items.size) != (graph.n_users, graph.n_items):
        raise ValueError(
            f"the labels are of {users.size} users and {items.size} items, the interactions of {graph.n_users} and "
            f"{graph.n_items}; give the data the labels were made from"
        )
    user_degrees, item_degrees = graph.user_degrees, graph.item_degrees
    n_labels = int(max(users.max(), items.max())) + 1
    # a label that only one side holds catches nothing: it goes to the end
    volumes = [
        np.bincount(users, user_degrees, minlength=n_labels),
        np.bincount(items, item_degrees, minlength=n_labels),
    ]
    rank = np.empty(n_labels, np.int64)
    rank[np.lexsort((-volumes[0] - volumes[1], -np.minimum(*volumes)))] = np.arange(n_labels)
    return np.lexsort((-user_degrees, rank[users])), np.lexsort((-item_degrees, rank[items]))


def _codebook(source: Any) -> Codebook:
    codebook = getattr(source, "codebook_", source)
    if not hasattr(codebook, "user_codes"):
        raise TypeError(f"source must be a fitted BACO or a Codebook, got {type(source).__name__}")
    return codebook  # type: ignore[no-any-return]


def _check_match(graph: BipartiteGraph, codebook: Codebook) -> None:
    if (graph.n_users, graph.n_items) != (codebook.n_users, codebook.n_items):
        raise ValueError(
            f"the codebook is of {codebook.n_users} users and {codebook.n_items} items, the interactions of "
            f"{graph.n_users} and {graph.n_items}; give the data the codebook was made from"
        )


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('pictures need matplotlib; install it with: pip install "baco[plot]"') from None
    return Figure(figsize=size, layout="constrained").add_subplot() if ax is None else ax
