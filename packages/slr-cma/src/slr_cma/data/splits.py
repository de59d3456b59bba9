"""Splits of DVS-SLR, by name and version, and a check that nobody stands on both sides."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LABELS",
    "LIGHTS",
    "POSITIONS",
    "SPLITS",
    "USERS",
    "Key",
    "all_keys",
    "check_leakage",
    "split_keys",
    "subject_split",
]

LABELS = (
    "at", "drink", "eat", "everybody", "go", "home", "i", "jump", "listen", "rest", "run", "school", "see", "shower",
    "sleep", "study", "talk", "want", "washhands", "you", "other",
)  # fmt: skip
LIGHTS = ("brightLED", "dimLED", "naturalLight")
POSITIONS = ("front", "back")
USERS = tuple(f"user{i}" for i in range(43))
SPLITS = ("subject", "subject_kfold5", "leave_light_out", "leave_position_out", "random_seed42", "all")
VERSION = 1


class Key(NamedTuple):
    """What names a recording of DVS-SLR."""

    user: str
    label: str
    light: str
    position: str

    @property
    def stem(self) -> str:
        """Its file name without modality."""
        return "_".join(self)


def all_keys() -> list[Key]:
    """The 5418 recordings, ordered by user, label, light, position."""
    return [Key(u, c, light, p) for u in USERS for c in LABELS for light in LIGHTS for p in POSITIONS]


def index_file() -> dict[str, Any]:
    """The shipped index file of this version: users of each part of each split."""
    text = files("slr_cma.data").joinpath(f"splits-v{VERSION}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def split_keys(split: str) -> list[Key]:
    """Recordings of a split's part.

    Args:
        split: "NAME:PART", or "NAME:WHICH:PART". "subject:train|val|test" (users 0-28, 29-33, 34-42),
            "subject_kfold5:0..4:train|test", "leave_light_out:LIGHT:train|test", "leave_position_out:POS:train|test",
            "random_seed42:train|test" (not by subject: warns; only to compare with others), "all".
    Raises:
        ValueError: an unknown name or part, with those there are.
    """
    name, *rest = split.split(":")
    keys = all_keys()
    if name == "all" and not rest:
        return keys
    index = index_file()
    if name == "subject" and len(rest) == 1 and rest[0] in index["subject"]:
        users = set(index["subject"][rest[0]])
        return [k for k in keys if k.user in users]
    if name == "subject_kfold5" and len(rest) == 2 and rest[0] in index["subject_kfold5"] and rest[1] in _SIDES:
        users = set(index["subject_kfold5"][rest[0]])
        return [k for k in keys if (k.user in users) == (rest[1] == "test")]
    if name == "leave_light_out" and len(rest) == 2 and rest[0] in LIGHTS and rest[1] in _SIDES:
        return [k for k in keys if (k.light == rest[0]) == (rest[1] == "test")]
    if name == "leave_position_out" and len(rest) == 2 and rest[0] in POSITIONS and rest[1] in _SIDES:
        return [k for k in keys if (k.position == rest[0]) == (rest[1] == "test")]
    if name == "random_seed42" and len(rest) == 1 and rest[0] in _SIDES:
        warnings.warn(
            "random_seed42 puts the same users into train and test: its accuracies are inflated and serve only to "
            "compare with others who did the same; use 'subject' otherwise",
            UserWarning,
            stacklevel=2,
        )
        order = np.random.RandomState(42).permutation(len(keys))
        n_test = math.ceil(0.2 * len(keys))
        chosen = order[:n_test] if rest[0] == "test" else order[n_test:]
        return [keys[i] for i in chosen]
    raise ValueError(
        f"split={split!r} is not known; choose subject:train|val|test, subject_kfold5:0..4:train|test, "
        f"leave_light_out:{'|'.join(LIGHTS)}:train|test, leave_position_out:{'|'.join(POSITIONS)}:train|test, "
        "random_seed42:train|test, all"
    )


_SIDES = ("train", "test")


def subject_split(
    users: Sequence[Any], *, val: float = 0.1, test: float = 0.2, seed: int = 0
) -> dict[str, NDArray[np.int64]]:
    """Indices of samples, "train", "val" and "test", such that nobody stands in two of them.

    Args:
        users: subject of each sample [n]. val, test: shares of the subjects, rounded, at least one each where > 0.
        seed: of the draw.
    Raises:
        ValueError: shares outside [0, 1), or too few subjects for the parts asked for.
    Example:
        >>> parts = subject_split(["ann", "ann", "bob", "cid", "cid"], val=0.0, test=0.3)
        >>> {name: len(part) for name, part in parts.items()}["val"]
        0
    """
    names, index = np.unique(np.asarray(users), return_inverse=True)
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ValueError(f"val={val}, test={test} given; expected shares in [0, 1) that leave some for training")
    wanted = [max(1, round(share * len(names))) if share else 0 for share in (test, val)]
    if len(names) - sum(wanted) < 1:
        raise ValueError(f"{len(names)} subject(s) cannot be split into train, val={val} and test={test}")
    rank = np.random.default_rng([12, seed]).permutation(len(names))[index]
    held, chosen = wanted[0], sum(wanted)
    return {
        "train": np.flatnonzero(rank >= chosen),
        "val": np.flatnonzero((rank >= held) & (rank < chosen)),
        "test": np.flatnonzero(rank < held),
    }


def check_leakage(
    train: Iterable[Any], test: Iterable[Any], *, strict: bool = False, what: str = "subjects"
) -> list[Any]:
    """Groups that stand on both sides; warns about them.

    Args:
        train, test: group (subject, source file) of each sample. strict: raise instead of warning. what: the groups'
            name in the message.
    """
    both = sorted(set(train) & set(test), key=str)
    if both:
        shown = ", ".join(map(str, both[:5])) + (" ..." if len(both) > 5 else "")
        text = (
            f"{len(both)} {what} stand in train and test ({shown}): accuracies are inflated; keep each on one side, "
            "for instance with split='subject:train'"
        )
        if strict:
            raise ValueError(text)
        warnings.warn(text, UserWarning, stacklevel=2)
    return both


def make_index(users: Sequence[str] = USERS) -> dict[str, Any]:
    """What the index file of this version holds."""
    return {
        "version": VERSION,
        "subject": {"train": list(users[:29]), "val": list(users[29:34]), "test": list(users[34:])},
        "subject_kfold5": {str(k): list(users[k::5]) for k in range(5)},
    }
