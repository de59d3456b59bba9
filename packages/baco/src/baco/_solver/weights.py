"""Balance weights: how much each user and item counts in the volume of its cluster."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from baco.graph import BipartiteGraph

Array = np.ndarray[Any, Any]

SCHEMES = ("degree", "uniform", "sqrt", "log")


def balance_weights(graph: BipartiteGraph, weights: Any) -> tuple[Array, Array, float]:
    """Masses of users and items, float64, and the number ``norm`` that normalises their products.

    The weights of the formulas are ``w_u w_v = mass_u mass_v / norm``. Keeping the masses unnormalised keeps
    degrees integers, which float64 adds exactly in any order up to 2^53; that is what makes labels the same for
    every number of threads.

    Schemes a side: "degree" d, "uniform" 1, "sqrt" sqrt(d), "log" log(1 + d), each over the root of its sum; an
    array is taken as it is. "paper" is (d_u / sqrt(E), d_v / sqrt(n_items)), what the BACO authors' solver
    computes: its item side divides degrees by the normalisation of the uniform scheme.

    Raises:
        ValueError: an unknown scheme, or an array of another length, negative, NaN, infinite or all zero.
    """
    if isinstance(weights, str) and weights == "paper":
        norm = math.sqrt(graph.total_weight * graph.n_items)
        return graph.user_degrees, graph.item_degrees, norm
    if isinstance(weights, str) or not isinstance(weights, (tuple, list)) or len(weights) != 2:
        raise ValueError(
            f'weights must be "paper" or a pair (users, items) of {", ".join(SCHEMES)} or arrays, got {weights!r}'
        )
    user_mass, user_total = _side(weights[0], graph.user_degrees, "user")
    item_mass, item_total = _side(weights[1], graph.item_degrees, "item")
    return user_mass, item_mass, math.sqrt(user_total * item_total)


def _side(scheme: Any, degrees: Array, side: str) -> tuple[Array, float]:
    if isinstance(scheme, str):
        if scheme not in SCHEMES:
            raise ValueError(f"the {side} weights must be one of {', '.join(SCHEMES)} or an array, got {scheme!r}")
        if scheme == "degree":
            mass = degrees
        elif scheme == "uniform":
            mass = np.ones_like(degrees)
        else:
            mass = np.sqrt(degrees) if scheme == "sqrt" else np.log1p(degrees)
        return mass, float(mass.sum())
    mass = np.asarray(scheme, dtype=np.float64)
    if mass.shape != degrees.shape:
        raise ValueError(f"{side} weights must be {degrees.size} numbers, got shape {mass.shape}")
    if not np.isfinite(mass).all() or mass.min() < 0 or mass.max() == 0:
        raise ValueError(f"{side} weights must be finite and >= 0, and not all zero")
    return mass, 1.0
