"""Relations as linear maps and the engines that multiply with them.

``RelationOperator`` is one relation (compressed rows, twin classes, or an implicit meta-path), ``Backend``
the set of operations that the solvers of stage 1 use. Implement ``Backend`` to run them elsewhere.
"""

from demm.operators._backend import Backend, NumbaBackend, ScipyBackend, Weights
from demm.operators._metapath import MetapathOperator, build_metapath
from demm.operators._relations import CSROperator, RelationOperator
from demm.operators._threads import RowPool, row_blocks
from demm.operators._torch import TorchBackend
from demm.operators._twins import TwinOperator, compress_twins

__all__ = [
    "Backend",
    "CSROperator",
    "MetapathOperator",
    "NumbaBackend",
    "RelationOperator",
    "RowPool",
    "ScipyBackend",
    "TorchBackend",
    "TwinOperator",
    "Weights",
    "build_metapath",
    "compress_twins",
    "row_blocks",
]
