"""demm: cluster the nodes of a graph with many kinds of edges.

``DEMMPlus(n_clusters=20).fit_predict(relations, X)``; everything public is listed in ``__all__``.
Names load at first use, so that ``import demm`` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demm import datasets, io, metrics, operators, plot
    from demm._demm import DEMMNA, DEMMPlus
    from demm._dense import DEMM
    from demm._graph import Metapath, MultiRelationalGraph, Relation
    from demm._input import as_graph
    from demm._load import load
    from demm._search import SearchResult
    from demm._select import search
    from demm.io import from_edges, from_hetero, from_views, load_store, read_edges, save_store

__all__ = [
    "DEMM",
    "DEMMNA",
    "DEMMPlus",
    "Metapath",
    "MultiRelationalGraph",
    "Relation",
    "SearchResult",
    "as_graph",
    "datasets",
    "from_edges",
    "from_hetero",
    "from_views",
    "io",
    "load",
    "load_store",
    "metrics",
    "operators",
    "plot",
    "read_edges",
    "save_store",
    "search",
]

_HOME = {
    "DEMM": "_dense",
    "DEMMNA": "_demm",
    "DEMMPlus": "_demm",
    "Metapath": "_graph",
    "MultiRelationalGraph": "_graph",
    "Relation": "_graph",
    "as_graph": "_input",
    "load": "_load",
    "SearchResult": "_search",
    "search": "_select",
    "from_edges": "io",
    "from_hetero": "io",
    "from_views": "io",
    "load_store": "io",
    "read_edges": "io",
    "save_store": "io",
}
_MODULES = ("datasets", "io", "metrics", "operators", "plot")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("demm")
    if name in _MODULES:
        return import_module(f"demm.{name}")
    if name in _HOME:
        return getattr(import_module(f"demm.{_HOME[name]}"), name)
    raise AttributeError(f"module 'demm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
