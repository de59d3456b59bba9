"""``make("CartPole-P", 64)``: an environment's name to N of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym

from grsn_rl.envs.classic import CartPoleVec, PendulumVec, RepeatPreviousVec
from grsn_rl.envs.partial import Partial
from grsn_rl.envs.vector import GymVec, VecEnv

__all__ = ["MASKS", "describe", "make"]

#: indices that stay visible: P keeps positions, V velocities (as in the released code of the method)
MASKS: dict[str, tuple[int, ...]] = {
    "CartPole-P": (0, 2),
    "CartPole-V": (1, 3),
    "Pendulum-P": (0, 1),
    "Pendulum-V": (2,),
    "LunarLander-P": (0, 1, 4, 6, 7),
    "LunarLander-V": (2, 3, 5, 6, 7),
}
_OWN: dict[str, Any] = {
    "CartPole": CartPoleVec,
    "Pendulum": PendulumVec,
    "RepeatPreviousEasy": RepeatPreviousVec,
    "RepeatPreviousMedium": partial(RepeatPreviousVec, decks=2, k=32),
    "RepeatPreviousHard": partial(RepeatPreviousVec, decks=3, k=64),
}
_GYM = {"LunarLander": "LunarLander-v3"}


def describe() -> dict[str, str]:
    """Names that ``make`` knows, and what each is."""
    told = {
        "CartPole": "NumPy, 200 steps, fully observed",
        "Pendulum": "NumPy, 200 steps, fully observed",
        "RepeatPreviousEasy": "NumPy, POPGym's task: the suit of the card three steps ago; also Medium (31), Hard (63)",
        "LunarLander": "Gymnasium, needs gymnasium[box2d]",
    }
    told |= {name: f"sees only the numbers {', '.join(map(str, mask))}" for name, mask in MASKS.items()}
    told["popgym:NAME"] = "a task of POPGym, such as popgym:AutoencodeEasy; needs grsn-rl[popgym]"
    told["ID"] = "any id that Gymnasium knows, such as Acrobot-v1"
    return told


def make(
    name: str, num_envs: int = 1, *, noise: float = 0.0, flicker: float = 0.0, delay: int = 0, limit: int | None = None
) -> VecEnv:
    """N environments by name.

    Args:
        name: one of ``describe()``: our NumPy environments, with -P or -V what is left when velocities or positions
            are hidden; ``popgym:NAME``; a Gymnasium id.
        num_envs: how many step at once. noise, flicker, delay: as in :class:`Partial`. limit: steps per episode where
            not the usual number.
    Raises:
        ValueError: an unknown name. ImportError: a package that the name needs is missing.
        NotImplementedError: spaces that agents cannot take.
    Example:
        >>> make("CartPole-P", 3).reset(seed=0).shape
        (3, 2)
    """
    base, mask = name, MASKS.get(name)
    if mask is not None:
        base = name.rpartition("-")[0]
    if base in _OWN:
        env: VecEnv = _OWN[base](num_envs, limit)
    else:
        env = _gymnasium(_GYM.get(base, base), num_envs, limit)
    if mask is None and not (noise or flicker or delay):
        env.name = name
        return env
    extras = [f"{key}={value}" for key, value in (("noise", noise), ("flicker", flicker), ("delay", delay)) if value]
    return Partial(env, mask, noise=noise, flicker=flicker, delay=delay, name=" ".join([name, *extras]))


def _gymnasium(name: str, num_envs: int, limit: int | None) -> VecEnv:
    identity = name
    if name.startswith("popgym:"):
        try:
            import popgym  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise ImportError(f"{name} needs POPGym; install it with `pip install grsn-rl[popgym]`") from None
        known = {cls.__name__: cls for cls in popgym.envs.ALL}
        task = name.partition(":")[2]
        if task not in known:
            raise ValueError(f"POPGym has no {task!r}; it has {', '.join(sorted(known))}")
        return GymVec(lambda: _limited(known[task](), limit), num_envs, name)
    try:
        gym.spec(identity)
    except gym.error.Error:
        raise ValueError(f"no environment is named {name!r}; `grsn-rl envs` lists the names") from None
    try:
        return GymVec(lambda: gym.make(identity, max_episode_steps=limit), num_envs, name)
    except gym.error.DependencyNotInstalled as error:
        raise ImportError(f"{name} needs more than gymnasium: {error}") from None


def _limited(env: Any, limit: int | None) -> Any:
    return gym.wrappers.TimeLimit(env, limit) if limit else env
