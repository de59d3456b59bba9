"""The methods that BACO is compared with, behind the same `Codebook`.

Hashing (`modulo`, `frequency`, `double`, `hybrid`, `quotient_remainder`, `lsh`) needs nothing beyond baco; the
clusterings need the libraries of the extra ``baco[bench]``. `METHODS` lists them by name, `TABLE_8` says which of the
paper's eighteen baselines that covers.
"""

from .clustering import (
    double_graphhash,
    graphhash,
    infomap,
    label_propagation,
    leiden,
    spectral_biclustering,
    spectral_coclustering,
)
from .hashing import double, frequency, hybrid, lsh, modulo, quotient_remainder
from .table8 import METHODS, NOT_RUN, TABLE_8, Method

__all__ = [
    "METHODS",
    "NOT_RUN",
    "TABLE_8",
    "Method",
    "double",
    "double_graphhash",
    "frequency",
    "graphhash",
    "hybrid",
    "infomap",
    "label_propagation",
    "leiden",
    "lsh",
    "modulo",
    "quotient_remainder",
    "spectral_biclustering",
    "spectral_coclustering",
]
