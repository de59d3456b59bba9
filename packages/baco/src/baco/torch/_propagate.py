"""LightGCN's propagation: PyTorch Geometric's ``LGConv`` on the normalised graph of users and items."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

try:
    with warnings.catch_warnings():
        # it compiles with torch.jit while it is imported, which newer versions of torch advise against
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch_geometric.nn import LGConv
except ImportError:
    raise ImportError('LightGCN needs PyTorch Geometric; install it with: pip install "baco[torch]"') from None

from ._sparse import ConstantProduct, csr_tensor

if TYPE_CHECKING:
    from baco.graph import BipartiteGraph


class SymmetricConv(LGConv):  # type: ignore[misc]
    """`LGConv` whose adjacency is symmetric and constant: its gradient is the same product once more."""

    def __init__(self) -> None:
        super().__init__(normalize=False)

    def message_and_aggregate(self, adj_t: Tensor, x: Tensor) -> Tensor:
        product: Tensor = ConstantProduct.apply(adj_t, adj_t, x)  # type: ignore[no-untyped-call]
        return product


def normalised_adjacency(graph: BipartiteGraph) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers, columns and values of D^-1/2 A D^-1/2 over users, then items; ids without edges have empty rows."""
    weights = (graph.user_weights, graph.item_weights) if graph.weighted else (1.0, 1.0)
    user_root, item_root = (1 / np.sqrt(np.maximum(d, 1e-7)) for d in (graph.user_degrees, graph.item_degrees))
    of_users = np.repeat(user_root, np.diff(graph.user_ptr)) * item_root[graph.user_items] * weights[0]
    of_items = np.repeat(item_root, np.diff(graph.item_ptr)) * user_root[graph.item_users] * weights[1]
    pointer = np.concatenate([graph.user_ptr, graph.user_ptr[-1] + graph.item_ptr[1:]]).astype(np.int64)
    columns = np.concatenate([graph.user_items.astype(np.int64) + graph.n_users, graph.item_users.astype(np.int64)])
    values = np.concatenate([of_users, of_items]).astype(np.float32)
    return torch.from_numpy(pointer), torch.from_numpy(columns), torch.from_numpy(values)


def adjacency(parts: tuple[Tensor, Tensor, Tensor], like: Tensor) -> Any:
    """The parts as one CSR tensor of the type and place of ``like``."""
    pointer, columns, values = (part.to(like.device) for part in parts)
    n = pointer.numel() - 1
    return csr_tensor(pointer, columns, values.to(like.dtype), (n, n))
