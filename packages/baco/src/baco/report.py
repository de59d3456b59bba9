"""A compression in numbers, as a dictionary and as a page to look at."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._files import atomic_write
from .graph import as_graph

if TYPE_CHECKING:
    from .cluster import BACO
    from .codebook import Codebook
    from .graph import BipartiteGraph

__all__ = ["provenance", "summarise", "write_comparison", "write_report"]

_MATRIX = "Interactions, users and items ordered by co-cluster: the diagonal is what the co-clusters catch."
_VOLUMES = (
    "What each codebook row stands for. Balance is meant in volume, not in numbers of ids: heavy ids sit nearly alone, "
    "light ones share a row with many."
)
_SIZES = "How many ids share a row: the distribution that hashing would make even and balancing does not."
_SEARCH = "The search for the budget, trial by trial."


def summarise(source: BACO | Codebook, X: Any = None, *, embedding_dim: int | None = None) -> dict[str, Any]:
    """Plain numbers about a compression: sizes before and after, budget and use of it, balance, how it was found.

    Args:
        source: fitted `BACO`, or `Codebook` (which knows of the fit what its ``meta`` holds).
        X: the interactions, for volumes and the share inside co-clusters.
        embedding_dim: width of a row; default: the model's, else what ``meta`` holds, else 64.
    Returns:
        what `json.dumps` takes; absent knowledge is None.
    """
    codebook: Any = getattr(source, "codebook_", source)
    if not hasattr(codebook, "user_codes"):
        raise TypeError(f"source must be a fitted BACO or a Codebook, got {type(source).__name__}")
    graph = None if X is None else as_graph(X)
    balance = codebook.report(graph)  # first, since it checks that the interactions are the codebook's
    known: dict[str, Any] = dict(codebook.meta)
    if not hasattr(source, "user_codes"):
        known |= provenance(source, graph)
    dim = int(embedding_dim or known.get("embedding_dim") or 64)
    ids = codebook.n_users + codebook.n_items
    budget = known.get("budget_rows")
    history = known.get("history") or []
    edge_weight = graph.total_weight if graph is not None else known.get("edge_weight")
    return {
        "version": version("baco"),
        "source": known.get("source"),
        "users": codebook.n_users,
        "items": codebook.n_items,
        "edges": graph.n_edges if graph is not None else known.get("edges"),
        "user_rows": codebook.n_user_rows,
        "item_rows": codebook.n_item_rows,
        "rows": codebook.n_rows,
        "ratio": codebook.ratio,
        "budget_rows": budget,
        "budget_used": None if budget is None else codebook.n_rows / min(budget, ids),
        "embedding_dim": dim,
        "parameters": codebook.parameters(dim),
        "parameters_full": ids * dim,
        "megabytes": codebook.nbytes(dim) / 1e6,
        "megabytes_full": ids * dim * 4 / 1e6,
        "weights": known.get("weights"),
        "gamma": known.get("gamma"),
        "objective": known.get("objective"),
        "inside_share": known["inside"] / edge_weight if edge_weight and known.get("inside") is not None else None,
        "balance": balance,
        "history": history,
        "search_path": known.get("search_path") or [],
    }


def provenance(model: Any, X: Any = None) -> dict[str, Any]:
    """How a fitted model came about, for `Codebook.meta`: resolution, objective, sweeps, search; with X the budget."""
    known: dict[str, Any] = {
        "gamma": _finite(model.gamma_),
        "objective": _finite(model.objective_),
        "embedding_dim": model.embedding_dim,
        "history": [{name: _finite(value) for name, value in step.items()} for step in model.history_],
        "search_path": [{name: _finite(value) for name, value in step.items()} for step in model.search_path_],
    }
    if X is not None:
        graph = as_graph(X)
        from .metrics import objective

        labels = (model.row_labels_, model.column_labels_)
        known |= {
            "edges": graph.n_edges,
            "edge_weight": graph.total_weight,
            "inside": objective(graph, labels, 0.0, model.weights),
            "budget_rows": None if model.gamma is not None else model._budget(graph),
        }
    return known


def write_report(
    path: str | Path,
    source: BACO | Codebook,
    X: Any = None,
    *,
    embedding_dim: int | None = None,
    title: str | None = None,
) -> Path:
    """Write a self-contained HTML page; it appears whole or not at all. Returns its path.

    The page needs nothing from the network, follows the reader's light or dark setting and fits a phone. Pictures
    need the extra ``baco[plot]``; without it the page says so in one line.

    Args:
        path: file to write; the folder must exist.
        source: fitted `BACO` or `Codebook`.
        X: the interactions; without them the page lacks the matrix and the volumes.
        embedding_dim: as in `summarise`.
        title: heading; default: the name of the data, if known.
    """
    from ._html import page

    path = Path(path)
    graph = None if X is None else as_graph(X)
    facts = summarise(source, graph, embedding_dim=embedding_dim)
    text = page(facts, _figures(source, graph), title or facts["source"] or "interactions")
    with atomic_write(path) as file:
        file.write(text)
    return path


def write_comparison(path: str | Path, records: list[dict[str, Any]], *, title: str = "comparison") -> Path:
    """Write what `baco.compare.compare` found as a self-contained HTML page; returns its path."""
    from ._html import comparison_page
    from .compare import comparison_table

    path = Path(path)
    with atomic_write(path) as file:
        file.write(comparison_page(comparison_table(records), title, version("baco")))
    return path


def _finite(value: Any) -> Any:
    """A number that JSON has; None for infinity, which the identity map has for a resolution."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figures(source: BACO | Codebook, graph: BipartiteGraph | None) -> list[tuple[str, bytes]] | None:
    """Captions and PNG bytes; None where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    from io import BytesIO

    from matplotlib.figure import Figure

    from . import plot

    wanted: list[tuple[str, float, Callable[[Any], Any]]] = []
    if graph is not None:
        wanted.append((_MATRIX, 5.2, lambda ax: plot.plot_matrix(graph, source, ax=ax)))
    wanted.append((_VOLUMES, 3.4, lambda ax: plot.plot_volumes(source, graph, ax=ax)))
    wanted.append((_SIZES, 3.4, lambda ax: plot.plot_sizes(source, ax=ax)))
    if plot.search_steps(source):
        wanted.append((_SEARCH, 3.4, lambda ax: plot.plot_search(source, ax=ax)))
    # mid-grey on nothing reads on a light page and on a dark one
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = {**dict.fromkeys(names, "#808080"), "font.size": 9}
    drawn = []
    with matplotlib.rc_context(style):
        for caption, height, draw in wanted:
            figure = Figure(figsize=(6.4, height), layout="constrained", facecolor="none")
            draw(figure.add_subplot(facecolor="none"))
            buffer = BytesIO()
            figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
            drawn.append((caption, buffer.getvalue()))
    return drawn
