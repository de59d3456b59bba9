"""Does a generator keep what it promises? Its own data against its ceilings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slr_cma.diagnostics.features import Views
from slr_cma.diagnostics.probes import few_threads, run_probe

if TYPE_CHECKING:
    from slr_cma.synth.paired_sign import PairedSign

__all__ = ["audit_generator"]


def audit_generator(signs: PairedSign, *, seed: int = 0, n_perm: int = 0) -> list[str]:
    """Check a :class:`PairedSign` against its ceilings with the probes; one line per broken guarantee.

    Order-free views of the events must not know the order, events must not know the cue, frames must not know the
    order. A view is flagged where its accuracy lies above the 99.9 % range of the ceiling.
    """
    from scipy.stats import binom

    world = signs.world
    n = len(signs)
    train, test = np.arange(0, n - n // 3), np.arange(n - n // 3, n)
    folds = np.arange(len(train)) % 3
    blind = ("collapsed", "bag", "pyramid, shuffled", "ordered, shuffled")
    checks: list[tuple[str, NDArray[Any], NDArray[Any], tuple[str, ...], int]] = [
        ("events", signs.events, signs.orders, blind, len(world.orders))
    ]
    if not world.cue_in_events:
        checks.append(("events", signs.events, signs.cues, ("collapsed", "bag", "ordered"), world.places))
    if world.exposure == "whole":
        checks.append(("frames", signs.frames, signs.orders, ("collapsed", "bag", "ordered"), len(world.orders)))
    found = []
    for name, data, target, views_of, classes in checks:
        if len(test) < 50:
            raise ValueError(f"{n} samples; an audit needs at least 150")
        views = Views(data, train, seed=seed)
        for view in views_of:
            with few_threads(len(train)):
                probe = run_probe(views.get(view), target, train, test, folds, n_perm=n_perm, seed=seed)
            limit = binom.ppf(0.999, len(test), 1 / classes) / len(test)
            if probe.accuracy > limit:
                factor = "the order" if target is signs.orders else "the cue"
                found.append(
                    f"{name}, {view}: knows {factor} with {probe.accuracy:.3f}, chance {1 / classes:.3f} "
                    f"(limit {limit:.3f}): the generator leaks"
                )
    return found
