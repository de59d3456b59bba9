"""The two loops of a skirmish, compiled: a step of every battle, and what everyone sees of it.

Units of a battle are numbered agents first, then enemies. ``unit`` holds reach, speed, pause and full health of each;
``harm[i, j]`` is what a shot of i takes from j.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from grsn_rl.teams.skirmish import CALL, KILL, SIGHT, SIZE, STEP, WIN

__all__ = ["fight", "look"]

Array = np.ndarray[Any, Any]


@njit(cache=True)
def _walk(place: Array, i: int, dx: float, dy: float, far: float) -> None:
    """Move unit i along (dx, dy) by at most ``far``, inside the field."""
    length = math.sqrt(dx * dx + dy * dy)
    if length > 0.0:
        share = min(1.0, far / length)
        place[i, 0] = min(SIZE, max(0.0, place[i, 0] + share * dx))
        place[i, 1] = min(SIZE, max(0.0, place[i, 1] + share * dy))


@njit(cache=True)
def fight(
    action: Array,
    place: Array,
    health: Array,
    pause: Array,
    unit: Array,
    harm: Array,
    reward: Array,
    ended: Array,
) -> None:
    """Advance every battle by a step, in place.

    Everybody aims at where the others stood at the beginning and shoots at once; the dead of a step still shot in it.

    Args:
        action: [N, K]. place [N, M, 2], health, pause [N, M]: changed. unit [M, 4], harm [M, M].
        reward [N]: damage done, counted up to the health left, kills and victory. ended [N]: 1 won, -1 lost, else 0.
    """
    battles, agents = action.shape
    everyone = place.shape[1]
    shot = np.empty(everyone, np.int64)
    loss = np.empty(everyone)
    before = np.empty((everyone, 2))
    for n in range(battles):
        before[:] = place[n]
        loss[:] = 0.0
        for i in range(everyone):
            shot[i] = -1
            if health[n, i] <= 0.0:
                continue
            pause[n, i] = max(0.0, pause[n, i] - 1.0)
            aim, move = -1, -1
            if i < agents:
                if action[n, i] >= 6:
                    aim = agents + action[n, i] - 6
                elif action[n, i] >= 2:
                    move = action[n, i] - 2
            else:
                nearest = np.inf
                for j in range(agents):
                    if health[n, j] > 0.0:
                        d = (before[j, 0] - before[i, 0]) ** 2 + (before[j, 1] - before[i, 1]) ** 2
                        if d < nearest:
                            nearest, aim = d, j
            speed = unit[i, 1]
            if move == 0:
                _walk(place[n], i, 0.0, STEP, speed)
            elif move == 1:
                _walk(place[n], i, 0.0, -STEP, speed)
            elif move == 2:
                _walk(place[n], i, STEP, 0.0, speed)
            elif move == 3:
                _walk(place[n], i, -STEP, 0.0, speed)
            if aim >= 0:
                dx, dy = before[aim, 0] - before[i, 0], before[aim, 1] - before[i, 1]
                away = math.sqrt(dx * dx + dy * dy)
                if away > unit[i, 0]:
                    # no further than needed
                    _walk(place[n], i, dx, dy, min(speed, away - 0.9 * unit[i, 0]))
                elif pause[n, i] < 1.0:
                    shot[i] = aim
                    pause[n, i] += unit[i, 2]
        for i in range(everyone):
            if shot[i] >= 0:
                loss[shot[i]] += harm[i, shot[i]]
        ours, theirs = 0, 0
        for i in range(everyone):
            if health[n, i] > 0.0:
                if i >= agents:
                    reward[n] += min(loss[i], health[n, i])
                health[n, i] = max(0.0, health[n, i] - loss[i])
                if health[n, i] > 0.0:
                    if i < agents:
                        ours += 1
                    else:
                        theirs += 1
                elif i >= agents:
                    reward[n] += KILL
        if theirs == 0 and ours > 0:
            reward[n] += WIN
            ended[n] = 1
        elif ours == 0:
            ended[n] = -1


@njit(cache=True)
def look(
    place: Array,
    health: Array,
    pause: Array,
    unit: Array,
    kind: Array,
    kinds: int,
    obs: Array,
    state: Array,
    available: Array,
) -> None:
    """Fill obs [N, K, O], state [N, M, 4 + kinds] and available [N, K, A], all zero before."""
    battles, agents = obs.shape[0], obs.shape[1]
    everyone = place.shape[1]
    for n in range(battles):
        for j in range(everyone):
            if health[n, j] > 0.0:
                state[n, j, 0] = (place[n, j, 0] - SIZE / 2) / SIZE
                state[n, j, 1] = (place[n, j, 1] - SIZE / 2) / SIZE
                state[n, j, 2] = health[n, j] / unit[j, 3]
                state[n, j, 3] = pause[n, j] / unit[j, 2]
                if kinds:
                    state[n, j, 4 + kind[j]] = 1.0
        for i in range(agents):
            if health[n, i] <= 0.0:
                available[n, i, 0] = True
                continue
            available[n, i, 1] = True
            x, y, row = place[n, i, 0], place[n, i, 1], obs[n, i]
            available[n, i, 2], available[n, i, 3] = y < SIZE, y > 0.0
            available[n, i, 4], available[n, i, 5] = x < SIZE, x > 0.0
            for a in range(4):
                row[a] = available[n, i, 2 + a]
            at = 4
            for other in range(everyone - 1):
                # the enemies first, then the comrades
                j = agents + other if other < everyone - agents else other - (everyone - agents)
                if j < agents and j >= i:
                    j += 1
                if health[n, j] > 0.0:
                    dx, dy = place[n, j, 0] - x, place[n, j, 1] - y
                    away = math.sqrt(dx * dx + dy * dy)
                    if away <= SIGHT:
                        near = away <= CALL
                        if j >= agents:
                            available[n, i, 6 + j - agents] = near
                            row[at] = near
                        else:
                            row[at] = 1.0
                        row[at + 1] = away / SIGHT
                        row[at + 2] = dx / SIGHT
                        row[at + 3] = dy / SIGHT
                        row[at + 4] = health[n, j] / unit[j, 3]
                        if kinds:
                            row[at + 5 + kind[j]] = 1.0
                at += 5 + kinds
            row[at] = health[n, i] / unit[i, 3]
            row[at + 1] = pause[n, i] / unit[i, 2]
            if kinds:
                row[at + 2 + kind[i]] = 1.0
