"""From a budget of rows to a resolution: few trials, and a last sweep that stops on the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .merge import merge_clusters
from .sweeps import Alternating, Engine, Sweep

Array = np.ndarray[Any, Any]
Show = Callable[[Sweep, float], None]

#: First guess of the resolution, as a share of the one at which evenly sized clusters would just hold together.
FIRST_GUESS = 0.006
#: Sweeps spent on trials, in units of ``max_sweeps``, before the best trial so far is taken.
TRIAL_SWEEPS = 2.0
#: Polishing sweeps once the budget is met; each raises the objective at equal rows.
POLISH_SWEEPS = 2
#: Below this share of the first guess the volume term decides hardly any move; the trial then runs until it stalls.
FLOOR = 1e-3
#: A trial that stops this close above the budget is taken too: merging the last few clusters costs next to nothing.
NEAR = 1.05
#: Trials this far apart in gamma, one that met the budget and one that missed it, show that moving single nodes gets
#: there in a landslide at best, one cluster that swallows the rest. Merging what the larger gamma left is tried then.
GAP = 3.0
#: Sweeps before a trial is judged: on sparse graphs rows fall slowly for three sweeps, then fast.
_LEAST_SWEEPS = 4


@dataclass
class Found:
    """Labels, the gamma they were found at, each sweep with its gamma, and the trials (gamma, rows, F)."""

    labels: tuple[Array, Array]
    gamma: float
    sweeps: list[tuple[Sweep, float]]
    path: list[tuple[float, int, float]]


@dataclass
class Trial:
    """One run from singletons at a fixed gamma."""

    gamma: float
    sweeps: list[Sweep]
    met: bool
    labels: tuple[Array, Array]

    @property
    def length(self) -> float:
        """Sweeps run, the last one counted by the share of its moves."""
        return len(self.sweeps) - 1 + self.sweeps[-1].fraction

    @property
    def rows(self) -> int:
        return self.sweeps[-1].rows

    @property
    def objective(self) -> float:
        return self.sweeps[-1].objective(self.gamma)


def find_gamma(engine: Engine, budget: int, even_gamma: float, max_sweeps: int, *, coarsen: bool, show: Show) -> Found:
    """Labels of at most ``budget`` rows, at about the largest gamma at which sweeps get there.

    A smaller gamma leaves fewer rows, and gets to a given number in fewer sweeps. A trial is accepted when it meets
    the budget in the last of its ``max_sweeps`` sweeps or, with ``coarsen``, in up to twice as many. One that meets
    it sooner asks for a larger gamma, one that will not meet it for a smaller. What sweeps cannot reach is merged.
    Where only a far smaller gamma than that of an earlier trial gets there, that one is merged, and the two compared.

    Args:
        even_gamma: the gamma at which the wanted number of evenly sized clusters would just hold together.
    Raises:
        ValueError: ``coarsen`` is off and ``max_sweeps`` sweeps leave more rows than the budget at any gamma.
    """
    trials: list[Trial] = []
    low: Trial | None = None  # the largest gamma that met the budget
    high: Trial | None = None  # the smallest that did not
    gamma = FIRST_GUESS * even_gamma
    patience = 2 * max_sweeps if coarsen else max_sweeps
    while True:
        spent = sum(one.length for one in trials)
        floor = FLOOR * FIRST_GUESS * even_gamma
        last = spent >= TRIAL_SWEEPS * max_sweeps or gamma <= floor
        if last and low is not None:
            trial = low
            break
        if last and not coarsen:
            gamma = floor  # nothing but a tiny gamma can still help
        trial = run_trial(engine, gamma, budget, patience, patient=last, exact=coarsen, show=show)
        trials.append(trial)
        narrow = low is not None and high is not None and high.gamma < 1.5 * low.gamma
        near = coarsen and not trial.met and trial.rows <= NEAR * budget
        if last or narrow or near or (trial.met and trial.length > max_sweeps - 1):
            break
        if trial.met:
            low = trial
            gamma = trial.gamma * 2.0 ** (max_sweeps - trial.length)
        else:
            high = trial
            gamma = trial.gamma / min(max((trial.rows / budget) ** 3, 1.3), 30.0)
        if low is not None and high is not None:
            gamma = float(np.sqrt(low.gamma * high.gamma))
    if not trial.met and not near and low is not None:
        trial = low
    if not trial.met and not coarsen:
        raise ValueError(
            f"{max_sweeps} sweeps leave {trial.rows} rows of connected ids even at a small resolution, the budget "
            f"allows {budget}: allow more sweeps with max_sweeps, or merging with coarsen=True"
        )
    candidates = [trial]
    missed = [one for one in trials if not one.met and one.gamma > trial.gamma]
    if coarsen and missed and min(one.gamma for one in missed) > GAP * trial.gamma:
        candidates.append(max(missed, key=lambda one: one.gamma))
    trial = _choose(engine, candidates, budget)
    sweeps = [(sweep, trial.gamma) for sweep in trial.sweeps]
    if isinstance(engine, Alternating) and coarsen:
        for _ in range(POLISH_SWEEPS):
            sweeps.append((engine.polish(trial.gamma), trial.gamma))
            show(*sweeps[-1])
            if sweeps[-1][0].moves == 0:
                break
    return Found(engine.labels(), trial.gamma, sweeps, [(one.gamma, one.rows, one.objective) for one in trials])


def run_trial(
    engine: Engine, gamma: float, budget: int, limit: int, *, patient: bool, exact: bool, show: Show
) -> Trial:
    """Sweep from singletons until the budget is met, nothing moves, or the pace says that it will not be met."""
    engine.start()
    sweeps: list[Sweep] = []
    while len(sweeps) < limit:
        sweeps.append(engine.sweep(gamma, budget, exact=exact))
        show(sweeps[-1], gamma)
        rows = sweeps[-1].rows
        if rows <= budget:
            return Trial(gamma, sweeps, True, engine.labels())
        if sweeps[-1].moves == 0:
            break
        if len(sweeps) >= _LEAST_SWEEPS:
            expected = _expected_rows(sweeps)
            close = exact and rows <= NEAR * budget and expected > budget
            if close or (not patient and expected > 1.1 * budget):
                break
    return Trial(gamma, sweeps, False, engine.labels())


def _expected_rows(sweeps: list[Sweep]) -> float:
    """Rows left in the end if moves go on falling as they do; no bound while they still rise."""
    before, now = sweeps[-2], sweeps[-1]
    fall = now.moves / before.moves
    return 0.0 if fall >= 1 else now.rows - (before.rows - now.rows) * fall / (1 - fall)


def _choose(engine: Engine, candidates: list[Trial], budget: int) -> Trial:
    """The best of some trials, each merged down to the budget where it missed it; the engine has its labels.

    Sweeps hold at their gamma, mergers down to the level of the last one. At equal rows the better labels are those
    of the larger objective at the largest of these resolutions.
    """
    found = []
    for trial in candidates:
        engine.set_labels(*trial.labels)
        level = float("inf") if trial.met else _merge(engine, trial, budget)
        found.append((trial, min(trial.gamma, level), engine.labels()))
    if len(found) == 1:
        return candidates[0]
    gamma = max(holds for _, holds, _ in found)
    values = []
    for _, _, labels in found:
        engine.set_labels(*labels)
        values.append(engine.objective(gamma))
    best, _, labels = found[values.index(max(values))]
    engine.set_labels(*labels)
    return best


def _merge(engine: Engine, trial: Trial, budget: int) -> float:
    """Give the engine a trial's labels, merged down to the budget; returns the gamma of the last merger."""
    if isinstance(engine, Alternating):
        users, items = engine.users, engine.items
        parts = (users.pointer, users.neighbours, users.weights)
        masses = (users.mass, items.mass)
    else:
        graph = engine.graph
        parts = (graph.user_ptr, graph.user_items, graph.user_weights)
        masses = (engine.mass[: graph.n_users], engine.mass[graph.n_users :])
    of_users, of_items, level = merge_clusters(*parts, *trial.labels, *masses, budget)
    engine.set_labels(of_users, of_items)
    return level * engine.norm
