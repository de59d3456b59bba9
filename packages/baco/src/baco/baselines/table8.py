"""Which of the baselines of the BACO paper (table 8) can be run here, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from baco.codebook import Codebook

from . import clustering, hashing


class Method(NamedTuple):
    """A way to a codebook: its name for people, the function ``f(X, rows)``, and whether it takes a ``seed``."""

    title: str
    make: Callable[..., Codebook]
    seeded: bool


METHODS: dict[str, Method] = {
    "modulo": Method("Random (modulo)", hashing.modulo, False),
    "frequency": Method("Frequency hashing", hashing.frequency, False),
    "double": Method("Double hashing", hashing.double, True),
    "hybrid": Method("Hybrid hashing", hashing.hybrid, True),
    "lsh": Method("LSH", hashing.lsh, True),
    "graphhash": Method("GraphHash (Louvain)", clustering.graphhash, True),
    "double_graphhash": Method("DoubleGraphHash", clustering.double_graphhash, True),
    "label_propagation": Method("LP", clustering.label_propagation, False),
    "leiden": Method("Leiden", clustering.leiden, True),
    "infomap": Method("infomap", clustering.infomap, True),
    "scc": Method("SCC (spectral co-clustering)", clustering.spectral_coclustering, True),
    "sbc": Method("SBC (spectral bi-clustering)", clustering.spectral_biclustering, True),
    "quotient_remainder": Method("Quotient-remainder", hashing.quotient_remainder, False),
}

NOT_RUN: dict[str, str] = {
    "CCE": "learns its clusters during training; no maintained library has it",
    "LEGCF": "learns its assignment during training; no maintained library has it",
    "EBMD": "no maintained library has it",
    "BiMLPA": "no maintained library has it",
    "BRIM": "no maintained library has it",
    "ITCC": "only libraries without a release in years have it, on dense arrays",
}

#: The eighteen lines between the full model and BACO, in the paper's order: a name of `METHODS` or of `NOT_RUN`.
TABLE_8: tuple[str, ...] = (
    "modulo",
    "frequency",
    "double",
    "hybrid",
    "lsh",
    "CCE",
    "LEGCF",
    "graphhash",
    "double_graphhash",
    "label_propagation",
    "leiden",
    "EBMD",
    "infomap",
    "BiMLPA",
    "BRIM",
    "scc",
    "sbc",
    "ITCC",
)


def make(name: str, X: Any, rows: int, seed: int = 0) -> Codebook:
    """Codebook of a method of `METHODS`."""
    if name not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {name!r}")
    method = METHODS[name]
    return method.make(X, rows, seed=seed) if method.seeded else method.make(X, rows)
