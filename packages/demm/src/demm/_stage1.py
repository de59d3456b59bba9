"""Stage 1: smooth features over a weighted sum of relations, and weigh the relations by how smooth they are.

Objective: ``||H - X||^2 + alpha sum_r w_r DE(H, A_r) + beta sum_r w_r ||Ahat_r||^2`` with unit rows of H and
weights that sum to one (Lin, Jiang, Yang, "Effective Clustering for Large Multi-Relational Graphs", Eq. 4).
H is the solution of ``((1 + alpha) I - alpha Ahat) H = X`` with its rows scaled to unit length.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from demm.operators import Backend, Weights

SOLVERS = ("neumann", "chebyshev", "cg", "direct")
Energy = Callable[[Any], np.ndarray]  # H -> DE per relation, shape [relations]


def neumann(
    backend: Backend,
    weights: Weights,
    X: Any,
    *,
    alpha: float,
    n_hops: int,
    tail: bool = True,
) -> Any:
    """Truncated Neumann series; with ``tail``, all hops past the last are replaced by the last.

    The series ``sum_l a^l Ahat^l X / (1 + alpha)`` is summed from its end, by Horner's rule: the same
    polynomial with one panel less. Two panels besides ``X``. Error before row scaling: Theorem 4.4.
    Source: the paper's Algorithm 2.
    """
    a = alpha / (1.0 + alpha)
    H = backend.empty_like(X)
    backend.copy_to(X, H)
    if not tail:
        # with the tail the last hop carries 1/(1+alpha) + a = 1: sum over l > L of a^l/(1+alpha) is a^(L+1)
        backend.scale(1.0 / (1.0 + alpha), H)
    following = backend.empty_like(X)
    for _ in range(n_hops):
        backend.hop(weights, a, H, following, plus=X, plus_coef=1.0 / (1.0 + alpha))
        H, following = following, H
    return H


def chebyshev(
    backend: Backend,
    weights: Weights,
    X: Any,
    *,
    alpha: float,
    n_hops: int,
    tail: bool = True,
) -> Any:
    """Chebyshev semi-iteration of ``H = a Ahat H + X / (1 + alpha)``; no inner products.

    The spectrum of ``a Ahat`` lies in [-a, a], so the error falls per hop by
    ``(sqrt(k) - 1) / (sqrt(k) + 1)`` with ``k = 1 + 2 alpha`` instead of by ``a``. ``tail`` has no meaning
    here. Source: Golub and Varga, Numerische Mathematik 3 (1961); two panels besides ``X``.
    """
    del tail
    a = alpha / (1.0 + alpha)
    previous = backend.empty_like(X)
    backend.copy_to(X, previous)
    backend.scale(0.0, previous)
    current = backend.empty_like(X)
    backend.copy_to(X, current)
    backend.scale(1.0 / (1.0 + alpha), current)
    omega = 1.0
    for step in range(n_hops):
        omega = 1.0 / (1.0 - a * a / 2.0) if step == 0 else 1.0 / (1.0 - a * a * omega / 4.0)
        # next = omega (a Ahat current + X / (1 + alpha) - previous) + previous, over previous
        backend.hop(
            weights,
            omega * a,
            current,
            previous,
            keep=1.0 - omega,
            plus=X,
            plus_coef=omega / (1.0 + alpha),
        )
        previous, current = current, previous
    return current


def conjugate_gradient(
    backend: Backend,
    weights: Weights,
    X: Any,
    *,
    alpha: float,
    n_hops: int,
    tail: bool = True,
) -> Any:
    """Conjugate gradients on ``((1 + alpha) I - alpha Ahat) H = X``, every column with its own steps."""
    del tail
    solution = backend.empty_like(X)
    backend.copy_to(X, solution)
    backend.scale(0.0, solution)
    residual = backend.empty_like(X)
    backend.copy_to(X, residual)
    direction = backend.empty_like(X)
    backend.copy_to(X, direction)
    product = backend.empty_like(X)
    rho = backend.column_dots(residual, residual)
    floor = rho * 1e-30
    for _ in range(n_hops):
        backend.hop(weights, -alpha, direction, product, plus=direction, plus_coef=1.0 + alpha)
        curvature = backend.column_dots(direction, product)
        active = (rho > floor) & (curvature > 0)
        if not active.any():
            break
        step = np.where(active, rho / np.where(curvature > 0, curvature, 1.0), 0.0)
        backend.axpy(step, direction, solution)
        backend.axpy(-step, product, residual)
        rho_next = backend.column_dots(residual, residual)
        ratio = np.where(active, rho_next / np.where(rho > 0, rho, 1.0), 0.0)
        # direction = residual + ratio * direction
        backend.axpy(ratio - 1.0, direction, direction)
        backend.axpy(1.0, residual, direction)
        rho = rho_next
    return solution


def direct(matrices: Sequence[Any], weights: Weights, X: np.ndarray, *, alpha: float) -> np.ndarray:
    """Solve the system exactly: dense Cholesky up to 3,000 nodes, sparse LU above.

    Args:
        matrices: normalised adjacencies, scipy sparse, float64.
    """
    import scipy.sparse as sp
    from scipy.linalg import cho_factor, cho_solve
    from scipy.sparse.linalg import splu

    n = X.shape[0]
    mixed = sum(float(w) * m for w, m in zip(weights, matrices, strict=True))
    system = sp.csc_array((1.0 + alpha) * sp.eye_array(n) - alpha * mixed)
    right = np.asarray(X, dtype=np.float64)
    if n <= 3000 or system.nnz > 0.05 * n * n:
        return np.asarray(cho_solve(cho_factor(system.toarray(), lower=True), right))
    return np.asarray(splu(system).solve(right))


def dirichlet_energies(backend: Backend, H: Any, occupied: Sequence[np.ndarray]) -> np.ndarray:
    """Exact DE(H, A_r) in its edge form: isolated nodes count nothing.

    Args:
        occupied: per relation, the nodes with at least one edge: a boolean array [nodes].
    """
    squares: np.ndarray | None = None
    energies = np.empty(backend.n_relations)
    for r in range(backend.n_relations):
        if squares is None:
            dense = backend.to_numpy(H)
            squares = np.einsum("ij,ij->i", dense, dense, dtype=np.float64)
        energies[r] = squares[occupied[r]].sum() - backend.quadratic(r, H)
    return np.maximum(energies, 0.0)  # rounding may leave -1e-7 where the features are perfectly smooth


@dataclass
class Alternation:
    """What the rounds of stage 1 leave behind.

    Attributes:
        H: unit-row features, [nodes, d], and ``norms``, the row lengths before, [nodes].
        weights, energies: after the last round, [relations].
        weights_history, energies_history: after every round, [rounds, relations].
    """

    H: Any
    norms: np.ndarray
    weights: np.ndarray
    energies: np.ndarray
    weights_history: np.ndarray
    energies_history: np.ndarray
    converged: bool


def weigh_relations(
    energies: np.ndarray,
    frobenius: np.ndarray,
    usable: np.ndarray,
    *,
    alpha: float,
    beta: float,
    power: float,
) -> np.ndarray:
    """The paper's fixed-point rule: ``w_r ~ c_r^-power`` with ``c = beta ||Ahat||^2 + alpha DE``.

    Power 2 is its Eq. 11. With H fixed the objective is linear in w, so this is not its minimiser; it is the
    minimiser of ``sum_r w_r^(3/2) c_r``. No monotone descent is claimed.

    Args:
        usable: relations with an edge, [relations]; the others get weight 0.
    """
    cost = beta * frobenius + alpha * energies
    largest = float(cost[usable].max())
    if largest <= 0:
        return np.asarray(usable / usable.sum())
    floor = 1e-6 * largest  # what float32 panels leave of an energy that is 0
    degenerate = usable & (cost <= floor)
    if degenerate.any():
        warnings.warn(
            f"{int(degenerate.sum())} relation(s) cost nothing (energy and penalty are 0), which would give "
            "them all the weight; they get none. Pass beta > 0",
            UserWarning,
            stacklevel=5,
        )
        usable = usable & ~degenerate
    weights = np.zeros(cost.shape[0])
    weights[usable] = (cost[usable] / cost[usable].min()) ** -power
    return np.asarray(weights / weights.sum())


def alternate(
    backend: Backend,
    solve: Callable[[np.ndarray], tuple[Any, np.ndarray]],
    energy: Energy,
    *,
    weights: np.ndarray,
    learn: bool,
    update: Callable[[np.ndarray], np.ndarray],
    max_iter: int,
    tol: float,
    progress: Callable[[int, np.ndarray], None] | None = None,
) -> Alternation:
    """Alternate between features (given weights) and weights (given features).

    Args:
        solve: weights -> unit-row features and their former row lengths.
        update: energies -> new weights.
        learn: False does one round with fixed weights.
        tol: stop when no weight moves by more than this.
    """
    history, energy_history = [], []
    converged = not learn
    H: Any = None
    norms = np.zeros(backend.n_nodes)
    energies = np.zeros(backend.n_relations)
    for round_ in range(max_iter if learn else 1):
        H = None  # the panel of the round before makes room
        H, norms = solve(weights)
        energies = energy(H)
        updated = update(energies) if learn else weights
        history.append(updated)
        energy_history.append(energies)
        moved = float(np.abs(updated - weights).max())
        weights = updated
        if progress is not None:
            progress(round_ + 1, weights)
        if learn and moved < tol:
            converged = True
            break
    return Alternation(H, norms, weights, energies, np.array(history), np.array(energy_history), converged)


def fill_zero_rows(H: np.ndarray, norms: np.ndarray) -> int:
    """Put rows without a direction at the uniform unit vector; how many there were."""
    zero = norms == 0
    if zero.any():
        H[zero] = 1.0 / np.sqrt(H.shape[1])
    return int(zero.sum())
