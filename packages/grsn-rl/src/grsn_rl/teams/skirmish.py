"""Small battles, N at once: a team of agents against units that follow a rule. In the manner of SMAC, and not SMAC.

What is kept of the StarCraft Multi-Agent Challenge (Samvelian et al. 2019): what agents see (units within 9), their
actions (nothing, stop, four moves, attack unit i within 6), the mask of available ones, dead agents that can do
nothing, the reward (damage, 10 per kill, 200 for victory, scaled so that 20 is all of it), and the names and sizes of
maps. What differs: units are points that may overlap, there are no obstacles, no armour, no shields that refill and no
healing, a rule (walk to the nearest, shoot) commands the enemy, and starts are jittered. Results here say nothing about
results there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grsn_rl._checks import whole
from grsn_rl.envs.vector import Floats
from grsn_rl.teams.team import TeamEnv, TeamStep, check_available

__all__ = ["MAPS", "UNITS", "Skirmish"]


class Unit(NamedTuple):
    """A kind of unit, per step of half a second of play.

    health; reach: of its weapon; speed: distance per step; pause: steps between shots; damage, heavy: of a shot at a
    light and at a heavy unit; armoured: whether it is heavy itself.
    """

    health: float
    reach: float
    speed: float
    pause: float
    damage: float
    heavy: float
    armoured: bool


#: figures after StarCraft II's units (public values, rounded to steps); shields count as health
UNITS: dict[str, Unit] = {
    "marine": Unit(45, 5, 1.1, 1.7, 6, 6, False),
    "marauder": Unit(125, 6, 1.1, 3.0, 10, 20, True),
    "stalker": Unit(160, 6, 1.5, 3.7, 13, 18, True),
    "zealot": Unit(150, 1, 1.1, 2.4, 16, 16, False),
}
#: own units, enemy units, steps per episode
MAPS: dict[str, tuple[dict[str, int], dict[str, int], int]] = {
    "3m": ({"marine": 3}, {"marine": 3}, 60),
    "8m": ({"marine": 8}, {"marine": 8}, 120),
    "2s3z": ({"stalker": 2, "zealot": 3}, {"stalker": 2, "zealot": 3}, 120),
    "8m_vs_9m": ({"marine": 8}, {"marine": 9}, 120),
    "3s_vs_5z": ({"stalker": 3}, {"zealot": 5}, 250),
    "2M6m_vs_2M7m": ({"marauder": 2, "marine": 6}, {"marauder": 2, "marine": 7}, 150),
}
SIZE, SIGHT, CALL, STEP = 32.0, 9.0, 6.0, 2.0
KILL, WIN, BEST = 10.0, 200.0, 20.0


class Skirmish(TeamEnv):
    """N battles of one map.

    Args:
        name: of ``MAPS``. num_envs: N. limit: steps per episode, the map's own by default. jitter: standard deviation
            of where units start around their place.
    Observation of an agent: may it go in each direction (4); of each enemy in sight: may it be attacked, distance, x, y
    (over 9), health, kind; of each comrade in sight: 1, distance, x, y, health, kind; own health, pause and kind (kinds
    only where the map has several). A dead agent sees zeros. State: place, health, pause and kind of everyone.
    Actions: 0 nothing (the dead alone), 1 stop, 2..5 north, south, east, west, 6 + i attack enemy i.
    Raises:
        ValueError: an unknown map.
    """

    def __init__(self, name: str = "3m", num_envs: int = 1, *, limit: int | None = None, jitter: float = 0.5) -> None:
        if name not in MAPS:
            raise ValueError(f"no map is named {name!r}; choose one of {', '.join(MAPS)}")
        ours, theirs, own_limit = MAPS[name]
        self.name, self.num_envs = f"skirmish:{name}", whole("num_envs", num_envs)
        self.limit = own_limit if limit is None else whole("limit", limit)
        if not jitter >= 0:
            raise ValueError(f"jitter={jitter!r} given; expected a number >= 0")
        self.jitter = float(jitter)
        kinds = sorted({*ours, *theirs})
        order = [kind for side in (ours, theirs) for kind, count in side.items() for _ in range(count)]
        self.agents, self.enemies = sum(ours.values()), sum(theirs.values())
        units = [UNITS[kind] for kind in order]
        self._kind = np.array([kinds.index(kind) for kind in order])
        self._shown = len(kinds) if len(kinds) > 1 else 0
        # reach, speed, pause, health of every unit; damage of a shot of one at another
        self._unit = np.array([[u.reach, u.speed, u.pause, u.health] for u in units])
        self._harm = np.array([[a.heavy if b.armoured else a.damage for b in units] for a in units])
        self.actions = 6 + self.enemies
        k, e, shown = self.agents, self.enemies, self._shown
        self.obs_size = 4 + (e + k - 1) * (5 + shown) + 2 + shown
        self.state_size = (k + e) * (4 + shown)
        self._scale = BEST / (self._unit[k:, 3].sum() + KILL * e + WIN)
        self._rng = np.random.default_rng()
        n, m = self.num_envs, k + e
        self._place, self._health, self._pause = np.zeros((n, m, 2)), np.zeros((n, m)), np.zeros((n, m))
        self._age = np.zeros(n, np.int64)
        self._start(np.ones(n, bool))

    def _start(self, where: NDArray[np.bool_]) -> None:
        """New battles: both teams in a column, facing each other across the middle."""
        count, m = int(where.sum()), self.agents + self.enemies
        sides = [(9.0, self.agents), (23.0, self.enemies)]
        home = [(x, 16.0 + 1.5 * (i - (side - 1) / 2)) for x, side in sides for i in range(side)]
        self._place[where] = np.array(home) + self.jitter * self._rng.standard_normal((count, m, 2))
        self._health[where] = self._unit[:, 3]
        self._pause[where] = 0.0
        self._age[where] = 0

    def _look(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        from grsn_rl.teams._battle import look

        n, k, m = self.num_envs, self.agents, self.agents + self.enemies
        obs = np.zeros((n, k, self.obs_size), np.float32)
        state = np.zeros((n, m, 4 + self._shown), np.float32)
        available = np.zeros((n, k, self.actions or 0), np.bool_)
        look(self._place, self._health, self._pause, self._unit, self._kind, self._shown, obs, state, available)
        return obs, state.reshape(n, -1), available

    def reset(self, seed: int | None = None) -> Floats:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._start(np.ones(self.num_envs, bool))
        obs, self.state, self.available = self._look()
        return obs

    def step(self, action: NDArray[Any]) -> TeamStep:  # type: ignore[override]
        from grsn_rl.teams._battle import fight

        action = np.asarray(action, np.int64)
        check_available(self, self.available, action)
        reward = np.zeros(self.num_envs)
        ended = np.zeros(self.num_envs, np.int64)
        fight(action, self._place, self._health, self._pause, self._unit, self._harm, reward, ended)
        self._age += 1
        terminated = ended != 0
        truncated = (self._age >= self.limit) & ~terminated
        final, final_state, final_available = self._look()
        obs, self.state, self.available = final, final_state, final_available
        done = terminated | truncated
        if done.any():
            self._start(done)
            obs, self.state, self.available = self._look()
        paid = (reward * self._scale).astype(np.float32)
        return TeamStep(obs, paid, terminated, truncated, final, final_state, final_available, ended == 1)

    def get_state(self) -> dict[str, Any]:
        return {
            "place": self._place.copy(), "health": self._health.copy(), "pause": self._pause.copy(),
            "age": self._age.copy(), "rng": self._rng.bit_generator.state,
        }  # fmt: skip

    def set_state(self, state: dict[str, Any]) -> None:
        self._place, self._health = state["place"].copy(), state["health"].copy()
        self._pause, self._age = state["pause"].copy(), state["age"].copy()
        self._rng.bit_generator.state = state["rng"]
        _, self.state, self.available = self._look()
