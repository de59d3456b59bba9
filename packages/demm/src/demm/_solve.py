"""Stage 1 of ``DEMMPlus`` bound to its parameters: solver, energy, panels in memory or on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from demm import _stage1 as stage1
from demm._base import MultiRelationalClustering, Prepared
from demm.operators import CSROperator, NumbaBackend, row_blocks

ITERATIVE: dict[str, Callable[..., Any]] = {
    "neumann": stage1.neumann,
    "chebyshev": stage1.chebyshev,
    "cg": stage1.conjugate_gradient,
}
PANELS = {"neumann": 3, "chebyshev": 3, "cg": 5}  # X included
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_bytes(value: int | str | None) -> int | None:
    """Bytes from a number or a text such as ``"4GB"``."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip().lower().removesuffix("b")
        unit = text[-1:] if text[-1:] in "kmgt" and text else ""
        try:
            number = float(text.removesuffix(unit)) * UNITS[unit]
        except ValueError:
            raise ValueError(f"memory_limit={value!r}: expected bytes, such as 4000000000 or '4GB'") from None
    else:
        number = float(value)
    if not number > 0:
        raise ValueError(f"memory_limit={value!r}: expected more than 0 bytes")
    return int(number)


def make_solver(
    model: MultiRelationalClustering, prepared: Prepared, X: np.ndarray
) -> Callable[[np.ndarray], tuple[Any, np.ndarray]]:
    """weights -> (unit-row H, row lengths before)."""
    backend = prepared.backend
    if model.solver == "direct":
        matrices = prepared.matrices()

        def exact(weights: np.ndarray) -> tuple[Any, np.ndarray]:
            H = backend.asarray(stage1.direct(matrices, weights, X, alpha=model.alpha).astype(model.dtype))
            return H, backend.normalise_rows(H)

        return exact
    iterate = ITERATIVE[model.solver]
    settings = {"alpha": float(model.alpha), "n_hops": int(model.n_hops), "tail": bool(model.tail)}
    limit = parse_bytes(model.memory_limit)
    if limit is not None and isinstance(backend, NumbaBackend) and X.nbytes * PANELS[model.solver] > limit:
        return _in_column_blocks(model, backend, X, iterate, settings, limit)
    start = backend.asarray(X)

    def solve(weights: np.ndarray) -> tuple[Any, np.ndarray]:
        H = iterate(backend, weights, start, **settings)
        return H, backend.normalise_rows(H)

    return solve


def _in_column_blocks(
    model: MultiRelationalClustering,
    backend: NumbaBackend,
    X: np.ndarray,
    iterate: Callable[..., Any],
    settings: dict[str, Any],
    limit: int,
) -> Callable[[np.ndarray], tuple[Any, np.ndarray]]:
    """Columns of H do not depend on each other: solve a few at a time, X and H memory-mapped.

    The files are unlinked as soon as they are mapped, so nothing stays behind however the run ends.
    """
    n, d = X.shape
    per_column = n * X.dtype.itemsize * PANELS[model.solver]
    width = int(np.clip(limit // max(1, per_column), 1, d))
    mapped_X = _unlinked_memmap(X.shape, X.dtype, model.workdir)
    mapped_X[:] = X

    def solve(weights: np.ndarray) -> tuple[Any, np.ndarray]:
        H = _unlinked_memmap((n, d), X.dtype, model.workdir)
        for lo in range(0, d, width):
            block = np.ascontiguousarray(mapped_X[:, lo : lo + width])
            H[:, lo : lo + width] = iterate(backend, weights, block, **settings)
        panel = np.asarray(H)
        return panel, backend.normalise_rows(panel)

    return solve


def _unlinked_memmap(shape: tuple[int, int], dtype: Any, folder: str | None) -> np.ndarray:
    descriptor, path = tempfile.mkstemp(prefix="demm-", suffix=".panel", dir=folder)
    os.close(descriptor)
    try:
        mapped: np.ndarray = np.memmap(path, dtype=dtype, mode="w+", shape=shape)
    finally:
        if os.name == "posix":
            os.unlink(path)
    return mapped


def make_energy(model: MultiRelationalClustering, prepared: Prepared, rng: np.random.RandomState) -> stage1.Energy:
    """H -> Dirichlet energy per relation: exact, or by a CountSketch built once."""
    if model.energy == "exact":
        return prepared.energies
    sketches = [
        count_sketch(operator, name, model.sketch_size, int(rng.randint(np.iinfo(np.int32).max)))
        for operator, name in zip(prepared.operators, prepared.graph.names, strict=True)
    ]

    def sketched(H: Any) -> np.ndarray:
        panel = prepared.backend.to_numpy(H).astype(np.float64)
        return np.array([np.sum((panel.T @ sketch) ** 2) for sketch in sketches])

    return sketched


def count_sketch(operator: Any, name: str, n_buckets: int, seed: int) -> np.ndarray:
    """CountSketch of one relation's normalised incidence, [nodes, buckets]: ``E ||H^T S||^2 = DE(H)``.

    Source: the paper's Algorithm 5; edges are hashed to buckets with a random sign.
    """
    from demm.operators import _kernels as kernels

    if not isinstance(operator, CSROperator):
        raise ValueError(
            f"relation {name!r} is an implicit meta-path without an edge list to sketch; use energy='exact'"
        )
    sketch = np.zeros((operator.n_nodes, n_buckets))
    for lo, hi in pairwise(row_blocks(operator.n_nodes, operator.indptr)):
        kernels.sketch_rows(
            operator.indptr,
            operator.indices,
            operator.values,
            operator.inverse_root,
            np.uint64(seed),
            sketch,
            int(lo),
            int(hi),
        )
    return sketch
