"""Recommenders over two embedding tables, compressed or full: matrix factorisation and LightGCN."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baco.graph import as_graph

from .embedding import CompressedEmbedding

if TYPE_CHECKING:
    from baco.codebook import Codebook

Tables = tuple[nn.Module, nn.Module]


def bpr_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., 2009): mean of -log sigmoid(positive - negative).

    Computed as softplus, which needs no floor inside the logarithm.
    """
    return F.softplus(negative - positive).mean()


def compressed_tables(codebook: Codebook, embedding_dim: int, *, init_std: float = 1.0, **options: Any) -> Tables:
    """User and item table of a codebook, rows drawn from N(0, init_std); ``options`` as `CompressedEmbedding`."""
    options.setdefault("init", partial(nn.init.normal_, std=init_std))
    return codebook.to_torch(embedding_dim, **options)


def full_tables(n_users: int, n_items: int, embedding_dim: int, *, init_std: float = 1.0, **options: Any) -> Tables:
    """User and item table with a row for each id, rows drawn from N(0, init_std); ``options`` as `nn.Embedding`."""
    tables = nn.Embedding(n_users, embedding_dim, **options), nn.Embedding(n_items, embedding_dim, **options)
    for table in tables:
        nn.init.normal_(table.weight, std=init_std)
    return tables


class Recommender(nn.Module):
    """Two tables, and vectors made from them whose dot products rank the items.

    Args:
        users, items: `CompressedEmbedding` or ``nn.Embedding`` of equal width.
    """

    def __init__(self, users: nn.Module, items: nn.Module) -> None:
        super().__init__()
        for side, table in (("users", users), ("items", items)):
            if not isinstance(table, (nn.Embedding, CompressedEmbedding)):
                raise TypeError(f"{side} must be an nn.Embedding or a CompressedEmbedding, got {type(table).__name__}")
        if users.embedding_dim != items.embedding_dim:
            raise ValueError(
                f"both tables must be equally wide, got {users.embedding_dim} (users) and {items.embedding_dim} (items)"
            )
        self.users, self.items = users, items

    @property
    def n_users(self) -> int:
        return int(self.users.num_embeddings)  # type: ignore[arg-type]

    @property
    def n_items(self) -> int:
        return int(self.items.num_embeddings)  # type: ignore[arg-type]

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Final vectors of all users (n_users, d) and items (n_items, d)."""
        return _all_rows(self.users), _all_rows(self.items)

    def triplet(self, users: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Final vectors (B, d) of a batch of users, of items they took and of items they did not."""
        of_users, of_items = self.vectors()
        # not of_users[users]: its gradient sorts the batch
        return of_users.index_select(0, users), of_items.index_select(0, positives), of_items.index_select(0, negatives)

    def forward(self, users: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B,) of the pairs (user, positive) and (user, negative)."""
        user, positive, negative = self.triplet(users, positives, negatives)
        return (user * positive).sum(-1), (user * negative).sum(-1)


class MatrixFactorization(Recommender):
    """Scores are dot products of the looked-up vectors; touches only the ids of the batch.

    With shared rows this model is the hard case: nothing tells ids of one co-cluster apart. See the guide.
    """

    def triplet(self, users: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.users(users), self.items(positives), self.items(negatives)


class LightGCN(Recommender):
    """Vectors averaged over 0..n_layers steps of propagation over the interactions (He et al., 2020).

    ``E_{l+1} = D^-1/2 A D^-1/2 E_l`` over users and items together, with PyTorch Geometric's ``LGConv``; the result
    is the mean of E_0 to E_L. Ids that share rows are told apart by their own interactions.

    Args:
        users, items: as `Recommender`.
        interactions: the training interactions, as `baco.BACO.fit` takes them.
        n_layers: L >= 0.
    Raises:
        ValueError: tables and interactions of different sizes.
        ImportError: PyTorch Geometric is not installed.
    """

    pointer: Tensor
    columns: Tensor
    values: Tensor

    def __init__(self, users: nn.Module, items: nn.Module, interactions: Any, n_layers: int = 2) -> None:
        from ._propagate import SymmetricConv, normalised_adjacency

        super().__init__(users, items)
        graph = as_graph(interactions)
        if (graph.n_users, graph.n_items) != (self.n_users, self.n_items):
            raise ValueError(
                f"the tables are of {self.n_users} users and {self.n_items} items, the interactions of "
                f"{graph.n_users} and {graph.n_items}; make the codebook from the same interactions"
            )
        if isinstance(n_layers, bool) or int(n_layers) != n_layers or n_layers < 0:
            raise ValueError(f"n_layers must be an integer >= 0, got {n_layers!r}")
        self.n_layers = int(n_layers)
        self.conv = SymmetricConv()
        for name, part in zip(("pointer", "columns", "values"), normalised_adjacency(graph), strict=True):
            self.register_buffer(name, part, persistent=False)
        self._adjacency: Tensor | None = None

    def vectors(self) -> tuple[Tensor, Tensor]:
        layer = torch.cat([_all_rows(self.users), _all_rows(self.items)])
        total = layer
        for _ in range(self.n_layers):
            layer = self.conv(layer, self._matrix(layer))
            total = total + layer
        mean = total / (self.n_layers + 1)
        return mean[: self.n_users], mean[self.n_users :]

    def _matrix(self, like: Tensor) -> Tensor:
        from ._propagate import adjacency

        kept = self._adjacency
        if kept is None or (kept.device, kept.dtype) != (like.device, like.dtype):
            kept = self._adjacency = adjacency((self.pointer, self.columns, self.values), like)
        return kept

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_adjacency": None}


def _all_rows(table: nn.Module) -> Tensor:
    return table.full() if isinstance(table, CompressedEmbedding) else table.weight  # type: ignore[return-value]
