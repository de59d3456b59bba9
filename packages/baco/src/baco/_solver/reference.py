"""The method as a reader would write it: dictionaries and loops, one node after the other.

Slow on purpose. It shares no code with the kernels and is what tests compare them with; with integer-valued
masses the labels agree exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence


def alternating_sweeps(
    edges: Iterable[tuple[int, int, float]],
    user_mass: Sequence[float],
    item_mass: Sequence[float],
    scale: float,
    n_sweeps: int,
    *,
    stay: bool = True,
) -> tuple[list[int], list[int], list[tuple[int, int, int, float, float]]]:
    """Sweeps over users, then items, from singletons.

    Args:
        edges: (user, item, weight) with each pair at most once.
        user_mass, item_mass: balance weight of each node, unnormalised.
        scale: resolution over normalisation; the score of label l for node x is
            ``inside(x, l) - (scale * mass_x) * volume(l)``.
        n_sweeps: how many sweeps.
        stay: keep the own label unless another one is strictly better.
    Returns:
        user labels, item labels, and per sweep (moves, labels held by users, by items, edge weight inside,
        sum over labels of user volume times item volume).
    """
    n_users, n_items = len(user_mass), len(item_mass)
    of_user: list[list[tuple[int, float]]] = [[] for _ in range(n_users)]
    of_item: list[list[tuple[int, float]]] = [[] for _ in range(n_items)]
    all_edges = list(edges)
    for user, item, weight in all_edges:
        of_user[user].append((item, weight))
        of_item[item].append((user, weight))
    users = list(range(n_users))
    items = [n_users + item for item in range(n_items)]
    history = []
    for _ in range(n_sweeps):
        moves = _half(of_user, users, items, user_mass, _volumes(items, item_mass), scale, stay)
        moves += _half(of_item, items, users, item_mass, _volumes(users, user_mass), scale, stay)
        inside = sum(weight for user, item, weight in all_edges if users[user] == items[item])
        user_volume, item_volume = _volumes(users, user_mass), _volumes(items, item_mass)
        balance = sum(volume * item_volume.get(label, 0.0) for label, volume in user_volume.items())
        history.append((moves, len(set(users)), len(set(items)), inside, balance))
    return users, items, history


def best_label(
    neighbours: Sequence[tuple[int, float]],
    current: int,
    other: Sequence[int],
    mass: float,
    volume: dict[int, float],
    scale: float,
    stay: bool,
) -> int:
    """The label a node moves to: the best among its neighbours', the current one on a tie, else the smallest."""
    inside: dict[int, float] = defaultdict(float)
    for neighbour, weight in neighbours:
        inside[other[neighbour]] += weight
    if not inside:
        return current
    scores = {label: total - (scale * mass) * volume.get(label, 0.0) for label, total in inside.items()}
    top = max(scores.values())
    best = min(label for label, score in scores.items() if score == top)
    if scores.get(current) == top:
        return current
    own = scores[current] if current in scores else 0.0 - (scale * mass) * volume.get(current, 0.0)
    return best if top > own or (not stay and current not in scores) else current


def further_labels(
    neighbours: Sequence[tuple[int, float]],
    primary: int,
    other: Sequence[int],
    mass: float,
    volume: dict[int, float],
    held: set[int],
    scale: float,
    count: int,
) -> list[int]:
    """Up to ``count`` labels besides ``primary``, best first, among neighbours' labels in ``held``."""
    inside: dict[int, float] = defaultdict(float)
    for neighbour, weight in neighbours:
        inside[other[neighbour]] += weight
    ranked = sorted(
        (-(total - (scale * mass) * volume.get(label, 0.0)), label)
        for label, total in inside.items()
        if label != primary and label in held
    )
    return [label for _, label in ranked[:count]]


def _half(
    lists: list[list[tuple[int, float]]],
    own: list[int],
    other: list[int],
    mass: Sequence[float],
    volume: dict[int, float],
    scale: float,
    stay: bool,
) -> int:
    moves = 0
    for node, neighbours in enumerate(lists):
        new = best_label(neighbours, own[node], other, mass[node], volume, scale, stay)
        moves += new != own[node]
        own[node] = new
    return moves


def _volumes(labels: list[int], mass: Sequence[float]) -> dict[int, float]:
    volume: dict[int, float] = defaultdict(float)
    for label, weight in zip(labels, mass, strict=True):
        volume[label] += weight
    return dict(volume)
