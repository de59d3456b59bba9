"""``make("skirmish:3m", 8)``: a team task's name to N of them."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from grsn_rl.teams.adapters import ParallelTeam, TupleTeam
from grsn_rl.teams.games import MATRICES, MatrixGame, TwoStepGame
from grsn_rl.teams.skirmish import MAPS, Skirmish
from grsn_rl.teams.team import TeamEnv

__all__ = ["describe", "make"]


def describe() -> dict[str, str]:
    """Names that ``make`` knows, and what each is."""
    told = {"two-step": "two agents, two steps, best play 8"}
    told |= {f"matrix:{name}": "two agents, one move" for name in MATRICES}
    for name, (ours, theirs, limit) in MAPS.items():
        sides = [", ".join(f"{count} {kind}s" for kind, count in side.items()) for side in (ours, theirs)]
        told[f"skirmish:{name}"] = f"{sides[0]} against {sides[1]}, {limit} steps"
    told["mpe:NAME"] = "a task of MPE2, such as mpe:simple_spread_v3; needs grsn-rl[teams]"
    told["foraging:ID"] = "level-based foraging, such as foraging:8x8-2p-3f-v3; needs grsn-rl[teams]"
    return told


def make(name: str, num_envs: int = 1, **options: Any) -> TeamEnv:
    """N team environments by name.

    Args:
        name: one of ``describe()``. num_envs: how many step at once. options: limit, and jitter (skirmish) or reward
            (mpe, foraging: "sum", "mean" or "team"; "mean" by default).
    Raises:
        ValueError: an unknown name. TypeError: an option that the task does not have. ImportError: a missing package.
    Example:
        >>> make("skirmish:3m", 2).reset(seed=0).shape
        (2, 3, 31)
    """
    kind, _, rest = name.partition(":")
    if kind == "two-step" and not rest:
        return TwoStepGame(num_envs, **options)
    if kind == "matrix":
        return MatrixGame(rest, num_envs, **options)
    if kind == "skirmish":
        return Skirmish(rest, num_envs, **options)
    if kind == "mpe":
        return _mpe(rest, num_envs, **options)
    if kind == "foraging":
        return _foraging(rest, num_envs, **options)
    raise ValueError(
        f"no team task is named {name!r}; `grsn-rl envs` lists them: two-step, matrix:, skirmish:, mpe:, foraging:"
    )


def _mpe(task: str, num_envs: int, *, limit: int = 25, reward: str = "mean") -> TeamEnv:
    try:
        import mpe2  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    except ImportError:
        raise ImportError(f"mpe:{task} needs MPE2; install it with `pip install grsn-rl[teams]`") from None
    try:
        module = importlib.import_module(f"mpe2.{task}")
    except ImportError:
        raise ValueError(f"MPE2 has no task {task!r}; one of its names is simple_spread_v3") from None
    return ParallelTeam(
        lambda: module.parallel_env(max_cycles=limit, continuous_actions=False), num_envs, f"mpe:{task}", limit, reward
    )


def _foraging(task: str, num_envs: int, *, limit: int = 50, reward: str = "mean") -> TeamEnv:
    try:
        import gymnasium as gym
        import lbforaging  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    except ImportError:
        raise ImportError(f"foraging:{task} needs lbforaging; install it with `pip install grsn-rl[teams]`") from None
    identity = task if task.startswith("Foraging") else f"Foraging-{task}"
    try:
        gym.spec(identity)
    except gym.error.Error:
        raise ValueError(f"lbforaging has no task {identity!r}; one of its names is Foraging-8x8-2p-3f-v3") from None

    def one() -> Any:
        # it pays a list, of which Gymnasium's checker warns at every step; its own limit would count as the task's end
        env = gym.make(identity, max_episode_steps=limit, disable_env_checker=True)
        env.unwrapped._max_episode_steps = limit + 1  # type: ignore[attr-defined]
        return env

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TupleTeam(one, num_envs, f"foraging:{task}", limit, reward)
