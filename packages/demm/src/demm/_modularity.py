"""Newman's modularity of a partition in one relation."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from demm._graph import Relation
from demm.operators import RowPool, row_blocks


class Modularity:
    """Newman's modularity in one relation, self-loops left out, with the degrees computed once."""

    def __init__(self, relation: Relation) -> None:
        from demm.operators import _kernels as kernels

        self.relation = relation
        if relation.incidence is not None:
            b = relation.incidence
            self._square = np.asarray(b.multiply(b).sum(axis=1)).ravel()
            self.degree = np.asarray(b @ (b.T @ np.ones(b.shape[0]))).ravel() - self._square
        else:
            n = relation.indptr.shape[0] - 1
            self._values = np.zeros(0) if relation.values is None else relation.values.astype(np.float64)
            self.degree = np.empty(n)
            kernels.degree_rows(relation.indptr, relation.indices, self._values, self.degree, 0, n)
            # every node in its own cluster: what stays within is the diagonal, which does not count
            row_of = np.repeat(np.arange(n), np.diff(relation.indptr))
            loop = relation.indices == row_of
            weight = np.ones(int(loop.sum())) if relation.values is None else self._values[loop]
            np.subtract.at(self.degree, row_of[loop], weight)
        self.volume = float(self.degree.sum())

    def score(self, labels: np.ndarray, pool: RowPool | None = None) -> float:
        """Modularity of integer labels 0..K-1."""
        from demm.operators import _kernels as kernels

        if self.volume <= 0:
            return 0.0
        if self.relation.incidence is not None:
            k = int(labels.max()) + 1
            members = sp.csr_array(
                (np.ones(labels.shape[0]), (labels, np.arange(labels.shape[0]))), shape=(k, labels.shape[0])
            )
            counts = sp.csr_array(members @ self.relation.incidence)
            within = float((counts.data**2).sum() - self._square.sum())
        else:
            relation, values = self.relation, self._values
            own = pool or RowPool(1)
            within = own.sum(
                lambda lo, hi: kernels.within_rows(relation.indptr, relation.indices, values, labels, lo, hi),
                row_blocks(labels.shape[0], relation.indptr),
            )
        share = np.bincount(labels, weights=self.degree) / self.volume
        return within / self.volume - float(share @ share)


def relation_modularity(relation: Relation, labels: np.ndarray) -> float:
    """Modularity of integer labels 0..K-1 in one relation."""
    return Modularity(relation).score(labels)
