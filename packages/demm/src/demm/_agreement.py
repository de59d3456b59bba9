"""Which relations agree with the attributes, or with another relation, beyond chance; no labels involved.

A relation that agrees with nothing else is noise as far as clustering goes: averaging it in only blurs the
others. Agreement is the assortativity of unit-row features F on the relation,

    (<F, Ahat F> - null) / (n - null),   null = ||sum_i sqrt(d_i) F_i||^2 / sum_i d_i,

1 when neighbours have equal features, 0 in expectation on a random graph of the same degrees. Our derivation.
"""

from __future__ import annotations

import numpy as np

from demm._stage2 import centre_rows
from demm.operators import NumbaBackend, RelationOperator

STRUCTURE_COLUMNS = 16
STRUCTURE_HOPS = 3
PERMUTATIONS = 4
SMALLEST = 0.01  # an agreement below one per cent helps nobody, however significant on a large graph
SIGMAS = 4.0


def assortativity(operator: RelationOperator, F: np.ndarray, backend: NumbaBackend) -> float:
    """Agreement of features (unit or zero rows) with a relation without self-loops; see above."""
    root = operator.inverse_root.astype(np.float64)
    present = root > 0
    sqrt_degree = np.zeros_like(root)
    np.divide(1.0, root, out=sqrt_degree, where=present)
    volume = float(np.sum(sqrt_degree**2))
    if volume == 0:
        return 0.0
    mean = sqrt_degree @ F.astype(np.float64)
    null = float(mean @ mean) / volume
    most = float(np.einsum("ij,ij->", F[present], F[present], dtype=np.float64))
    if most - null <= 1e-9 * most:
        return 0.0
    return (operator.quadratic(F, backend.pool) - null) / (most - null)


def structural_features(backend: NumbaBackend, relation: int, rng: np.random.RandomState) -> np.ndarray:
    """Random vectors smoothed over one relation: nodes close in it get similar rows, [nodes, 16]."""
    operator = backend.relations[relation]
    dtype = operator.inverse_root.dtype
    weights = np.eye(backend.n_relations)[relation].tolist()
    current = np.ascontiguousarray(rng.standard_normal((backend.n_nodes, STRUCTURE_COLUMNS)), dtype=dtype)
    following = np.empty_like(current)
    root = operator.inverse_root.astype(np.float64)
    top = np.zeros_like(root)  # the top eigenvector, sqrt(degree), says nothing about clusters
    np.divide(1.0, root, out=top, where=root > 0)
    norm = float(np.linalg.norm(top))
    top = (top / (norm if norm > 0 else 1.0)).astype(dtype)
    for _ in range(STRUCTURE_HOPS):
        current -= np.outer(top, top @ current)
        backend.hop(weights, 1.0, current, following)
        current, following = following, current
    current -= np.outer(top, top @ current)
    current[root == 0] = 0
    return centre_rows(current)


def agreements(backend: NumbaBackend, X: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Agreement of every relation with the attributes (column 0) and with every relation's structure.

    Returns:
        values [relations, 1 + relations] (0 where a relation meets itself), and the noise level of each:
        the standard deviation under permutations of the nodes.
    """
    n_relations = backend.n_relations
    sources = [centre_rows(np.ascontiguousarray(X))]
    sources += [structural_features(backend, r, rng) for r in range(n_relations)]
    values = np.zeros((n_relations, len(sources)))
    noise = np.zeros_like(values)
    for column, F in enumerate(sources):
        shuffled = [np.ascontiguousarray(F[rng.permutation(F.shape[0])]) for _ in range(PERMUTATIONS)]
        for r, operator in enumerate(backend.relations):
            if column == r + 1:
                continue
            values[r, column] = assortativity(operator, F, backend)
            # around the expectation 0, which is known, not around the mean of a few draws
            noise[r, column] = np.sqrt(np.mean([assortativity(operator, G, backend) ** 2 for G in shuffled]))
    return values, noise


def informative(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Relations that agree with something: beyond 4 sigma and by at least one per cent, [relations]."""
    return np.asarray((values > np.maximum(SIGMAS * noise, SMALLEST)).any(axis=1))
